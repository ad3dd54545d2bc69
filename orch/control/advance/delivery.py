"""Events: handed to those that wait, kept for those that come later, emitted by steps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace

from orch.control.advance.committing import (
    Committing,
    Todo,
    following_paths,
    is_replanned,
    to_dispatch,
)
from orch.control.triggers import (
    DEPTH_EXCEEDED,
    NewlyTriggered,
    NotTriggered,
    Told,
    Triggered,
)
from orch.errors import StepError
from orch.faults import fault
from orch.journal.journal import Refused, Settled
from orch.workflows.calls import Call
from orch.workflows.events import (
    Occurrence,
    correlation_of,
    emission_id,
    matches,
    taken_field,
)
from orch.workflows.hearing import EVENT_MARK
from orch.workflows.node import EVENT_TIMEOUT
from orch.workflows.notices import EMITTED
from orch.workflows.outcome import (
    Completed,
    Failed,
    Failure,
    Outcome,
)
from orch.workflows.state import StepState, StepStatus, encode
from orch.workflows.transition import decide
from orch.workflows.view import (
    context_of,
    fields_for,
)


class Delivery(Committing):
    """Delivers events, each once to each that waits."""

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
        heard = self._hear(event, by, begun)
        since = self.journal.first_triggered(event.id)
        kept = self.journal.keep_event(event)  # again, too: who told it first may have died here
        taken = 0
        todo: list[Todo] = []
        listeners = self.journal.listeners(event)
        if kept:  # should we die before all have it: they are looked at once an hour
            self.journal.look_sooner(listeners, begun + self.journal.grace)
        for execution, path in listeners:
            found = self._deliver(event, execution, path, since, begun)
            taken += found is not None
            todo += found or ()
        if heard is not None:
            todo.append((self._send_notices, ([(heard, EMITTED)],)))
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

    def _hear(self, event: Occurrence, by: str, now: int) -> str | None:
        """Leave a notice for the webhooks that want to hear of it; its id. First of all, so that
        whoever dies behind this has told of it."""
        if not self.journal.hears(f"{EVENT_MARK}{event.name}"):
            return None
        notice = f"event-{hashlib.sha256(event.id.encode()).hexdigest()[:32]}::1"
        content = {
            "id": notice,
            "event": EMITTED,
            "at": now,
            "occurrence": {**asdict(event), "by": by},
        }
        self.journal.leave_new_notice(notice, encode(content), now + self.journal.grace)
        return notice

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
        if is_replanned(reply):
            return self._deliver(event, execution, path, since, begun)
        if isinstance(reply, Refused):
            return None
        paths = (*to_dispatch(transition), *following_paths(plan, reply))
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
