"""The last observation of the whole: what the next one is compared with, and what is to be
remembered of it. Its keys have a hash tag of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orch.journal.noted import Noted, noted_fields, notes_in
from orch.workflows.note import Note
from orch.workflows.state import encode

OBSERVED_KEPT = 30 * 86_400_000
"""Ms for which an observation is kept when nobody observes any more."""


@dataclass(frozen=True)
class Observed:
    """``number``: the fence; 0: there was none. ``at``: when, ms. ``notes``: by their ids."""

    number: int = 0
    at: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Note] = field(default_factory=dict)


class Observations(Noted):
    """Every method may raise Unreachable."""

    def read_observed(self) -> Observed:
        found = self.read(self.redis.hgetall, self.keys.observed())
        return Observed(
            int(found.get("number", 0)),
            int(found.get("at", 0)),
            json.loads(found.get("state", "{}")),
            {note.id: note for note in notes_in(found)},
        )

    def commit_observed(self, before: int, state: Mapping[str, Any], notes: Iterable[Note]) -> bool:
        """Put an observation in the place of number ``before``. False: that is not the last one.

        ``notes``: what is to be remembered of it.
        """
        reply = self.run(
            "observe",
            observed=self.keys.observed(),
            before=before,
            now=self.clock(),
            state=encode(state),
            notes=noted_fields(notes),
            keep=OBSERVED_KEPT,
        )
        return self._word("observe", reply, "OBSERVED", "OVERTAKEN") == "OBSERVED"

    def lead_observers(self, me: str, ttl: int, *, ends: bool = False) -> bool:
        """Whether ``me`` is the one that observes, for ``ttl`` ms. ``ends``: it will no more."""
        reply = self.run("lead", leader=self.keys.observer(), me=me, ttl=ttl, ends=int(ends))
        return self._word("lead", reply, "LEADS", "FOLLOWS") == "LEADS"
