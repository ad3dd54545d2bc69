"""Commands that steer executions: pause, resume, cancel, retry, skip; and why one waits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, find_execution, resolve_parent
from orch.cli.filters import FilterOptions
from orch.cli.inputs import parse_value, read_input
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
from orch.control.filters import Filters
from orch.errors import InputError, NotAllowed

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.orchestrator import Orchestrator


@dataclass(frozen=True)
class Verb:
    """``to``: the statuses in which it can be done; ``already``: what is said when it was."""

    word: str
    done: str
    to: tuple[Status, ...]
    already: str


PAUSE = Verb(
    "pause", "paused", (Status.SCHEDULED, Status.QUEUED, Status.RUNNING), "was paused before"
)
UNWINDING = (Status.CANCELLING, Status.COMPENSATING)
RESUME = Verb("resume", "resumed", (Status.PAUSED,), "is not paused")
CANCEL = Verb(
    "cancel",
    "cancelled",
    (Status.SCHEDULED, Status.QUEUED, Status.RUNNING, Status.PAUSED),
    "was asked to end before",
)
TERMINATE = Verb(
    "terminate",
    "terminated",
    (Status.SCHEDULED, Status.QUEUED, Status.RUNNING, Status.PAUSED, *UNWINDING),
    "had ended before",
)
RETRY = Verb("retry", "retried", (Status.FAILED,), "has not ended")

Call = Callable[["Orchestrator", str], bool]

Branch = Annotated[
    Optional[str],
    typer.Option(
        "--branch",
        metavar="PATH",
        help="Only this branch of it, as `orch status` shows paths: build/0, resize[17], or build "
        "for all branches of a step.",
    ),
]


@dataclass(frozen=True)
class Chosen:
    """What a command is done to: one execution, a branch of it, or all that filters find."""

    id: str | None
    filters: Filters
    yes: bool
    branch: str | None = None

    def __post_init__(self) -> None:
        many = bool(self.filters)
        if many and self.branch is not None:
            raise InputError(
                "a branch and a filter were given",
                hint="--branch is a path in one execution: give its ID",
            )
        if (self.id is not None) == many:
            raise InputError(
                "both an ID and a filter were given" if many else "no execution was named",
                hint="give one ID, or filters like --workflow NAME and --status STATUS for many",
            )


@with_options
def pause(
    id: OneExecution = None,
    branch: Branch = None,
    which: FilterOptions = FilterOptions(),
    yes: Yes = False,
    reason: Reason = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Let nothing of an execution start any more; what runs may end. `resume` goes on."""
    _steer(
        PAUSE,
        lambda orchestrator, found: orchestrator.pause_workflow(
            found, reason, branch=branch, by=by
        ),
        Chosen(id, which.read(), yes, branch),
        connect,
        as_json,
    )


@with_options
def resume(
    id: OneExecution = None,
    inputs: Annotated[
        Optional[list[str]],
        typer.Option(
            "--input",
            "-i",
            metavar="KEY=VALUE",
            help="A variable that is set before it goes on. May be repeated.",
        ),
    ] = None,
    branch: Branch = None,
    which: FilterOptions = FilterOptions(),
    yes: Yes = False,
    reason: Reason = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Let a paused execution go on. Timers that ended in the meantime fire at once."""
    filters, value = which.read(), read_input(inputs, None)
    _steer(
        RESUME,
        lambda orchestrator, found: orchestrator.resume_workflow(
            found, value, reason=reason, branch=branch, by=by
        ),
        Chosen(id, filters, yes, branch),
        connect,
        as_json,
    )


@with_options
def cancel(
    id: OneExecution = None,
    which: FilterOptions = FilterOptions(),
    grace: Annotated[
        Optional[float],
        typer.Option(
            "--grace",
            metavar="SECONDS",
            min=0,
            help="How long steps that run may take to end, instead of ORCH_CANCEL_GRACE.",
        ),
    ] = None,
    yes: Yes = False,
    reason: Reason = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Let nothing of an execution start any more, then compensate what was done.

    Steps that run are told, and have a grace to end; then it ends as cancelled. Exit code 1
    when it had completed or failed before.
    """
    _steer(
        CANCEL,
        lambda orchestrator, found: orchestrator.stop_workflow(found, reason, grace=grace, by=by),
        Chosen(id, which.read(), yes),
        connect,
        as_json,
    )


@with_options
def terminate(
    id: OneExecution = None,
    which: FilterOptions = FilterOptions(),
    yes: Yes = False,
    reason: Reason = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """End an execution now: what its steps do is thrown away, nothing is compensated.

    Exit code 1 when it had completed or failed before.
    """
    _steer(
        TERMINATE,
        lambda orchestrator, found: orchestrator.terminate_workflow(found, reason, by=by),
        Chosen(id, which.read(), yes),
        connect,
        as_json,
    )


@with_options
def retry(
    id: OneExecution = None,
    which: FilterOptions = FilterOptions(),
    yes: Yes = False,
    reason: Reason = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Let a failed execution go on from the steps that failed; completed ones are kept."""
    _steer(
        RETRY,
        lambda orchestrator, found: orchestrator.retry_workflow(found, reason, by=by),
        Chosen(id, which.read(), yes),
        connect,
        as_json,
    )


@with_options
def skip(
    id: ExecutionId,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="The step, as `orch status` shows it.")
    ],
    given: Annotated[
        Optional[str],
        typer.Option("--output", metavar="JSON", help="Its output; what is no JSON is text."),
    ] = None,
    reason: Reason = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Let a step count as completed, and the flow go on behind it."""
    value = None if given is None else parse_value(given)
    with connect() as orchestrator:
        found = find_execution(orchestrator, id)
        done = orchestrator.skip_step(found, path, value, reason=reason, by=by)
        status = _status(orchestrator, found)
    if as_json:
        output.print_json({"id": found, "path": path, "status": status, "skipped": done})
    elif done:
        output.line(f"step {path} of execution {found} skipped")
    else:
        output.say(f"step {path} of execution {found} had completed before")


@with_options
def why(id: ExecutionId, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Say what an execution waits for, step by step; asks the broker how long its queues are."""
    with connect() as orchestrator:
        context = orchestrator.manager.why(find_execution(orchestrator, id))
    if as_json:
        keys = ("id", "status", "paused", "paused_branches", "cancelling", "waits", "error")
        found = context.model_dump(mode="json")
        told = {key: found[key] for key in keys} | {"waiting_for": context.waiting_for}
        asked = [step["escalation"] for step in found["steps"] if step["escalation"]]
        told["escalations"] = [each for each in asked if each["resolved"] is None]
        output.print_json(told)
        return
    output.line(f"execution {context.id} of {context.workflow} {context.status}")
    if context.paused:
        output.line(str(context.paused))
    for path, pause in context.paused_branches.items():
        output.line(f"branch {path} {pause}")
    if context.cancelling:
        output.line(str(context.cancelling))
    if context.error:
        output.line(f"{context.error.get('name')}: {context.error.get('message')}")
    for line in context.undoing:
        output.line(line)
    if context.waits:
        output.line(context.waits)
    titles = {step.path: f" ({step.rung})" for step in context.steps if step.rung}
    for path, reason in context.waiting_for.items():
        output.line(f"{path}{titles.get(path, '')}: {reason}")


# --- one, or many ------------------------------------------------------------------------------


def _steer(verb: Verb, call: Call, chosen: Chosen, connect: Connect, as_json: bool) -> None:
    with connect() as orchestrator:
        if chosen.id is not None:
            found = find_execution(orchestrator, chosen.id)
            code = _steer_one(orchestrator, verb, call, found, as_json, chosen.branch)
        else:
            code = _steer_many(orchestrator, verb, call, chosen, as_json)
    raise typer.Exit(code)


def _steer_one(
    orchestrator: Orchestrator,
    verb: Verb,
    call: Call,
    id: str,
    as_json: bool,
    branch: str | None = None,
) -> int:
    done = call(orchestrator, id)
    status = _status(orchestrator, id)
    what = f"execution {id}" if branch is None else f"branch {branch} of execution {id}"
    if as_json:
        about = {} if branch is None else {"branch": branch}
        output.print_json({"id": id, **about, "status": status, verb.done: done})
    elif done:
        begun = verb is CANCEL and status == Status.CANCELLING
        output.line(f"{what} {'is being cancelled' if begun else verb.done}")
    elif verb is CANCEL and status == Status.COMPENSATING:
        output.say(f"{what} has failed, and what it did is being undone: it ends as failed")
    else:
        output.say(f"{what} {verb.already}" + (f": {status}" if branch is None else ""))
    ends = (Status.CANCELLED, Status.CANCELLING)
    return int(verb in (CANCEL, TERMINATE) and status not in ends)


def _steer_many(
    orchestrator: Orchestrator, verb: Verb, call: Call, chosen: Chosen, as_json: bool
) -> int:
    ids = _find(orchestrator, verb, chosen)
    if ids and not chosen.yes and not _confirmed(verb, ids, chosen):
        output.say("nothing was done")
        return 1
    changed, refused = [], []
    for id in ids:
        try:
            if call(orchestrator, id):
                changed.append(id)
        except NotAllowed as error:
            refused.append({"id": id, "message": error.message})
    for problem in refused:
        output.warn(problem["message"])
    if as_json:
        output.print_json({"found": len(ids), verb.done: changed, "refused": refused})
    else:
        output.line(f"{len(changed)} of {_count(ids)} {verb.done}")
    return int(bool(refused))


def _find(orchestrator: Orchestrator, verb: Verb, chosen: Chosen) -> list[str]:
    filters = resolve_parent(orchestrator, chosen.filters)
    if "status" not in filters:
        filters = {**filters, "status": [status.value for status in verb.to]}
    return orchestrator.manager.search.ids(filters)


def _confirmed(verb: Verb, ids: Sequence[str], chosen: Chosen) -> bool:
    """Ask on stderr: typer's own question writes a part of its prompt to stdout."""
    workflow = chosen.filters.get("workflow")
    of = f" of {workflow}" if workflow else ""
    output.write(f"{verb.word} {_count(ids)}{of}? [y/N]: ", sys.stderr)
    answer = sys.stdin.readline()
    if not answer:
        output.say("")
        raise InputError(
            f"to {verb.word} {_count(ids)}{of} was not confirmed",
            hint="give --yes where nobody can be asked",
        )
    return answer.strip().lower() in ("y", "yes")


def _count(ids: Sequence[Any]) -> str:
    return f"{len(ids)} execution{'s'[: len(ids) != 1]}"


def _status(orchestrator: Orchestrator, id: str) -> str:
    return orchestrator.runtime.journal.record(id).status.value
