"""What is due: timers, back-offs, timeouts, and attempts whose worker is gone."""

from __future__ import annotations

from orch.control.advance.committing import Committing
from orch.workflows.definition import StepType
from orch.workflows.external import waits_for
from orch.workflows.node import HEARTBEAT_TIMEOUT, SCHEDULE_TIMEOUT, STEP_TIMEOUT
from orch.workflows.outcome import (
    Completed,
    Failed,
    Failure,
    Lost,
)
from orch.workflows.state import StepState, StepStatus


class Timers(Committing):
    """Moves on what has waited long enough."""

    def fire(self, execution: str, path: str, state: StepState) -> None:
        """A timer is over: the wait step is completed."""
        self.settle_unowned(execution, path, state, Completed(None))

    def lose(self, execution: str, path: str, state: StepState, reason: str) -> None:
        """The worker that held the attempt is gone: the next one, or poison."""
        poison = state.lost + 1 >= self.journal.settings.max_lost_attempts
        self.settle_unowned(execution, path, state, Lost(reason, poison))

    def time_out(self, execution: str, path: str, state: StepState, timeout: int) -> None:
        """The attempt (or the parallel step) took longer than ``timeout`` ms: it fails."""
        message = f"took longer than its timeout of {timeout} ms"
        self._fail_late(execution, path, state, STEP_TIMEOUT, message)
        if state.status is StepStatus.CALLING:
            self.cancel_child(execution, path, state.attempt)

    def time_out_in_queue(self, execution: str, path: str, state: StepState, limit: int) -> None:
        """No worker took the attempt within ``limit`` ms: it fails."""
        message = f"was taken by no worker within its `scheduleTimeout` of {limit} ms"
        self._fail_late(execution, path, state, SCHEDULE_TIMEOUT, message)

    def time_out_silent(
        self, execution: str, path: str, state: StepState, limit: int, silent: int
    ) -> None:
        """The attempt sent no heartbeat for ``silent`` ms, more than its ``limit``: it fails."""
        message = f"sent no heartbeat for {silent} ms; its `heartbeatTimeout` is {limit} ms"
        self._fail_late(execution, path, state, HEARTBEAT_TIMEOUT, message)

    def _fail_late(
        self, execution: str, path: str, state: StepState, name: str, message: str
    ) -> None:
        step = path.rpartition("/")[2].partition("#")[0]
        failure = Failure(name, f"step {step!r} {message}", step, path, state.attempt)
        self.settle_unowned(execution, path, state, Failed(failure))

    def redispatch(self, execution: str, path: str, state: StepState) -> None:
        """A message that was lost is sent again; a back-off that is over is ended."""
        plan = self._plan_of(execution)
        if plan is None:
            return
        if plan.node(path).type is StepType.SUBWORKFLOW:
            if self.journal.redispatch(execution, path, state, StepStatus.CALLING):
                self.call(execution, path)
            return
        node = plan.node(path)
        if node.external:
            listens, now = waits_for(node.capability), self.journal.clock()
            look = node.silence_limit(now)
            if self.journal.redispatch(
                execution, path, state, StepStatus.EXTERNAL, listens=listens, look=look
            ):
                self.take_report(execution, path)
            return
        limit = node.schedule_limit(self.journal.clock())
        if state.status is StepStatus.DISPATCHED and limit:
            limit = state.due  # a message that was lost does not make the wait longer
        if self.journal.redispatch(execution, path, state, limit=limit):
            self.apply(plan, execution, (path,), self.journal.priority_of(execution))
