"""Events that were triggered, those that are kept, and the tokens that wait for one."""

from __future__ import annotations

import json
from typing import Any

from orch.journal.connection import Connection
from orch.workflows.events import Occurrence, subscription

LAST = "\U0010ffff"
"""Sorts behind every path."""


class Events(Connection):
    """Every method may raise Unreachable."""

    def first_triggered(self, id: str) -> int | None:
        """Note that an event is triggered now; when it first was (ms), if that was before."""
        key, now = self.keys.event(id), self.clock()
        kept = int(self.settings.event_retention * 1000)
        if self.read(self.redis.set, key, now, nx=True, px=kept):
            return None
        return int(self.read(self.redis.get, key) or now)

    def keep_event(self, event: Occurrence) -> bool:
        """Keep it for steps that come to it later: the latest so many of each place.

        False: it is for those alone that listen now.
        """
        key = self._place(event.execution, event.name, event.correlation)
        if key is None:
            return False

        def keep() -> None:
            pipe = self.redis.pipeline(transaction=True)
            pipe.rpush(key, event.dumps())
            pipe.ltrim(key, -self.settings.events_kept, -1)
            pipe.pexpire(key, int(self.settings.event_retention * 1000))
            pipe.execute()

        self.read(keep)
        return True

    def kept_events(self, execution: str, name: str, correlation: str | None) -> list[Occurrence]:
        """Events of this name that a step of the execution may take, the oldest first."""
        places = [self.keys.mailbox(execution)]
        if correlation is not None:
            places.append(self.keys.kept(subscription(name, correlation)))
        texts = [text for key in places for text in self.read(self.redis.lrange, key, 0, -1)]
        found = [Occurrence.loads(text) for text in texts]
        return [e for e in found if e.name == name and correlation in (None, e.correlation)]

    def subscription_of(self, execution: str, path: str) -> tuple[str, str | None] | None:
        """Name and correlation of the event that a token waits for; None: it does not."""
        text = self.read(self.redis.hget, self.keys.steps(execution), f"?{path}")
        if text is None:
            return None
        name, correlation = json.loads(text)
        return name, correlation

    def listeners(self, event: Occurrence) -> list[tuple[str, str]]:
        """(execution, path) of the tokens that wait for an event of this name and correlation."""
        partitions: Any = range(self.keys.partitions)
        if event.execution:
            partitions = [self.keys.partition(event.execution)]
        pipe = self.redis.pipeline(transaction=False)
        for partition in partitions:
            for wanted in event.subscriptions():
                start = f"{wanted} {event.execution} " if event.execution else f"{wanted} "
                pipe.zrangebylex(self.keys.listening(partition), f"[{start}", f"[{start}{LAST}")
        pages = self.read(pipe.execute)
        members = [member.rsplit(" ", 2) for page in pages for member in page]
        return [(execution, path) for _, execution, path in members]

    def _place(self, execution: str, name: str, correlation: str | None) -> str | None:
        if execution:
            return self.keys.mailbox(execution)
        return self.keys.kept(subscription(name, correlation)) if correlation is not None else None
