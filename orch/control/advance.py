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
from orch.workflows.outcome import Branched, Completed, Failed, Failure, Lost, Outcome
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus
from orch.workflows.transition import decide
from orch.workflows.view import View, fields_for

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
        if isinstance(reply, Refused):
            return reply
        fault("settled")
        paths = transition.dispatched
        if transition.state is not None and transition.state.status is StepStatus.DISPATCHED:
            paths = (path, *paths)
        if skip_dispatch is not None:
            paths = skip_dispatch(paths)
        joined = (*transition.joined, *((reply.joined,) if reply.joined else ()))
        self.go_on(plan, view.execution, paths, joined)
        return reply

    def go_on(
        self, plan: Plan, execution: str, paths: Sequence[str], joined: Sequence[str]
    ) -> None:
        """Carry on what was committed: it raises nothing, since the watch would do it too."""
        self.apply(plan, execution, paths)
        for path in joined:
            try:
                self.join(execution, path, plan)
            except Unreachable as exc:
                logger.warning(
                    "the join %s of execution %s is left to the watch: %s", path, execution, exc
                )

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

    def join(self, execution: str, path: str, plan: Plan | None = None) -> None:
        """Go on behind a parallel step whose branches have all ended. Harmless if repeated."""
        found = self.journal.read_state(execution, path)
        if found is None or found[1].status is not StepStatus.JOINED:
            return
        plan = plan or self._plan_of(execution)
        if plan is None:
            return
        state = found[1]
        results = self.journal.read_branches(execution, path, state.total)
        view = self.journal.read_view(execution, fields_for(plan, path))
        self.settle(plan, view, path, state, Branched(results))

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

    def settle_unowned(
        self, execution: str, path: str, state: StepState, outcome: Outcome
    ) -> None:
        plan = self._plan_of(execution)
        if plan is None:
            return
        view = self.journal.read_view(execution, fields_for(plan, path))
        self.settle(plan, view, path, state, outcome)

    def _plan_of(self, execution: str) -> Plan | None:
        key = self.journal.plan_of(execution)
        return None if key is None else self.plans.get(key)
