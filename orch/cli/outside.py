"""Commands about agents outside of Celery: agents register, unregister, heartbeat, assign, task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.inputs import read_option, read_seconds
from orch.cli.option_groups import with_options
from orch.cli.options import Json

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.agents.assignments import TaskAssignment

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the agent: its id.")]


@with_options
def register(
    name: Name,
    capabilities: Annotated[
        list[str],
        typer.Argument(metavar="CAPABILITY...", help="What it offers: NAME, or NAME=VERSION."),
    ],
    url: Annotated[
        Optional[str],
        typer.Option("--url", metavar="URL", help="Where its tasks go; without, it asks for them."),
    ] = None,
    kind: Annotated[
        Optional[str], typer.Option("--type", metavar="TEXT", help="What kind of agent it is.")
    ] = None,
    ttl: Annotated[
        Optional[str],
        typer.Option("--ttl", metavar="TIME", help="Offline so long after a heartbeat: 90s, 10m."),
    ] = None,
    timeout: Annotated[
        Optional[str],
        typer.Option("--timeout", metavar="TIME", help="How long it has to answer a post. [10s]"),
    ] = None,
    tries: Annotated[
        Optional[int],
        typer.Option("--tries", metavar="N", min=1, help="Posts before an attempt fails. [5]"),
    ] = None,
    secret_env: Annotated[
        Optional[str],
        typer.Option(
            "--secret-env", metavar="NAME", help="ORCH_AGENT_…, of the workers: key of signatures."
        ),
    ] = None,
    token_env: Annotated[
        Optional[str],
        typer.Option("--token-env", metavar="NAME", help="ORCH_AGENT_…: a bearer token."),
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Register an agent that is no worker: its tasks are posted to it, or it asks for them."""
    given: dict[str, Any] = {
        "name": name,
        "url": url,
        "type": kind,
        "ttl": None if ttl is None else read_seconds("--ttl", ttl),
        "timeout": None if timeout is None else read_seconds("--timeout", timeout),
        "tries": tries,
        "secret_env": secret_env,
        "token_env": token_env,
    }
    with connect() as orchestrator:
        id = orchestrator.register_agent(
            {key: value for key, value in given.items() if value is not None},
            [_offered(each) for each in capabilities],
        )
    if as_json:
        output.print_json({"agent": id})
    else:
        output.line(f"agent {id} is registered")


@with_options
def unregister(name: Name, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Take an agent that is no worker off the list. Tasks that name it wait."""
    with connect() as orchestrator:
        orchestrator.unregister_agent(name)
    if as_json:
        output.print_json({"agent": name})
    else:
        output.line(f"agent {name} is registered no more")


@with_options
def heartbeat(
    name: Name,
    load: Annotated[
        float, typer.Option("--load", metavar="X", help="0 to 1: 1 where it takes no more.")
    ] = 0.0,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Say that an agent that is no worker lives."""
    with connect() as orchestrator:
        orchestrator.heartbeat_agent(name, load)
    if as_json:
        output.print_json({"agent": name, "heartbeat": True})
    else:
        output.line(f"agent {name} lives")


@with_options
def assign(
    capability: Annotated[str, typer.Argument(metavar="CAPABILITY", help="What is to be done.")],
    value: Annotated[
        Optional[str], typer.Option("--input", metavar="JSON", help="What it gets. [null]")
    ] = None,
    agent: Annotated[
        Optional[str],
        typer.Option(
            "--to", metavar="AGENT", help="Who does it. [who serves it and has the least load]"
        ),
    ] = None,
    within: Annotated[
        Optional[str],
        typer.Option("--within", metavar="TIME", help="For an attempt: 90s, 10m."),
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Give an agent a task outside of any workflow, and print its id."""
    task: dict[str, Any] = {"capability": capability}
    if value is not None:
        task["input"] = read_option("--input", value)
    if within is not None:
        task["timeout"] = read_seconds("--within", within)
    with connect() as orchestrator:
        found = orchestrator.assign_task(agent, task)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
    else:
        output.line(found.id)


@with_options
def task(
    id: Annotated[str, typer.Argument(metavar="TASK", help="Its id, as `assign` printed it.")],
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show how a task stands that was assigned, or a step, by EXECUTION:PATH."""
    with connect() as orchestrator:
        found = orchestrator.get_task_status(id)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
        return
    for line in _lines(found):
        output.line(line)


def _lines(found: TaskAssignment) -> list[str]:
    shown = found.model_dump(mode="json", exclude_none=True)
    return [f"{name.replace('_', ' ')}: {value}" for name, value in shown.items()]


def _offered(said: str) -> dict[str, str]:
    name, _, version = said.partition("=")
    return {"name": name} | ({"version": version} if version else {})
