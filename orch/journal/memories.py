"""The memory in Redis: records of each project, and what they are found by.

All of a project has a hash tag of its own, so that no search of one sees another's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orch.journal.connection import Connection

TOP = "\x7f"
"""Sorts behind all that a head or an instant has in it."""

READ = 1000
"""Entries, or records, that are read at a time."""


@dataclass(frozen=True)
class Range:
    """Entries from ``low`` up to and without ``high``; both as texts without their bracket."""

    low: str
    high: str

    @property
    def bounds(self) -> tuple[str, str]:
        return f"[{self.low}", f"({self.high}"


class Memories(Connection):
    """Every method may raise Unreachable."""

    def add_memory(
        self, project: str, id: str, text: str, found_by: Sequence[str], expires: int, most: int
    ) -> tuple[str | None, list[str]]:
        """Keep a record; (None, ids that have to be forgotten), or (JSON of the one there is, []).

        With the id itself among those to be forgotten, it is not kept yet.
        """
        # Before the record: a project that is listed and has none does no harm.
        self.read(self.redis.zadd, self.keys.projects(), {project: expires}, gt=True)
        reply = self.run(
            "store_memory",
            **self._of_memory(project),
            now=self.clock(),
            id=id,
            text=text,
            found_by=list(found_by),
            expires=expires,
            most=most,
        )
        word = self._word("store_memory", reply, "STORED", "KNOWN", "EXPIRED")
        return (str(reply[1]), []) if word == "KNOWN" else (None, list(reply[1]))

    def read_memories(self, project: str, ids: Sequence[str]) -> list[str | None]:
        """JSON of records, in their order; None: there is none."""
        if not ids:
            return []
        return list(self.read(self.redis.hmget, self.keys.memories(project), list(ids)))

    def forget_memories(self, project: str, found_by: Mapping[str, Iterable[str]]) -> None:
        """Drop records, by their ids, with their entries."""
        if not found_by:
            return
        keys = self._of_memory(project)
        pipe = self.redis.pipeline(transaction=True)
        pipe.hdel(keys["memories"], *found_by)
        pipe.zrem(keys["ends"], *found_by)
        for entries in found_by.values():
            if members := list(entries):
                pipe.zrem(keys["entries"], *members)
        self.read(pipe.execute)

    def expired_memories(self, project: str) -> list[str]:
        """Ids of records whose time is over, some hundreds at most."""
        key, now = self.keys.memory_ends(project), self.clock()
        return list(self.read(self.redis.zrangebyscore, key, "-inf", now, start=0, num=READ))

    def count_memories(self, project: str, ranges: Sequence[Range]) -> list[int]:
        """How many entries there are in each range."""
        pipe = self.redis.pipeline(transaction=False)
        for each in ranges:
            pipe.zlexcount(self.keys.memory_entries(project), *each.bounds)
        return [int(count) for count in self.read(pipe.execute)]

    def memory_entries(self, project: str, range: Range, most: int | None = None) -> list[str]:
        """Entries of a range, the last one first; the last ``most`` of them."""
        low, high = range.bounds
        paged = {} if most is None else {"start": 0, "num": most}
        key = self.keys.memory_entries(project)
        return list(self.read(self.redis.zrevrangebylex, key, high, low, **paged))

    def oldest_memory(self, project: str, range: Range) -> list[str]:
        """The first entry of a range, if there is one."""
        key = self.keys.memory_entries(project)
        return list(self.read(self.redis.zrangebylex, key, *range.bounds, start=0, num=1))

    def memory_heads(self, project: str, letter: str, most: int) -> list[str]:
        """The heads that begin with a letter, at most so many, in their order."""
        key, low = self.keys.memory_entries(project), f"[{letter}"
        found: list[str] = []
        while len(found) < most:
            high = f"({letter}{TOP}"
            next_one = self.read(self.redis.zrangebylex, key, low, high, start=0, num=1)
            if not next_one:
                break
            head = next_one[0].partition(" ")[0]
            found.append(head)
            low = f"({head} {TOP}"
        return found

    def memory_projects(self) -> list[str]:
        """Projects of which there may be records; those without are struck off."""
        key = self.keys.projects()
        self.read(self.redis.zremrangebyscore, key, "-inf", self.clock())
        return sorted(self.read(self.redis.zrange, key, 0, -1))

    def attribute(self, execution: str, name: str) -> Any:
        """An attribute of an execution; None: it has none of this name, or is gone."""
        text = self.read(self.redis.hget, self.keys.record(execution), "attributes")
        return json.loads(text).get(name) if text else None

    def _of_memory(self, project: str) -> dict[str, str]:
        return {
            "memories": self.keys.memories(project),
            "entries": self.keys.memory_entries(project),
            "ends": self.keys.memory_ends(project),
        }
