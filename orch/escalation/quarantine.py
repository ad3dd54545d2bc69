"""Quarantine: steps that killed their workers, kept with their input, until they are replayed."""

from __future__ import annotations

import builtins
from typing import Any

from pydantic import BaseModel, Field

from orch.control.runtime import Runtime
from orch.control.status import instant
from orch.control.steering import Steering
from orch.control.user import current_user
from orch.errors import NotFound
from orch.journal.quarantine import PoisonStep
from orch.workflows.escalation import Ruling, escalation_id
from orch.workflows.failing import class_in
from orch.workflows.state import StepStatus


class QuarantinedStep(BaseModel):
    """A step that was set aside. ``since``: ISO 8601 in UTC."""

    id: str = Field(description="EXECUTION:PATH")
    execution: str
    workflow: str
    path: str
    status: str = Field(description="failed, or escalated: then it is in the inbox, too")
    since: str
    error: dict[str, Any]
    input: Any = None


class QuarantineManager:
    """Steps in quarantine of the executions in one Redis. ``id``: EXECUTION:PATH, as `list` gives
    it. Every method may raise Unreachable."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal = runtime.journal

    def list(self) -> builtins.list[QuarantinedStep]:
        """Those that have failed so, and those that are escalated, the oldest first."""
        found = [*self.journal.in_quarantine(), *self._escalated()]
        return [_shown(step) for step in sorted(found, key=lambda step: step.kept.at)]

    def replay(self, id: str, *, reason: str = "", by: str | None = None) -> None:
        """Try it again: the execution goes on from its failed steps; one that is escalated is
        retried. Raises NotFound, NotAllowed."""
        step = self._find(id)
        if step.status is StepStatus.ESCALATED:
            self._rule(step, "retry", reason, by)
        else:
            Steering(self.runtime).retry(step.execution, reason or "replayed", by=by)
        self.journal.leave_quarantine(step.execution, step.path)

    def drop(self, id: str, *, reason: str = "", by: str | None = None) -> None:
        """Give it up: it is struck off; the execution of one that is escalated is aborted.

        Raises NotFound, NotAllowed.
        """
        step = self._find(id)
        if step.status is StepStatus.ESCALATED:
            self._rule(step, "abort", reason, by)
        self.journal.leave_quarantine(step.execution, step.path)

    def _rule(self, step: PoisonStep, word: Any, reason: str, by: str | None) -> None:
        ruling = Ruling(word, by or current_user(), self.journal.clock(), note=reason)
        self.runtime.advancer.rule(step.execution, step.path, ruling)

    def _escalated(self) -> builtins.list[PoisonStep]:
        found = []
        for each in self.journal.open_escalations():
            error = each.escalation.error
            if error is not None and class_in(error) == "poison":
                step = self.journal.poison_step(each.execution, each.path)
                found += [step] if step is not None else []
        return found

    def _find(self, id: str) -> PoisonStep:
        execution, _, path = id.partition(":")
        for step in [*self.journal.in_quarantine(), *self._escalated()]:
            if (step.execution, step.path) == (execution, path):
                return step
        raise NotFound(
            f"no step {id!r} is in quarantine", hint="`orch quarantine list` lists those that are"
        )


def _shown(step: PoisonStep) -> QuarantinedStep:
    return QuarantinedStep(
        id=escalation_id(step.execution, step.path),
        execution=step.execution,
        workflow=step.workflow,
        path=step.path,
        status=step.status.value,
        since=instant(step.kept.at),
        error=dict(step.error),
        input=step.kept.input,
    )
