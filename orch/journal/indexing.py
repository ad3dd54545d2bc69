"""The index of each partition: swept of what is gone, and written anew from the records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from orch.journal import heads
from orch.journal.connection import LAYOUT, Connection

SWEPT = 500
"""Entries of a partition's index that one sweep looks at."""

READ = 1000
"""Records that are read at a time."""


class Indexing(Connection):
    """Every method may raise Unreachable."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._unswept: dict[int, int] = {}
        self._noted: set[str] = set()

    def note_kind(self, workflow: str, version: str) -> None:
        """Before an execution of a version is written: such ones can be found by what it is."""
        text = heads.kind_text(workflow, version)
        if text not in self._noted:
            self.read(self.redis.sadd, self.keys.kinds(), text)
            self._noted.add(text)

    def forget_expired(self) -> int:
        """Drop entries of executions whose journal has expired from the index; how many.

        Looks at a piece of each partition, the next one each time, until it has seen all of it;
        it begins anew when it has seen all of all.
        """
        self._unswept = self._unswept or dict.fromkeys(range(self.keys.partitions), 0)
        pipe = self.redis.pipeline(transaction=False)
        for partition, first in self._unswept.items():
            pipe.zrange(self.keys.index(partition), first, first + SWEPT - 1)
        oldest = heads.instant(self.clock() - self.keep)
        dropped = 0
        for partition, members in zip([*self._unswept], self.read(pipe.execute), strict=True):
            gone = self.drop_gone([m for m in members if heads.place(m) <= f"{oldest}{heads.TOP}"])
            dropped += gone
            self._unswept[partition] += len(members) - gone
            if len(members) < SWEPT:
                del self._unswept[partition]
        return dropped

    @property
    def is_sweeping(self) -> bool:
        """Whether `forget_expired` has not come to the end of some partition's index yet."""
        return bool(self._unswept)

    def drop_gone(self, members: Sequence[str]) -> int:
        """Drop those entries whose record is gone; how many."""
        if not members:
            return 0
        pipe = self.redis.pipeline(transaction=False)
        for member in members:
            pipe.exists(self.keys.record(heads.execution_of(member)))
        there = self.read(pipe.execute)
        pipe = self.redis.pipeline(transaction=False)
        for member, is_there in zip(members, there, strict=True):
            if not is_there:
                partition = self.keys.partition(heads.execution_of(member))
                pipe.zrem(self.keys.index(partition), member)
        return sum(int(n) for n in self.read(pipe.execute))

    def index_again(self) -> int:
        """Write the index anew, from the records; how many executions there are.

        Walks over all keys of this Redis, in pieces. What starts or ends meanwhile keeps its
        entries; entries that are wrong go.
        """
        count = 0
        page: list[str] = []
        for key in self._records():
            page.append(key)
            if len(page) == READ:
                count += self._index(page)
                page = []
        count += self._index(page)
        for partition in range(self.keys.partitions):
            self._drop_wrong(self.keys.index(partition))
        self.read(self.redis.hset, self.keys.meta(), "layout", LAYOUT)
        return count

    def _records(self) -> Iterator[str]:
        """Every key of a record. SCAN may give one twice."""
        pattern = f"{self.keys.namespace}:{{p*}}:x:*"
        cursor = 0
        while True:
            cursor, keys = self.read(self.redis.scan, cursor, match=pattern, count=READ)
            yield from keys
            if cursor == 0:
                return

    def _index(self, keys: Sequence[str]) -> int:
        """Write the entries of these records; how many are there and had none before."""
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(key)
        records = self.read(pipe.execute)
        pipe = self.redis.pipeline(transaction=False)
        for key, record in zip(keys, records, strict=True):
            if record:
                execution = key.partition("}:x:")[2]
                index = self.keys.index(self.keys.partition(execution))
                self.note_kind(record["workflow"], record["version"])
                pipe.zadd(index, dict.fromkeys(heads.members_of(execution, record), 0))
        return len(self.read(pipe.execute))

    def _drop_wrong(self, index: str) -> None:
        """Those of an older layout, which have a score, and those that their record belies."""
        self.read(self.redis.zremrangebyscore, index, "(0", "+inf")
        first = 0
        while members := self.read(self.redis.zrange, index, first, first + READ - 1):
            pipe = self.redis.pipeline(transaction=False)
            for member in members:
                pipe.hgetall(self.keys.record(heads.execution_of(member)))
            wrong = [
                member
                for member, record in zip(members, self.read(pipe.execute), strict=True)
                if not record or member not in heads.members_of(heads.execution_of(member), record)
            ]
            if wrong:
                self.read(self.redis.zrem, index, *wrong)
            first += len(members) - len(wrong)
