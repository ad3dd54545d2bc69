"""Commands about agents that are steered: drain, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.inputs import read_seconds
from orch.cli.option_groups import with_options
from orch.cli.options import By, Json

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.agents.coordinator import DrainedAgent

Agent = Annotated[
    str, typer.Argument(metavar="AGENT", help="The name of a worker, with its host or without.")
]


@with_options
def drain(
    agent: Agent,
    stay: Annotated[
        bool, typer.Option("--stay", help="It does not leave: `orch agents resume` takes it up.")
    ] = False,
    reassign: Annotated[
        bool,
        typer.Option("--reassign", help="Steps that name it go to other agents meanwhile."),
    ] = False,
    wait: Annotated[
        Optional[str],
        typer.Option(
            "--wait", metavar="TIME", help="Until it has left, or finished: 90s, 10m; exit code 5."
        ),
    ] = None,
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Have a worker take nothing new, finish what it has, and leave.

    What waits in its own queue goes to others; steps that name it wait for its return.
    """
    timeout = None if wait is None else read_seconds("--wait", wait)
    with connect() as orchestrator:
        found = orchestrator.drain_agent(
            agent, stay=stay, reassign=reassign, by=by, timeout=timeout
        )
    if as_json:
        output.print_json(found.model_dump(mode="json"))
        return
    output.say(_in_words(found))


@with_options
def resume(agent: Agent, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Have a drained worker take messages again."""
    with connect() as orchestrator:
        resumed = orchestrator.resume_agent(agent)
    if as_json:
        output.print_json({"agent": agent, "resumed": resumed})
        return
    output.say(f"{agent} takes messages again" if resumed else f"{agent} was not drained")


@with_options
def choose(
    capability: Annotated[str, typer.Argument(metavar="CAPABILITY")],
    key: Annotated[
        str,
        typer.Option("--key", metavar="TEXT", help="What is to be done: the same, the same one."),
    ] = "",
    version: Annotated[
        Optional[str],
        typer.Option("--version", metavar="RANGE", help="Only these versions of it: '>=2,<3'."),
    ] = None,
    failed: Annotated[
        Optional[list[str]],
        typer.Option("--failed", metavar="AGENT", help="Not this one. May be repeated."),
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show who would be chosen for a capability, by load and past success."""
    with connect() as orchestrator:
        found = orchestrator.choose_agent(
            capability, key=key, versions=version, failed=failed or ()
        )
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found])
        return
    rows = [
        (
            each.agent,
            each.version,
            f"{each.load} of {each.concurrency}",
            f"{each.success_rate:.0%}",
            f"{each.weight:.2f}",
            "chosen" if each.chosen else each.why_not,
        )
        for each in found
    ]
    output.table(("agent", "version", "load", "success", "weight", ""), rows)


@with_options
def balance(
    move: Annotated[bool, typer.Option("--move", help="Send what others may do to them.")] = False,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show what waits for single agents, and send on what others may do."""
    with connect() as orchestrator:
        found = orchestrator.balance_agents(move=move)
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found])
        return
    rows = [
        (
            each.agent,
            "overloaded" if each.overloaded else each.status,
            f"{each.load} of {each.concurrency}",
            each.waiting,
            each.moved if move else "-",
            each.kept if move else "-",
        )
        for each in found
    ]
    output.table(("agent", "status", "load", "waiting", "moved", "kept"), rows)


def _in_words(found: DrainedAgent) -> str:
    left = f"{len(found.running)} running, {found.waiting} in its queue"
    return {
        "asked": f"{found.agent} is told to take nothing new: {left}",
        "draining": f"{found.agent} takes nothing new, and finishes what it has: {left}",
        "drained": f"{found.agent} takes nothing new, and has nothing left: {left}",
        "left": f"{found.agent} has left; {found.waiting} in its queue wait for it",
    }[found.status]
