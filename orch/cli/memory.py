"""The memory: what is remembered in a project, found by prefix, tag, text, agent and time."""

from __future__ import annotations

from typing import Annotated

import typer

from orch.cli import memory_changes, output
from orch.cli.connection import Connect
from orch.cli.filters import read_instant
from orch.cli.memory_options import (
    Criteria,
    Id,
    MinConfidence,
    Project,
    Since,
    Text,
    Until,
    Whose,
)
from orch.cli.option_groups import with_options
from orch.cli.options import Json

memory = typer.Typer(
    help="What is remembered: of workflows, agents, resources, escalations.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@memory.command()
@with_options
def search(
    text: Text = None,
    criteria: Criteria = Criteria(),
    min_confidence: MinConfidence = None,
    whose: Whose = Whose(),
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")
    ] = 50,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """List the records that all of it holds of, the newest first."""
    filters = criteria.filters(whose, text, min_confidence)
    with connect() as orchestrator:
        found = orchestrator.search_memory(project=whose.project, limit=limit, **filters)
    if as_json:
        output.print_json([record.model_dump(mode="json") for record in found])
    elif not found:
        output.say("nothing is remembered of that")
    else:
        rows = [(r.created, r.agent_role, r.id, " ".join(r.content.split())) for r in found]
        output.table(("created", "agent", "id", "content"), rows)


@memory.command()
@with_options
def show(
    id: Id,
    related: Annotated[
        bool, typer.Option("--related", help="Also the records that it names, and that name it.")
    ] = False,
    depth: Annotated[
        int,
        typer.Option("--depth", metavar="N", min=1, help="With --related: so many steps away."),
    ] = 1,
    whose: Whose = Whose(),
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show one record, with its data, tags and related records. This counts as a read."""
    from orch.cli.memory_print import print_record, print_related

    project, sight = whose.project, whose.sight()
    with connect() as orchestrator:
        around = []
        if related:
            around = orchestrator.related_memories(id, depth=depth, project=project, **sight)
        record = orchestrator.get_memory(id, project, **sight)
        (use,) = orchestrator.memory_use([record.id], project)
    if as_json:
        told = {**record.model_dump(mode="json"), **use.model_dump(mode="json")}
        if related:
            told["around"] = [each.model_dump(mode="json") for each in around]
        output.print_json(told)
        return
    print_record(record, use)
    if related:
        print_related(around)


@memory.command()
@with_options
def stats(project: Project = None, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Count the records of a project, by area, agent and tag; name all projects."""
    from orch.cli.memory_print import print_statistics

    with connect() as orchestrator:
        found = orchestrator.memory_statistics(project)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
        return
    print_statistics(found)


@memory.command()
@with_options
def analyze(
    since: Since = "7d",
    until: Until = None,
    limit: Annotated[
        int,
        typer.Option("--limit", metavar="N", min=1, help="Read at most so many of the window."),
    ] = 10_000,
    whose: Whose = Whose(),
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Say what is read and what never, how good the records are, their trends and patterns."""
    begin, end = read_instant("--since", since), read_instant("--until", until)
    from orch.cli.memory_print import print_analysis

    with connect() as orchestrator:
        found = orchestrator.analyze_memory(
            whose.project, since=begin, until=end, limit=limit, **whose.sight()
        )
    if as_json:
        output.print_json(found.model_dump(mode="json"))
        return
    print_analysis(found)


memory_changes.add_to(memory)
