"""The command attempts: how often a step was tried, and what came of it."""

from __future__ import annotations

from typing import Annotated

import typer

from orch.cli import output
from orch.cli.options import Broker, DataDir, ExecutionId, Json, Redis


def attempts(
    id: ExecutionId,
    step: Annotated[
        str, typer.Argument(metavar="PATH", help="The step, as `orch status` shows it.")
    ],
    redis: Redis = None,
    data_dir: DataDir = None,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """Show the attempts of a step: who took each, how long it was, and why it failed."""
    from orch.cli.connection import connect, find_execution

    with connect(redis, data_dir, broker) as orchestrator:
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
