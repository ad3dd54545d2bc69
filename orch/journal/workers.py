"""Signs of life: which workers live, what they serve and hold."""

from __future__ import annotations

import json
from typing import Any

from orch.journal.connection import Connection


class Workers(Connection):
    """The list of workers; an entry is believed until its TTL."""

    def renew_worker(self, incarnation: str, content: str, ttl: int) -> None:
        """A sign of life: believed for ``ttl`` ms. ``content``: what it is, serves and holds."""

        def renew() -> None:
            now = self.clock()
            pipe = self.redis.pipeline(transaction=False)
            pipe.set(self.keys.worker(incarnation), content, px=ttl)
            pipe.zadd(self.keys.workers(), {incarnation: now + ttl})
            pipe.zremrangebyscore(self.keys.workers(), "-inf", now - 10 * ttl)
            pipe.execute()

        self.read(renew)

    def remove_worker(self, incarnation: str) -> None:
        def remove() -> None:
            pipe = self.redis.pipeline(transaction=False)
            pipe.delete(self.keys.worker(incarnation))
            pipe.zrem(self.keys.workers(), incarnation)
            pipe.execute()

        self.read(remove)

    def read_worker(self, incarnation: str) -> tuple[dict[str, Any], int] | None:
        """What a worker last said, and for how many ms more it is believed; None: dead."""

        def read() -> Any:
            pipe = self.redis.pipeline(transaction=False)
            pipe.get(self.keys.worker(incarnation))
            pipe.pttl(self.keys.worker(incarnation))
            return pipe.execute()

        text, ttl = self.read(read)
        return None if text is None else (json.loads(text), int(ttl))

    def live_workers(self) -> list[dict[str, Any]]:
        """What each live worker last said of itself."""
        names = self.read(self.redis.zrangebyscore, self.keys.workers(), self.clock(), "+inf")
        texts = [self.read(self.redis.get, self.keys.worker(name)) for name in names]
        return [json.loads(text) for text in texts if text is not None]
