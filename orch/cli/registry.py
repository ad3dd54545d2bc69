"""Commands about the registry of agents: agents list, show, capabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.option_groups import with_options
from orch.cli.options import Json

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.agents.info import AgentInfo

Agent = Annotated[
    str,
    typer.Argument(metavar="AGENT", help="Its id, or its name, with its host or without."),
]


@with_options
def list_(
    capability: Annotated[
        Optional[str],
        typer.Option(
            "--capability", metavar="NAME", help="Those that serve it, the best ones first."
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Also those that are gone, and remembered.")
    ] = False,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """List the agents: how they are, how much they have to do, and how well they did it."""
    with connect() as orchestrator:
        if capability is None:
            found = orchestrator.list_agents(offline=offline)
        else:
            found = orchestrator.find_agents_by_capability(capability)
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found])
        return
    columns = ("agent", "type", "status", "load", "tasks", "success", "mean", "last seen")
    output.table(columns, [_row(each) for each in found])


@with_options
def show(agent: Agent, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Show one agent, also where it is gone."""
    with connect() as orchestrator:
        found = orchestrator.get_agent(agent)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
        return
    for name, value in found.model_dump(mode="json").items():
        if name == "capabilities":
            value = ", ".join(f"{each} {found.versions.get(each, '')}".strip() for each in value)
        if name != "versions" and value not in (None, "", []):
            shown = ", ".join(value) if isinstance(value, list) else value
            output.line(f"{name.replace('_', ' ')}: {shown}")


@with_options
def capabilities(agent: Agent, connect: Connect = Connect(), as_json: Json = False) -> None:
    """List what an agent offers, with versions; --json has the schemas of input and output."""
    with connect() as orchestrator:
        found = orchestrator.get_agent_capabilities(agent)
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found])
        return
    rows = [
        (
            each.name,
            each.version,
            ", ".join((each.input or {}).get("properties", {})),
            each.description.partition("\n")[0],
        )
        for each in found
    ]
    output.table(("capability", "version", "input", "description"), rows)


def _row(info: AgentInfo) -> tuple[object, ...]:
    return (
        info.name,
        info.type,
        f"{info.status.value} (draining)" if info.draining else info.status.value,
        f"{info.load_factor:.0%}",
        info.task_count,
        f"{info.success_rate:.1%}",
        f"{info.average_task_duration:.0f} ms",
        info.last_seen_time,
    )
