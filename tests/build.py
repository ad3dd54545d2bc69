"""Workflows, plans and executions for tests, in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from orch.control.advance import Advancer
from orch.control.plans import Plans
from orch.journal.journal import Claimed, Journal, Refused, Settled, Start
from orch.workflows.commit import Transition
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.outcome import Completed, Failed, Failure, Outcome
from orch.workflows.plan import Plan
from orch.workflows.state import ExecutionStatus, StepState, StepStatus, encode
from orch.workflows.transition import begin, decide
from orch.workflows.view import View, fields_for

NOW = 1_750_000_000_000
GRACE = 3000


class FakeClock:
    """A clock that only moves when it is told to. ``now`` in ms since the epoch."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> int:
        self.now += ms
        return self.now


# --- definitions ---------------------------------------------------------------------------


def task(step_id: str, next: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": step_id, "capability": "work", "next": next, **more}


def decision(
    step_id: str,
    expression: str,
    branches: Mapping[str, str],
    default: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    choice = {"expression": expression, "branches": dict(branches), "default": default}
    return {"id": step_id, "type": "decision", "decision": choice, **more}


def wait(step_id: str, duration: Any = 1000, next: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": step_id, "type": "wait", "wait": {"duration": duration}, "next": next, **more}


def parallel(
    step_id: str, *branches: Sequence[dict[str, Any]], next: Any = None, **more: Any
) -> dict[str, Any]:
    of = {"branches": [{"steps": list(steps)} for steps in branches]}
    return {"id": step_id, "type": "parallel", "parallel": of, "next": next, **more}


def choose(expression: str, branches: Mapping[str, str], default: str | None = None) -> Any:
    """A `next` that depends on an expression."""
    return {"expression": expression, "branches": dict(branches), "default": default}


def workflow(*steps: dict[str, Any], **more: Any) -> WorkflowDefinition:
    return WorkflowDefinition.model_validate({"name": "w", "steps": list(steps), **more})


def handler(name: str, error: str = "*") -> dict[str, Any]:
    return {"error": error, "handler": name}


def plan_of(*steps: dict[str, Any], **more: Any) -> Plan:
    return Plan(workflow(*steps, **more))


# --- transitions, without a journal -----------------------------------------------------------


def view(**more: Any) -> View:
    return View("x", "w", **more)


def running(attempt: int = 1, **more: Any) -> StepState:
    return StepState(StepStatus.RUNNING, attempt, owner="me/1/a", started=NOW, **more)


def failure(name: str = "Broken", message: str = "it broke") -> Failure:
    return Failure(name, message)


def begun(plan: Plan, **seen: Any) -> Transition:
    return begin(plan, view(**seen), NOW, GRACE)


def decided(
    plan: Plan, path: str, outcome: Outcome, state: StepState | None = None, **seen: Any
) -> Transition:
    return decide(plan, view(**seen), path, state or running(), outcome, NOW, GRACE)


def statuses(transition: Transition) -> dict[str, str]:
    """Path -> status of each step that a transition opens."""
    return {opened.path: opened.state.status.value for opened in transition.opens}


def joined(transition: Transition) -> list[str]:
    """Paths of steps whose branches all ended in the transition itself."""
    return [o.path for o in transition.opens if o.state.status is StepStatus.JOINED]


# --- executions on a journal -----------------------------------------------------------------


def runtime_of(advancer: Advancer) -> Any:
    """As much of a runtime as steering takes."""
    journal, plans = advancer.journal, advancer.plans
    return SimpleNamespace(
        settings=journal.settings, journal=journal, plans=plans, advancer=advancer
    )


@dataclass
class Worked:
    """One worker on a journal, without Celery. ``sent``: the messages that were dispatched."""

    journal: Journal
    plan: Plan
    execution: str = "x1"
    sent: list[str] = field(default_factory=list)

    def dispatch(self, plan: Plan, execution: str, paths: Sequence[str]) -> None:
        self.sent += paths

    def claim(self, path: str, owner: str = "me/1/a", **given: Any) -> Claimed | Refused:
        arguments = {
            "plan": self.plan.key,
            "queue": "work",
            "reads": fields_for(self.plan, path),
            "lease": 1000,
            **given,
        }
        return self.journal.claim(self.execution, path, owner=owner, **arguments)

    def take(self, path: str, owner: str = "me/1/a") -> Claimed:
        claimed = self.claim(path, owner)
        assert isinstance(claimed, Claimed), claimed
        return claimed

    def settle(self, path: str, claimed: Claimed, outcome: Outcome) -> Settled | Refused:
        transition = self.decide(path, claimed, outcome)
        return self.commit(claimed, transition)

    def decide(self, path: str, claimed: Claimed, outcome: Outcome) -> Transition:
        clock = self.journal.clock()
        return decide(
            self.plan, claimed.view, path, claimed.state, outcome, clock, self.journal.grace
        )

    def commit(self, claimed: Claimed, transition: Transition) -> Settled | Refused:
        state = claimed.state
        owner = state.owner if state.status is StepStatus.RUNNING else ""
        return self.journal.settle(
            self.execution,
            transition,
            expect=state.status.value,
            attempt=state.attempt,
            owner=owner,
            late=owner,
        )

    def do(self, path: str, output: Any = None) -> Settled | Refused:
        """Claim and complete a step."""
        return self.settle(path, self.take(path), Completed(output))

    def fail(self, path: str, name: str = "Broken") -> Settled | Refused:
        return self.settle(path, self.take(path), Failed(failure(name)))

    def state(self, path: str) -> StepState:
        found = self.journal.read_state(self.execution, path)
        assert found is not None, f"no step at {path}"
        return found[1]

    def watched(self) -> dict[str, int]:
        """Path -> when it is looked at, ms, of the tokens of this execution."""
        key = self.journal.keys.watch(self.journal.keys.partition(self.execution))
        entries = self.journal.redis.zrange(key, 0, -1, withscores=True)
        split = ((member.split(" ", 1), int(score)) for member, score in entries)
        return {path: score for (execution, path), score in split if execution == self.execution}

    def status(self) -> ExecutionStatus | None:
        return self.journal.status(self.execution)

    def events(self) -> list[tuple[str, str]]:
        return [(entry.event, entry.path) for entry in self.journal.history(self.execution)]


def start(
    journal: Journal, *steps: dict[str, Any], input: Any = None, deadline: int = 0, **more: Any
) -> Worked:
    """Store a workflow and start an execution ``x1`` of it."""
    definition = workflow(*steps, **more)
    plan = Plans(journal).store("w", definition, {})
    worked = Worked(journal, plan)
    assert journal.start(starting(worked, input=input, deadline=deadline))
    return worked


def starting(worked: Worked, *, input: Any = None, deadline: int = 0) -> Start:
    journal, plan = worked.journal, worked.plan
    seen = View(worked.execution, "w", input=input)
    return Start(
        id=worked.execution,
        workflow="w",
        version=plan.definition.content_hash(),
        plan=plan.key,
        input=encode(input),
        transition=begin(plan, seen, journal.clock(), journal.grace),
        deadline=deadline,
    )
