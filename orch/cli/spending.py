"""What executions and projects used, and what they may use."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, find_execution
from orch.cli.option_groups import with_options
from orch.cli.options import ExecutionId, Json

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045


@with_options
def usage(
    id: Annotated[
        Optional[str],
        typer.Argument(metavar="ID", help="Of an execution, by step; without it, of projects."),
    ] = None,
    project: Annotated[
        Optional[str], typer.Option("--project", metavar="NAME", help="Only of this one.")
    ] = None,
    days: Annotated[
        int, typer.Option("--days", metavar="N", help="Of so many days (UTC), with today.")
    ] = 7,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show tokens and cost: of the steps of an execution, or of projects by day."""
    with connect() as orchestrator:
        if id is not None:
            used = orchestrator.get_usage(find_execution(orchestrator, id))
            if as_json:
                output.print_json(used.model_dump())
                return
            rows = [*used.steps.items(), ("all", used.total)]
            output.table(
                ("step", "tokens", "cost", "calls", "model"),
                [(path, u.tokens, f"{u.cost:.6g}", u.calls, u.model) for path, u in rows],
            )
            return
        found = orchestrator.get_spending(project, days=days)
    if as_json:
        output.print_json([each.model_dump(exclude_none=True) for each in found])
        return
    output.table(
        ("day", "project", "tokens", "cost", "calls", "budget"),
        [
            (
                each.day,
                each.project_id,
                each.used.tokens,
                f"{each.used.cost:.6g}",
                each.used.calls,
                ", ".join(f"{key} {value}" for key, value in (each.budget or {}).items()),
            )
            for each in found
        ],
    )


@with_options
def budget(
    id: ExecutionId,
    path: Annotated[
        Optional[str],
        typer.Argument(metavar="PATH", help="Of this step; without it, of the whole."),
    ] = None,
    cost: Annotated[
        Optional[float], typer.Option("--cost", metavar="N", help="The most that it may cost.")
    ] = None,
    tokens: Annotated[
        Optional[int], typer.Option("--tokens", metavar="N", help="The most tokens.")
    ] = None,
    by: Annotated[Optional[str], typer.Option("--by", metavar="NAME", help="Who says so.")] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for the history.")
    ] = "",
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Change the budget of an execution, or of a step of it, while it runs.

    It holds from the next attempt on. A step that waits in the inbox goes on by the decision
    `retry`.
    """
    with connect() as orchestrator:
        found = find_execution(orchestrator, id)
        orchestrator.set_budget(found, path, cost=cost, tokens=tokens, by=by, reason=reason)
    if as_json:
        output.print_json({"id": found, "path": path, "cost": cost, "tokens": tokens})
    else:
        output.say(f"the budget of {path + ' in' if path else 'execution'} {found} is changed")
