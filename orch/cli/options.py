"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

_WHERE = "Where"
_INPUT = "Input"
_START = "Start"
_WORKERS = "Workers"
_MANY = "Many at once"


class Pool(StrEnum):
    PREFORK = "prefork"
    THREADS = "threads"
    SOLO = "solo"
    GEVENT = "gevent"


class Status(StrEnum):
    """The states of an execution; the same as `orch.workflows.transition.ExecutionStatus`."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]

Redis = Annotated[
    Optional[str],
    typer.Option(
        "--redis",
        metavar="URL",
        help="Redis of the journal, instead of ORCH_REDIS_URL.",
        rich_help_panel=_WHERE,
    ),
]
DataDir = Annotated[
    Optional[Path],
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Use the embedded Redis of this directory, even where ORCH_REDIS_URL is set.",
        rich_help_panel=_WHERE,
    ),
]
Broker = Annotated[
    Optional[str],
    typer.Option(
        "--broker",
        metavar="URL",
        help="Celery's broker, instead of ORCH_BROKER_URL.",
        rich_help_panel=_WHERE,
    ),
]

Inputs = Annotated[
    Optional[list[str]],
    typer.Option(
        "--input",
        "-i",
        metavar="KEY=VALUE",
        help="A field of the input; a VALUE that is no JSON is text, a.b=1 sets {a: {b: 1}}. "
        "May be repeated.",
        rich_help_panel=_INPUT,
    ),
]
InputFile = Annotated[
    Optional[Path],
    typer.Option(
        "--input-file",
        metavar="FILE",
        help="The input as JSON; - is stdin. --input changes fields of it.",
        rich_help_panel=_INPUT,
    ),
]
IdempotencyKey = Annotated[
    Optional[str],
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        help="The same KEY gives the same execution, however often it is started.",
    ),
]
OfVersion = Annotated[
    Optional[str],
    typer.Option(
        "--version",
        metavar="V",
        help="Of this version: its hash, the beginning of it, or its label. [the latest]",
    ),
]
Delay = Annotated[
    Optional[str],
    typer.Option(
        "--delay",
        metavar="TIME",
        help="Begin so long after now: 90s, 10m, 1h30m, PT10M.",
        rich_help_panel=_START,
    ),
]
At = Annotated[
    Optional[str],
    typer.Option(
        "--at",
        metavar="INSTANT",
        help="Begin then: ISO 8601 with a time zone, 2030-01-31T09:00Z.",
        rich_help_panel=_START,
    ),
]
Deadline = Annotated[
    Optional[str],
    typer.Option(
        "--deadline",
        metavar="TIME|INSTANT",
        help="It fails if it has not ended then, or so long after its beginning.",
        rich_help_panel=_START,
    ),
]
Attributes = Annotated[
    Optional[list[str]],
    typer.Option(
        "--attribute",
        metavar="NAME=VALUE",
        help="What it is found by: a text, a number, true or false. May be repeated.",
        rich_help_panel=_START,
    ),
]
ConcurrencyKey = Annotated[
    Optional[str],
    typer.Option(
        "--concurrency-key",
        metavar="KEY",
        help="Executions with the same key wait for each other, as the workflow says.",
        rich_help_panel=_START,
    ),
]
Project = Annotated[
    Optional[str],
    typer.Option(
        "--project",
        metavar="ID",
        help="For whom it works: projects share what is limited. [the setting project_id]",
        rich_help_panel=_START,
    ),
]
Priority = Annotated[
    Optional[int],
    typer.Option(
        "--priority",
        metavar="0-9",
        min=0,
        max=9,
        help="How urgent its steps are; 9 goes first.",
        rich_help_panel=_START,
    ),
]
Timeout = Annotated[
    Optional[float],
    typer.Option("--timeout", metavar="SECONDS", min=0, help="Do not wait longer; exit code 5."),
]

Include = Annotated[
    Optional[list[str]],
    typer.Option(
        "--include",
        metavar="MODULE",
        help="A module, or a .py file, with capabilities. May be repeated.",
        rich_help_panel=_WORKERS,
    ),
]
ExecutionId = Annotated[
    str,
    typer.Argument(metavar="ID", help="An execution, or the beginning of its id."),
]
Target = Annotated[
    str,
    typer.Argument(metavar="FILE|NAME", help="A YAML, JSON or Python file, or a workflow."),
]

OneExecution = Annotated[
    Optional[str],
    typer.Argument(metavar="ID", help="An execution, or the beginning of its id."),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask before it.", rich_help_panel=_MANY)
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the history.")]
By = Annotated[
    Optional[str],
    typer.Option("--by", metavar="NAME", help="Who, for the history, instead of the user's name."),
]

Sets = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter of FILE; JSON where it takes no text. Repeat it.",
        rich_help_panel=_INPUT,
    ),
]
