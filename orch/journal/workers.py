"""Signs of life: which workers live, what they serve and hold."""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from orch.journal.noted import Noted, without_notes
from orch.workflows.state import StepState, StepStatus

LISTED = 3
"""Signs of life after which a worker is put on the list anew."""

SOUGHT = 20_000
"""Entries of the watch among which those of a dead worker are sought, at the most."""


QUEUES_KEPT = 30 * 24 * 3600 * 1000
"""Ms for which a queue is known after it was used last."""


class Workers(Noted):
    """The list of workers.

    A worker is believed to live for its ``ttl``; its sign of life is kept a little longer, for
    those who can see by its connection that it lives (`kept` in what it says, ms).
    """

    _listed = ("", 0.0)

    def renew_worker(self, incarnation: str, content: str, ttl: int, kept: int = 0) -> None:
        """A sign of life: believed for ``ttl`` ms. ``content``: what it is, serves and holds."""

        def renew() -> None:
            now = self.clock()
            listed = self._listed[0] == incarnation and time.monotonic() < self._listed[1]
            if listed:
                self.redis.set(self.keys.worker(incarnation), content, px=ttl + kept)
                return
            pipe = self.redis.pipeline(transaction=False)
            pipe.set(self.keys.worker(incarnation), content, px=ttl + kept)
            pipe.zadd(self.keys.workers(), {incarnation: now + (1 + LISTED) * ttl + kept})
            pipe.zremrangebyscore(self.keys.workers(), "-inf", now - 10 * ttl)
            pipe.execute()
            self._listed = (incarnation, time.monotonic() + LISTED * ttl / 1000)

        self.read(renew)

    def remove_worker(self, incarnation: str) -> None:
        def remove() -> None:
            pipe = self.redis.pipeline(transaction=False)
            pipe.delete(self.keys.worker(incarnation))
            pipe.zrem(self.keys.workers(), incarnation)
            pipe.execute()

        self._listed = ("", 0.0)
        self.read(remove)

    def read_worker(self, incarnation: str) -> tuple[dict[str, Any], int] | None:
        """What a worker last said, and for how many ms more it is believed; None: dead.

        Not positive: it is silent, and lives only if its connection says so.
        """
        return self._read_workers([incarnation])[0]

    def live_workers(self) -> list[dict[str, Any]]:
        """What each live worker last said of itself."""
        return [said for said, ttl in self.seen_workers() if ttl > 0]

    def seen_workers(self) -> list[tuple[dict[str, Any], int]]:
        """What each worker said last that may live, and for how many ms more it is believed.

        Not positive: it is silent, and lives only if its connection says so.
        """
        return [each for each in self._read_workers(self._names()) if each is not None]

    def _read_workers(self, names: Sequence[str]) -> list[tuple[dict[str, Any], int] | None]:
        def read() -> Any:
            pipe = self.redis.pipeline(transaction=False)
            for name in names:
                pipe.get(self.keys.worker(name))
                pipe.pttl(self.keys.worker(name))
            return pipe.execute()

        reply = iter(self.read(read))
        return [
            None if text is None else _with_ttl(json.loads(text), int(ttl))
            for text, ttl in zip(reply, reply, strict=True)
        ]

    def read_sign(self, incarnation: str) -> str | None:
        """The text of a worker's sign of life, as long as it is kept."""
        text = self.read(self.redis.get, self.keys.worker(incarnation))
        return None if text is None else str(text)

    def neighbours(self, incarnation: str) -> list[str]:
        """All other workers, from the next one in their ring on."""
        others = sorted(name for name in self._names() if name != incarnation)
        place = bisect_right(others, incarnation)
        return others[place:] + others[:place]

    def _names(self) -> list[str]:
        return list(self.read(self.redis.zrangebyscore, self.keys.workers(), self.clock(), "+inf"))

    def read_queues(self) -> list[str]:
        """The queues of the broker that were sent to lately, by name."""
        key, limit = self.keys.queues(), self.clock() - QUEUES_KEPT

        def read() -> Any:
            pipe = self.redis.pipeline(transaction=False)
            pipe.zremrangebyscore(key, "-inf", limit)
            pipe.zrange(key, 0, -1)
            return pipe.execute()

        return sorted(str(name) for name in self.read(read)[1])

    def find_lines(self, names: Mapping[int, str]) -> set[int]:
        """Which of some connections are open, under the names that they should have."""
        shown = self.read(self.redis.client_list, client_id=list(names))
        return {int(each["id"]) for each in shown if names.get(int(each["id"])) == each.get("name")}

    def bury_worker(self, incarnation: str, said: str) -> bool:
        """Believe a worker no more that has said nothing since ``said``. False: it has."""
        reply = self.run("bury", worker=self.keys.worker(incarnation), said=said)
        buried = self._word("bury", reply, "BURIED", "ALIVE") == "BURIED"
        if buried:
            self.read(self.redis.zrem, self.keys.workers(), incarnation)
        return buried

    def take_upkeep(self, keep: int) -> bool:
        """Look after what is to be remembered, for all workers, for ``keep`` ms."""
        taken = self.read(lambda: self.redis.set(self.keys.upkeep(), "1", nx=True, px=keep))
        return bool(taken)

    def seen_agents(self) -> dict[str, str]:
        """Workers that were seen alive -> their incarnation; '': it has died since."""
        return without_notes(self.read(self.redis.hgetall, self.keys.seen_agents()))

    def bring_forward(self, incarnation: str, holds: Sequence[str], within: int) -> int:
        """Have the tokens of a dead worker looked at now; how many were found.

        ``holds``: `execution path` of the messages that it said it had. ``within``: the ms in
        which what runs is due. A look too early does no harm, so nothing is checked.
        """
        now = self.clock()

        def entries() -> list[Any]:
            pipe = self.redis.pipeline(transaction=False)
            for partition in range(self.keys.partitions):
                watch = self.keys.watch(partition)
                pipe.zrevrangebyscore(watch, now + within, f"({now}", start=0, num=SOUGHT)
            return list(pipe.execute())

        found = [member.partition(" ") for members in self.read(entries) for member in members]
        tokens = [(id, path) for id, _, path in found if path][:SOUGHT]
        held = {token.partition(" ")[0] for token in holds}
        mine = [
            (id, path)
            for (id, path), text in zip(tokens, self.states_of(tokens), strict=True)
            if text and _was_with(incarnation, StepState.loads(text), id in held)
        ]
        self.look_sooner(mine, now)
        return len(mine)

    def states_of(self, tokens: Sequence[tuple[str, str]]) -> list[str | None]:
        """The states of some tokens, (execution, path), as they are stored; None: there is none."""

        def read() -> list[str | None]:
            pipe = self.redis.pipeline(transaction=False)
            for id, path in tokens:
                pipe.hget(self.keys.steps(id), path)
            return list(pipe.execute())

        return list(self.read(read))


def _with_ttl(said: dict[str, Any], kept: int) -> tuple[dict[str, Any], int]:
    """A sign of life that is kept for so many ms more, and for how many it is believed."""
    return said, kept - int(said.get("kept", 0))


def _was_with(incarnation: str, state: StepState, named: bool) -> bool:
    """Whether a worker ran it, or may have had its message. ``named``: had one of its execution."""
    if state.status is StepStatus.RUNNING:
        return state.owner.startswith(f"{incarnation}/")
    return named and state.status is StepStatus.DISPATCHED
