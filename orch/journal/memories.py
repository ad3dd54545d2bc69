"""The memory in Redis: records of each project, and what they are found by.

All of a project has a hash tag of its own, so that no search of one sees another's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Added:
    """What became of a record that was to be kept under ``id``.

    ``known``: JSON of the one there is, and nothing changed; its id may be another one. ``gone``:
    ids of records that have to be forgotten; where it is not ``kept``, before it is.
    """

    id: str
    known: str | None = None
    kept: bool = False
    gone: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Revision:
    """What changes. ``before``: id -> JSON that was read, or None, of each record that is meant.
    ``after``: id -> (JSON, when it expires), of those that stay; the others go. ``out``, ``into``:
    their entries before and after. ``stand_in``: (id of one that goes, id of the one that stands
    for it from then on, when it would expire)."""

    before: Mapping[str, str | None]
    after: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    out: frozenset[str] = frozenset()
    into: frozenset[str] = frozenset()
    stand_in: Sequence[tuple[str, str, int]] = ()


class Memories(Connection):
    """Every method may raise Unreachable."""

    def add_memory(
        self, project: str, id: str, text: str, found_by: Sequence[str], expires: int, most: int
    ) -> Added:
        """Keep a record, unless there is one of its id, or one that it was merged into."""
        # Before the record: a project that is listed and has none does no harm.
        self.read(self.redis.zadd, self.keys.projects(), {project: expires}, gt=True)
        reply = self.run(
            "store_memory",
            **self._of_memory(project),
            merged=self.keys.memory_merged(project),
            now=self.clock(),
            id=id,
            text=text,
            found_by=list(found_by),
            expires=expires,
            most=most,
        )
        word = self._word("store_memory", reply, "STORED", "KNOWN", "EXPIRED")
        if word == "KNOWN":
            return Added(id=str(reply[2]), known=str(reply[1]))
        return Added(id=id, kept=word == "STORED", gone=list(reply[1]))

    def read_memories(self, project: str, ids: Sequence[str]) -> list[str | None]:
        """JSON of records, in their order; None: there is none."""
        return self._fields(self.keys.memories(project), ids)

    def revise_memories(self, project: str, revision: Revision) -> bool:
        """Change records, all or none; False: somebody else was faster, and nothing changed."""
        reply = self.run("revise_memories", **self._revised(project, revision))
        return self._word("revise_memories", reply, "REVISED", "OTHER") == "REVISED"

    def merged_memories(self, project: str, ids: Sequence[str]) -> list[str | None]:
        """The ids of the records that stand for those that were merged; None: it was not."""
        return self._fields(self.keys.memory_merged(project), ids)

    def forget_merged(self, project: str) -> None:
        """Drop the ids of merged records that would have expired by now."""
        names, ends = self.keys.memory_merged(project), self.keys.memory_merged_ends(project)
        now = self.clock()
        while ids := self.read(self.redis.zrangebyscore, ends, "-inf", now, start=0, num=READ):
            pipe = self.redis.pipeline(transaction=True)
            pipe.hdel(names, *ids)
            pipe.zrem(ends, *ids)
            self.read(pipe.execute)

    def count_memory_reads(self, project: str, ids: Sequence[str]) -> None:
        """Count that records were read, now; those that are not there are not counted."""
        memories, reads = self.keys.memories(project), self.keys.memory_reads(project)
        given = {"now": self.clock(), "ids": list(ids)}
        reply = self.run("count_reads", memories=memories, reads=reads, **given)
        self._word("count_reads", reply, "COUNTED")

    def memory_reads(self, project: str, ids: Sequence[str]) -> list[tuple[int, int | None]]:
        """How often each record was read, and when last, ms; (0, None): never."""
        found = self._fields(self.keys.memory_reads(project), ids)
        return [_reads(text) for text in found]

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

    def _fields(self, key: str, names: Sequence[str]) -> list[str | None]:
        """Fields of a hash, some at a time."""
        found: list[str | None] = []
        for first in range(0, len(names), READ):
            found += self.read(self.redis.hmget, key, list(names[first : first + READ]))
        return found

    def _revised(self, project: str, revision: Revision) -> dict[str, Any]:
        return {
            **self._of_memory(project),
            "reads": self.keys.memory_reads(project),
            "merged": self.keys.memory_merged(project),
            "merged_ends": self.keys.memory_merged_ends(project),
            "before": [part for id, text in revision.before.items() for part in (id, text or "")],
            "after": [part for id, kept in revision.after.items() for part in (id, *kept)],
            "out": sorted(revision.out - revision.into),
            "into": sorted(revision.into - revision.out),
            "stand_in": [part for each in revision.stand_in for part in each],
        }

    def _of_memory(self, project: str) -> dict[str, str]:
        return {
            "memories": self.keys.memories(project),
            "entries": self.keys.memory_entries(project),
            "ends": self.keys.memory_ends(project),
        }


def _reads(text: str | None) -> tuple[int, int | None]:
    if text is None:
        return 0, None
    count, _, last = text.partition(" ")
    return int(count), int(last)
