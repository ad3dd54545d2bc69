"""Commands for tasks that somebody outside does: tasks, complete, fail, heartbeat."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, find_execution, find_token
from orch.cli.inputs import read_option
from orch.cli.option_groups import with_options
from orch.cli.options import Json
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.orchestrator import Orchestrator

Task = Annotated[
    Optional[str],
    typer.Argument(metavar="TASK", help="Its id, EXECUTION:PATH:ATTEMPT, as `tasks` lists it."),
]
Of = Annotated[
    Optional[str],
    typer.Option("--execution", metavar="ID", help="Instead of TASK, with --step: its execution."),
]
Step = Annotated[
    Optional[str], typer.Option("--step", metavar="PATH", help="With --execution: its step.")
]
By = Annotated[
    Optional[str],
    typer.Option("--by", metavar="NAME", help="Who reports, for the history. [your user name]"),
]


@with_options
def tasks(
    capability: Annotated[
        Optional[str],
        typer.Option("--capability", metavar="NAME", help="Only those of this capability."),
    ] = None,
    agent: Annotated[
        Optional[str],
        typer.Option("--agent", metavar="NAME", help="Only those that it may do."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")
    ] = 100,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """List the tasks that wait for somebody outside to report what came of them."""
    with connect() as orchestrator:
        found = orchestrator.list_tasks(capability, agent=agent, limit=limit)
    if as_json:
        output.print_json([task.model_dump(mode="json") for task in found])
        return
    if not found:
        output.say("no task is open")
        return
    columns = ("task", "capability", "since", "deadline", "input")
    rows = [
        (t.id, t.capability, t.since, t.deadline or t.heartbeat, _brief(t.input)) for t in found
    ]
    output.table(columns, rows)


@with_options
def complete(
    task: Task = None,
    value: Annotated[
        Optional[str], typer.Option("--output", metavar="JSON", help="What came of it. [null]")
    ] = None,
    execution: Of = None,
    step: Step = None,
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Report that a task is done. One that is not there yet gets the report when it is."""
    given = None if value is None else read_option("--output", value)
    with connect() as orchestrator:
        id = _task(orchestrator, task, execution, step)
        done = orchestrator.complete_task(id, given, by=by)
    _print(id, "completed", done, as_json)


@with_options
def fail(
    task: Task = None,
    error: Annotated[
        str, typer.Option("--error", metavar="NAME", help="What `retry` and `onError` match.")
    ] = "TaskFailed",
    message: Annotated[
        str, typer.Option("--message", metavar="TEXT", help="What went wrong.")
    ] = "",
    final: Annotated[
        bool, typer.Option("--final", help="Do not try again, whatever `retry` says.")
    ] = False,
    execution: Of = None,
    step: Step = None,
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Report that a task failed: it is tried again, or its error handled, as its step says."""
    with connect() as orchestrator:
        id = _task(orchestrator, task, execution, step)
        done = orchestrator.fail_task(id, error, message, retryable=not final, by=by)
    _print(id, "failed", done, as_json)


@with_options
def heartbeat(
    task: Task = None,
    progress: Annotated[
        Optional[str], typer.Option("--progress", metavar="JSON", help="How far it is.")
    ] = None,
    execution: Of = None,
    step: Step = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Say that the work on a task goes on. Ends with 1 when nobody waits for it any more."""
    given = None if progress is None else read_option("--progress", progress)
    with connect() as orchestrator:
        id = _task(orchestrator, task, execution, step)
        orchestrator.heartbeat_task(id, given)
    if as_json:
        output.print_json({"task": id, "heartbeat": True})
    else:
        output.line(f"task {id} goes on")


def _task(
    orchestrator: Orchestrator, task: str | None, execution: str | None, step: str | None
) -> str:
    if (task is None) == (execution is None) or (execution is None) != (step is None):
        raise InputError(
            "a task is named by its id, or by --execution and --step",
            hint="`orch tasks` lists the ids of those that are open",
        )
    if execution is not None:
        return f"{find_execution(orchestrator, execution)}:{step}"
    return find_token(orchestrator, str(task))


def _brief(value: Any, most: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _print(id: str, word: str, done: bool, as_json: bool) -> None:
    if as_json:
        output.print_json({"task": id, "report": word, "kept": not done})
    elif done:
        output.line(f"task {id} {word}")
    else:
        output.line(f"task {id} is not open yet: the report is kept for it")
