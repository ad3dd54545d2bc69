"""What the steps of an execution logged."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, find_execution
from orch.cli.option_groups import with_options
from orch.cli.options import ExecutionId, Json

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


@with_options
def logs(
    id: ExecutionId,
    path: Annotated[
        Optional[str],
        typer.Argument(metavar="PATH", help="Only of this step, and of what is in it."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more until the execution has ended.")
    ] = False,
    level: Annotated[
        Level, typer.Option("--level", help="Only lines of this level, and above.")
    ] = Level.DEBUG,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Print the lines that the steps of an execution logged. With --json an object a line.

    Lines from ORCH_LOG_LEVEL on are kept, so many of each attempt as ORCH_LOG_LINES and
    ORCH_LOG_BYTES say. They are sent once a second.
    """
    with connect() as orchestrator:
        execution = orchestrator.execution(find_execution(orchestrator, id))
        for line in execution.logs(path, level.value, follow=follow):
            if as_json:
                output.print_json(line.model_dump(exclude_none=True), compact=True)
                continue
            words = [line.at, f"{line.level:8}", f"{line.path} #{line.attempt}", line.text]
            if line.fields is not None:
                words.append(json.dumps(line.fields, ensure_ascii=False))
            output.line("  ".join(words))
