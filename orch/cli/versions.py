"""Commands about versions: which there are, and which one an execution goes on by."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, find_execution
from orch.cli.filters import FilterOptions, read_instant
from orch.cli.option_groups import with_options
from orch.cli.options import (
    By,
    ExecutionId,
    Json,
    OneExecution,
    Reason,
    Status,
    Yes,
)
from orch.cli.steering import Chosen, Verb, _steer_many
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.control.comparison import Comparison, VersionFigures
    from orch.control.migration import Migrated
    from orch.control.versions import WorkflowVersion

MIGRATE = Verb("migrate", "migrated", (Status.RUNNING, Status.PAUSED), "is on that version")

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say whether it could be done; change nothing.")
]


@with_options
def versions(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[compare] NAME [A B]", help="A workflow; `compare`: its versions A and B."
        ),
    ],
    since: Annotated[
        Optional[str],
        typer.Option(
            "--since",
            metavar="WHEN",
            help="Of `compare`: executions started then or later; 7d is seven days ago.",
        ),
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """List the versions of a workflow, or `compare` how they do, side by side."""
    compares = names[0] == "compare" and len(names) > 1
    if not compares and (len(names) > 1 or since is not None):
        raise InputError(
            "only `orch versions compare NAME` takes versions and --since",
            hint="one NAME lists its versions",
        )
    with connect() as orchestrator:
        if compares:
            found = orchestrator.compare_versions(
                names[1], *names[2:], since=read_instant("--since", since)
            )
            _print_comparison(found, as_json)
        else:
            _print_versions(orchestrator.list_versions(names[0]), as_json)


def _print_versions(found: list[WorkflowVersion], as_json: bool) -> None:
    if as_json:
        output.print_json([each.as_dict() for each in found])
        return
    rows = []
    for each in found:
        marks = ["latest"] if each.latest else []
        marks += [f"canary, {each.canary:g} %"] if each.canary is not None else []
        marks += [f"ad hoc, for {each.execution}"] if each.execution else []
        rows.append(
            (each.version, each.label or "", each.defined or "", each.by or "", ", ".join(marks))
        )
    output.table(("version", "label", "defined", "by", ""), rows)


def _print_comparison(found: Comparison, as_json: bool) -> None:
    if as_json:
        output.print_json(found.as_dict())
        return
    rows = [
        (
            each.version,
            each.label or "",
            str(each.executions),
            ", ".join(f"{count} {status}" for status, count in each.statuses.items()),
            _rate(each),
            ", ".join(f"{name} {count}" for name, count in each.errors.items()),
            "" if each.p50 is None else f"{each.p50} / {each.p95} ms",
            "" if each.attempts is None else f"{each.attempts:.1f} / {each.retries:.1f}",
        )
        for each in found.versions
    ]
    head = ("version", "label", "n", "statuses", "failed", "errors", "p50 / p95", "tries / retries")
    output.table(head, rows)
    for note in found.notes:
        output.say(f"note: {note}")


def _rate(each: VersionFigures) -> str:
    if each.failure_rate is None or each.interval is None:
        return ""
    low, high = each.interval
    return f"{each.failure_rate:.1%} ({low:.1%} to {high:.1%})"


@with_options
def canary(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A workflow.")],
    version: Annotated[
        Optional[str],
        typer.Option("--version", metavar="V", help="A hash, the beginning of one, or a label."),
    ] = None,
    percent: Annotated[
        Optional[float],
        typer.Option("--percent", metavar="PERCENT", help="How many new executions get it. [10]"),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="No new execution gets it any more.")] = False,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make it the latest version, which all get.")
    ] = False,
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Let a part of the new executions get another version than the latest; or show which."""
    given = version is not None or percent is not None
    if given + off + promote > 1:
        raise InputError("give --version and --percent, or --off, or --promote")
    with connect() as orchestrator:
        orchestrator.manager.get(name)
        canaries = orchestrator.manager.canaries
        there = canaries.get(name)
        if given:
            wanted = version or (there.version if there else None)
            if wanted is None:
                raise InputError(f"workflow {name!r} has no canary", hint="name one by --version")
            canaries.set(name, wanted, percent or (there.percent if there else 10), by)
        elif off:
            canaries.stop(name)
        elif promote:
            canaries.promote(name)
        now = canaries.get(name)
        latest = orchestrator.runtime.journal.latest_version(name)
    if as_json:
        shown = {"version": now.version, "percent": now.percent, "by": now.by} if now else None
        output.print_json({"name": name, "latest": latest, "canary": shown})
    elif now is None:
        output.line(f"{name}: all new executions get version {latest}")
    else:
        output.line(f"{name}: {now.percent:g} % get version {now.version}, the others {latest}")


@with_options
def migrate(
    id: OneExecution = None,
    to: Annotated[
        Optional[str],
        typer.Option(
            "--to", metavar="V", help="A hash, the beginning of one, or a label. [the latest]"
        ),
    ] = None,
    names: Annotated[
        Optional[list[str]],
        typer.Option(
            "--map", metavar="OLD=NEW", help="A step that has another name there. May be repeated."
        ),
    ] = None,
    dry_run: DryRun = False,
    which: FilterOptions = FilterOptions(),
    yes: Yes = False,
    reason: Reason = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Let executions go on by another version, where what they are at is there as well."""
    chosen = Chosen(id, which.read(), yes or dry_run)
    mapping = _mapping(names or [])
    with connect() as orchestrator:
        move = partial(
            orchestrator.migrate_workflow,
            version=to,
            mapping=mapping,
            by=by,
            reason=reason,
            dry_run=dry_run,
        )
        if id is not None:
            found = move(find_execution(orchestrator, id))
            _print_migrated(found, dry_run, as_json)
            return
        verb = replace(MIGRATE, done="migratable") if dry_run else MIGRATE
        code = _steer_many(orchestrator, verb, lambda _, each: move(each).done, chosen, as_json)
    raise typer.Exit(code)


def _mapping(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise InputError(f"--map {pair!r} is not of the form old=new")
        found[old] = new
    return found


def _print_migrated(found: Migrated, dry_run: bool, as_json: bool) -> None:
    if as_json:
        told = found.as_dict()
        done = told.pop("done")
        output.print_json({**told, "done": done and not dry_run, "fits": True})
        return
    for old, new in found.moved.items():
        output.line(f"{old} -> {new}")
    way = f"from version {found.before} to {found.after}"
    if not found.done:
        output.say(f"execution {found.id} is on version {found.after}")
    elif dry_run:
        output.line(f"execution {found.id} can go {way}")
    else:
        output.line(f"execution {found.id} went {way}")


@with_options
def modify(
    id: ExecutionId,
    patch: Annotated[
        Path,
        typer.Option("--patch", metavar="FILE", help="The changes, YAML or JSON; - is stdin."),
    ],
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Insert, replace or remove steps that are ahead of an execution, for it alone."""
    from orch.cli.inputs import read_json
    from orch.workflows.loading import load_changes

    changes = read_json(patch, "the patch") if str(patch) == "-" else load_changes(patch)
    if not isinstance(changes, list):
        raise InputError("the patch on stdin is no list of changes")
    with connect() as orchestrator:
        found = orchestrator.modify_workflow(
            find_execution(orchestrator, id), changes, by=by, reason=reason, dry_run=dry_run
        )
    _print_migrated(found, dry_run, as_json)
