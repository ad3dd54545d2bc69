"""Branches of one parallel step that a message brought together, done by one worker.

Where the capability is quick, they are claimed some at a time, and what they came to is committed
some at a time, by one script. Where it is not, or it is not known yet, each gets a message.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from orch.control.advance import Turn
from orch.control.runtime import Runtime
from orch.journal.bundles import NOTHING, Bundled, Taking
from orch.journal.journal import Claimed, Refused
from orch.tasks.pace import QUICK
from orch.workflows.commit import Transition
from orch.workflows.link import plain_end
from orch.workflows.outcome import Outcome, Released
from orch.workflows.paths import join_of, split
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus
from orch.workflows.transition import decide
from orch.workflows.view import View, beat_field, fields_for

logger = logging.getLogger(__name__)

AT_ONCE = 16
"""Branches in one script: what is done is committed no later than their calls together."""

KEPT = 48
"""Branches that a worker keeps of a bundle; the others go to whoever is free. What would be left is
kept, too, if one script can claim it: a message takes longer."""

LONG = 4 * QUICK
"""Seconds; a call that takes longer ends the bundle."""

Attempt = Callable[[Plan, str, Claimed], tuple[Outcome, View]]
"""Calls what a step names; what came of it, and what it left in its view."""


@dataclass
class Bundle:
    """``paths``: where the branches begin. ``turn``: goes on behind the join, if they close it.

    ``lease``: ms after which what is claimed is looked at.
    """

    runtime: Runtime
    plan: Plan
    execution: str
    paths: Sequence[str]
    owner: str
    attempt: Attempt
    turn: Turn
    lease: int
    priority: int = 0
    _todo: deque[str] = field(default_factory=deque)
    _ended: list[tuple[Claimed, Outcome, Transition]] = field(default_factory=list)
    _opened: list[str] = field(default_factory=list)
    _single: list[str] = field(default_factory=list)
    _over: bool = False  # the branches are decided: what is left of them is cancelled

    def run(self) -> int:
        """Do the branches that are kept, and send messages for what is left; how many were done."""
        kept = KEPT if len(self.paths) > KEPT + AT_ONCE else len(self.paths)
        self._todo.extend(self.paths[:kept])
        self._send(self.paths[kept:])
        done = 0
        taken = self._exchange()
        while taken:
            path, claimed = taken.popleft()
            begun = time.monotonic()
            outcome, view = self.attempt(self.plan, path, claimed)
            done += 1
            self._note_end(path, replace(claimed, view=view), outcome)
            if time.monotonic() - begun > LONG:
                self._give_back(taken)
            if self._over:
                break
            if not taken:
                taken = self._exchange()
        self._send(self._opened)
        if self._single:
            plan, single = self.plan, self._single
            publish = self.runtime.advancer.publish
            publish(lambda: self.runtime.spread(plan, self.execution, single, self.priority))
        return done

    def _send(self, paths: Sequence[str]) -> None:
        self.runtime.advancer.apply(self.plan, self.execution, paths, self.priority)

    def _note_end(self, path: str, claimed: Claimed, outcome: Outcome) -> None:
        """Keep an end that can wait for the others; settle at once what else it is."""
        journal, state = self.runtime.journal, claimed.state
        clock = journal.clock()
        plan, view = self.plan, claimed.view
        transition = plain_end(plan, view, path, state, outcome, clock)
        if transition is None:
            transition = decide(plan, view, path, state, outcome, clock, journal.grace)
        if transition.is_plain_end:
            self._ended.append((claimed, outcome, transition))
            return
        self._commit()
        self._settle_alone(path, claimed, outcome)

    def _settle_alone(self, path: str, claimed: Claimed, outcome: Outcome) -> None:
        reply = self.runtime.advancer.settle(
            self.plan,
            claimed.view,
            path,
            claimed.state,
            outcome,
            late=self.owner,
            patience=self.runtime.settings.redis_patience,
            skip_dispatch=self._collect,
        )
        if isinstance(reply, Refused):
            logger.warning(
                "%s of execution %s: its outcome came too late (%s)",
                path,
                self.execution,
                reply.word,
            )
        elif reply.joined is not None:
            self._over = True

    def _collect(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Steps behind those of this bundle: they are sent together."""
        self._opened += paths
        return ()

    def _exchange(self) -> deque[tuple[str, Claimed]]:
        """Commit what has ended, and claim the next branches."""
        if self._over:
            return deque()
        chosen = [self._todo.popleft() for _ in range(min(AT_ONCE, len(self._todo)))]
        now = self.runtime.journal.clock()
        state = StepState(StepStatus.RUNNING, since=now, owner=self.owner, started=now)
        queue = self.plan.node(self.paths[0]).queue
        running = [(path, state) for path in chosen]
        found = self._commit(Taking(running, self._reads(chosen), queue, self.lease))
        if found is None:
            self._single += chosen
            return deque()
        self._single += [chosen[number] for number in found.left]
        if found.view is None:
            return deque()
        claimed = Claimed(state, found.view)
        return deque((chosen[number], claimed) for number in found.taken)

    def _reads(self, paths: Sequence[str]) -> list[str]:
        found: dict[str, None] = {}
        for path in paths:
            found |= dict.fromkeys(fields_for(self.plan, path))
            found.pop(beat_field(path), None)
        return list(found)

    def _commit(self, taking: Taking = NOTHING) -> Bundled | None:
        """Commit what has ended, together, or else each by itself. None: nothing was claimed."""
        ended, self._ended = self._ended, []
        if not ended and not taking.opened:
            return Bundled()
        journal, up = self.runtime.journal, join_of(split(self.paths[0])[0])
        assert up is not None
        ends = [(claimed.state.attempt, transition) for claimed, _, transition in ended]
        found = journal.patiently(
            partial(
                journal.settle_branches,
                self.execution,
                self.plan.key,
                up[0],
                self.owner,
                ends,
                taking,
            )
        )
        if found is None:
            for claimed, outcome, transition in ended:
                self._settle_alone(transition.path, claimed, outcome)
        elif found.joined:
            self._over = True
            self.runtime.advancer.join(self.execution, up[0], found.calls, self.turn)
        return found

    def _give_back(self, taken: deque[tuple[str, Claimed]]) -> None:
        """One took long. The others shall not wait for the next that does: each gets a message."""
        self._commit()
        self._single += self._todo
        self._todo.clear()
        while taken:
            path, claimed = taken.popleft()
            plan, view = self.plan, claimed.view
            self.runtime.advancer.settle(
                plan, view, path, claimed.state, Released(), skip_dispatch=self._keep_single
            )

    def _keep_single(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        self._single += paths
        return ()
