"""Commit a transition, then see to what it leaves: messages, joins, and the rest."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeGuard

from orch.control.declared import Declarations
from orch.control.fallbacks import Falling
from orch.control.gating import Gating
from orch.control.limiting import Limiting
from orch.control.plans import Plans
from orch.control.tracing import Tracing
from orch.control.triggers import start_triggered
from orch.control.unwinding import Unwinding
from orch.errors import NotFound, OrchError, Unreachable
from orch.faults import fault
from orch.journal.journal import Cancelled, Claimed, Ended, Journal, Refused, Settled
from orch.journal.records import Family
from orch.journal.scripts import Behind, Beside
from orch.workflows.agents import Agent
from orch.workflows.calls import Call
from orch.workflows.commit import Event, Transition
from orch.workflows.compensating import while_unwinding
from orch.workflows.falling import failure_to_replace
from orch.workflows.fitting import misfit
from orch.workflows.gates import Slots
from orch.workflows.handoff import Handoff
from orch.workflows.link import Straight, ended_plainly, last_end, straight_from, text_of
from orch.workflows.node import Node
from orch.workflows.outcome import (
    Branched,
    Completed,
    Entered,
    Failed,
    Failure,
    Lost,
    Outcome,
    Overdue,
    classified,
)
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung, subject_of
from orch.workflows.state import ExecutionStatus, StepState, StepStatus
from orch.workflows.transition import decide, scopes_to_join
from orch.workflows.view import View, entry_fields_for, fields_for, node_of

logger = logging.getLogger(__name__)

Dispatch = Callable[..., None]
"""(plan, execution, paths, priority=0): see to it that these tokens get a message."""


class Turn(Protocol):
    """Who goes on with a token itself, without a message for it. ``beside``: what it asks with the
    commit by which it takes one."""

    beside: Beside | None

    def offer(self, plan: Plan, view: View, transition: Transition) -> Handoff | None:
        """What it takes of what the transition opens. ``plan``: by which that was decided;
        ``view``: what was seen of the execution."""

    def takes(self, plan: Plan, node: Node) -> tuple[str, int] | None:
        """As whom, and for how many ms, it goes on with ``node``, which always follows; None: it
        does not."""

    def message_for(self, plan: Plan, view: View, path: str) -> Behind:
        """What sends a message for ``path``, to go with what opens it; (): it is sent behind."""

    def take(self, plan: Plan, path: str, claimed: Claimed) -> None:
        """The token at ``path`` is its own."""


FindPlan = Callable[[str, str | None, str], Plan]
"""(key of a workflow, version or None, execution that it is for): its plan.

Raises NotFound, DefinitionError.
"""

Tell = Callable[[str, str], None]
"""(event, id of a notice): send the task that delivers it. Raises Unreachable."""

Todo = tuple[Callable[..., Sequence[Any]], tuple[Any, ...]]
"""What a transition leaves to be done: a method, its arguments; it answers what that leaves."""


def leave_to_watch(event: str, notice: str) -> None:
    """Send no task for a notice: the watch brings it back."""


def find_nothing(key: str, version: str | None, execution: str) -> Plan:
    raise NotFound(f"no workflow {key!r}")


class Committing(ABC):
    """Commits what an outcome means, and sees to what that leaves to be done."""

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
        self.limiting = Limiting(journal)
        self.falling = Falling(journal)
        self.declarations = Declarations(journal)
        self._begun = {
            StepStatus.CALLING: self._call,
            StepStatus.LISTENING: self._take_kept,
            StepStatus.EMITTING: self._emit,
            StepStatus.EXTERNAL: self._take_report,
        }
        self.gated = True
        self.tell: Tell = leave_to_watch
        self.dispatch_first = dispatch
        self.tracing: Tracing | None = None

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
        turn: Turn | None = None,
        before: str = "",
    ) -> Settled | Refused:
        """Commit what an attempt came to, and go on with what it opened.

        ``late``: the worker that the history names if the outcome comes too late.
        ``patience``: seconds for which the commit is repeated while Redis is away.
        ``skip_dispatch``: gets the opened paths and returns those that still need a message
        (the rest of a running chain carries the others).
        ``turn``: of the caller, who may go on with what is opened here, or behind it, itself.
        ``before``: ``state`` as it is stored, if the caller knows.
        """
        straight = self._straight(plan, view, path, state, outcome) if turn is not None else None
        now = 0
        if straight is not None and turn is not None and isinstance(outcome, Completed):
            now = self.journal.clock()
            taker = turn.takes(plan, straight.node)
            behind = turn.message_for(plan, view, straight.path) if taker is None else ()
            settle = partial(
                self.journal.settle_straight,
                plan.key,
                straight,
                view,
                path,
                state,
                text_of(outcome),
                now,
                taker,
                behind,
                turn.beside,
                before,
            )
            settled = self.journal.patiently(settle, patience)
            if settled is not None:
                fault("settled")
                _give(turn, plan, settled)
                sent = settled.handed is not None or bool(behind)
                paths: tuple[str, ...] = () if sent else (straight.path,)
                paths = paths if skip_dispatch is None else skip_dispatch(paths)
                self.apply(plan, view.execution, paths, view.priority)
                return settled
        plan, reply, transition = self._commit(
            plan, view, path, state, outcome, late, patience, turn, now=now, before=before
        )
        if isinstance(reply, Refused):
            if reply.word == "KEPT" and ExecutionStatus(reply.rest[0]).unwinds:
                self._do([(self._unwind, (Call(view.execution, path, 0),))])
            return reply
        fault("settled")
        if reply.parent is not None:
            fault("child_ended")
        paths = to_dispatch(transition, reply)
        if skip_dispatch is not None:
            paths = skip_dispatch(paths)
        self.apply(plan, view.execution, (*paths, *following_paths(plan, reply)), view.priority)
        self._do(self._left(plan, view.execution, transition, reply, turn))
        return reply

    def _straight(
        self, plan: Plan, view: View, path: str, state: StepState, outcome: Outcome
    ) -> Straight | None:
        """What always follows; None: it takes `decide` to know, or somebody asks for more."""
        if self.tracing is not None or not ended_plainly(outcome, view, state):
            return None
        return straight_from(plan, path)

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
        self.apply(
            plan, execution, (*transition.dispatched, *following_paths(plan, reply)), priority
        )
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
        turn: Turn | None = None,
        notes: tuple[Event, ...] = (),
        now: int = 0,
        before: str = "",
    ) -> tuple[Plan, Settled | Refused, Transition]:
        """Decide and commit; again, where the execution was put on another plan meanwhile.

        ``now``: the instant at which it may have been committed already, unheard. ``before``: as of
        `settle`.
        """
        journal, execution = self.journal, view.execution
        outcome = classified(outcome, journal.settings.error_classes)
        reads = entry_fields_for if isinstance(outcome, Entered) else fields_for
        commit = partial(
            journal.settle,
            execution,
            expect=state.status.value,
            attempt=state.attempt,
            owner=state.owner if state.status in HELD else "",
            before=(before or state.dumps()) if state.status is StepStatus.RUNNING else "",
            late=late,
        )
        if plan.reassigns and isinstance(outcome, Failed | Lost | Overdue):
            agents = journal.patiently(partial(self.agents_for, plan, path), patience)
            view = replace(view, agents=agents)
        if isinstance(outcome, Failed) and not in_rung(path):
            outcome = journal.patiently(
                partial(self._with_declared, plan, view, path, outcome), patience
            )
        while True:
            at, now = now or journal.clock(), 0
            transition = last_end(plan, view, path, state, outcome, at) or decide(
                plan, view, path, state, outcome, at, journal.grace
            )
            alone = transition
            error = failure_to_replace(plan, path, outcome, transition)
            if error is not None:
                stands_in = partial(self.falling.instead, plan, view, path, outcome, error)
                found = journal.patiently(stands_in, patience)
                if found is not None:
                    now = journal.clock()
                    transition = decide(plan, view, path, state, found, now, journal.grace)
            if notes:
                transition = replace(transition, events=(*notes, *transition.events))
            handoff = turn.offer(plan, view, transition) if turn is not None else None
            reply = journal.patiently(partial(commit, transition, handoff=handoff), patience)
            if _unwinds(reply) and not transition.unwinds:
                transition = while_unwinding(alone, journal.clock())
                transition = replace(transition, events=(*notes, *transition.events))
                reply = journal.patiently(partial(commit, transition), patience)
            if reply == _MOVED:
                read = partial(journal.read_view, execution, reads(plan, path))
                view = replace(journal.patiently(read, patience), agents=view.agents)
                continue
            if not is_replanned(reply):
                _give(turn, plan, reply)
                if self.tracing is not None and not late and isinstance(reply, Settled):
                    self.tracing.tell_attempt(plan, execution, path, state, outcome)
                return plan, reply, transition
            plan = journal.patiently(partial(self.plans.get, reply.rest[0]), patience)
            view = journal.patiently(
                partial(journal.read_view, execution, reads(plan, path)), patience
            )

    def _with_declared(self, plan: Plan, view: View, path: str, failed: Failed) -> Failed:
        """With the retry that is declared of the capability, if the step does not say."""
        node = node_of(plan, view, path)
        if node.step.retry is not None or not node.is_work or not failed.retryable:
            return failed
        return replace(failed, retry=self.declarations.retry(node.capability))

    def agents_for(self, plan: Plan, path: str) -> tuple[Agent, ...]:
        """The live agents, but for those whose version is not what the step asks for."""
        agents, node = self.journal.live_agents(), plan.node(subject_of(path))
        if node.versions is None:
            return agents
        profiles = self.journal.read_profiles(agent.profile for agent in agents)
        offers = {name: found.get(node.capability) for name, found in profiles.items()}
        return tuple(each for each in agents if not misfit(node, offers.get(each.profile)))

    def _left(
        self,
        plan: Plan,
        execution: str,
        transition: Transition,
        reply: Settled,
        turn: Turn | None = None,
    ) -> list[Todo]:
        """What is to be done behind a transition that was committed, beside messages."""
        todo: list[Todo] = []
        if reply.joined is not None:
            todo.append((self._join, (plan, execution, reply.joined, turn)))
        following = reply.following if reply.handed is None else None
        if following is not None and not plan.node(following).plain:
            todo.append((self._join, (plan, execution, following, turn)))
        todo += [(self._cancel_child, (call,)) for call in reply.calls]
        for opened in transition.written:
            status, path = opened.state.status, opened.path
            if status in (StepStatus.JOINED, StepStatus.ENTERING):
                todo.append((self._join, (plan, execution, path, turn)))
            elif status in self._begun:
                todo.append((self._begun[status], (Call(execution, path, 0),)))
        if transition.notices:
            told = [(name, _event_of(text)) for name, text in transition.notices]
            todo.append((self._send_notices, (told,)))
        fails = transition.end is not None and not transition.is_over
        if transition.unwinds or fails:
            fault("unwound")
            todo.append((self._unwind, (Call(execution, transition.path, 0),)))
        if transition.is_over and self.tracing is not None:
            self.tracing.tell_execution(execution)
        if transition.is_over and reply.repeated:
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

    def _join(
        self, plan: Plan, execution: str, path: str, turn: Turn | None = None
    ) -> Sequence[Todo]:
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
        return self._advance(plan, view, path, state, outcome, turn=turn)

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
        turn: Turn | None = None,
    ) -> Sequence[Todo]:
        """Commit an outcome of which no worker is the owner; what that leaves to be done."""
        plan, reply, transition = self._commit(
            plan, view, path, state, outcome, turn=turn, notes=notes
        )
        if isinstance(reply, Refused):
            return ()
        fault("advanced")
        paths = (*to_dispatch(transition, reply), *following_paths(plan, reply))
        self.apply(plan, view.execution, paths, view.priority)
        return self._left(plan, view.execution, transition, reply, turn)

    # --- messages --------------------------------------------------------------------------

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

    def join(
        self, execution: str, path: str, calls: Sequence[Call] = (), turn: Turn | None = None
    ) -> None:
        """Go on behind a step whose branches are decided, or into an item. Harmless if repeated.

        ``calls``: tokens that this cancelled, and whose children must be.
        """
        plan = self._plan_of(execution)
        if plan is not None:
            cancel: list[Todo] = [(self._cancel_child, (call,)) for call in calls]
            self._do([(self._join, (plan, execution, path, turn)), *cancel])

    def settle_unowned(self, execution: str, path: str, state: StepState, outcome: Outcome) -> None:
        plan = self._plan_of(execution)
        if plan is None:
            return
        view = self.journal.read_view(execution, fields_for(plan, path))
        self.settle(plan, view, path, state, outcome)
        call = Call(execution, path, state.attempt)
        if state.waits_for_limits:
            self._do([(self._give_up_limits, (call,))])
        elif state.status is StepStatus.RUNNING and not _is_tried_at_once(plan, path, outcome):
            self._do([(self._leave_limits, (call, state.owner))])

    def _plan_of(self, execution: str) -> Plan | None:
        key = self.journal.plan_of(execution)
        return None if key is None else self.plans.get(key)

    # --- what the other parts of an `Advancer` do --------------------------------------------

    @abstractmethod
    def _after(self, execution: str, parent: Call | None, slots: Slots | None) -> list[Todo]: ...

    @abstractmethod
    def _behind_end(self, execution: str, ended: Ended) -> list[Todo]: ...

    @abstractmethod
    def _call(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def _cancel_child(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def _emit(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def _take_kept(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def _take_report(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def _send_notices(self, notices: Sequence[tuple[str, str]]) -> Sequence[Todo]: ...

    @abstractmethod
    def look_at_notice(self, member: str) -> None: ...

    @abstractmethod
    def fail(self, execution: str, error: Mapping[str, Any], *, by: str = "") -> bool: ...

    @abstractmethod
    def _unwind(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def _begin(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def _begin_to_cancel(
        self, execution: str, message: str, by: str, grace: int
    ) -> tuple[Cancelled, list[Todo]]: ...

    @abstractmethod
    def _cancel_with(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def _is_waited_for(self, call: Call) -> bool: ...

    @abstractmethod
    def _is_wanted(self, family: Family) -> bool: ...

    @abstractmethod
    def _leave(self, call: Call, slots: Slots) -> Sequence[Todo]: ...

    @abstractmethod
    def _let_begin(self, executions: Sequence[str]) -> list[Todo]: ...

    @abstractmethod
    def _look_at_gate(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def _look_at_limits(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def _leave_limits(self, call: Call, owner: str) -> Sequence[Todo]: ...

    @abstractmethod
    def _give_up_limits(self, call: Call) -> Sequence[Todo]: ...

    @abstractmethod
    def call(self, execution: str, path: str) -> None: ...

    @abstractmethod
    def cancel_child(self, execution: str, path: str, attempt: int) -> None: ...

    @abstractmethod
    def take_report(self, execution: str, path: str) -> None: ...


def _is_tried_at_once(plan: Plan, path: str, outcome: Outcome) -> bool:
    """Whether the next attempt takes over what this one held of the limits."""
    lost = isinstance(outcome, Lost) and not outcome.poison
    return lost and plan.node(path).step.delivery == "at_least_once"


def is_replanned(reply: Settled | Refused) -> TypeGuard[Refused]:
    """Whether the execution goes by another plan now than that which was decided by."""
    return isinstance(reply, Refused) and reply.word == "REPLANNED"


_MOVED = Refused("MOVED")

HELD = (StepStatus.RUNNING, StepStatus.ESCALATED)
"""States whose owner is part of the fence."""


def _unwinds(reply: Settled | Refused) -> bool:
    """Whether it came when nothing may follow any more; what was done is still to be noted."""
    if isinstance(reply, Settled) or reply.word != "ENDED":
        return False
    return ExecutionStatus(reply.rest[0]).unwinds


def to_dispatch(transition: Transition, reply: Settled | None = None) -> tuple[str, ...]:
    """Paths that need a message now: not the one that the worker goes on with."""
    state = transition.state
    again = state is not None and state.status is StepStatus.DISPATCHED
    again = again and not (state is not None and state.waits_for_limits)
    paths = (transition.path, *transition.dispatched) if again else transition.dispatched
    if reply is None or reply.handed is None:
        return paths
    return tuple(path for path in paths if path != reply.following)


def _give(turn: Turn | None, plan: Plan, reply: Settled | Refused) -> None:
    if turn is not None and isinstance(reply, Settled) and reply.handed is not None:
        assert reply.following is not None
        turn.take(plan, reply.following, reply.handed)


def following_paths(plan: Plan, reply: Settled) -> tuple[str, ...]:
    """Where the item or branch stands whose turn has come, if that takes a message, no more."""
    found = reply.following
    if found is None or reply.handed is not None:
        return reply.again
    return (found,) if plan.node(found).plain else ()


def _event_of(notice: str) -> str:
    return str(json.loads(notice)["event"])


def _named(act: str, given: tuple[Any, ...]) -> tuple[str, str, str]:
    """What was to be done, and at which path of which execution."""
    call = given[0]
    if isinstance(call, list):
        return act, ", ".join(name for name, _ in call), "notices"
    if isinstance(call, Call):
        return act.replace("_", " of the "), call.path, call.execution
    return act, given[2], given[1]
