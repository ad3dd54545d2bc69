"""Executions that a `subworkflow` step calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orch.control.advance.committing import (
    Committing,
    Todo,
)
from orch.control.starting import checked_input, make_start
from orch.errors import (
    ConcurrencyRejected,
    InputError,
    JournalError,
    NotFound,
    OrchError,
    StepError,
    Unreachable,
)
from orch.faults import fault
from orch.journal.journal import Refused, Settled
from orch.journal.records import Family
from orch.journal.spending import PROJECT
from orch.workflows.calls import Call, callee
from orch.workflows.outcome import (
    Failed,
    Outcome,
)
from orch.workflows.pausing import pauses_over
from orch.workflows.plan import Plan
from orch.workflows.starts import StartOptions
from orch.workflows.state import ExecutionStatus, StepStatus
from orch.workflows.view import (
    View,
    context_of,
    fields_for,
)


class Children(Committing):
    """Starts children, takes what they came to, and cancels those that nobody waits for."""

    def _call(self, call: Call) -> Sequence[Todo]:
        """See to a step that waits for a child: start it, or take what it came to.

        Harmless if repeated. ``call.attempt`` 0: whichever it is at.
        """
        found = self.journal.read_state(call.execution, call.path)
        if found is None or found[1].status is not StepStatus.CALLING:
            return ()
        state = found[1]
        if call.attempt not in (0, state.attempt):
            return ()
        call = replace(call, attempt=state.attempt)
        parent = self.journal.read_family(call.execution)
        if parent is None:
            return ()
        plan = self.plans.get(parent.plan)
        view = self.journal.read_view(call.execution, fields_for(plan, call.path))
        child = self.journal.read_family(call.child)
        if child is not None and not child.status.ended:
            cancels = parent.status.unwinds
            return [(self._cancel_with, (call,))] if cancels else ()
        outcome: Outcome
        if child is not None:
            outcome = call.outcome(child.status, child.output, child.error)
            if child.used:
                path, attempt = call.path, state.attempt
                self.journal.take_usage(call.execution, path, attempt, state.started, child.used)
        elif parent.status is ExecutionStatus.PAUSED or pauses_over(parent.pauses, call.path):
            return ()  # nothing of it starts; its resumption has the step looked at
        elif parent.status.unwinds:
            outcome = call.failed("ChildCancelled", "it had not been started")
        else:
            try:
                return self._start_child(plan, view, parent, call)
            except OrchError as error:
                if isinstance(error, Unreachable | JournalError):
                    raise
                outcome = _cannot_start(call, error)
        return self._advance(plan, view, call.path, state, outcome)

    def _start_child(self, plan: Plan, view: View, parent: Family, call: Call) -> Sequence[Todo]:
        """Raises what makes it impossible."""
        node = plan.node(call.path)
        called = callee(node)
        most = self.journal.settings.max_depth
        if parent.depth >= most:
            raise StepError(
                "DepthExceeded",
                f"{most} executions stand above this call of {called.name!r} already; does a "
                f"workflow call itself for ever? The setting `max_depth` is the limit",
            )
        own = self.find_plan(called.name, called.version, call.child)
        input = node.input.evaluate(context_of(view, call.path))
        if input is None and own.definition.input is not None:
            input = {}
        given = parent.trace
        if self.tracing is not None:
            given = self.tracing.for_child(call.execution, call.path, call.attempt)
        start = make_start(
            self.journal,
            own,
            called.name,
            call.child,
            checked_input(self.journal.settings, called.name, own.definition, input),
            parent=call,
            depth=parent.depth + 1,
            deadline=parent.deadline,
            options=StartOptions(
                priority=own.definition.priority or view.priority,
                project="" if PROJECT in own.definition.attributes else parent.project,
                traceparent=given,
            ),
            gated=self.gated,
        )
        self.gating.admit(start)
        if not self.journal.start(start):
            self.gating.take_back(start.id, start.slots)
            return ()  # another one was faster
        fault("child_started")
        todo: list[Todo] = []
        if start.slots is not None:
            todo = [(self._begin, (Call(call.child, "", 0),))]
        elif start.transition is not None:
            self.apply(own, call.child, start.transition.dispatched, start.priority)
            todo = self._left(own, call.child, start.transition, Settled())
            if start.transition.is_over:
                return [*todo, (self._call, (call,))]
        # The parent may have been cancelled while the child was not there yet.
        return todo if self._is_waited_for(call) else [*todo, (self._cancel_child, (call,))]

    def _is_waited_for(self, call: Call) -> bool:
        found = self.journal.read_state(call.execution, call.path)
        if found is None:
            return False
        state = found[1]
        return state.status is StepStatus.CALLING and state.attempt == call.attempt

    def _is_wanted(self, family: Family) -> bool:
        return family.parent is None or self._is_waited_for(family.parent)

    def _cancel_child(self, call: Call) -> Sequence[Todo]:
        """The step that called it does not wait any more.

        One that failed, and undoes what it did, comes to its end by itself.
        """
        if self.journal.status(call.child) is ExecutionStatus.COMPENSATING:
            return []
        error = {
            "name": "Cancelled",
            "message": f"step {call.path!r} of its parent {call.execution} waits for it no more",
        }
        reply = self.journal.end(call.child, ExecutionStatus.CANCELLED, error)
        return [] if isinstance(reply, Refused) else self._behind_end(call.child, reply)


def _cannot_start(call: Call, error: OrchError) -> Failed:
    """Why a child was not started; trying again helps only where it was not found."""
    match error:
        case StepError():
            return call.failed(error.name, error.message, data=error.data, retryable=False)
        case NotFound():
            return call.failed("WorkflowNotFound", error.message)
        case ConcurrencyRejected():
            return call.failed("ConcurrencyRejected", error.message)
        case InputError():
            return call.failed("InvalidInput", error.message, retryable=False)
        case _:
            return call.failed(type(error).__name__, error.message)
