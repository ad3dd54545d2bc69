"""What changes the memory, and what takes records from it and to it, on the command line."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from typing import Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.filters import read_instant
from orch.cli.memory_options import Criteria, Id, MinConfidence, Project, Text, Whose
from orch.cli.option_groups import with_options
from orch.cli.options import By, Json, Yes
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

STDIO = "-"


def add_to(memory: typer.Typer) -> None:
    memory.command()(rate)
    memory.command()(share)
    memory.command()(forget)
    memory.command()(compact)
    memory.command()(export)
    memory.command("import")(import_)


@with_options
def rate(
    id: Id,
    confidence: Annotated[
        float, typer.Argument(metavar="CONFIDENCE", help="How sure it is, 0 to 1.")
    ],
    by: By = None,
    whose: Whose = Whose(),
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Give a record another confidence; who did, and when, stays with it."""
    with connect() as orchestrator:
        found = orchestrator.rate_memory(
            id, confidence, by=by, project=whose.project, **whose.sight()
        )
    if as_json:
        output.print_json(found.model_dump(mode="json"))
    else:
        output.say(f"{found.id} has a confidence of {found.confidence}")


@with_options
def share(
    id: Id,
    roles: Annotated[
        Optional[list[str]],
        typer.Option("--with", metavar="ROLE", help="Have ROLE see it. May be repeated."),
    ] = None,
    to_project: Annotated[
        Optional[str],
        typer.Option("--to-project", metavar="NAME", help="Copy it into the memory of NAME, once."),
    ] = None,
    whose: Whose = Whose(),
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show a private record to further roles, or copy a record into another project."""
    with connect() as orchestrator:
        found = orchestrator.share_memory(
            id, roles or (), to_project=to_project, project=whose.project, **whose.sight()
        )
    if as_json:
        output.print_json(found.model_dump(mode="json"))
    else:
        output.line(found.id)


@with_options
def forget(
    ids: Annotated[
        Optional[list[str]], typer.Argument(metavar="[ID]...", help="Of records.")
    ] = None,
    text: Annotated[
        Optional[list[str]],
        typer.Option("--text", metavar="WORD", help="Says WORD. May be repeated."),
    ] = None,
    criteria: Criteria = Criteria(),
    yes: Yes = False,
    whose: Whose = Whose(),
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Drop records, by their ids or by what they are found by, after a question."""
    by_filters = bool(text) or criteria.given()
    if bool(ids) == by_filters:
        raise InputError(
            "records are forgotten by their ids, or by filters",
            hint="`orch memory forget ID…`, or `--prefix`, `--tag`, `--text` …; `search` shows "
            "what these find",
        )
    filters = criteria.filters(whose, text)
    with connect() as orchestrator:
        asked = list(dict.fromkeys(ids or ()))
        if by_filters:
            found = orchestrator.memory.walk(project=whose.project, **filters)
            asked = [record.id for record in found]
        gone = 0
        if asked and (yes or _confirmed(len(asked))):
            gone = orchestrator.forget_memories(asked, project=whose.project, **whose.sight())
    if as_json:
        output.print_json({"forgotten": gone})
    else:
        output.say(f"{_count(gone)} forgotten")


@with_options
def compact(
    older: Annotated[
        str,
        typer.Option("--older", metavar="TIME", help="Only what was written so long ago: 12h, 7d."),
    ] = "1d",
    similar: Annotated[
        bool,
        typer.Option("--similar", help="Also what differs in numbers, ids and capitals alone."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be merged, and change nothing.")
    ] = False,
    project: Project = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Merge records that say the same into one, which says how many there were, and since when."""
    age = read_instant("--older", older)
    if isinstance(age, datetime):
        age = datetime.now(age.tzinfo) - age
    with connect() as orchestrator:
        done = orchestrator.compact_memory(
            project, older=age or timedelta(0), similar=similar, dry_run=dry_run
        )
    if as_json:
        output.print_json(done.model_dump(mode="json"))
        return
    for group in done.largest:
        output.line(f"{group.records} times: {' '.join(group.content.split())}")
    would = "would be merged" if dry_run else "merged"
    output.say(f"{_count(done.merged)} of {done.read} {would} into {done.groups}")


@with_options
def export(
    text: Text = None,
    criteria: Criteria = Criteria(),
    min_confidence: MinConfidence = None,
    whose: Whose = Whose(),
    target: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to, instead of stdout.")
    ] = STDIO,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Write the records that all of it holds of as JSON lines, the newest first."""
    if as_json and target == STDIO:
        raise InputError(
            "--json and the lines would both go to stdout", hint="name a file: --output FILE"
        )
    filters = criteria.filters(whose, text, min_confidence)
    with connect() as orchestrator:
        if target == STDIO:
            count = 0
            found = orchestrator.memory.walk(project=whose.project, **filters)
            for count, record in enumerate(found, 1):  # noqa: B007 the last one is told
                output.line(json.dumps(record.model_dump(mode="json")))
        else:
            count = orchestrator.export_memory(target, project=whose.project, **filters)
    if as_json:
        output.print_json({"file": target, "records": count})
    else:
        output.say(f"{_count(count)} exported")


@with_options
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="As `export` writes it; - is stdin.")],
    project: Annotated[
        Optional[str],
        typer.Option("--project", metavar="NAME", help="Into this one, whatever the lines say."),
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Keep the records of an exported file, each once, under its id."""
    with connect() as orchestrator:
        source = sys.stdin.buffer if file == STDIO else file
        done = orchestrator.import_memory(source, project=project)
    if as_json:
        output.print_json(done.model_dump(mode="json"))
        return
    others = f"{done.known} were there, {done.expired} have expired"
    output.say(f"{_count(done.imported)} imported; {others}")


def _confirmed(count: int) -> bool:
    """Ask on stderr: typer's own question writes a part of its prompt to stdout."""
    output.write(f"forget {_count(count)}? [y/N]: ", sys.stderr)
    answer = sys.stdin.readline()
    if not answer:
        output.say("")
        raise InputError(
            f"to forget {_count(count)} was not confirmed",
            hint="give --yes where nobody can be asked",
        )
    return answer.strip().lower() in ("y", "yes")


def _count(records: int) -> str:
    return f"{records} record{'s'[: records != 1]}"
