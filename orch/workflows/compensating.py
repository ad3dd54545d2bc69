"""What is undone when an execution is cancelled, or fails: in which order, with what outcome.

A step that completed and names a `compensate` is compensated by a step of its own, at
``compensations/<path of the step>``: claimed, settled, retried and lost like any other, but
nothing follows it. Whoever finds that none is at work opens the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orch.workflows.again import attempt_at_once, deferred, limited, policy_of, retried
from orch.workflows.commit import Event, Open, Transition
from orch.workflows.definition import COMPENSATIONS
from orch.workflows.outcome import Completed, Deferred, Failed, Failure, Limited, Lost, Outcome
from orch.workflows.rungs import subject_of
from orch.workflows.state import LIVE, StepState, StepStatus, encode

if TYPE_CHECKING:
    from orch.workflows.move import Move
    from orch.workflows.node import Node
    from orch.workflows.plan import Plan

CANCELLED = "Cancelled"
"""Name of the error of a cancelled execution, and of a step that ends because it is asked to."""

_PREFIX = f"{COMPENSATIONS}/"


def in_compensation(path: str) -> bool:
    return path.startswith(_PREFIX)


def compensation_path(path: str) -> str:
    return _PREFIX + path


def compensated_path(path: str) -> str:
    """The step that a compensation is for; any other path is its own."""
    return path.removeprefix(_PREFIX)


@dataclass(frozen=True)
class Undoing:
    """How far the compensations of a scope are.

    ``live``: tokens that are at work still. ``following``: the compensation to open next, or
    None. ``done`` and ``failed``: the steps whose compensations ended, in their order. ``asked``:
    compensations that failed, and about which somebody is asked; the others go on meanwhile.
    """

    live: tuple[str, ...]
    following: str | None
    done: tuple[str, ...]
    failed: tuple[str, ...]
    asked: tuple[str, ...] = ()


def compensations_due(
    plan: Plan,
    statuses: Mapping[str, StepStatus],
    completed: Iterable[str],
    scope: str = "",
) -> list[str]:
    """The steps of a scope, and of all within it, to be compensated, in the order for it: the
    one that completed last comes first.

    ``completed``: the paths of steps in the order in which they completed, as the history has it.
    """
    order = dict.fromkeys(reversed(list(completed)))
    return [
        path
        for path in order
        if (not scope or path.startswith(f"{scope}/"))
        and statuses.get(path) is StepStatus.COMPLETED
        and plan.compensation_of(path) is not None
    ]


def undoing(
    plan: Plan, statuses: Mapping[str, StepStatus], completed: Iterable[str], scope: str = ""
) -> Undoing:
    """What has been undone, and what is next. ``statuses``: of all steps, by path."""
    asked = {p for p, s in statuses.items() if s is StepStatus.ESCALATED and in_compensation(p)}
    live = tuple(sorted(p for p, s in statuses.items() if s in LIVE and p not in asked))
    done, failed = [], []
    following = None
    for path in compensations_due(plan, statuses, completed, scope):
        match statuses.get(compensation_path(path)):
            case None:
                following = following or path
            case StepStatus.COMPLETED:
                done.append(path)
            case status if status not in LIVE:
                failed.append(path)
    following = compensation_path(following) if following else None
    return Undoing(live, following, tuple(done), tuple(failed), tuple(sorted(asked)))


def opened(path: str, now: int, grace: int) -> Open:
    return Open(path, StepState(StepStatus.DISPATCHED, since=now), now + grace)


def decide_compensation(
    move: Move, node: Node, path: str, state: StepState, outcome: Outcome
) -> Transition:
    """What became of an attempt to compensate: done, to be tried again, or failed: then people
    are asked, or it is noted."""
    now = move.now
    match outcome:
        case Completed(output, text):
            return move.complete_attempt(node, path, state, output, text)
        case Lost(reason, poison):
            lost = replace(state, lost=state.lost + 1)
            told = Event("lost", path, state.attempt, {"reason": reason})
            if not poison:
                return attempt_at_once(path, lost, now, move.grace, told)
            failure = Failure("WorkerLost", reason, node.id, path, state.attempt)
            state = lost
        case Deferred(due, detail, _):
            return deferred(path, state, now, due, detail)
        case Limited():
            return limited(path, state, now, outcome)
        case Failed(failure) as failed:
            policy = policy_of(node, failed)
            next_one = retried(policy, move.view.execution, path, state, failure, now)
            if next_one is not None:
                return next_one
        case _:
            raise AssertionError(f"a compensation does not end by {outcome}")
    return move.fail_attempt(node, path, state, replace(failure, escalation=""))


def kept_of(plan: Plan, path: str, outcome: Outcome) -> str | None:
    """What an attempt leaves that may have to be undone, as `Transition.kept`."""
    if plan.compensation_of(path) is None:
        return None
    if not isinstance(outcome, Completed) or outcome.fallback is not None:
        return ""
    return outcome.text or encode(outcome.output)


def awaited(plan: Plan, states: Mapping[str, StepState], now: int, grace: int) -> tuple[str, ...]:
    """Steps that were cancelled with their branch while they ran, and may say for ``grace`` ms
    what they did. One that has said so, or was not held, has no owner any more."""
    return tuple(
        path
        for path, state in states.items()
        if state.status is StepStatus.CANCELLED
        and "/" in state.owner
        and now < state.since + grace
        and plan.compensation_of(path) is not None
    )


def while_unwinding(transition: Transition, now: int) -> Transition:
    """What counts of a transition that comes when its execution unwinds.

    A step that completed, or failed, has done so: its output is kept, as it may have to be
    compensated. Nothing is tried again, and nothing follows.
    """
    path, state = transition.path, transition.state
    assert state is not None
    status = state.status
    own = [e for e in transition.events if e.path == path and e.word in ("claimed", status.value)]
    errors = [e.detail["error"] for e in own if e.detail and "error" in e.detail]
    error: Mapping[str, Any] = errors[0] if errors else {}
    told = status is StepStatus.FAILED and error.get("name") in (CANCELLED, "ChildCancelled")
    if told or status not in (StepStatus.COMPLETED, StepStatus.FAILED):
        own = [Event(StepStatus.CANCELLED.value, path, state.attempt)]
        state = state.ended(StepStatus.CANCELLED, now)
    kept = state.status is not StepStatus.CANCELLED
    return Transition(
        path,
        state,
        # What a rung of a ladder did, its step has done.
        texts=tuple(t for t in transition.texts if kept and t[0][1:] in (path, subject_of(path))),
        fields=tuple(f for f in transition.fields if kept and f[0].startswith("v:")),
        events=tuple(own),
        unwinds=True,
    )
