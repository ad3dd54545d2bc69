"""Reports of external tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orch.control.advance.committing import (
    Committing,
    Todo,
    following_paths,
    is_replanned,
    to_dispatch,
)
from orch.journal.journal import Refused, Settled
from orch.workflows.calls import Call
from orch.workflows.commit import Event, Transition
from orch.workflows.external import Report, TaskId, report_field
from orch.workflows.notices import ASSIGNED
from orch.workflows.outcome import classified
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus
from orch.workflows.transition import decide
from orch.workflows.view import fields_for


class Reporting(Committing):
    """Takes what somebody outside says of a task."""

    def _take_report(self, call: Call) -> Sequence[Todo]:
        """See whether what a task waits for was reported before it was there."""
        plan = self._plan_of(call.execution)
        found = self.journal.read_state(call.execution, call.path)
        report = self.journal.kept_report(call.execution, call.path)
        if plan is None or found is None or found[1].status is not StepStatus.EXTERNAL:
            return ()
        state = found[1]
        if report is None:
            if plan.node(call.path).step.agent is not None:
                self._send_task(TaskId(call.execution, call.path, state.attempt))
            return ()
        reply, transition = self.report(plan, call.execution, call.path, state, report)
        if is_replanned(reply):
            return self._take_report(call)
        if isinstance(reply, Refused):
            return ()
        paths = (*to_dispatch(transition), *following_paths(plan, reply))
        self.apply(plan, call.execution, paths, self.journal.priority_of(call.execution))
        return self._left(plan, call.execution, transition, reply)

    def _send_task(self, task: TaskId) -> None:
        """Have it sent to the agent that it names, if that wants it; else the watch does it."""
        self.publish(lambda: self.tell(ASSIGNED, str(task)), f"task {task}")

    def take_report(self, execution: str, path: str) -> None:
        self._do([(self._take_report, (Call(execution, path, 0),))])

    def report(
        self, plan: Plan, execution: str, path: str, state: StepState, report: Report
    ) -> tuple[Settled | Refused, Transition]:
        """Commit what somebody reported of a task; the caller goes on behind it."""
        transition = self.decide_report(plan, execution, path, state, report)
        transition = replace(transition, drops=(*transition.drops, report_field(path)))
        reply = self.journal.settle(
            execution, transition, expect=state.status.value, attempt=state.attempt
        )
        return reply, transition

    def decide_report(
        self, plan: Plan, execution: str, path: str, state: StepState, report: Report
    ) -> Transition:
        """What a report would come to."""
        view = self.journal.read_view(execution, fields_for(plan, path))
        outcome = report.outcome(plan.node(path).id, path, state.attempt)
        outcome = classified(outcome, self.journal.settings.error_classes)
        transition = decide(
            plan, view, path, state, outcome, self.journal.clock(), self.journal.grace
        )
        told = Event("reported", path, state.attempt, {"by": report.by})
        return replace(transition, events=(told, *transition.events))
