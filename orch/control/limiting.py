"""Who may begin: tokens that wait for limits are sent when they got what they want.

The limits and the executions lie in different partitions. A token that waits is dispatched without
a message, and its request stands with the limits; (a) who gives something back, or looks at what
time has made free, is told who got it, (b) sends the message, and (c) the worker that takes it
finds that all is held. Each is harmless if repeated, and what a process that died left undone the
wardens do, when they look at the limits: they compare requests with the states of their tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orch.journal.journal import Journal
from orch.workflows.state import ExecutionStatus, StepState, StepStatus

WANTED = (StepStatus.DISPATCHED, StepStatus.RUNNING)
"""A token that is neither needs nothing of its limits."""


@dataclass(frozen=True)
class Grant:
    """A token that may begin, and its state."""

    execution: str
    path: str
    state: StepState


class Limiting:
    """Asks the limits. Every method is harmless if repeated."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def look(self, names: Sequence[str] = ()) -> list[Grant]:
        """Take back what nobody needs; who needs a message. ``names``: limits of which there may
        be more."""
        seen = self.journal.look_at_limits(names)
        stale = [(member, owner) for member, owner, _ in seen.found]
        void, silent = self._compare(stale, [held for *_, held in seen.found])
        granted = self.journal.release(void) if void else ()
        return [*self.sort(seen.granted), *self.sort(granted), *silent]

    def sort(self, granted: Sequence[str]) -> list[Grant]:
        """Of those that got what they waited for: who needs a message. What the others had, which
        need it no more, goes on to the next ones."""
        found: list[Grant] = []
        while granted:
            tokens = [_token(member) for member in granted]
            owners = [self._owner_of(*token) for token in tokens]
            told = list(zip(granted, owners, strict=True))
            void, silent = self._compare(told, [True] * len(told))
            found += silent
            granted = self.journal.release(void) if void else ()
        return found

    def leave(self, execution: str, path: str, owner: str) -> list[Grant]:
        """Give back what an attempt had; who needs a message."""
        return self.sort(self.journal.release([(f"{execution} {path}", owner)]))

    def give_up(self, execution: str, path: str) -> list[Grant]:
        """As `leave`, of a token that nobody runs: whoever takes it next asks anew."""
        owner = self._owner_of(execution, path)
        found = self.journal.read_state(execution, path)
        if found is not None and found[1].status is StepStatus.RUNNING:
            return []
        return self.leave(execution, path, owner)

    def _owner_of(self, execution: str, path: str) -> str:
        request = self.journal.read_request(execution, path)
        return request.owner if request is not None else ""

    def _compare(
        self, told: Sequence[tuple[str, str]], held: Sequence[bool]
    ) -> tuple[list[tuple[str, str]], list[Grant]]:
        """Those that need nothing any more, and those that hold all and have no message."""
        void, silent = [], []
        tokens = [_token(member) for member, _ in told]
        states = self.journal.read_token_states(tokens) if tokens else []
        for (member, owner), has, (status, state) in zip(told, held, states, strict=True):
            if state is None or state.status not in WANTED or _is_over(status, state):
                void.append((member, owner))
            elif has and state.waits_for_limits:
                if status == ExecutionStatus.PAUSED:
                    void.append((member, owner))  # it asks anew when it is taken up again
                else:
                    silent.append(Grant(*_token(member), state))
        return void, silent


def _is_over(status: str, state: StepState) -> bool:
    """Whether its execution has ended; one that runs still may not have seen that."""
    ended = not status or ExecutionStatus(status).ended
    return ended and state.status is not StepStatus.RUNNING


def _token(member: str) -> tuple[str, str]:
    execution, _, path = member.partition(" ")
    return execution, path
