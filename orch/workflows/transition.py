"""(plan, token, outcome) -> Transition: what an outcome means, decided before it is stored.

Nothing here asks Redis or a clock: `View` is what the journal said, ``now`` is given, and the
answer is a frozen value that one script commits. Decisions, conditions, output mappings and
waits that follow a step are decided here too, so that they cost no message.
"""

from __future__ import annotations

from dataclasses import replace

from orch.workflows.again import attempt_at_once, deferred, limited, policy_of, retried
from orch.workflows.commit import Event, Open, Transition
from orch.workflows.compensating import decide_compensation, in_compensation, kept_of
from orch.workflows.escalating import decide_overdue, decide_work
from orch.workflows.holes import Hole
from orch.workflows.move import Move, with_holes
from orch.workflows.node import HEARTBEAT_TIMEOUT, STEP_TIMEOUT, Node
from orch.workflows.outcome import (
    Branched,
    Completed,
    Deferred,
    Entered,
    Failed,
    Failure,
    Limited,
    Lost,
    Outcome,
    Overdue,
    Released,
    Ruled,
)
from orch.workflows.paths import ROOT, iteration_path, join_path
from orch.workflows.plan import Plan
from orch.workflows.ruling import decide_ruling
from orch.workflows.rungs import in_rung
from orch.workflows.state import StepState, StepStatus, encode
from orch.workflows.view import View, node_of

INTERRUPTIONS = frozenset({STEP_TIMEOUT, HEARTBEAT_TIMEOUT})
"""Errors of attempts that had begun: their effect may have happened."""


def begin(plan: Plan, view: View, now: int, grace: int) -> Transition:
    """The first transition of an execution: enter the first step."""
    if begins_plainly(plan):
        # All that `Move` would come to, as a property test says.
        opened = Open(entry_path(plan), StepState(StepStatus.DISPATCHED, since=now), now + grace)
        return Transition("", None, plan=plan.key, opens=(opened,))
    return begin_by_moving(plan, view, now, grace)


def entry_path(plan: Plan) -> str:
    """Where the first step stands."""
    return join_path(ROOT, plan.scopes[ROOT].entry.id)


def begins_plainly(plan: Plan) -> bool:
    """Whether all executions of a plan begin with one and the same message."""
    entry = plan.scopes[ROOT].entry
    return entry.plain and not entry.rules and not entry.step.schedule_timeout


def begin_by_moving(plan: Plan, view: View, now: int, grace: int) -> Transition:
    """As `begin`, whatever the first step is."""
    move = Move(plan, view, now, grace)
    path = entry_path(plan)
    move.enter(plan.scopes[ROOT].entry, path)
    found = move.transition("", None)
    if not found.notices:
        return found
    # Somebody is to be told, which only a settle can leave behind: it is entered there.
    entering = StepState(StepStatus.ENTERING, since=now)
    return Transition("", None, plan=plan.key, opens=(Open(path, entering, now + grace),))


def decide(
    plan: Plan, view: View, path: str, state: StepState, outcome: Outcome, now: int, grace: int
) -> Transition:
    """What an outcome of the step at ``path``, whose state is ``state``, means."""
    if in_rung(path):
        work = decide_work(
            Move(plan, view, now, grace), node_of(plan, view, path), path, state, outcome
        )
        return replace(work, plan=plan.key)
    if in_compensation(path) and not isinstance(outcome, Overdue | Ruled):
        move = Move(plan, view, now, grace)
        return decide_compensation(move, plan.node(path), path, state, outcome)
    transition = _decide(plan, view, path, state, outcome, now, grace)
    if state.status is StepStatus.RUNNING and plan.compensates():
        transition = replace(transition, kept=kept_of(plan, path, outcome))
    if isinstance(outcome, Completed) and outcome.fallback is not None:
        told = Event("fallback", path, state.attempt, outcome.fallback)
        transition = replace(transition, events=(told, *transition.events))
        hole = Hole.of(path, "fallback", outcome.fallback.get("error"))
        transition = with_holes(transition, [hole])
    if not transition.plan:  # another attempt: nothing was entered
        transition = replace(transition, plan=plan.key)
    if state.status is not StepStatus.RUNNING or state.attempt > 1 or not plan.is_quiet(path):
        return transition
    ended = transition.branch
    plain = isinstance(outcome, Completed) and outcome.fallback is None
    if plain and ended is not None and ended.ok:
        return replace(transition, quiet=True)
    # The claim was as quiet; what went wrong is told from its beginning.
    claimed = Event("claimed", path, 1, {"worker": state.owner}, at=state.started)
    return replace(transition, events=(claimed, *transition.events))


def _decide(
    plan: Plan, view: View, path: str, state: StepState, outcome: Outcome, now: int, grace: int
) -> Transition:
    node = node_of(plan, view, path)
    move = Move(plan, view, now, grace)
    match outcome:
        case Overdue():
            return decide_overdue(move, node, path, state)
        case Ruled(ruling):
            return decide_ruling(move, node, path, ruling)
        case Lost(reason) if node.step.delivery == "at_most_once":
            move.note("lost", path, state.attempt, {"reason": reason})
            failure = _interrupted(node, path, state, reason)
            return move.fail_attempt(node, path, replace(state, lost=state.lost + 1), failure)
        case Lost(reason, poison):
            if not poison:
                again = replace(state, lost=state.lost + 1)
                told = Event("lost", path, state.attempt, {"reason": reason})
                return attempt_at_once(path, again, now, grace, told, node.schedule_limit(now))
            failure = Failure(
                "WorkerLost",
                f"{state.lost + 1} workers in a row died under step {node.id!r}; "
                f"the last: {reason}",
                node.id,
                path,
                state.attempt,
            )
            ended = replace(state, lost=state.lost + 1)
            move.note("lost", path, state.attempt, {"reason": reason, "poison": True})
            return move.fail_attempt(node, path, ended, failure)
        case Released():
            told = Event("released", path, state.attempt)
            return attempt_at_once(path, state, now, grace, told, node.schedule_limit(now))
        case Deferred(due, detail, _):
            return deferred(path, state, now, due, detail)
        case Limited():
            return limited(path, state, now, outcome)
        case Failed(failure, retryable):
            if failure.name in INTERRUPTIONS and node.step.delivery == "at_most_once":
                failure = _interrupted(node, path, state, failure.message)
                retryable = False
            policy = policy_of(node, replace(outcome, retryable=retryable))
            next_one = retried(policy, view.execution, path, state, failure, now)
            if next_one is not None:
                return next_one
            ended = replace(state, failures=state.failures + 1)
            failed = move.fail_attempt(node, path, ended, failure)
            return replace(failed, cancels_below=bool(node.branches))
        case Completed(output, text, final) if node.poll is not None and not final:
            text = encode(output) if text is None else text
            return move.check(node, node.poll, path, state, output, text)
        case Completed(output, text):
            return move.complete_attempt(node, path, state, output, text)
        case Branched(results, size):
            return move.join(node, path, state, results, size)
        case Entered():
            return move.enter_item(node, path)


def _interrupted(node: Node, path: str, state: StepState, reason: str) -> Failure:
    """Why an attempt that may have had its effect is not tried again."""
    message = f"step {node.id!r} may run at most once, and was interrupted: {reason}"
    return Failure("Interrupted", message, node.id, path, state.attempt)


def scopes_to_join(plan: Plan, path: str, state: StepState) -> list[str]:
    """The branches or items, or the iteration, whose ends decide about the step at ``path``."""
    node = plan.node(path)
    if node.loop is not None:
        return [iteration_path(path, state.iteration - 1)]
    if node.mapped is not None:
        return [iteration_path(path, number) for number in range(state.total)]
    return [join_path(path, str(number)) for number in range(state.total)]
