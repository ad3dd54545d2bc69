"""The commands limits and resources: what holds over all workers, who has it, and who waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.inputs import read_seconds
from orch.cli.option_groups import with_options
from orch.cli.options import Json

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.control.limits import LimitInfo, LimitRequest
    from orch.resources.advice import CapacityPlan

resources = typer.Typer(
    help="Resources that steps take: how much there is of each, who has it, who waits.",
    no_args_is_help=False,
    invoke_without_command=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of a resource.")]
Hours = Annotated[
    int,
    typer.Option("--hours", metavar="N", min=1, max=336, help="Look back over so many."),
]


@with_options
def limits(
    name: Annotated[
        Optional[str],
        typer.Argument(metavar="[NAME]", help="Of a capability, a limit or a resource. [all]"),
    ] = None,
    key: Annotated[
        Optional[str], typer.Option("--key", metavar="KEY", help="Of this key alone.")
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """List the limits over all workers; or show one, with the steps that have it or wait."""
    with connect() as orchestrator:
        if name is None:
            found = [each for each in orchestrator.list_limits() if key is None or each.key == key]
        else:
            found = orchestrator.show_limit(name, key)
    _print(found, as_json, shown=name is not None)


@resources.callback()
@with_options
def list_(context: typer.Context, connect: Connect = Connect(), as_json: Json = False) -> None:
    """List the resources: their capacity, what is held, how many wait."""
    if context.invoked_subcommand is not None:
        return
    with connect() as orchestrator:
        _print(orchestrator.list_resources(), as_json)


@resources.command()
@with_options
def show(name: Name, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Show one, with the steps that hold it, and those that wait."""
    with connect() as orchestrator:
        found = orchestrator.show_resource(name)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
        return
    _print([found], False, shown=True)


@resources.command()
@with_options
def define(
    name: Name,
    capacity: Annotated[int, typer.Argument(metavar="CAPACITY", help="How much there is.")],
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Say how much there is of one; what the settings say counts no more."""
    with connect() as orchestrator:
        found = orchestrator.define_resource(name, capacity)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
    else:
        output.line(f"{name}: {found.allowed}, of which {found.held} are held")


@resources.command()
@with_options
def remove(name: Name, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Forget one. Steps that take it fail; of the settings' it is back when a worker starts."""
    with connect() as orchestrator:
        orchestrator.remove_resource(name)
    if as_json:
        output.print_json({"removed": name})
    else:
        output.line(f"removed: {name}")


@resources.command()
@with_options
def plan(
    name: Name,
    hours: Hours = 336,
    wait: Annotated[
        Optional[str],
        typer.Option(
            "--wait", metavar="TIME", help="How long a step may wait for it on average: 5s, 1m."
        ),
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Say how much of one would be enough, from how it was used."""
    seconds = None if wait is None else read_seconds("--wait", wait)
    with connect() as orchestrator:
        found = orchestrator.plan_capacity(name, hours=hours, wait=seconds)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
    else:
        output.line(found.advice)


@resources.command()
@with_options
def optimize(hours: Hours = 336, connect: Connect = Connect(), as_json: Json = False) -> None:
    """List the limits and resources that are short, or of which less would be enough."""
    with connect() as orchestrator:
        found: Sequence[CapacityPlan] = orchestrator.optimize_allocation(hours=hours)
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found])
    elif not found:
        output.say("all of them are as they should be")
    for each in () if as_json else found:
        output.line(each.advice)


def _print(found: Sequence[LimitInfo], as_json: bool, *, shown: bool = False) -> None:
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found])
        return
    if not found:
        output.say("there are none")
        return
    rows: list[tuple[Any, ...]] = [
        (
            each.kind,
            each.name if each.of != "limit" else f"{each.name} (of steps)",
            each.key or "",
            each.allowed,
            "" if each.kind == "rate" else each.held,
            each.waiting,
            each.next or "",
        )
        for each in found
    ]
    output.table(("limit", "of", "key", "allowed", "held", "waiting", "next"), rows)
    for each in found if shown else ():
        _print_requests(each)


def _print_requests(found: LimitInfo) -> None:
    def said(each: LimitRequest) -> str:
        units = f" ({each.units})" if each.units > 1 else ""
        return f"{each.execution} {each.path}{units}, project {each.project}"

    for each in found.holders:
        output.line(f"holds since {each.since}: {said(each)}")
    for each in found.waiters:
        output.line(f"waits since {each.asked}: {said(each)}")
