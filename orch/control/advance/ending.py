"""How an execution ends from outside: cancelled, terminated, aborted, out of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orch.control.advance.committing import (
    Committing,
    Todo,
)
from orch.faults import fault
from orch.journal.journal import Cancelled, Ended, Refused
from orch.journal.records import Family
from orch.workflows.calls import Call
from orch.workflows.gates import GATE_MARK, Slots
from orch.workflows.limits import LIMITS_MARK
from orch.workflows.notices import NOTICE_MARK
from orch.workflows.outcome import Failure
from orch.workflows.state import ExecutionStatus, encode


class Ending(Committing):
    """Cancels and ends executions, and tells their family and their gates."""

    def cancel(self, execution: str, message: str, *, by: str, grace: int) -> Cancelled:
        """Begin to cancel an execution; what runs, its children too, has ``grace`` ms to end."""
        reply, todo = self._begin_to_cancel(execution, message, by, grace)
        self._do(todo)
        return reply

    def fail(
        self,
        execution: str,
        error: Mapping[str, Any],
        *,
        by: str = "",
        notices: Sequence[tuple[str, str]] = (),
    ) -> bool:
        """Let an execution fail as a whole. False: it had ended, or unwound, before.

        What it did is undone first, where any step has a `compensate`: then what runs has the
        time of a cancellation to end. ``error``: with `name` and `message`, as of a step.
        ``notices``: what is told outside, as (id, JSON).
        """
        plan = self._plan_of(execution)
        if plan is None or not plan.compensates():
            reply = self.end(execution, ExecutionStatus.FAILED, error, by=by, notices=notices)
            return isinstance(reply, Ended)
        grace = int(self.journal.settings.cancel_grace * 1000)
        failed = self.journal.fail(execution, error, by=by, grace=grace, notices=notices)
        if failed.done:
            fault("cancelling")
            self._do(self._behind_unwinding(execution, failed))
        return failed.done

    def _begin_to_cancel(
        self, execution: str, message: str, by: str, grace: int
    ) -> tuple[Cancelled, list[Todo]]:
        plan = self._plan_of(execution)
        undoes = plan is not None and plan.compensates()
        reply = self.journal.cancel(execution, message, by=by, grace=grace, undoes=undoes)
        if not reply.done:
            return reply, []
        fault("cancelling")
        if reply.status is ExecutionStatus.CANCELLED:
            ended = Ended(reply.parent, reply.calls, reply.slots)
            return reply, self._behind_end(execution, ended)
        return reply, self._behind_unwinding(execution, reply)

    def _behind_unwinding(self, execution: str, begun: Cancelled) -> list[Todo]:
        todo: list[Todo] = [(self._unwind, (Call(execution, "", 0),))]
        return [*todo, *((self._cancel_with, (call,)) for call in begun.calls)]

    def _cancel_with(self, call: Call) -> Sequence[Todo]:
        """Cancel the child of an execution that unwinds, by the same rules."""
        parent = self.journal.read_family(call.execution)
        if parent is None or parent.cancel is None:
            return ()
        if self.journal.status(call.child) is None:
            return [(self._call, (call,))]  # it was not started, and will not be
        asked = parent.cancel
        verb = "failed" if parent.status is ExecutionStatus.COMPENSATING else "was cancelled"
        message = f"its parent {call.execution} {verb}: {asked['message']}"
        grace = max(asked["until"] - self.journal.clock(), 0)
        return self._begin_to_cancel(call.child, message, asked["by"], grace)[1]

    def _unwind(self, call: Call) -> Sequence[Todo]:
        """The next compensation of an execution that unwinds, or its end."""
        found = self.unwinding.go_on(call.execution)
        if isinstance(found, Ended):
            if found.parent is not None:
                fault("child_ended")
            return self._behind_end(call.execution, found)
        if found is not None:
            plan, path = found
            self.apply(plan, call.execution, (path,), self.journal.priority_of(call.execution))
        return ()

    def _behind_end(self, execution: str, ended: Ended) -> list[Todo]:
        if self.tracing is not None:
            self.tracing.tell_execution(execution)
        todo: list[Todo] = [(self._cancel_child, (call,)) for call in ended.calls]
        return todo + self._after(execution, ended.parent, ended.slots)

    def _after(self, execution: str, parent: Call | None, slots: Slots | None) -> list[Todo]:
        """Behind an end: slots are given back, and who called it is told."""
        todo: list[Todo] = []
        if slots is not None:
            todo.append((self._leave, (Call(execution, "", 0), slots)))
        if parent is not None:
            todo.append((self._call, (parent,)))
        return todo

    def end(
        self,
        execution: str,
        status: ExecutionStatus,
        error: Mapping[str, Any],
        *,
        by: str = "",
        notices: Sequence[tuple[str, str]] = (),
    ) -> Refused | Ended:
        """End an execution from outside, and its children with it; its parent is told."""
        reply = self.journal.end(execution, status, error, by=by, notices=notices)
        if isinstance(reply, Ended):
            if reply.parent is not None:
                fault("child_ended")
            self._do(self._behind_end(execution, reply))
        return reply

    def cancel_child(self, execution: str, path: str, attempt: int) -> None:
        """End the child of a step that does not wait for it any more."""
        self._do([(self._cancel_child, (Call(execution, path, attempt),))])

    def call(self, execution: str, path: str) -> None:
        """See to a step that waits for a child. Harmless if repeated."""
        self._do([(self._call, (Call(execution, path, 0),))])

    def look_at_whole(self, execution: str) -> None:
        """An execution is due as a whole: out of time, to begin, or a child nobody waits for."""
        if execution.startswith(GATE_MARK):
            self._do([(self._look_at_gate, (Call(execution, "", 0),))])
            return
        if execution.startswith(LIMITS_MARK):
            self._do([(self._look_at_limits, (Call(execution, "", 0),))])
            return
        if execution.startswith(NOTICE_MARK):
            self.look_at_notice(execution)
            return
        family = self.journal.read_family(execution)
        now = self.journal.clock()
        if family is not None and _may_begin(family, now) and self._is_wanted(family):
            self._do([(self._begin, (Call(execution, "", 0),))])
            return
        parent = family.parent if family is not None else None
        fails = family is not None and family.status is ExecutionStatus.COMPENSATING
        if parent is not None and not fails and not self._is_waited_for(parent):
            self._do(list(self._cancel_child(parent)))
            return
        if family is not None and family.status.unwinds:
            # No deadline counts any more: what was done is to be undone.
            self.unwinding.fence(execution, family)
            self._do([(self._unwind, (Call(execution, "", 0),))])
            return
        in_time = family is not None and not (family.deadline and now >= family.deadline)
        if family is not None and in_time:
            if family.deadline or parent is not None:
                self.journal.look_later(execution, family.deadline, parent)
            return  # else it has begun since it was taken from the watch
        if family is not None and family.status is ExecutionStatus.PAUSED:
            return  # since it was taken from the watch; its resumption brings it back
        message = "the execution took longer than its `timeoutMs` or deadline"
        if family is not None and family.parent is not None:
            message += ", or its parent's"
        error = Failure("ExecutionTimeout", message).at_large()
        notices = self._told_of_deadline(execution, error)
        if self.fail(execution, error, notices=notices) and notices:
            self._do([(self._send_notices, ([(name, "raised") for name, _ in notices],))])

    def _told_of_deadline(
        self, execution: str, error: Mapping[str, Any]
    ) -> Sequence[tuple[str, str]]:
        """A notice of an execution that is out of time, where anybody is asked about failures.

        There is nothing left to decide: it ends.
        """
        plan, now = self._plan_of(execution), self.journal.clock()
        if plan is None or not plan.asks_somebody:
            return ()
        notice = f"{execution}::1"
        told = {
            "id": notice,
            "event": "raised",
            "execution": execution,
            "workflow": plan.definition.name,
            "path": "",
            "kind": "deadline",
            "error": dict(error),
            "at": now,
            "raised": now,
        }
        return ((notice, encode(told)),)


def _may_begin(family: Family, now: int) -> bool:
    return not family.status.begun and not 0 < family.deadline <= now
