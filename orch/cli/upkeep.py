"""Commands that look after the journal as a whole: archive, export, import, reindex."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, find_execution, resolve_parent
from orch.cli.filters import FilterOptions
from orch.cli.option_groups import with_options
from orch.cli.options import DataDir, Json, Quiet, Redis
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

STDIO = "-"


def archive(
    directory: Annotated[
        Optional[Path],
        typer.Argument(metavar="[DIR]", help="By default that of ORCH_ARCHIVE_DIR."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that has ended, however short a time ago.")
    ] = False,
    redis: Redis = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write executions that were kept for long enough to files, and drop them from Redis.

    Workers that know ORCH_ARCHIVE_DIR do it by themselves; without, run this from cron, at
    least as often as twice within ORCH_RETENTION.
    """
    with Connect(redis, data_dir)() as orchestrator:
        done = orchestrator.archive_executions(directory, all=everything)
    if as_json:
        output.print_json({"archived": done.executions, "held": done.held, "busy": done.busy})
    elif done.busy:
        output.line("somebody else is at it: nothing was done")
    else:
        output.line(f"{_count(done.executions)} archived")


@with_options
def export(
    ids: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="[ID]...", help="Executions, or the beginnings of their ids."),
    ] = None,
    which: FilterOptions = FilterOptions(),
    target: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; compressed if it is *.gz."),
    ] = STDIO,
    live: Annotated[
        bool, typer.Option("--live", help="Those that have not ended, too, as they are now.")
    ] = False,
    redis: Redis = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write executions as JSON lines: their records, steps, outputs and histories.

    Without ID and filters, all that have ended. `import` reads them back.
    """
    filters = which.read()
    if ids and filters:
        raise InputError("both an ID and a filter were given", hint="give one of them")
    if as_json and target == STDIO:
        raise InputError(
            "--json and the lines would both go to stdout", hint="name a file: --output FILE"
        )
    with Connect(redis, data_dir)() as orchestrator, _bar("executions", quiet) as told:
        chosen = [find_execution(orchestrator, id) for id in ids] if ids else None
        done = orchestrator.manager.transfer.write(
            sys.stdout.buffer if target == STDIO else target,
            chosen,
            resolve_parent(orchestrator, filters),
            live=live,
            told=told,
        )
    if as_json:
        output.print_json({"file": target, **done.as_dict()})
        return
    output.say(f"{_count(done.executions)} exported")
    if done.live:
        output.say(f"{done.live} left out, which have not ended; --live exports them, too")
    if done.gone:
        output.say(f"{done.gone} left out, which have expired in the meantime")


def import_(
    source: Annotated[str, typer.Argument(metavar="FILE", help="Of `export`; - is stdin.")],
    redis: Redis = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Read executions back that were exported or archived, to be looked at.

    Those whose ids are there are left alone. Exit code 1 where a line was wrong.
    """
    with Connect(redis, data_dir)() as orchestrator, _bar("bytes", quiet) as told:
        done = orchestrator.manager.transfer.read(
            sys.stdin.buffer if source == STDIO else source, told
        )
    for number, message in done.bad:
        output.warn(f"line {number} was left out: {message}")
    if as_json:
        output.print_json({"file": source, **done.as_dict()})
    else:
        output.line(f"{_count(done.executions)} imported")
        if done.existed:
            output.say(f"{done.existed} left alone, which were there")
        if done.live:
            output.say(f"{done.live} left out, which had not ended when they were exported")
    raise typer.Exit(int(bool(done.bad)))


def reindex(redis: Redis = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Write anew how executions are found: of a Redis that an older release has filled.

    It harms nothing at any other time. Walks over all keys, so it may take minutes.
    """
    from orch.control.upkeep import reindex as write_anew

    count = write_anew(Connect(redis, data_dir).settings())
    if as_json:
        output.print_json({"executions": count})
    else:
        output.line(f"{_count(count)} can be found")


@contextlib.contextmanager
def _bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar, where somebody sees it."""
    if quiet or output.is_plain(sys.stderr):
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns: list[Any] = [BarColumn(), MofNCompleteColumn(), what, TimeRemainingColumn()]
    with Progress(*columns, console=output.console(sys.stderr), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _count(number: int) -> str:
    return f"{number} execution{'s'[: number != 1]}"
