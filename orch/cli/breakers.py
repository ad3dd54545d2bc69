"""The command breakers: how they stand; one of them is shown, opened or closed."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.inputs import read_seconds
from orch.cli.option_groups import with_options
from orch.cli.options import By, Json, Reason
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.control.breakers import BreakerInfo


class Act(StrEnum):
    LIST = "list"
    SHOW = "show"
    OPEN = "open"
    CLOSE = "close"
    RESET = "reset"


@with_options
def breakers(
    act: Annotated[
        Act, typer.Argument(metavar="[list|show|open|close|reset]", help="reset: as close.")
    ] = Act.LIST,
    name: Annotated[
        Optional[str], typer.Argument(metavar="NAME", help="A capability that has a breaker.")
    ] = None,
    for_: Annotated[
        Optional[str],
        typer.Option(
            "--for", metavar="TIME", help="Of `open`: 90s, 10m, 1h30m. [until it is closed]"
        ),
    ] = None,
    reason: Reason = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """List the circuit breakers of capabilities; show one, open or close it by hand."""
    if (name is None) != (act is Act.LIST):
        wanted = "no name" if name else "the name of a capability"
        raise InputError(
            f"`orch breakers {act.value}` takes {wanted}",
            hint="`orch breakers` lists those that have one",
        )
    if for_ is not None and act is not Act.OPEN:
        raise InputError("only `orch breakers open NAME` takes --for")
    seconds = None if for_ is None else read_seconds("--for", for_)
    with connect() as orchestrator:
        if name is None:
            _print_list(orchestrator.list_breakers(), as_json)
            return
        if act is Act.OPEN:
            orchestrator.open_breaker(name, reason, seconds=seconds, by=by)
        elif act is not Act.SHOW:
            closed = orchestrator.close_breaker(name, reason, by=by)
            if not closed:
                output.say(f"the breaker of {name} was closed")
        _print_one(orchestrator.show_breaker(name), as_json)


def _print_list(found: list[BreakerInfo], as_json: bool) -> None:
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found])
        return
    if not found:
        output.say("no worker has declared a breaker")
        return
    rows = [
        (
            each.capability,
            each.state,
            f"{each.failures} of {each.calls}",
            "" if each.rate is None else f"{each.rate:.0%}",
            each.until or ("" if each.state == "closed" else "it is closed"),
            each.reason or "",
        )
        for each in found
    ]
    output.table(("capability", "state", "failed", "rate", "until", "why"), rows)


def _print_one(found: BreakerInfo, as_json: bool) -> None:
    if as_json:
        output.print_json(found.model_dump(mode="json"))
        return
    since = f" since {found.since}" if found.since else ""
    until = f", until {found.until}" if found.until else ""
    by = f", by {found.by}" if found.by else ""
    because = f": {found.reason}" if found.reason else ""
    output.line(f"the breaker of {found.capability} is {found.state}{since}{until}{by}{because}")
    rate = "" if found.rate is None else f" ({found.rate:.0%})"
    output.line(f"calls in the window: {found.calls}, failed: {found.failures}{rate}")
    output.line(", ".join(f"{name} {value}" for name, value in found.declared.items()))
    for each in found.changes:
        by = f" by {each.by}" if each.by else ""
        because = f": {each.reason}" if each.reason else ""
        output.line(f"{each.at}  {each.change}{by}{because}")
