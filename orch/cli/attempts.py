"""The command attempts: how often a step was tried, and what came of it."""

from __future__ import annotations

from typing import Annotated

import typer

from orch.cli import output
from orch.cli.connection import Connect, find_execution
from orch.cli.option_groups import with_options
from orch.cli.options import ExecutionId, Json


@with_options
def attempts(
    id: ExecutionId,
    step: Annotated[
        str, typer.Argument(metavar="PATH", help="The step, as `orch status` shows it.")
    ],
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show the attempts of a step: who took each, how long it was, and why it failed."""
    with connect() as orchestrator:
        found = orchestrator.get_attempts(find_execution(orchestrator, id), step)
    if as_json:
        output.print_json([each.as_dict() for each in found])
        return
    rows = [
        (
            each.attempt,
            each.outcome,
            each.error_class,
            output.duration(each.ended - each.started) if each.started and each.ended else "",
            each.worker,
            f"{each.error}: {each.message}" if each.error else "",
        )
        for each in found
    ]
    output.table(("attempt", "outcome", "class", "duration", "worker", ""), rows)
