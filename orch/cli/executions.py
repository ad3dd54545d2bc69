"""Commands about executions: run, start, status, list, history, emit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, check_broker, find_execution, resolve_parent
from orch.cli.definitions import parameters_for, store
from orch.cli.filters import FilterOptions
from orch.cli.inputs import StartOptions, read_input, read_option
from orch.cli.option_groups import with_options
from orch.cli.options import (
    ExecutionId,
    IdempotencyKey,
    Include,
    InputFile,
    Inputs,
    Json,
    OfVersion,
    Pool,
    Quiet,
    Sets,
    Target,
    Timeout,
)
from orch.errors import InputError, OrchError, Unreachable

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.cli.progress import Progress
    from orch.control.status import ExecutionContext
    from orch.control.workers import WorkerProcesses
    from orch.execution import Execution
    from orch.orchestrator import Orchestrator
    from orch.workflows.starts import StartGiven

EXIT_CODES = {"completed": 0, "failed": 1, "cancelled": 3}
NOT_ENDED = 5
CANCEL_GRACE = 0.5
"""Seconds for what still runs of a cancelled execution: its outcome would be refused anyway."""
_STEP_KEYS = ("path", "step", "capability", "status", "attempts", "started", "ended", "worker")
_PAUSES = 0.01, 0.1
_HEARD = 0.5
"""Seconds between two looks at the heartbeats of running steps."""
_WORKERS = "Workers"


@with_options
def run(
    target: Target,
    sets: Sets = None,
    inputs: Inputs = None,
    input_file: InputFile = None,
    timeout: Timeout = None,
    idempotency_key: IdempotencyKey = None,
    version: OfVersion = None,
    starting: StartOptions = StartOptions(),
    with_workers: Annotated[
        Optional[bool],
        typer.Option(
            "--with-workers/--without-workers",
            help="Bring workers for the time of the run, or use those that are there. By default "
            "it brings some with the embedded Redis, or if one of the options below is given.",
            show_default=False,
            rich_help_panel=_WORKERS,
        ),
    ] = None,
    workers: Annotated[
        Optional[int],
        typer.Option(
            "--workers", metavar="N", min=1, help="How many. [1]", rich_help_panel=_WORKERS
        ),
    ] = None,
    concurrency: Annotated[
        Optional[int],
        typer.Option(
            "--concurrency",
            metavar="N",
            min=1,
            help="Steps at a time in each. [2]",
            rich_help_panel=_WORKERS,
        ),
    ] = None,
    pool: Annotated[
        Pool, typer.Option("--pool", help="Their pool.", rich_help_panel=_WORKERS)
    ] = Pool.PREFORK,
    include: Include = None,
    connect: Connect = Connect(),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a workflow, show its progress, and print its output.

    Ctrl-C cancels the execution. Ends with 0 when it completed, 1 when it failed, 3 when it
    was cancelled, 5 when it had not ended after --timeout.
    """
    value = read_input(inputs, input_file)
    options = starting.read()
    parameters = parameters_for(target, sets)
    with connect() as orchestrator, contextlib.ExitStack() as stack:
        key = resolve(orchestrator, target, parameters)
        check_startable(orchestrator, key, value, version)
        check_broker(orchestrator)
        given = workers is not None or concurrency is not None or bool(include)
        own = None
        if with_workers or (with_workers is None and (given or orchestrator.server.embedded)):
            own = orchestrator.workers(
                count=workers or 1,
                concurrency=concurrency or 2,
                pool=pool.value,
                include=include or (),
            )
            stack.enter_context(own)
        execution = begin(orchestrator, key, value, idempotency_key, options, version)
        if execution.warnings and own is not None:
            output.say("hint: name the module that has it: --include package.module or FILE.py")
        ended = _watch_or_cancel(orchestrator, execution, timeout, quiet, own)
        context = execution.status()
        code = finish(context, ended, timeout, as_json=as_json, own=own is not None)
        if own is not None and context.status == "cancelled":
            own.stop(grace=CANCEL_GRACE)
    raise typer.Exit(code)


def resolve(orchestrator: Orchestrator, target: str, parameters: dict[str, str]) -> str:
    """The key under which FILE|NAME is started; a file is defined first."""
    from orch.cli.files import is_file

    if not is_file(target):
        return target
    return store(orchestrator, Path(target), parameters=parameters).key


def check_startable(
    orchestrator: Orchestrator, key: str, value: Any, version: str | None = None
) -> None:
    """Raise NotFound or InputError before anything is begun that would have to end again."""
    from orch.workflows.validation import check_input

    definition = orchestrator.manager.get(key).definition
    if version is not None:
        definition = orchestrator.manager.plan(key, version).definition
    if definition.input is not None:
        check_input(definition, {} if value is None else value)


def begin(
    orchestrator: Orchestrator,
    key: str,
    value: Any,
    idempotency_key: str | None,
    options: StartGiven,
    version: str | None = None,
) -> Execution:
    """Start an execution; what there is to say of it goes to stderr."""
    execution = orchestrator.start_workflow(key, value, idempotency_key, version=version, **options)
    if execution.existed:
        output.say(f"execution {execution.id} was started before with this idempotency key")
    for warning in execution.warnings:
        output.warn(warning)
    return execution


def _watch_or_cancel(
    orchestrator: Orchestrator,
    execution: Execution,
    timeout: float | None,
    quiet: bool,
    own: WorkerProcesses | None,
) -> bool:
    """As `watch`; Ctrl-C cancels what this command has started."""
    tend = _tender(own)
    if not quiet:
        output.say(f"execution {execution.id}")
    try:
        return watch(orchestrator, execution.id, timeout=timeout, quiet=quiet, tend=tend)
    except KeyboardInterrupt:
        if execution.existed:
            raise
        output.say(f"cancelling execution {execution.id}; Ctrl-C again ends it at once")
        orchestrator.manager.cancel(execution.id, "cancelled by Ctrl-C")
    try:
        return watch(orchestrator, execution.id, quiet=True, tend=tend)
    except KeyboardInterrupt:
        orchestrator.manager.steering.terminate(execution.id, "ended by Ctrl-C")
        return True


def _tender(own: WorkerProcesses | None) -> Callable[[], None]:
    def tend() -> None:
        if own is not None:
            for sentence in own.tend():
                output.warn(sentence)

    return tend


def watch(
    orchestrator: Orchestrator,
    id: str,
    *,
    timeout: float | None = None,
    quiet: bool = False,
    tend: Callable[[], None] = lambda: None,
) -> bool:
    """Show the progress of an execution until it has ended; False: not within ``timeout`` s.

    ``tend`` is called between looks. A Redis that goes away is waited for.
    """
    from orch.cli.progress import make_progress

    record = orchestrator.runtime.journal.record(id)
    limit = None if timeout is None else time.monotonic() + timeout
    with make_progress(record.created, quiet=quiet) as progress:
        for ended in _looks(orchestrator, id, progress):
            if ended:
                return True
            if limit is not None and time.monotonic() >= limit:
                return False
            tend()
    raise AssertionError("looks never end")


def _looks(orchestrator: Orchestrator, id: str, progress: Progress) -> Iterator[bool]:
    """Whether the execution has ended, again and again, with its new events shown."""
    journal = orchestrator.runtime.journal
    follower = journal.follower()
    shortest, longest = _PAUSES
    pause, away_since, heard = shortest, 0.0, 0.0
    while True:
        try:
            ended = orchestrator.manager.ended(id)  # before its events, so that none is missed
            entries = journal.news(id, follower)
            away_since = 0.0
        except Unreachable as error:
            ended, entries = False, []
            away_since = away_since or _announce(error)
            if time.monotonic() - away_since > orchestrator.settings.redis_patience:
                raise
            _revive(orchestrator)
        progress.add(entries)
        if time.monotonic() - heard >= _HEARD and (running := progress.running()):
            heard = time.monotonic()
            with contextlib.suppress(Unreachable):
                progress.hear(journal.read_beats(id, running))
        progress.tick(journal.clock())
        yield ended
        pause = shortest if entries else min(pause * 1.5, longest)
        time.sleep(pause)


def _announce(error: Unreachable) -> float:
    output.warn(f"{error.message}; waiting for it")
    return time.monotonic()


def _revive(orchestrator: Orchestrator) -> None:
    lease = orchestrator.server.lease
    if lease is not None:
        with contextlib.suppress(OrchError):
            lease.revive()


def finish(
    context: ExecutionContext,
    ended: bool,
    timeout: float | None,
    *,
    as_json: bool,
    own: bool = False,
) -> int:
    """Print what came of an execution; the exit code."""
    if as_json:
        output.print_json(result_object(context))
    if not ended:
        _say_not_ended(context, timeout, own)
        return NOT_ENDED
    took = output.duration(context.metrics.duration)
    output.say(f"execution {context.id} {context.status} in {took}")
    if context.error:
        where = context.error.get("path")
        at = f" (step {where})" if where else ""
        output.say(f"{context.error.get('name')}: {context.error.get('message')}{at}")
    if context.usage:
        output.say(f"used: {context.usage}")
    for line in context.undoing:
        output.say(line)
    if context.degraded:
        output.say(f"degraded: {_holes(context)}")
    if context.status == "failed":
        output.say(f"\nhint: `orch history {context.id}` shows how it came to this")
    if context.status == "completed" and not as_json:
        output.print_json(context.output)
    return EXIT_CODES[context.status]


def _holes(context: ExecutionContext) -> str:
    more = len(context.holes) - 5
    return "; ".join(map(str, context.holes[:5])) + (f"; and {more} more" if more > 0 else "")


def _say_not_ended(context: ExecutionContext, timeout: float | None, own: bool) -> None:
    output.say(f"execution {context.id} has not ended within {timeout:g} s")
    if context.waits:
        output.say(f"  {context.waits}")
    for path, why in context.waiting_for.items():
        output.say(f"  {path}: {why}")
    goes_on = "it goes on when a worker is there" if own else "it goes on"
    output.say(f"\nhint: {goes_on}; `orch status --watch {context.id}` shows it")


def result_object(context: ExecutionContext) -> dict[str, Any]:
    """What `run --json` prints."""
    found = context.model_dump(mode="json")
    keys = ("id", "workflow", "version", "status", "input", "output", "variables", "error")
    return {
        **{key: found[key] for key in (*keys, "degraded", "holes")},
        "steps": [{key: step[key] for key in _STEP_KEYS} for step in found["steps"]],
    }


@with_options
def start(
    target: Target,
    sets: Sets = None,
    inputs: Inputs = None,
    input_file: InputFile = None,
    idempotency_key: IdempotencyKey = None,
    version: OfVersion = None,
    starting: StartOptions = StartOptions(),
    many: Annotated[
        Optional[Path],
        typer.Option(
            "--many",
            metavar="FILE",
            help="One execution for each line, an object with `input` and options; - is stdin.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait for its end, and print as `run` does.")
    ] = False,
    timeout: Timeout = None,
    connect: Connect = Connect(),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Start an execution and print its id; workers that run elsewhere do it.

    With --wait, Ctrl-C ends the waiting and leaves the execution alone.
    """
    if many is not None and (inputs or input_file or idempotency_key or wait):
        raise InputError(
            "--many takes no --input, --input-file, --idempotency-key or --wait",
            hint="each line has its own `input` and `idempotency_key`",
        )
    value = read_input(inputs, input_file)
    options = starting.read()
    parameters = parameters_for(target, sets)
    with connect() as orchestrator:
        key = resolve(orchestrator, target, parameters)
        check_broker(orchestrator)
        if many is not None:
            from orch.cli.bulk import start_many

            code = start_many(
                orchestrator, key, many, options, version=version, quiet=quiet, as_json=as_json
            )
            raise typer.Exit(code)
        execution = begin(orchestrator, key, value, idempotency_key, options, version)
        if wait:
            ended = watch(orchestrator, execution.id, timeout=timeout, quiet=quiet)
            raise typer.Exit(finish(execution.status(), ended, timeout, as_json=as_json))
        if as_json:
            record = orchestrator.runtime.journal.record(execution.id)
            output.print_json(
                {
                    "id": execution.id,
                    "workflow": record.workflow,
                    "version": record.version,
                    "existed": execution.existed,
                    "warnings": list(execution.warnings),
                }
            )
        else:
            output.line(execution.id)


@with_options
def status(
    id: ExecutionId,
    follow: Annotated[
        bool, typer.Option("--watch", "-w", help="Show its progress until it has ended.")
    ] = False,
    timeout: Timeout = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show the steps of an execution, and why each live one is not done yet.

    With --watch the exit code is that of `run`, else 0 whatever the status is.
    """
    with connect() as orchestrator:
        found = find_execution(orchestrator, id)
        ended = watch(orchestrator, found, timeout=timeout) if follow else True
        context = orchestrator.get_execution_status(found)
    if as_json:
        output.print_json(context.model_dump(mode="json"))
    else:
        _print_status(context)
    if follow:
        raise typer.Exit(EXIT_CODES[context.status] if ended else NOT_ENDED)


def _print_status(context: ExecutionContext) -> None:
    took = output.duration(context.metrics.duration)
    part = "" if context.canary is None else f" (canary, {context.canary:g} %)"
    output.line(f"execution {context.id} of {context.workflow} {context.version}{part}")
    output.line(f"{context.status}, created {context.created}, {took}")
    if context.origin:
        output.line(str(context.origin))
    if context.attributes:
        output.line(", ".join(f"{name}={value}" for name, value in context.attributes.items()))
    if context.paused:
        output.line(str(context.paused))
    if context.waits:
        output.line(context.waits)
    for branch, pause in context.paused_branches.items():
        output.line(f"branch {branch} {pause}")
    if context.cancelling:
        output.line(str(context.cancelling))
    if context.error:
        output.line(f"{context.error.get('name')}: {context.error.get('message')}")
    if context.usage:
        output.line(f"used: {context.usage}")
    for line in context.undoing:
        output.line(line)
    if context.holes:
        output.line(f"{'degraded' if context.degraded else 'went on without'}: {_holes(context)}")
    output.line()
    from orch.control.escalated import error_words

    rows = []
    for step in context.steps:
        note = step.waiting_for or ""
        if step.items and not note:
            note = ", ".join(f"{count} {word}" for word, count in step.items.items() if count)
        asked = step.escalation
        if step.error and (asked is None or asked.resolved):  # else it is in the note
            error = error_words(step.error)
            note = f"{error} ({note})" if note else error
        if step.resolution and not step.error:
            note = str(step.resolution)
        if step.fallback:
            note = f"fallback: {step.fallback}"
        if asked is not None and asked.resolved:
            note = f"{note}; escalation: {asked}" if note else f"escalation: {asked}"
        if step.routed:
            note = f"{note}; {step.routed}" if note else step.routed
        if step.rung:
            note = f"{step.rung}; {note}" if note else step.rung
        took = output.duration(step.duration_ms)
        rows.append((step.path, step.status, step.attempts, took, step.worker, note))
    output.table(("step", "status", "attempts", "duration", "worker", ""), rows)


@with_options
def list_(
    which: FilterOptions = FilterOptions(),
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="At most so many.")
    ] = 20,
    cursor: Annotated[
        Optional[str],
        typer.Option("--cursor", metavar="TEXT", help="Those behind a page that gave it."),
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """List executions, the newest first, that all of the options hold of."""
    filters = which.read()
    with connect() as orchestrator:
        filters = resolve_parent(orchestrator, filters)
        found = orchestrator.list_executions(limit=limit, cursor=cursor, **filters)
    if as_json:
        executions = [info.model_dump(mode="json") for info in found]
        output.print_json({"executions": executions, "cursor": found.cursor})
        return
    rows = [
        (
            i.id,
            i.workflow,
            f"{i.status}, degraded" if i.degraded else i.status,
            i.created,
            output.duration(i.duration_ms),
            i.error,
            str(i.origin or ""),
        )
        for i in found
    ]
    columns = ("id", "workflow", "status", "created", "duration", "error", "")
    output.table(columns, rows)
    if found.cursor is not None:
        output.say(f"there are more: --cursor {found.cursor}")


@with_options
def history(id: ExecutionId, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Show all that happened to an execution, the oldest first."""
    from orch.cli.progress import describe

    with connect() as orchestrator:
        found = orchestrator.get_execution_history(find_execution(orchestrator, id))
    if as_json:
        output.print_json([entry.as_dict() for entry in found])
        return
    begun = found[0].at if found else 0
    rows = [
        (f"{(e.at - begun) / 1000:.3f} s", e.event, e.path, e.attempt or "", describe(e))
        for e in found
    ]
    output.table(("at", "event", "step", "attempt", ""), rows)


@with_options
def emit(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What happened.")],
    payload: Annotated[
        Optional[str], typer.Option("--payload", metavar="JSON", help="What there is to say of it.")
    ] = None,
    correlation: Annotated[
        Optional[str],
        typer.Option("--correlation", metavar="TEXT", help="Whom it is about, e.g. an order."),
    ] = None,
    execution: Annotated[
        Optional[str],
        typer.Option("--execution", metavar="ID", help="The only one that it is meant for."),
    ] = None,
    event_id: Annotated[
        Optional[str],
        typer.Option("--id", metavar="TEXT", help="The same id is the same event, told again."),
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Tell all that wait for an event that it happened, each exactly once.

    Workflows with a trigger for it are started, each once for each event.
    """
    value = None if payload is None else read_option("--payload", payload)
    with connect() as orchestrator:
        found = None if execution is None else find_execution(orchestrator, execution)
        told = orchestrator.trigger_event(
            name, value, correlation=correlation, execution=found, id=event_id
        )
    if as_json:
        output.print_json({"event": name, **told.as_dict()})
        return
    started = f" and started {len(told.started)}" if told.triggered else ""
    output.line(f"event {name} was taken by {told.taken} step{'s'[: told != 1]}{started}")
    for each in told.triggered:
        existed = " (before)" if each.existed else ""
        output.line(f"  {each.workflow}: {each.execution}{existed}")
    for missed in told.not_triggered:
        output.warn(f"{missed.workflow} was not started: {missed.name}: {missed.message}")
