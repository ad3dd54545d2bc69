"""Which queues are in use, so that those who look after them find them."""

from __future__ import annotations

import time

from orch.journal.wire import Wire

NOTED_EVERY = 3600.0
"""Seconds between notes of a queue that is used, of each process."""


class QueueNotes:
    """Kept in the journal's Redis. ``key``: a sorted set of queues, by when that was noted, ms."""

    def __init__(self, wire: Wire, key: str) -> None:
        self._wire = wire
        self._key = key
        self._due: dict[str, float] = {}

    def note(self, queue: str) -> None:
        """That a message is sent to a queue. Raises what the Redis client raises."""
        now = time.monotonic()
        if now >= self._due.get(queue, 0.0):
            self._wire.execute_command("ZADD", self._key, int(time.time() * 1000), queue)
            self._due[queue] = now + NOTED_EVERY
