"""What a map gave, a line each."""

from __future__ import annotations

from typing import Annotated

import typer

from orch.cli import output
from orch.cli.connection import Connect, find_execution
from orch.cli.option_groups import with_options
from orch.cli.options import ExecutionId, Json


@with_options
def results(
    id: ExecutionId,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="The map, as `orch status` shows it.")
    ],
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Print what a map, or a parallel step, gave: JSON, a line for each item in its order.

    Also of results that are too large to stand in an output. The lines are the same with --json.
    """
    del as_json
    with connect() as orchestrator:
        execution = orchestrator.execution(find_execution(orchestrator, id))
        for value in execution.results(path):
            output.print_json(value, compact=True)
