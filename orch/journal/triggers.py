"""Which workflows are started by an event: an index of the latest definitions.

It holds at least the workflows whose latest version has a trigger for the event; whether one
really has is said by the definition. So it may be written beside the definitions and not with
them: an entry comes before the version that needs it, and goes after the one that did.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from orch.journal.definitions import Definitions


class Triggers(Definitions):
    """Every method may raise Unreachable."""

    def store_latest(self, name: str, version: str, canonical: str) -> None:
        """Store a definition as the latest version of ``name``, and index its triggers."""
        events = _events(canonical)
        before = self.latest_version(name)
        self._add(name, events)
        self.store_definition(name, version, canonical)
        if before not in (None, version):
            self._drop(name, self._events_of(before) - events)
        if events or before not in (None, version):
            # Another process may have stored another version in between, or dropped our entry.
            self._add(name, self._events_of(self.latest_version(name)))

    def triggered_by(self, event: str) -> dict[str, int]:
        """Keys of the workflows that the event may start, and since when, ms."""
        found = self.read(self.redis.hgetall, self.keys.triggers(event))
        return {name: int(since) for name, since in sorted(found.items())}

    def _add(self, name: str, events: Iterable[str]) -> None:
        for event in sorted(events):
            self.read(self.redis.hsetnx, self.keys.triggers(event), name, self.clock())

    def _drop(self, name: str, events: Iterable[str]) -> None:
        for event in sorted(events):
            self.read(self.redis.hdel, self.keys.triggers(event), name)

    def _events_of(self, version: str | None) -> set[str]:
        text = self.read_definition(version) if version is not None else None
        return set() if text is None else _events(text)


def _events(canonical: str) -> set[str]:
    if '"triggers"' not in canonical:
        return set()
    return {trigger["event"] for trigger in json.loads(canonical).get("triggers", [])}
