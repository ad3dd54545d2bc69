"""Commit a transition, then apply what remains: the one operation behind everything.

A step's end, a fired timer, a joined parallel, a lost attempt and a start differ only in
their outcome. Each is decided by `orch.workflows.transition`, committed by one script, and
followed by the canvas of the tokens that it opened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from orch.control.plans import Plans
from orch.errors import Unreachable
from orch.faults import fault
from orch.journal.journal import Journal, Refused, Settled
from orch.workflows.commit import Transition
from orch.workflows.outcome import (
    Branched,
    Completed,
    Entered,
    Failed,
    Failure,
    Lost,
    Outcome,
)
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus
from orch.workflows.transition import decide, scopes_to_join
from orch.workflows.view import View, entry_fields_for, fields_for

logger = logging.getLogger(__name__)

Dispatch = Callable[[Plan, str, Sequence[str]], None]
"""(plan, execution, paths): see to it that these tokens get a message."""


class Advancer:
    """Moves tokens on. ``dispatch`` may fail: the watch brings such tokens back."""

    def __init__(self, journal: Journal, plans: Plans, dispatch: Dispatch) -> None:
        self.journal = journal
        self.plans = plans
        self.dispatch = dispatch

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
    ) -> Settled | Refused:
        """Commit what an attempt came to, and go on with what it opened.

        ``late``: the worker that the history names if the outcome comes too late.
        ``patience``: seconds for which the commit is repeated while Redis is away.
        ``skip_dispatch``: gets the opened paths and returns those that still need a message
        (the rest of a running chain carries the others).
        """
        reply, transition = self._commit(plan, view, path, state, outcome, late, patience)
        if isinstance(reply, Refused):
            return reply
        fault("settled")
        paths = _to_dispatch(transition)
        if skip_dispatch is not None:
            paths = skip_dispatch(paths)
        messages, joined = _following(plan, reply)
        self.go_on(
            plan, view.execution, (*paths, *messages), (*_to_join(transition, reply), *joined)
        )
        return reply

    def _commit(
        self,
        plan: Plan,
        view: View,
        path: str,
        state: StepState,
        outcome: Outcome,
        late: str = "",
        patience: float = 0.0,
    ) -> tuple[Settled | Refused, Transition]:
        journal = self.journal
        transition = decide(plan, view, path, state, outcome, journal.clock(), journal.grace)
        reply = journal.patiently(
            lambda: journal.settle(
                view.execution,
                transition,
                expect=state.status.value,
                attempt=state.attempt,
                owner=state.owner if state.status is StepStatus.RUNNING else "",
                late=late,
            ),
            patience,
        )
        return reply, transition

    def go_on(
        self, plan: Plan, execution: str, paths: Sequence[str], joined: Sequence[str]
    ) -> None:
        """Carry on what was committed: it raises nothing, since the watch would do it too.

        A loop, not a recursion: a join may close the next one, and iterations or items that do
        nothing follow one another here.
        """
        self.apply(plan, execution, paths)
        todo = list(joined)
        while todo:
            path = todo.pop()
            try:
                todo += self._join(plan, execution, path)
            except Unreachable as exc:
                logger.warning(
                    "the join %s of execution %s is left to the watch: %s", path, execution, exc
                )

    def _join(self, plan: Plan, execution: str, path: str) -> Sequence[str]:
        """Go on behind a step whose branches are decided, or into an item; what that closes."""
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
        reply, transition = self._commit(plan, view, path, state, outcome)
        if isinstance(reply, Refused):
            return ()
        messages, joined = _following(plan, reply)
        self.apply(plan, execution, (*_to_dispatch(transition), *messages))
        return (*_to_join(transition, reply), *joined)

    def _joined(self, plan: Plan, execution: str, path: str, state: StepState) -> Outcome:
        node, scopes = plan.node(path), scopes_to_join(plan, path, state)
        if node.mapped is None:
            return Branched(self.journal.read_branches(execution, scopes))
        results = self.journal.read_items(execution, scopes)
        if not isinstance(results, int):
            return Branched(results)
        message = (
            f"the results of map {node.id!r} are {results} bytes of JSON, and "
            f"{self.journal.settings.output_limit} are allowed; `collect` less of each item, "
            f"store them elsewhere, or raise ORCH_OUTPUT_LIMIT"
        )
        return Failed(Failure("OutputTooLarge", message, node.id, path))

    def apply(self, plan: Plan, execution: str, paths: Sequence[str]) -> None:
        if not paths:
            return
        try:
            self.dispatch(plan, execution, paths)
        except Unreachable as exc:
            logger.warning(
                "%s of execution %s not published, the watch will: %s",
                ", ".join(paths),
                execution,
                exc,
            )

    def join(self, execution: str, path: str) -> None:
        """Go on behind a step whose branches are decided, or into an item. Harmless if repeated."""
        plan = self._plan_of(execution)
        if plan is not None:
            self.go_on(plan, execution, (), (path,))

    def fire(self, execution: str, path: str, state: StepState) -> None:
        """A timer is over: the wait step is completed."""
        self.settle_unowned(execution, path, state, Completed(None))

    def lose(self, execution: str, path: str, state: StepState, reason: str) -> None:
        """The worker that held the attempt is gone: the next one, or poison."""
        poison = state.lost + 1 >= self.journal.settings.max_lost_attempts
        self.settle_unowned(execution, path, state, Lost(reason, poison))

    def time_out(self, execution: str, path: str, state: StepState, timeout: int) -> None:
        """The attempt (or the parallel step) took longer than ``timeout`` ms: it fails."""
        step = path.rpartition("/")[2].partition("#")[0]
        message = f"step {step!r} took longer than its timeout of {timeout} ms"
        failure = Failure("StepTimeout", message, step, path, state.attempt)
        self.settle_unowned(execution, path, state, Failed(failure))

    def redispatch(self, execution: str, path: str, state: StepState) -> None:
        """A message that was lost is sent again; a back-off that is over is ended."""
        plan = self._plan_of(execution)
        if plan is not None and self.journal.redispatch(execution, path, state):
            self.apply(plan, execution, (path,))

    def settle_unowned(self, execution: str, path: str, state: StepState, outcome: Outcome) -> None:
        plan = self._plan_of(execution)
        if plan is None:
            return
        view = self.journal.read_view(execution, fields_for(plan, path))
        self.settle(plan, view, path, state, outcome)

    def _plan_of(self, execution: str) -> Plan | None:
        key = self.journal.plan_of(execution)
        return None if key is None else self.plans.get(key)


def _to_dispatch(transition: Transition) -> tuple[str, ...]:
    state = transition.state
    again = state is not None and state.status is StepStatus.DISPATCHED
    return (transition.path, *transition.dispatched) if again else transition.dispatched


def _to_join(transition: Transition, reply: Settled) -> tuple[str, ...]:
    return (*transition.joined, reply.joined) if reply.joined else transition.joined


def _following(plan: Plan, reply: Settled) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The item whose turn has come: a path that needs a message, or one to go on at."""
    if reply.following is None:
        return (), ()
    path = (reply.following,)
    return (path, ()) if plan.node(reply.following).plain else ((), path)
