"""What workers do for the memory: deliver notes whose writers have died, note who comes and goes.

One of them at a time, once a minute.
"""

from __future__ import annotations

import time

from orch.control.noting import agent_changed
from orch.journal.journal import Journal
from orch.memory.noting import deliver_left

EVERY = 60.0
"""Seconds between two looks."""


class Remembering:
    """``journal``: of the caller's own."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._looked = time.monotonic()

    def look(self) -> None:
        """Raises Unreachable."""
        if self.journal.settings.remember == "off" or time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        if self.journal.take_upkeep(int(EVERY * 900)):
            deliver_left(self.journal)
            self.note_agents()

    def note_agents(self) -> None:
        """Note which workers have come and gone since somebody looked last. Raises Unreachable."""
        key, now = self.journal.keys.seen_agents(), self.journal.clock()
        live = {str(said.get("name") or said["id"]): said for said in self.journal.live_workers()}
        seen = self.journal.seen_agents()
        for name, said in live.items():
            if not seen.get(name):
                offers = sorted(said.get("queues", ()))
                text = f"agent {name} has come; it serves {', '.join(offers) or 'nothing'}"
                note = agent_changed(name, "came", now, text, *offers)
                self.journal.amend(key, {name: str(said["id"])}, expect={name: ""}, note=note)
        for name in seen.keys() - live.keys():
            note = agent_changed(name, "left", now, f"agent {name} has left")
            self.journal.amend(key, drops=[name], note=note if seen[name] else None)
