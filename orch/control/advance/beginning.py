"""Executions that begin later: at their time, or when they get a slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orch.control.advance.committing import (
    Committing,
    Todo,
)
from orch.control.gating import full
from orch.control.starting import deadline_of
from orch.faults import fault
from orch.journal.journal import Ended, Settled
from orch.journal.records import Pending
from orch.workflows.calls import Call
from orch.workflows.gates import CANCEL_PREVIOUS, GATE_MARK, Slots
from orch.workflows.outcome import Failure
from orch.workflows.plan import Plan
from orch.workflows.state import ExecutionStatus
from orch.workflows.transition import begin
from orch.workflows.view import (
    ALL_VARIABLES,
    INPUT_FIELD,
)


class Beginning(Committing):
    """Lets scheduled and queued executions begin."""

    def _begin(self, call: Call) -> Sequence[Todo]:
        """Let an execution begin whose time has come. Harmless if repeated."""
        execution, now = call.execution, self.journal.clock()
        pending = self.journal.read_pending(execution)
        if pending is None:
            return self._let_begin(self.gating.give_up(execution))
        if pending.at > now:
            self.journal.look_later(execution, pending.deadline, pending.parent, pending.at)
            return ()
        plan = self.plans.get(pending.plan)
        todo: Sequence[Todo] = ()
        if pending.slots is not None:
            passed, todo = self._at_gates(pending, pending.slots)
            if passed is None:
                return todo
            pending = passed
            if self.journal.has_steps(execution):
                return [*todo, *self._go_on(plan, pending)]
        view = self.journal.read_view(execution, [INPUT_FIELD, ALL_VARIABLES])
        transition = begin(plan, view, now, self.journal.grace)
        deadline = deadline_of(plan, now, pending.deadline, pending.within)
        if not self.journal.begin(pending, transition, 0 if transition.end else deadline):
            return [*todo, *self._let_begin(self.gating.give_up(execution))]
        fault("begun")
        self.apply(plan, execution, transition.dispatched, view.priority)
        reply = Settled()
        if transition.is_over:
            reply = Settled(parent=pending.parent, slots=pending.slots)
        return [*todo, *self._left(plan, execution, transition, reply)]

    def begin(self, execution: str) -> None:
        """Let an execution begin that was queued, if it has its slots. Harmless if repeated."""
        self._do([(self._begin, (Call(execution, "", 0),))])

    def _at_gates(self, pending: Pending, slots: Slots) -> tuple[Pending | None, list[Todo]]:
        """What may begin, None if it may not; and what is left to be done in any case."""
        execution, journal = pending.id, self.journal
        if pending.status is ExecutionStatus.SCHEDULED:
            slots = replace(slots, since=pending.at)
            if not journal.queue(execution, slots.since, journal.clock() + journal.grace):
                return None, []
            fault("queued")
            pending = replace(pending, status=ExecutionStatus.QUEUED, slots=slots)
        passage = self.gating.enter(pending, slots)
        todo = self._let_begin(passage.granted)
        gate = passage.stopped
        if gate is None:
            return pending, todo
        if passage.rejected:
            error = Failure("ConcurrencyRejected", full(gate, pending.workflow)).at_large()
            ended = journal.end(execution, ExecutionStatus.FAILED, error)
            if isinstance(ended, Ended):
                todo += self._behind_end(execution, ended)
            return None, todo
        if gate.policy == CANCEL_PREVIOUS:
            todo += [
                (self._supersede, (Call(each, "", 0), execution))
                for each in self.gating.superseded(gate, execution)
            ]
        # The gate itself is in the watch while somebody waits at it.
        later = journal.clock() + int(journal.settings.recheck_interval * 1000)
        journal.look_later(execution, pending.deadline, pending.parent, later)
        return None, todo

    def _go_on(self, plan: Plan, pending: Pending) -> Sequence[Todo]:
        """One that was taken up again, or forked, goes on: its steps are there."""
        deadline = deadline_of(plan, self.journal.clock(), pending.deadline, pending.within)
        paths = self.journal.go_on(pending, deadline)
        if paths is None:
            return self._let_begin(self.gating.give_up(pending.id))
        fault("begun")
        self.apply(plan, pending.id, paths, self.journal.priority_of(pending.id))
        return ()

    def _leave(self, call: Call, slots: Slots) -> Sequence[Todo]:
        return self._let_begin(self.gating.leave(call.execution, slots))

    def _let_begin(self, executions: Sequence[str]) -> list[Todo]:
        return [(self._begin, (Call(each, "", 0),)) for each in reversed(executions)]

    def _supersede(self, call: Call, following: str) -> Sequence[Todo]:
        """Cancel one that has the slot for which another one asks."""
        message = f"execution {following}, with the same concurrency key, takes its place"
        grace = int(self.journal.settings.cancel_grace * 1000)
        return self._begin_to_cancel(call.execution, message, "concurrency", grace)[1]

    def _look_at_gate(self, call: Call) -> Sequence[Todo]:
        """Do what somebody should have done at a gate who died."""
        looked = self.gating.look(call.execution.removeprefix(GATE_MARK))
        todo = self._let_begin(looked.begin)
        todo += [(self._supersede, (Call(each, "", 0), new)) for each, new in looked.cancel]
        return todo
