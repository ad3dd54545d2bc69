"""Commit a transition, then apply what remains: the one operation behind everything.

A step's end, a fired timer, a joined parallel, a lost attempt and a start differ only in
their outcome. Each is decided by `orch.workflows.transition`, committed by one script, and
followed by the canvas of the tokens that it opened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeGuard

from orch.control.gating import Gating, full
from orch.control.plans import Plans
from orch.control.starting import checked_input, deadline_of, make_start
from orch.control.triggers import (
    DEPTH_EXCEEDED,
    NewlyTriggered,
    NotTriggered,
    Told,
    Triggered,
    start_triggered,
)
from orch.control.unwinding import Unwinding
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
from orch.journal.journal import Cancelled, Ended, Journal, Refused, Settled
from orch.journal.records import Family, Pending
from orch.workflows.calls import Call, callee
from orch.workflows.commit import Event, Transition
from orch.workflows.compensating import while_cancelling
from orch.workflows.definition import StepType
from orch.workflows.events import (
    Occurrence,
    correlation_of,
    emission_id,
    matches,
    taken_field,
)
from orch.workflows.external import Report, report_field, waits_for
from orch.workflows.gates import CANCEL_PREVIOUS, GATE_MARK, Slots
from orch.workflows.handoff import Handoff
from orch.workflows.outcome import (
    Branched,
    Completed,
    Entered,
    Failed,
    Failure,
    Lost,
    Outcome,
)
from orch.workflows.pausing import pauses_over
from orch.workflows.plan import (
    EVENT_TIMEOUT,
    HEARTBEAT_TIMEOUT,
    SCHEDULE_TIMEOUT,
    STEP_TIMEOUT,
    Plan,
)
from orch.workflows.starts import StartOptions
from orch.workflows.state import ExecutionStatus, StepState, StepStatus
from orch.workflows.transition import begin, decide, scopes_to_join
from orch.workflows.view import (
    ALL_VARIABLES,
    INPUT_FIELD,
    View,
    context_of,
    entry_fields_for,
    fields_for,
)

logger = logging.getLogger(__name__)

Dispatch = Callable[..., None]
"""(plan, execution, paths, priority=0): see to it that these tokens get a message."""

HandOn = Callable[[Plan, Transition], Handoff | None]
"""(plan by which it was decided, transition): what the caller goes on with itself."""

FindPlan = Callable[[str, str | None, str], Plan]
"""(key of a workflow, version or None, execution that it is for): its plan.

Raises NotFound, DefinitionError.
"""

Todo = tuple[Callable[..., Sequence[Any]], tuple[Any, ...]]
"""What a transition leaves to be done: a method, its arguments; it answers what that leaves."""


def find_nothing(key: str, version: str | None, execution: str) -> Plan:
    raise NotFound(f"no workflow {key!r}")


class Advancer:
    """Moves tokens on. ``dispatch`` may fail: the watch brings such tokens back."""

    def __init__(
        self,
        journal: Journal,
        plans: Plans,
        dispatch: Dispatch,
        find_plan: FindPlan = find_nothing,
    ) -> None:
        self.find_plan = find_plan
        self.journal = journal
        self.plans = plans
        self.dispatch = dispatch
        self.unwinding = Unwinding(journal, plans)
        self.start_triggered = start_triggered
        self.gating = Gating(journal)
        self.gated = True

    def settle(
        self,
        plan: Plan,
        view: View,
        path: str,
        state: StepState,
        outcome: Outcome,
        *,
        late: str = "",
        patience: float = 0.0,
        skip_dispatch: Callable[[tuple[str, ...]], tuple[str, ...]] | None = None,
        hand_on: HandOn | None = None,
    ) -> Settled | Refused:
        """Commit what an attempt came to, and go on with what it opened.

        ``late``: the worker that the history names if the outcome comes too late.
        ``patience``: seconds for which the commit is repeated while Redis is away.
        ``skip_dispatch``: gets the opened paths and returns those that still need a message
        (the rest of a running chain carries the others).
        ``hand_on``: says what the caller goes on with itself, if the transition lets it; then
        the reply holds it, as ``handed``.
        """
        plan, reply, transition = self._commit(
            plan, view, path, state, outcome, late, patience, hand_on
        )
        if isinstance(reply, Refused):
            return reply
        fault("settled")
        if reply.parent is not None:
            fault("child_ended")
        paths = _to_dispatch(transition)
        if skip_dispatch is not None:
            paths = skip_dispatch(paths)
        self.apply(plan, view.execution, (*paths, *_following(plan, reply)), view.priority)
        self._do(self._left(plan, view.execution, transition, reply))
        return reply

    def follow(
        self,
        plan: Plan,
        execution: str,
        transition: Transition,
        reply: Settled | None = None,
        priority: int = 0,
    ) -> None:
        """Go on behind a transition that somebody else committed: a start, or a skip."""
        reply = reply or Settled()
        self.apply(plan, execution, (*transition.dispatched, *_following(plan, reply)), priority)
        self._do(self._left(plan, execution, transition, reply))

    def behind(self, plan: Plan, execution: str, transition: Transition) -> None:
        """As `follow`, where the messages were sent."""
        self._do(self._left(plan, execution, transition, Settled()))

    def _commit(
        self,
        plan: Plan,
        view: View,
        path: str,
        state: StepState,
        outcome: Outcome,
        late: str = "",
        patience: float = 0.0,
        hand_on: HandOn | None = None,
        notes: tuple[Event, ...] = (),
    ) -> tuple[Plan, Settled | Refused, Transition]:
        """Decide and commit; again, where the execution was put on another plan meanwhile."""
        journal, execution = self.journal, view.execution
        reads = entry_fields_for if isinstance(outcome, Entered) else fields_for
        commit = partial(
            journal.settle,
            execution,
            expect=state.status.value,
            attempt=state.attempt,
            owner=state.owner if state.status is StepStatus.RUNNING else "",
            late=late,
        )
        while True:
            transition = decide(plan, view, path, state, outcome, journal.clock(), journal.grace)
            if notes:
                transition = replace(transition, events=(*notes, *transition.events))
            handoff = hand_on(plan, transition) if hand_on is not None else None
            reply = journal.patiently(partial(commit, transition, handoff=handoff), patience)
            if reply == _CANCELLING and not transition.unwinds:
                transition = while_cancelling(transition, journal.clock())
                transition = replace(transition, events=(*notes, *transition.events))
                reply = journal.patiently(partial(commit, transition), patience)
            if not _is_replanned(reply):
                return plan, reply, transition
            plan = journal.patiently(partial(self.plans.get, reply.rest[0]), patience)
            view = journal.patiently(
                partial(journal.read_view, execution, reads(plan, path)), patience
            )

    def _left(
        self, plan: Plan, execution: str, transition: Transition, reply: Settled
    ) -> list[Todo]:
        """What is to be done behind a transition that was committed, beside messages."""
        todo: list[Todo] = [
            (self._join, (plan, execution, path))
            for path in (*transition.joined, *((reply.joined,) if reply.joined else ()))
        ]
        if reply.following is not None and not plan.node(reply.following).plain:
            todo.append((self._join, (plan, execution, reply.following)))
        todo += [(self._call, (Call(execution, path, 0),)) for path in transition.calling]
        todo += [(self._cancel_child, (call,)) for call in reply.calls]
        todo += [(self._take_kept, (Call(execution, path, 0),)) for path in transition.listening]
        todo += [(self._emit, (Call(execution, path, 0),)) for path in transition.emitting]
        todo += [(self._take_report, (Call(execution, path, 0),)) for path in transition.external]
        if transition.unwinds:
            fault("unwound")
            todo.append((self._unwind, (Call(execution, transition.path, 0),)))
        if transition.end is not None and reply.repeated:
            family = self.journal.read_family(execution)
            if family is not None:
                reply = replace(reply, parent=family.parent, slots=family.slots)
        return todo + self._after(execution, reply.parent, reply.slots)

    def _do(self, todo: list[Todo]) -> None:
        """Carry on what was committed: it raises nothing, since the watch would do it too.

        A loop, not a recursion: a join may close the next one, a child may end its parent, and
        iterations or items that do nothing follow one another here.
        """
        while todo:
            act, given = todo.pop()
            try:
                todo += act(*given)
            except OrchError as exc:
                what, path, execution = _named(act.__name__.strip("_"), given)
                logger.warning(
                    "the %s %s of execution %s is left to the watch: %s", what, path, execution, exc
                )

    def _join(self, plan: Plan, execution: str, path: str) -> Sequence[Todo]:
        """Go on behind a step whose branches are decided, or into an item."""
        found = self.journal.read_state(execution, path)
        if found is None:
            return ()
        state = found[1]
        outcome: Outcome
        match state.status:
            case StepStatus.JOINED:
                outcome = self._joined(plan, execution, path, state)
                fields = fields_for(plan, path)
            case StepStatus.ENTERING:
                outcome, fields = Entered(), entry_fields_for(plan, path)
            case _:
                return ()
        view = self.journal.read_view(execution, fields)
        return self._advance(plan, view, path, state, outcome)

    def _joined(self, plan: Plan, execution: str, path: str, state: StepState) -> Outcome:
        node, scopes = plan.node(path), scopes_to_join(plan, path, state)
        if node.mapped is None:
            return Branched(self.journal.read_branches(execution, scopes))
        results, size, failures = self.journal.read_items(execution, scopes)
        limit = self.journal.settings.output_limit
        if failures <= limit:
            return Branched(results, size if size > limit else 0)
        message = (
            f"the failures of map {node.id!r} are {failures} bytes of JSON, and {limit} are "
            f"allowed; `tolerate` fewer of them, or raise ORCH_OUTPUT_LIMIT"
        )
        return Failed(Failure("OutputTooLarge", message, node.id, path))

    def _advance(
        self,
        plan: Plan,
        view: View,
        path: str,
        state: StepState,
        outcome: Outcome,
        notes: tuple[Event, ...] = (),
    ) -> Sequence[Todo]:
        """Commit an outcome of which no worker is the owner; what that leaves to be done."""
        plan, reply, transition = self._commit(plan, view, path, state, outcome, notes=notes)
        if isinstance(reply, Refused):
            return ()
        paths = (*_to_dispatch(transition), *_following(plan, reply))
        self.apply(plan, view.execution, paths, view.priority)
        return self._left(plan, view.execution, transition, reply)

    # --- children ------------------------------------------------------------------------

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
            cancels = parent.status is ExecutionStatus.CANCELLING
            return [(self._cancel_with, (call,))] if cancels else ()
        outcome: Outcome
        if child is not None:
            outcome = call.outcome(child.status, child.output, child.error)
        elif parent.status is ExecutionStatus.PAUSED or pauses_over(parent.pauses, call.path):
            return ()  # nothing of it starts; its resumption has the step looked at
        elif parent.status is ExecutionStatus.CANCELLING:
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
        start = make_start(
            self.journal,
            own,
            called.name,
            call.child,
            checked_input(self.journal.settings, called.name, own.definition, input),
            parent=call,
            depth=parent.depth + 1,
            deadline=parent.deadline,
            options=StartOptions(priority=own.definition.priority or view.priority),
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
            if start.transition.end is not None:
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
        """The step that called it does not wait any more."""
        error = {
            "name": "Cancelled",
            "message": f"step {call.path!r} of its parent {call.execution} waits for it no more",
        }
        reply = self.journal.end(call.child, ExecutionStatus.CANCELLED, error)
        return [] if isinstance(reply, Refused) else self._behind_end(call.child, reply)

    # --- cancellation ----------------------------------------------------------------------

    def cancel(self, execution: str, message: str, *, by: str, grace: int) -> Cancelled:
        """Begin to cancel an execution; what runs, its children too, has ``grace`` ms to end."""
        reply, todo = self._begin_to_cancel(execution, message, by, grace)
        self._do(todo)
        return reply

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
        todo: list[Todo] = [(self._unwind, (Call(execution, "", 0),))]
        return reply, [*todo, *((self._cancel_with, (call,)) for call in reply.calls)]

    def _cancel_with(self, call: Call) -> Sequence[Todo]:
        """Cancel the child of an execution that is being cancelled, by the same rules."""
        parent = self.journal.read_family(call.execution)
        if parent is None or parent.cancel is None:
            return ()
        if self.journal.status(call.child) is None:
            return [(self._call, (call,))]  # it was not started, and will not be
        asked = parent.cancel
        message = f"its parent {call.execution} was cancelled: {asked['message']}"
        grace = max(asked["until"] - self.journal.clock(), 0)
        return self._begin_to_cancel(call.child, message, asked["by"], grace)[1]

    def _unwind(self, call: Call) -> Sequence[Todo]:
        """The next compensation of a cancelled execution, or its end."""
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
        self, execution: str, status: ExecutionStatus, error: Mapping[str, Any], *, by: str = ""
    ) -> Refused | Ended:
        """End an execution from outside, and its children with it; its parent is told."""
        reply = self.journal.end(execution, status, error, by=by)
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
        family = self.journal.read_family(execution)
        now = self.journal.clock()
        if family is not None and _may_begin(family, now) and self._is_wanted(family):
            self._do([(self._begin, (Call(execution, "", 0),))])
            return
        parent = family.parent if family is not None else None
        if parent is not None and not self._is_waited_for(parent):
            self._do(list(self._cancel_child(parent)))
            return
        if family is not None and family.status is ExecutionStatus.CANCELLING:
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
        error = {"name": "ExecutionTimeout", "message": message}
        self.end(execution, ExecutionStatus.FAILED, error)

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
        if transition.end is not None:
            reply = Settled(parent=pending.parent, slots=pending.slots)
        return [*todo, *self._left(plan, execution, transition, reply)]

    # --- gates ---------------------------------------------------------------------------

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
            error = {"name": "ConcurrencyRejected", "message": full(gate, pending.workflow)}
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

    # --- events --------------------------------------------------------------------------

    def trigger(self, event: Occurrence, by: str = "") -> Told:
        """Hand an event to all that wait for it, each once, and start what it triggers.

        ``by``: the execution that tells it.
        """
        told, todo = self._tell(event, by)
        self._do(todo)
        return told

    def _tell(self, event: Occurrence, by: str) -> tuple[Told, list[Todo]]:
        """What it came to, and what that leaves to be done.

        It is kept first: a step that begins to listen meanwhile finds it there, or is found.
        Of an event that was triggered before under its id, only what is missing is done.
        """
        begun = self.journal.clock()
        since = self.journal.first_triggered(event.id)
        self.journal.keep_event(event)  # told again, too: who told it first may have died here
        taken = 0
        todo: list[Todo] = []
        for execution, path in self.journal.listeners(event):
            found = self._deliver(event, execution, path, since, begun)
            taken += found is not None
            todo += found or ()
        started = []
        for each in self.start_triggered(self, event, since, by):
            if isinstance(each, NewlyTriggered):
                paths = each.transition.dispatched
                self.apply(each.plan, each.execution, paths, each.priority)
                todo += self._left(each.plan, each.execution, each.transition, Settled())
                todo += self._let_begin((each.execution,) if each.queued else ())
            started.append(each)
        return Told(
            taken,
            tuple(each for each in started if isinstance(each, Triggered)),
            tuple(each for each in started if isinstance(each, NotTriggered)),
        ), todo

    def _deliver(
        self, event: Occurrence, execution: str, path: str, since: int | None, begun: int
    ) -> Sequence[Todo] | None:
        """Let a step take an event; None: it did not.

        ``since``: only if it has listened since before then, ms. ``begun``: a step that listens
        since then or later takes it only if no other of its execution did: a loop would else
        take one event again and again.
        """
        found = self.journal.read_state(execution, path)
        plan = self._plan_of(execution)
        if plan is None or found is None or found[1].status is not StepStatus.LISTENING:
            return None
        state = found[1]
        if since is not None and state.since >= since:
            return None
        view = self.journal.read_view(execution, fields_for(plan, path))
        outcome: Outcome = Completed(event.payload)
        try:
            if not matches(plan.node(path), view, path, event.payload):
                return None
        except StepError as error:
            step = plan.node(path).id
            outcome = Failed(Failure(error.name, error.message, step, path, state.attempt))
        transition = decide(
            plan, view, path, state, outcome, self.journal.clock(), self.journal.grace
        )
        field = taken_field(event.id)
        transition = replace(
            transition,
            fields=(*transition.fields, (field, path)),
            once=field if state.since >= begun else "",
        )
        reply = self.journal.settle(
            execution, transition, expect=state.status.value, attempt=state.attempt
        )
        if _is_replanned(reply):
            return self._deliver(event, execution, path, since, begun)
        if isinstance(reply, Refused):
            return None
        paths = (*_to_dispatch(transition), *_following(plan, reply))
        self.apply(plan, execution, paths, view.priority)
        return self._left(plan, execution, transition, reply)

    def _take_kept(self, call: Call) -> Sequence[Todo]:
        """See whether the event that a step waits for came before it."""
        plan = self._plan_of(call.execution)
        wanted = self.journal.subscription_of(call.execution, call.path)
        if plan is None or wanted is None:
            return ()
        for event in self.journal.kept_events(call.execution, *wanted):
            found = self._deliver(event, call.execution, call.path, None, 0)
            if found is not None:
                return found
        return ()

    def _emit(self, call: Call) -> Sequence[Todo]:
        """Send the event of a step, then complete the step. Harmless if repeated."""
        found = self.journal.read_state(call.execution, call.path)
        plan = self._plan_of(call.execution)
        if plan is None or found is None or found[1].status is not StepStatus.EMITTING:
            return ()
        if self.journal.rests(call.execution, call.path):
            return ()
        event = plan.node(call.path).event
        assert event is not None
        view = self.journal.read_view(call.execution, fields_for(plan, call.path))
        context = context_of(view, call.path)
        try:
            payload = event.payload.evaluate(context)
            correlation = correlation_of(event, context)
        except StepError as error:
            failed = replace(call, attempt=1).failed(error.name, error.message)
            return self._advance(plan, view, call.path, found[1], failed)
        id = emission_id(call.execution, call.path)
        occurrence = Occurrence(id, event.asked.name, payload, correlation)
        told, todo = self._tell(occurrence, call.execution)
        fault("emitted")
        outcome: Outcome = Completed(payload)
        if too_deep := told.too_deep():
            outcome = replace(call, attempt=1).failed(DEPTH_EXCEEDED, too_deep)
        notes = tuple(told.notes(call.path))
        return [*todo, *self._advance(plan, view, call.path, found[1], outcome, notes)]

    def emit(self, execution: str, path: str) -> None:
        self._do([(self._emit, (Call(execution, path, 0),))])

    def look_at_listening(self, execution: str, path: str, state: StepState) -> int | None:
        """A step waits for an event: is it out of time, or did one come before it?

        The instant (ms) at which its time is over; None: never.
        """
        plan = self._plan_of(execution)
        event = plan.node(path).event if plan is not None else None
        if event is None:
            return None
        limit = state.started + event.asked.timeout if event.asked.timeout else None
        if limit is not None and self.journal.clock() >= limit:
            message = f"no event {event.asked.name!r} came within {event.asked.timeout} ms"
            failed = Call(execution, path, state.attempt).failed(EVENT_TIMEOUT, message)
            self.settle_unowned(execution, path, state, failed)
        else:
            self._do([(self._take_kept, (Call(execution, path, 0),))])
        return limit

    # --- reports -------------------------------------------------------------------------

    def _take_report(self, call: Call) -> Sequence[Todo]:
        """See whether what a task waits for was reported before it was there."""
        plan = self._plan_of(call.execution)
        found = self.journal.read_state(call.execution, call.path)
        report = self.journal.kept_report(call.execution, call.path)
        if plan is None or found is None or report is None:
            return ()
        state = found[1]
        if state.status is not StepStatus.EXTERNAL:
            return ()
        reply, transition = self.report(plan, call.execution, call.path, state, report)
        if _is_replanned(reply):
            return self._take_report(call)
        if isinstance(reply, Refused):
            return ()
        paths = (*_to_dispatch(transition), *_following(plan, reply))
        self.apply(plan, call.execution, paths, self.journal.priority_of(call.execution))
        return self._left(plan, call.execution, transition, reply)

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
        transition = decide(
            plan, view, path, state, outcome, self.journal.clock(), self.journal.grace
        )
        told = Event("reported", path, state.attempt, {"by": report.by})
        return replace(transition, events=(told, *transition.events))

    # --- messages, timers, losses --------------------------------------------------------

    def apply(self, plan: Plan, execution: str, paths: Sequence[str], priority: int = 0) -> None:
        if paths:
            given = {"priority": priority} if priority else {}
            what = f"{', '.join(paths)} of execution {execution}"
            self.publish(lambda: self.dispatch(plan, execution, paths, **given), what)

    def publish(self, send: Callable[[], None], what: str = "the messages of many starts") -> None:
        """Send messages; where the broker is away, the watch does it."""
        try:
            send()
        except Unreachable as exc:
            logger.warning("%s not published, the watch will: %s", what, exc)

    def join(self, execution: str, path: str) -> None:
        """Go on behind a step whose branches are decided, or into an item. Harmless if repeated."""
        plan = self._plan_of(execution)
        if plan is not None:
            self._do([(self._join, (plan, execution, path))])

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

    def settle_unowned(self, execution: str, path: str, state: StepState, outcome: Outcome) -> None:
        plan = self._plan_of(execution)
        if plan is None:
            return
        view = self.journal.read_view(execution, fields_for(plan, path))
        self.settle(plan, view, path, state, outcome)

    def _plan_of(self, execution: str) -> Plan | None:
        key = self.journal.plan_of(execution)
        return None if key is None else self.plans.get(key)


def _is_replanned(reply: Settled | Refused) -> TypeGuard[Refused]:
    """Whether the execution goes by another plan now than that which was decided by."""
    return isinstance(reply, Refused) and reply.word == "REPLANNED"


_CANCELLING = Refused("ENDED", (ExecutionStatus.CANCELLING.value,))


def _may_begin(family: Family, now: int) -> bool:
    return not family.status.begun and not 0 < family.deadline <= now


def _to_dispatch(transition: Transition) -> tuple[str, ...]:
    state = transition.state
    again = state is not None and state.status is StepStatus.DISPATCHED
    return (transition.path, *transition.dispatched) if again else transition.dispatched


def _following(plan: Plan, reply: Settled) -> tuple[str, ...]:
    """Where the item or branch stands whose turn has come, if that takes a message, no more."""
    found = reply.following
    if found is None or reply.handed is not None:
        return reply.again
    return (found,) if plan.node(found).plain else ()


def _named(act: str, given: tuple[Any, ...]) -> tuple[str, str, str]:
    """What was to be done, and at which path of which execution."""
    call = given[0]
    if isinstance(call, Call):
        return act.replace("_", " of the "), call.path, call.execution
    return act, given[2], given[1]


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
