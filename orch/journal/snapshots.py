"""Whole executions, to be written elsewhere and read back: all of their texts, as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orch.journal.finding import Finding, Found, Query
from orch.journal.heads import members_of
from orch.journal.scripts import flat
from orch.workflows.entries import as_json, repack, unpack
from orch.workflows.state import ExecutionStatus, encode

ENDED = tuple(status.value for status in ExecutionStatus if status.ended)
IMPORTED = "imported"
"""A field of the record: when it was read back from a file, ms."""

PAGE = 1000


@dataclass(frozen=True)
class Snapshot:
    """An execution at one instant. ``history``: JSON of each entry; ``logs``: of each line."""

    id: str
    record: Mapping[str, str]
    steps: Mapping[str, str]
    items: Mapping[str, str]
    history: Sequence[str]
    logs: Sequence[str] = ()

    @property
    def ended(self) -> bool:
        return self.record["status"] in ENDED


class Snapshots(Finding):
    """Every method may raise Unreachable."""

    def snapshot(self, execution: str) -> Snapshot | None:
        """All of an execution as it is at one instant; None: it is not there."""
        keys = self._keys_of_all(execution)
        pipe = self.redis.pipeline(transaction=True)
        for name in ("record", "steps", "items"):
            pipe.hgetall(keys[name])
        pipe.lrange(keys["history"], 0, -1)
        pipe.xrange(keys["logs"])
        record, steps, items, packed, lines = self.read(pipe.execute)
        if not record:
            return None
        history = [encode(as_json(entry)) for entry in unpack(packed)]
        logs = [fields["l"] for _, fields in lines]
        return Snapshot(execution, record, steps, items, history, logs)

    def restore(self, snapshot: Snapshot) -> bool:
        """Bring an ended execution back, to be read for the time of `retention`.

        False: one of this id is there.
        """
        record = {**snapshot.record, IMPORTED: str(self.clock())}
        self.note_kind(record["workflow"], record["version"])
        reply = self.run(
            "restore",
            **self._keys_of_all(snapshot.id),
            index=self._index_of(snapshot.id),
            fields=flat(record.items()),
            states=flat(snapshot.steps.items()),
            pages=flat(snapshot.items.items()),
            events=[repack(text) for text in snapshot.history],
            lines=list(snapshot.logs),
            members=[part for m in members_of(snapshot.id, record) for part in (0, m)],
            keep=self.keep,
        )
        return self._word("restore", reply, "RESTORED", "EXISTS") == "RESTORED"

    def forget(self, snapshot: Snapshot) -> bool:
        """Drop an ended execution that is safe elsewhere. False: it changed, or is gone."""
        reply = self.run(
            "forget",
            **self._keys_of_all(snapshot.id),
            mailbox=self.keys.mailbox(snapshot.id),
            index=self._index_of(snapshot.id),
            status=snapshot.record["status"],
            ended=snapshot.record.get("ended", ""),
            members=members_of(snapshot.id, snapshot.record),
        )
        return self._word("forget", reply, "FORGOTTEN", "CHANGED") == "FORGOTTEN"

    def found(self, query: Query) -> Iterator[Found]:
        """All that are meant, newest first."""
        if query.kinds == ():
            return
        for page in self._pages(query, None, PAGE):
            yield from self._matching(query, page, PAGE)

    def hold(self, executions: Iterable[str]) -> int:
        """Let ended executions not expire, but for those that were imported; how many did."""
        names = list(executions)
        pipe = self.redis.pipeline(transaction=False)
        for name in names:
            pipe.pttl(self.keys.record(name))
            pipe.hexists(self.keys.record(name), IMPORTED)
        told = self.read(pipe.execute)
        held = [
            name
            for name, ttl, imported in zip(names, told[::2], told[1::2], strict=True)
            if ttl > 0 and not imported
        ]
        pipe = self.redis.pipeline(transaction=False)
        for name in held:
            for key in self._keys_of_all(name).values():
                pipe.persist(key)
        self.read(pipe.execute)
        return len(held)

    def _keys_of_all(self, execution: str) -> dict[str, str]:
        """The keys that make an execution."""
        keys = self.keys
        return {
            "record": keys.record(execution),
            "steps": keys.steps(execution),
            "items": keys.items(execution),
            "history": keys.history(execution),
            "logs": keys.logs(execution),
        }

    def take_archiver(self, owner: str, ttl: int) -> bool:
        """Be the one that archives, for ``ttl`` ms; False: somebody else is."""
        key = self.keys.archiver()
        if self.read(self.redis.set, key, owner, nx=True, px=ttl):
            return True
        if self.read(self.redis.get, key) != owner:
            return False
        return bool(self.read(self.redis.pexpire, key, ttl))

    def leave_archiver(self, owner: str) -> None:
        key = self.keys.archiver()
        if self.read(self.redis.get, key) == owner:
            self.read(self.redis.delete, key)
