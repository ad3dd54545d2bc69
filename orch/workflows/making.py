"""Steps of a definition -> nodes, and the works that stand in for a step while it is escalated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from orch.errors import NotSupportedYet
from orch.workflows.definition import (
    Branches,
    ErrorAction,
    MapExecution,
    RetryPolicy,
    StepType,
    WorkflowStep,
)
from orch.workflows.expressions import Compiled, compile_value, parse_expression
from orch.workflows.ladder import Rung
from orch.workflows.limits import LimitPolicy
from orch.workflows.node import EVENT_TIMEOUT, Node
from orch.workflows.policies import (
    Choice,
    EventPolicy,
    JoinPolicy,
    LoopPolicy,
    MapPolicy,
    PollPolicy,
)
from orch.workflows.rungs import RungName

RETRIED = frozenset({StepType.TASK, StepType.SUBWORKFLOW})
"""Types whose attempts may be tried again."""

ANYBODY: dict[str, Any] = {
    "agent": None,
    "backup": [],
    "affinity": None,
    "capability_version": None,
}
"""Of a step that any agent of its capability may do."""


def make_node(
    key: str,
    scope: str,
    index: int,
    step: WorkflowStep,
    branches: tuple[str, ...],
    mapped: MapPolicy | None,
    retry: RetryPolicy | None,
) -> Node:
    """``branches``: keys of the scopes within it; ``retry``: the policy of tasks without one."""
    return Node(
        key=key,
        scope=scope,
        step=step,
        index=index,
        input=compile_value(_input_of(step)),
        output=tuple((n, compile_value(v)) for n, v in step.output_mapping().items()),
        condition=parse_expression(step.condition) if step.condition else None,
        choice=Choice.of(step.decision) if step.decision else None,
        wait=_compile_wait(step),
        next=Choice.of(step.next) if isinstance(step.next, Branches) else step.next,
        on_error=(*_on_timeout(step), *step.error_actions()),
        branches=branches,
        policy=JoinPolicy.of(step.parallel) if step.parallel else None,
        loop=LoopPolicy.of(step.loop) if step.loop else None,
        mapped=mapped,
        poll=PollPolicy.of(step.wait) if step.wait else None,
        event=EventPolicy.of(step.event) if step.event else None,
        default_retry=retry,
        affinity=compile_value(step.affinity) if step.affinity else None,
        limits=_limits_of(step),
    )


def _limits_of(step: WorkflowStep) -> tuple[LimitPolicy, ...]:
    return tuple(LimitPolicy.of(each) for each in step.limits or ())


def make_work(node: Node, key: str, rung: Rung | None, name: RungName) -> Node:
    """The step at ``node``, done once more: by its own capability, or by another one."""
    capability = name.capability
    asked: dict[str, Any] = {"retry": None, "priority": node.step.priority}
    input = node.input
    if rung is not None and rung.fallback is not None:
        fallback = rung.fallback
        asked |= {"capability": fallback.capability, "queue": fallback.queue, "task": None}
        asked |= {**ANYBODY, "resources": None, "limits": None}
        asked |= {"timeout": fallback.timeout, "schedule_timeout": None, "heartbeat_timeout": None}
        asked["retry"] = _policy(fallback.max_attempts, fallback.interval)
        if fallback.input is not None:
            input = compile_value(fallback.input)
    elif rung is not None and rung.retry is not None:
        retry = rung.retry
        asked["retry"] = RetryPolicy(
            max_attempts=retry.max_attempts,
            interval=retry.interval,
            backoff_rate=retry.backoff_rate,
            max_interval=retry.max_interval,
        )
    elif rung is not None and rung.reassign is not None and name.agent:
        asked |= {**ANYBODY, "agent": name.agent}
    elif capability:
        asked |= {**ANYBODY, "capability": capability, "queue": None, "task": None}
        asked |= {"resources": None, "limits": None}
    elif rung is not None and rung.human is not None:
        asked["retry"] = node.step.retry  # a person let it be tried again
    dropped = ("condition", "output", "next", "on_error", "compensate", "escalation")
    step = node.step.model_copy(update={**dict.fromkeys(dropped), **asked, "external": False})
    return Node(
        key=key,
        scope=node.scope,
        step=step,
        index=node.index,
        input=input,
        output=(),
        condition=None,
        choice=None,
        wait=None,
        next=None,
        on_error=(),
        affinity=node.affinity if step.affinity else None,
        rules=node.rules,
        limits=_limits_of(step),
    )


def item_steps(step: WorkflowStep, mapped: MapExecution) -> list[WorkflowStep]:
    """The steps for an item; the short form is one task that is called like the map."""
    if mapped.steps:
        return mapped.steps
    return [
        WorkflowStep(id=step.id, capability=mapped.capability, input=mapped.input, queue=step.queue)
    ]


def undoing(step: WorkflowStep) -> WorkflowStep:
    """The task that a compensation is."""
    assert step.compensate is not None
    asked = {n: getattr(step.compensate, n) for n in type(step.compensate).model_fields}
    return WorkflowStep(id=step.id, **asked)


def refuse_what_does_not_run(step: WorkflowStep) -> None:
    missing = []
    polls = step.wait is not None and step.wait.poll is not None
    if step.type not in RETRIED and not polls and step.retry is not None:
        missing.append(f"retry of a {step.type}")
    still = step.type in (StepType.WAIT, StepType.DECISION, StepType.EVENT) and not polls
    if still and step.timeout is not None:
        missing.append(f"timeout of a {step.type}")
    if missing:
        raise NotSupportedYet(
            f"step {step.id!r} uses {', '.join(missing)}, which this release validates "
            f"but does not run yet",
            hint="leave it out, or wait for the release that brings it",
        )


def _policy(attempts: int, interval: int) -> RetryPolicy:
    return RetryPolicy(max_attempts=attempts, interval=interval)


def _on_timeout(step: WorkflowStep) -> Iterator[ErrorAction]:
    """`onTimeout` of an event: an error action like any other, which is asked first."""
    if step.event is not None and step.event.on_timeout is not None:
        yield ErrorAction(errors=[EVENT_TIMEOUT], next=step.event.on_timeout)


def _input_of(step: WorkflowStep) -> JsonValue:
    return step.wait.poll.input if step.wait is not None and step.wait.poll else step.input


def _compile_wait(step: WorkflowStep) -> Compiled | None:
    if step.wait is None or step.wait.poll is not None:
        return None
    wait = step.wait
    if wait.cron is not None:
        return compile_value([wait.cron, wait.timezone])
    return compile_value(wait.duration if wait.duration is not None else wait.until)
