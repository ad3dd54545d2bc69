"""Gates in Redis: who has a slot, who waits for one; see `orch/workflows/gates.py`.

A gate lies in a partition of its own, so what it says of an execution and what the record
says are brought together by the warden: `orch/control/gating.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orch.journal.connection import Connection
from orch.workflows.commit import Event
from orch.workflows.gates import GATE_MARK, REJECT, Gate, Place, Slots, Stand
from orch.workflows.state import ExecutionStatus

MOST_LOOKED_AT = 100
"""Of those that wait, how many are looked at."""

FULL = "FULL"
HELD = "HELD"


class Gates(Connection):
    def enter_gate(
        self, gate: Gate, execution: str, since: int, *, moves: bool = True
    ) -> tuple[str, tuple[str, ...]]:
        """HELD, WAITS or FULL, and who got a slot now. ``moves``: where it asks anew, its place
        is a later one."""
        reply = self.run(
            "enter_gate",
            **self._of_gate(gate.id),
            member=gate.member(execution),
            since=since,
            limit=gate.limit,
            stays=int(gate.policy != REJECT),
            moves=int(moves),
        )
        return self._word("enter_gate", reply, HELD, "WAITS", FULL), tuple(reply[1:])

    def leave_gate(
        self, gate: str, places: Iterable[tuple[str, int]], *, looked: bool = False
    ) -> tuple[str, ...]:
        """Give up places, as (member, since); who got a slot now. Harmless if repeated."""
        reply = self.run(
            "leave_gate",
            **self._of_gate(gate),
            leave=[list(place) for place in places],
            looked=int(looked),
        )
        self._word("leave_gate", reply, "LEFT")
        return tuple(reply[1:])

    def read_gate(self, gate: str) -> tuple[list[Place], list[Place]]:
        """Those that have a slot; those that wait, the first and the last of them."""
        keys = (self.keys.held(gate), self.keys.waiting(gate))
        pipe = self.redis.pipeline(transaction=False)
        pipe.zrange(keys[0], 0, -1, withscores=True)
        pipe.zrange(keys[1], 0, MOST_LOOKED_AT - 1, withscores=True)
        pipe.zrange(keys[1], -1, -1, withscores=True)
        held, waiting, last = self.read(pipe.execute)
        waiting += [each for each in last if each not in waiting]
        return [Place.of(*each) for each in held], [Place.of(*each) for each in waiting]

    def place_in(self, gate: Gate, execution: str) -> int | None:
        """How many wait before it; None where it has a slot, or does not wait."""
        found = self.read(self.redis.zrank, self.keys.waiting(gate.id), gate.member(execution))
        return None if found is None else int(found)

    def read_stands(self, executions: Sequence[str]) -> list[Stand | None]:
        """What the records of executions say; None where there is none."""
        names = ["status", "held", "queued"]
        pipe = self.redis.pipeline(transaction=False)
        for execution in executions:
            pipe.hmget(self.keys.record(execution), names)
        return [
            Stand.of(dict(zip(names, found, strict=True)), ExecutionStatus(found[0]).ended)
            if found[0] is not None
            else None
            for found in self.read(pipe.execute)
        ]

    def read_slots(self, execution: str) -> Slots | None:
        """None for an execution without gates."""
        found = self.read(self.redis.hmget, self.keys.record(execution), ["gates", "queued"])
        return Slots.loads(found[0], found[1])

    def begun_of(self, execution: str) -> int | None:
        """When an execution with gates began, ms."""
        found = self.read(self.redis.hget, self.keys.record(execution), "begun")
        return None if found is None else int(found)

    def queue(self, execution: str, since: int, look: int) -> bool:
        """Let a scheduled execution ask for its slots. False: it is not scheduled any more."""
        reply = self.run(
            "queue",
            record=self.keys.record(execution),
            history=self.keys.history(execution),
            stream=self.keys.stream(self.keys.partition(execution)),
            watch=self.keys.watch(self.keys.partition(execution)),
            index=self._index_of(execution),
            id=execution,
            since=since,
            look=look,
            event=Event("queued").dumps(self.clock()),
        )
        return self._word("queue", reply, "QUEUED", "DONE", "MISSING") == "QUEUED"

    def _of_gate(self, gate: str) -> dict[str, str | int]:
        return {
            "held": self.keys.held(gate),
            "waiting": self.keys.waiting(gate),
            "watch": self.keys.watch(self.keys.partition(gate)),
            "now": self.clock(),
            "gate": f"{GATE_MARK}{gate}",
            "soon": self.grace,
            "later": int(self.settings.recheck_interval * 1000),
        }
