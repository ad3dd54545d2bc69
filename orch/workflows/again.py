"""The next attempt of a token: at once, or after a pause. The same of steps, of compensations, and
of what a rung does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orch.workflows.commit import Event, Transition
from orch.workflows.definition import RetryPolicy
from orch.workflows.node import Node
from orch.workflows.outcome import Failed, Failure, Limited
from orch.workflows.retrying import may_retry, retry_pause
from orch.workflows.state import BY_LIMITS, StepState, StepStatus


def attempt_at_once(
    path: str, state: StepState, now: int, grace: int, told: Event, limit: int = 0
) -> Transition:
    """``grace``: ms after which its message counts as lost. ``limit``: when a worker must have
    taken it, ms; 0: whenever."""
    due = min(now + grace, limit or now + grace)
    return _again(path, state, StepStatus.DISPATCHED, now, due, limit, told)


def attempt_later(path: str, state: StepState, now: int, due: int, told: Event) -> Transition:
    return _again(path, state, StepStatus.RETRYING, now, due, due, told)


def deferred(
    path: str, state: StepState, now: int, due: int, detail: Mapping[str, Any]
) -> Transition:
    """The breaker of the capability is open: no attempt was made."""
    told = Event("breaker_open", path, state.attempt, {**detail, "due": due})
    return attempt_later(path, state, now, due, told)


def policy_of(node: Node, failed: Failed) -> RetryPolicy | None:
    """When an attempt that failed is tried again: the step says, else what is declared of its
    capability, else the plan's default; what may run once at most is not, unless the step says."""
    if not failed.retryable:
        return None
    silent = node.step.retry is None and node.step.delivery != "at_most_once"
    return failed.retry if silent and failed.retry is not None else node.retry


def limited(path: str, state: StepState, now: int, outcome: Limited) -> Transition:
    """The attempt waits for its limits, without a worker or a message; it was not made."""
    due = min(outcome.due, state.due or outcome.due)
    waits = replace(state, status=StepStatus.DISPATCHED, since=now, owner=BY_LIMITS)
    told = Event("limited", path, state.attempt, {"limit": outcome.limit})
    return Transition(path, waits, due=due, events=(told,))


def retried(
    policy: RetryPolicy | None,
    execution: str,
    path: str,
    state: StepState,
    failure: Failure,
    now: int,
) -> Transition | None:
    """The attempt behind the one that failed at ``state``; None: there is none."""
    failures = state.failures + 1
    if policy is None or not may_retry(policy, failure.name, failures, failure.error_class):
        return None
    pause = failure.retry_after or retry_pause(policy, failures, f"{execution}/{path}#{failures}")
    detail = {"error": failure.as_dict(), "due": now + pause}
    told = Event("retrying", path, state.attempt, detail)
    again = replace(state, failures=failures, lost=0)
    return attempt_later(path, again, now, now + pause, told)


def _again(
    path: str, state: StepState, status: StepStatus, now: int, due: int, timer: int, told: Event
) -> Transition:
    again = replace(state, status=status, attempt=state.attempt + 1, since=now, owner="", due=timer)
    return Transition(path, again, due=due, events=(told,))
