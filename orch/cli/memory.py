"""The memory: what is remembered in a project, found by prefix, tag, text, agent and time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.filters import read_instant
from orch.cli.options import Broker, DataDir, Json, Redis
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.memory.memory import MemoryFilters, MemoryStatistics
    from orch.memory.record import MemoryRecord

memory = typer.Typer(
    help="What is remembered: of workflows, agents, resources, escalations.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

STDIO = "-"

Text = Annotated[
    Optional[list[str]],
    typer.Argument(metavar="[WORD]...", help="Words of the text, or their beginnings."),
]
Prefix = Annotated[
    Optional[str],
    typer.Option("--prefix", metavar="TEXT", help="How it begins: ORCH:ESCALATION:."),
]
Tag = Annotated[
    Optional[list[str]],
    typer.Option("--tag", metavar="TAG", help="Has TAG. May be repeated: has them all."),
]
Agent = Annotated[
    Optional[str], typer.Option("--agent", metavar="ROLE", help="Written by an agent of ROLE.")
]
Source = Annotated[
    Optional[str],
    typer.Option("--source", metavar="TEXT", help="Tells of this, such as EXECUTION:PATH."),
]
Since = Annotated[
    Optional[str],
    typer.Option("--since", metavar="WHEN", help="Written then or later: 2h, 7d, or ISO 8601."),
]
Until = Annotated[
    Optional[str], typer.Option("--until", metavar="WHEN", help="Written before then.")
]
Project = Annotated[
    Optional[str],
    typer.Option("--project", metavar="NAME", help="Whose memory, instead of ORCH_PROJECT_ID."),
]


@memory.command()
def search(
    text: Text = None,
    prefix: Prefix = None,
    tag: Tag = None,
    agent: Agent = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")
    ] = 50,
    redis: Redis = None,
    data_dir: DataDir = None,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """List the records that all of it holds of, the newest first."""
    filters = _filters(text, prefix, tag, agent, source, since, until)
    from orch.cli.connection import connect

    with connect(redis, data_dir, broker) as orchestrator:
        found = orchestrator.search_memory(project=project, limit=limit, **filters)
    if as_json:
        output.print_json([record.model_dump(mode="json") for record in found])
    elif not found:
        output.say("nothing is remembered of that")
    else:
        rows = [(r.created, r.agent_role, r.id, " ".join(r.content.split())) for r in found]
        output.table(("created", "agent", "id", "content"), rows)


@memory.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="Of a record, as `search` lists it.")],
    project: Project = None,
    redis: Redis = None,
    data_dir: DataDir = None,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """Show one record, with its data, tags and related records."""
    from orch.cli.connection import connect

    with connect(redis, data_dir, broker) as orchestrator:
        record = orchestrator.get_memory(id, project)
    if as_json:
        output.print_json(record.model_dump(mode="json"))
        return
    _print(record)


@memory.command()
def stats(
    project: Project = None,
    redis: Redis = None,
    data_dir: DataDir = None,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """Count the records of a project, by area, agent and tag; name all projects."""
    from orch.cli.connection import connect

    with connect(redis, data_dir, broker) as orchestrator:
        found = orchestrator.memory_statistics(project)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
        return
    _print_statistics(found)


@memory.command()
def export(
    text: Text = None,
    prefix: Prefix = None,
    tag: Tag = None,
    agent: Agent = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    project: Project = None,
    target: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to, instead of stdout.")
    ] = STDIO,
    redis: Redis = None,
    data_dir: DataDir = None,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """Write the records that all of it holds of as JSON lines, the newest first."""
    if as_json and target == STDIO:
        raise InputError(
            "--json and the lines would both go to stdout", hint="name a file: --output FILE"
        )
    filters = _filters(text, prefix, tag, agent, source, since, until)
    from orch.cli.connection import connect

    with connect(redis, data_dir, broker) as orchestrator:
        if target == STDIO:
            count = 0
            found = orchestrator.memory.walk(project=project, **filters)
            for count, record in enumerate(found, 1):  # noqa: B007 the last one is told
                output.line(json.dumps(record.model_dump(mode="json")))
        else:
            count = orchestrator.export_memory(target, project=project, **filters)
    if as_json:
        output.print_json({"file": target, "records": count})
    else:
        output.say(f"{count} {'record' if count == 1 else 'records'} exported")


def _filters(
    text: list[str] | None,
    prefix: str | None,
    tag: list[str] | None,
    agent: str | None,
    source: str | None,
    since: str | None,
    until: str | None,
) -> MemoryFilters:
    return {
        "text": " ".join(text or ()),
        "prefix": prefix,
        "tag": tag,
        "agent": agent,
        "source": source,
        "since": read_instant("--since", since),
        "until": read_instant("--until", until),
    }


def _print(record: MemoryRecord) -> None:
    rows: dict[str, Any] = {
        "id": record.id,
        "project": record.project_id,
        "agent": record.agent_role,
        "created": record.created,
        "expires": record.expires,
        "confidence": record.confidence,
        "source": record.source,
        "tags": ", ".join(record.tags),
        "related": ", ".join(record.related),
    }
    output.line(record.content)
    for name, value in rows.items():
        if value != "":
            output.line(f"{name}: {value}")
    if record.data is not None:
        output.line(f"data: {json.dumps(record.data, ensure_ascii=False)}")


def _print_statistics(found: MemoryStatistics) -> None:
    output.line(f"project {found.project_id}: {found.records} records")
    if found.records:
        output.line(f"from {found.oldest} to {found.newest}")
    counted = {"area": found.by_area, "agent": found.by_agent, "tag": found.by_tag}
    for name, counts in counted.items():
        for what, count in counts.items():
            output.line(f"{name} {what}: {count}")
    if found.projects:
        output.line(f"projects: {', '.join(found.projects)}")
