"""Sees that other workers have died, sooner than their silence says it.

Each warden keeps an eye on the next two workers in the ring of all, so that the cost for Redis
grows with the number of workers and not with its square, and a death is seen by two.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from orch.control.noting import agent_changed
from orch.errors import JournalError
from orch.journal.journal import Journal
from orch.journal.line import Line, line_name

logger = logging.getLogger(__name__)

WATCHED = 2
"""Workers that each one keeps an eye on."""

LOOK_EVERY = 0.5
"""Seconds between looks at their connections."""

PATIENCE = 0.4
"""Seconds that a worker has to come back by another connection when the one it had is closed."""

RING_EVERY = LOOK_EVERY
"""Seconds between readings of the list of all workers; longer where there are more than 50."""

MEMORY = 0.2
"""Seconds for which it is believed that a connection was open, or was not."""


@dataclass
class Seen:
    """What is known of another worker. ``gone``: since when its connection is missed."""

    line: int
    sign: str = ""
    gone: float | None = None


class Lookout:
    """Used by one warden's thread alone. ``on_buried``: told the names of those that died."""

    def __init__(
        self,
        journal: Journal,
        line: Line,
        incarnation: str,
        on_buried: Callable[[str], object] = str,
    ) -> None:
        self.on_buried = on_buried
        self.journal = journal
        self.line = line
        self.incarnation = incarnation
        self._ring: dict[str, Seen] = {}
        self._next = 0.0
        self._ring_due = 0.0
        self._sights: dict[tuple[str, int], tuple[float, bool]] = {}

    @property
    def settled(self) -> bool:
        """Whether nobody is missed only because Redis was away."""
        return self.line.settled

    @property
    def rest(self) -> float:
        """Seconds until it looks again."""
        return max(self._next - time.monotonic(), 0.0)

    def look(self) -> None:
        """Bury who has died, and have what it held looked at now."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_EVERY
        if not self.line.number or not self.line.settled:
            return
        if now >= self._ring_due:
            self._read_ring(now)
        watched = {name: seen for name, seen in self._ring.items() if seen.line}
        there = self._find({name: seen.line for name, seen in watched.items()})
        if there is None:
            return
        for name, seen in watched.items():
            if seen.line in there:
                seen.gone = None
            elif seen.gone is None:
                self._miss(name, seen, now)
            elif now >= seen.gone + PATIENCE:
                self._bury(name, seen)
                self._ring_due = 0.0

    def sees(self, incarnation: str, line: int) -> bool:
        """Whether the connection of a worker is open; False also where nobody can say."""
        key, now = (incarnation, line), time.monotonic()
        at, there = self._sights.get(key, (float("-inf"), False))
        if now - at > MEMORY:
            found = self._find({incarnation: line}) if line else None
            there = found is not None and line in found
            self._sights = {k: v for k, v in self._sights.items() if now - v[0] <= MEMORY}
            self._sights[key] = (now, there)
        return there

    def _read_ring(self, now: float) -> None:
        """Whom to watch: the next that are not known to be dead."""
        names = self.journal.neighbours(self.incarnation)
        ring: dict[str, Seen] = {}
        for name in names:
            seen = self._ring.get(name)
            if seen is None or not seen.line:
                sign = self.journal.read_sign(name)
                seen = None if sign is None else Seen(_line_of(sign))
            if seen is not None:
                ring[name] = seen
            if len(ring) == WATCHED:
                break
        self._ring = ring
        self._ring_due = now + max(RING_EVERY, len(names) / 100)

    def _miss(self, name: str, seen: Seen, now: float) -> None:
        """Its connection is not there: it has another one, has taken its leave, or is dead."""
        sign = self.journal.read_sign(name)
        if sign is None:
            del self._ring[name]
            self._ring_due = 0.0
        elif _line_of(sign) != seen.line:
            self._ring[name] = Seen(_line_of(sign))
        else:
            seen.gone, seen.sign = now, sign
            self._next = now + PATIENCE

    def _bury(self, name: str, seen: Seen) -> None:
        seen.gone = None
        if not self.journal.bury_worker(name, seen.sign):
            return
        said = json.loads(seen.sign)
        within = int(self.journal.settings.liveness_ttl * 1000) + 1000
        count = self.journal.bring_forward(name, said.get("holds", ()), within)
        logger.warning("worker %s is gone; %d of its steps are looked at", name, count)
        agent = str(said.get("name") or name)
        self.on_buried(agent)
        if self.journal.settings.remember == "off":
            return  # nobody would ever take the name off the list
        text = f"agent {agent} has died; {count} of its steps go to others"
        note = agent_changed(agent, "died", self.journal.clock(), text)
        self.journal.amend(self.journal.keys.seen_agents(), {agent: ""}, note=note)

    def _find(self, lines: dict[str, int]) -> set[int] | None:
        """Which of these are open; None: this cannot be known, for ours is not shown."""
        if not lines:
            return None
        names = {
            line: line_name(self.journal.settings.namespace, name) for name, line in lines.items()
        }
        own = self.line.number
        try:
            found = self.journal.find_lines({own: self.line.name, **names})
        except JournalError:  # forbidden since the connection was opened
            return None
        return found if own in found and own == self.line.number else None


def _line_of(sign: str) -> int:
    return int(json.loads(sign).get("line", 0))
