"""The command schedule: executions that are started again and again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.inputs import read_attributes, read_input
from orch.cli.option_groups import with_options
from orch.cli.options import (
    Attributes,
    By,
    InputFile,
    Inputs,
    Json,
    OfVersion,
    Priority,
)
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.control.schedules import ScheduleInfo, TickInfo

schedule = typer.Typer(
    help="Executions that are started again and again, by beat. Without a command: list.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_WHEN = "When"
Name = Annotated[str, typer.Argument(metavar="NAME", help="A schedule.")]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="What people should know.")]


@schedule.callback(invoke_without_command=True)
@with_options
def schedule_(context: typer.Context, connect: Connect = Connect(), as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_(connect, as_json)


@schedule.command()
@with_options
def add(
    name: Name,
    workflow: Annotated[
        Optional[str], typer.Argument(metavar="WORKFLOW", help="What is started.")
    ] = None,
    file: Annotated[
        Optional[Path],
        typer.Option("--file", metavar="FILE", help="All of it as YAML or JSON; options go first."),
    ] = None,
    cron: Annotated[
        Optional[str],
        typer.Option("--cron", metavar="TEXT", help="'0 3 * * 1-5'.", rich_help_panel=_WHEN),
    ] = None,
    timezone: Annotated[
        Optional[str],
        typer.Option(
            "--timezone", metavar="ZONE", help="Of --cron; IANA name. [UTC]", rich_help_panel=_WHEN
        ),
    ] = None,
    every: Annotated[
        Optional[str],
        typer.Option("--every", metavar="TIME", help="90s, 10m, 1h30m.", rich_help_panel=_WHEN),
    ] = None,
    at: Annotated[
        Optional[list[str]],
        typer.Option(
            "--at", metavar="INSTANT", help="Once; may be repeated.", rich_help_panel=_WHEN
        ),
    ] = None,
    sun: Annotated[
        Optional[str],
        typer.Option(
            "--sun",
            metavar="EVENT",
            help="sunrise, sunset, solar_noon, dawn_civil …; with --place.",
            rich_help_panel=_WHEN,
        ),
    ] = None,
    place: Annotated[
        Optional[str],
        typer.Option(
            "--place", metavar="LAT,LON", help="Where the sun is seen.", rich_help_panel=_WHEN
        ),
    ] = None,
    start: Annotated[
        Optional[str],
        typer.Option("--start", metavar="INSTANT", help="Not before.", rich_help_panel=_WHEN),
    ] = None,
    end: Annotated[
        Optional[str],
        typer.Option("--end", metavar="INSTANT", help="Not after.", rich_help_panel=_WHEN),
    ] = None,
    jitter: Annotated[
        Optional[str],
        typer.Option(
            "--jitter", metavar="TIME", help="Begin up to so much later.", rich_help_panel=_WHEN
        ),
    ] = None,
    overlap: Annotated[
        Optional[str],
        typer.Option(
            "--overlap",
            metavar="POLICY",
            help="skip, queue, cancel-previous or allow, while the one before runs. [skip]",
        ),
    ] = None,
    catch_up: Annotated[
        Optional[int],
        typer.Option("--catch-up", metavar="N", help="Make up for so many instants. [10]"),
    ] = None,
    catch_up_within: Annotated[
        Optional[str],
        typer.Option("--catch-up-within", metavar="TIME", help="If no older than this. [1h]"),
    ] = None,
    inputs: Inputs = None,
    input_file: InputFile = None,
    version: OfVersion = None,
    deadline: Annotated[
        Optional[str],
        typer.Option("--deadline", metavar="TIME", help="How long each may take."),
    ] = None,
    attributes: Attributes = None,
    priority: Priority = None,
    note: Note = "",
    paused: Annotated[bool, typer.Option("--paused", help="Start nothing yet.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where one of the name is there.")
    ] = False,
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Write down when a workflow is started."""
    given = _read(file) if file is not None else {}
    options = {
        "name": name,
        "workflow": workflow,
        "cron": cron,
        "timezone": timezone,
        "every": every,
        "at": at or None,
        "sun": _sun(sun, place),
        "start": start,
        "end": end,
        "jitter": jitter,
        "overlap": overlap,
        "catchUp": _catch_up(catch_up, catch_up_within),
        "input": read_input(inputs, input_file),
        "version": version,
        "deadline": deadline,
        "attributes": read_attributes(attributes) or None,
        "priority": priority,
        "note": note or None,
        "paused": paused or None,
    }
    given |= {key: value for key, value in options.items() if value is not None}
    with connect() as orchestrator:
        _print(orchestrator.add_schedule(given, replace=replace, by=by), as_json)


@schedule.command("list")
@with_options
def list_(connect: Connect = Connect(), as_json: Json = False) -> None:
    """All schedules, and which beat leads."""
    with connect() as orchestrator:
        found = orchestrator.list_schedules()
        leader = orchestrator.runtime.journal.read_leader()
    if as_json:
        output.print_json([info.model_dump() for info in found])
        return
    rows = [
        (
            info.name,
            info.workflow,
            info.when,
            "paused" if info.paused else info.next or "never again",
            info.started,
            info.skipped,
            info.missed,
            info.latest or "",
        )
        for info in found
    ]
    names = ("schedule", "workflow", "when", "next", "started", "skipped", "missed", "latest")
    output.table(names, rows)
    if found and leader is None:
        output.warn("no beat runs: nothing is started; begin one with `celery -A beat beat`")


@schedule.command()
@with_options
def show(
    name: Name,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="At most so many instants.")
    ] = 10,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """One schedule, and what became of its latest instants."""
    with connect() as orchestrator:
        info = orchestrator.get_schedule(name)
        ticks = orchestrator.get_schedule_ticks(name, limit)
    if as_json:
        output.print_json({**info.model_dump(), "ticks": [tick.model_dump() for tick in ticks]})
        return
    _print(info, False)
    output.line()
    _print_ticks(ticks)


@schedule.command("next")
@with_options
def next_(
    name: Name,
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, max=1000, help="So many.")
    ] = 10,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Its next instants."""
    with connect() as orchestrator:
        found = orchestrator.get_next_instants(name, count)
    if as_json:
        output.print_json(list(found))
        return
    for instant in found:
        output.line(instant)


@schedule.command()
@with_options
def pause(
    name: Name,
    note: Note = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Start nothing more of it; what runs goes on."""
    with connect() as orchestrator:
        _print(orchestrator.pause_schedule(name, note, by=by), as_json)


@schedule.command()
@with_options
def resume(
    name: Name,
    note: Note = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Go on; instants that passed meanwhile are not made up for."""
    with connect() as orchestrator:
        _print(orchestrator.resume_schedule(name, note, by=by), as_json)


@schedule.command()
@with_options
def trigger(name: Name, by: By = None, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Start an execution of it now, whatever runs."""
    with connect() as orchestrator:
        tick = orchestrator.trigger_schedule(name, by=by)
    if as_json:
        output.print_json(tick.model_dump())
        return
    output.line(tick.execution or "")


@schedule.command()
@with_options
def backfill(
    name: Name,
    start: Annotated[str, typer.Option("--start", metavar="INSTANT", help="From it on.")],
    end: Annotated[str, typer.Option("--end", metavar="INSTANT", help="Up to it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Start those of its executions in a time that has passed that were never started."""
    with connect() as orchestrator:
        ticks = orchestrator.backfill_schedule(name, start, end, dry_run=dry_run, by=by)
    if as_json:
        output.print_json([tick.model_dump() for tick in ticks])
        return
    _print_ticks(ticks)


@schedule.command()
@with_options
def remove(name: Name, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Forget a schedule, not its executions."""
    with connect() as orchestrator:
        removed = orchestrator.remove_schedule(name)
    if as_json:
        output.print_json({"name": name, "removed": removed})
    else:
        output.say(f"{name} is gone" if removed else f"there is no schedule {name!r}")


def _read(file: Path) -> dict[str, Any]:
    from orch.workflows.loading.documents import read_document

    return read_document(file)


def _sun(event: str | None, place: str | None) -> dict[str, Any] | None:
    if event is None and place is None:
        return None
    latitude, comma, longitude = (place or "").partition(",")
    try:
        numbers = {"latitude": float(latitude), "longitude": float(longitude)}
    except ValueError:
        numbers = {}
    if event is None or not comma or not numbers:
        raise InputError(
            "--sun and --place go together", hint="for example: --sun sunrise --place 52.52,13.4"
        )
    return {"event": event, **numbers}


def _catch_up(limit: int | None, within: str | None) -> dict[str, Any] | None:
    found = {"limit": limit, "within": within}
    return {key: value for key, value in found.items() if value is not None} or None


def _print(info: ScheduleInfo, as_json: bool) -> None:
    if as_json:
        output.print_json(info.model_dump())
        return
    coming = "paused" if info.paused else info.next or "never again"
    output.line(f"{info.name}: {info.workflow}, {info.when}")
    output.line(f"next     {coming}")
    output.line(f"latest   {info.latest or 'none'}")
    output.line(
        f"so far   {info.started} started, {info.skipped} skipped, {info.missed} missed"
        + (f", {info.waiting} waiting" if info.waiting else "")
    )


def _print_ticks(ticks: Sequence[TickInfo]) -> None:
    rows = [
        (
            tick.instant,
            tick.outcome if tick.count == 1 else f"{tick.outcome} ({tick.count})",
            tick.execution or "",
            tick.why,
        )
        for tick in ticks
    ]
    output.table(("instant", "outcome", "execution", "why"), rows)
