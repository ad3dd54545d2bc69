"""The last observation of the whole: what the next one is compared with, and what is to be
remembered of it. Its keys have a hash tag of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orch.journal.connection import Connection
from orch.journal.scripts import flat
from orch.workflows.state import encode

OBSERVED_KEPT = 30 * 86_400_000
"""Ms for which an observation is kept when nobody observes any more."""

NOTE = ">"
"""Begins the field of a note."""


@dataclass(frozen=True)
class Observed:
    """``number``: the fence; 0: there was none. ``at``: when, ms. ``notes``: by their ids."""

    number: int = 0
    at: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    notes: Mapping[str, dict[str, Any]] = field(default_factory=dict)


class Observations(Connection):
    """Every method may raise Unreachable."""

    def read_observed(self) -> Observed:
        found = self.read(self.redis.hgetall, self.keys.observed())
        notes = {
            name[len(NOTE) :]: json.loads(text)
            for name, text in sorted(found.items())
            if name.startswith(NOTE)
        }
        return Observed(
            int(found.get("number", 0)),
            int(found.get("at", 0)),
            json.loads(found.get("state", "{}")),
            notes,
        )

    def commit_observed(
        self, before: int, state: Mapping[str, Any], notes: Mapping[str, Mapping[str, Any]]
    ) -> bool:
        """Put an observation in the place of number ``before``. False: that is not the last one.

        ``notes``: what is to be remembered of it, by the ids of the records.
        """
        reply = self.run(
            "observe",
            observed=self.keys.observed(),
            before=before,
            now=self.clock(),
            state=encode(state),
            notes=flat((id, encode(note)) for id, note in notes.items()),
            keep=OBSERVED_KEPT,
        )
        return self._word("observe", reply, "OBSERVED", "OVERTAKEN") == "OBSERVED"

    def drop_observed_note(self, id: str) -> None:
        """It is in the memory."""
        self.read(self.redis.hdel, self.keys.observed(), f"{NOTE}{id}")

    def lead_observers(self, me: str, ttl: int, *, ends: bool = False) -> bool:
        """Whether ``me`` is the one that observes, for ``ttl`` ms. ``ends``: it will no more."""
        reply = self.run("lead", leader=self.keys.observer(), me=me, ttl=ttl, ends=int(ends))
        return self._word("lead", reply, "LEADS", "FOLLOWS") == "LEADS"
