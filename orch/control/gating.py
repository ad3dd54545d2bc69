"""Who is active: executions ask for slots at their gates, and give them back.

A gate and the executions that ask lie in different partitions. So (a) an execution is stored as
`queued`, (b) a gate gives it a slot, (c) it begins; and when it has ended, the slot is given
back. Each is one script, harmless if repeated, and what a process that died left undone the
warden does: (a) and (c) by the execution's place in the watch, (b) and the rest by the gate's.
"""

from __future__ import annotations

from dataclasses import dataclass

from orch.errors import ConcurrencyRejected
from orch.faults import fault
from orch.journal.gates import FULL, HELD
from orch.journal.journal import Journal, Start
from orch.journal.records import Pending
from orch.workflows.gates import (
    CANCEL_PREVIOUS,
    Gate,
    Place,
    Slots,
    cancelled_by,
    is_void,
)


@dataclass(frozen=True)
class Passage:
    """How far an execution came. ``stopped``: the gate that has no slot for it, if any;
    ``rejected``: it does not wait there. ``granted``: others that got a slot now."""

    stopped: Gate | None = None
    rejected: bool = False
    granted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looked:
    """What is left to be done behind a look at a gate. ``cancel``: (execution, for which)."""

    begin: tuple[str, ...]
    cancel: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Seen:
    """``void``: (member, since) of those that are nobody's; ``queued``: those that have a slot
    and have not begun."""

    held: list[Place]
    waiting: list[Place]
    void: list[tuple[str, int]]
    queued: list[str]


class Gating:
    """Asks gates. Every method is harmless if repeated."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    # --- before an execution is stored -------------------------------------------------------

    def admit(self, start: Start) -> None:
        """Take the slots of a start for which it would not wait. Raises ConcurrencyRejected."""
        if start.slots is None or start.at or not start.slots.rejecting():
            return
        if start.idempotency_key is not None and self.journal.status(start.id) is not None:
            return  # it is there, and stays what it is
        self.admit_again(start.id, start.workflow, start.slots)

    def admit_again(self, execution: str, workflow: str, slots: Slots) -> None:
        """As `admit`, of an execution that is to be taken up again."""
        for gate in slots.rejecting():
            if not self._is_let_in(gate, execution, slots.since):
                self.take_back(execution, slots)
                raise ConcurrencyRejected(
                    full(gate, workflow),
                    hint="try again when one of them has ended; `policy: queue` lets it wait",
                )

    def take_back(self, execution: str, slots: Slots | None) -> None:
        """Give up the slots of a start that came to nothing."""
        if slots is None:
            return
        for gate in slots.rejecting():
            self.journal.leave_gate(gate.id, [(gate.member(execution), slots.since)])

    def _is_let_in(self, gate: Gate, execution: str, since: int) -> bool:
        word, _ = self.journal.enter_gate(gate, execution, since, moves=False)
        if word == FULL:
            # Somebody may have died before a slot was given back.
            self.journal.leave_gate(gate.id, self._see(gate.id).void)
            word, _ = self.journal.enter_gate(gate, execution, since, moves=False)
        return word == HELD

    # --- from there to its end ---------------------------------------------------------------

    def enter(self, pending: Pending, slots: Slots) -> Passage:
        """Ask all gates of a queued execution, in their order."""
        others: list[str] = []
        for gate in slots.gates:
            word, granted = self.journal.enter_gate(gate, pending.id, slots.since)
            others += [each for each in granted if each != pending.id]
            if word != HELD:
                return Passage(gate, word == FULL, tuple(others))
        fault("granted")
        return Passage(granted=tuple(others))

    def leave(self, execution: str, slots: Slots) -> tuple[str, ...]:
        """Give back what an execution had that has ended; who got it."""
        fault("ended")
        found: list[str] = []
        for gate in slots.gates:
            found += self.journal.leave_gate(gate.id, [(gate.member(execution), slots.since)])
        return tuple(found)

    def give_up(self, execution: str) -> tuple[str, ...]:
        """Give back what an execution has got that needs it no more; who got it."""
        slots = self.journal.read_slots(execution)
        stand = self.journal.read_stands([execution])[0]
        if slots is None or stand is None or not (stand.ended or stand.held):
            return ()
        return self.leave(execution, slots)

    def superseded(self, gate: Gate, execution: str) -> list[str]:
        """Those that are to be cancelled for it."""
        held, waiting = self.journal.read_gate(gate.id)
        own = [place for place in waiting if place.execution == execution]
        return cancelled_by(held, waiting, own[0]) if own else []

    # --- the warden --------------------------------------------------------------------------

    def look(self, gate: str) -> Looked:
        """Take back what nobody needs, and say what is left to be done."""
        seen = self._see(gate)
        granted = self.journal.leave_gate(gate, seen.void, looked=True)
        latest = [place for place in seen.waiting if place.policy == CANCEL_PREVIOUS][-1:]
        cancel = [
            (each, new.execution)
            for new in latest
            for each in cancelled_by(seen.held, seen.waiting, new)
        ]
        return Looked((*seen.queued, *granted), tuple(cancel))

    def _see(self, gate: str) -> _Seen:
        held, waiting = self.journal.read_gate(gate)
        stands = self.journal.read_stands([place.execution for place in (*held, *waiting)])
        now, grace = self.journal.clock(), self.journal.grace
        void = set()
        queued = []
        for place, stand in zip((*held, *waiting), stands, strict=True):
            if is_void(place, stand, now, grace):
                void.add(place)
            elif stand is not None and stand.queued and place in held:
                queued.append(place.execution)
        return _Seen(
            [place for place in held if place not in void],
            [place for place in waiting if place not in void],
            [(place.member, place.since) for place in void],
            queued,
        )


def full(gate: Gate, workflow: str) -> str:
    """Why an execution was refused."""
    are = "execution is" if gate.limit == 1 else "executions are"
    return f"{gate.limit} {are} active for {gate.name(workflow)}, and no more may be"
