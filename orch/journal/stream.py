"""The stream of events: one of each partition, which the scripts write while somebody listens."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orch.errors import InputError
from orch.journal.connection import Connection
from orch.journal.records import HistoryEntry, read_entries

Position = Mapping[int, str]
"""Partition -> id of the last entry that was read there."""


@dataclass(frozen=True)
class StreamEntry:
    """What one script told of ``execution``."""

    partition: int
    id: str
    execution: str
    events: tuple[HistoryEntry, ...]


class Stream(Connection):
    """Every method may raise Unreachable."""

    def open_stream(self) -> Position:
        """Have events written from now on; the position behind all that was."""
        position: dict[int, str] = {}
        for partition in range(self.keys.partitions):
            position[partition] = self.read(self._open_one, self.keys.stream(partition))
        return position

    def _open_one(self, key: str) -> str:
        # An entry of no events makes the stream, and says where it stands. Both in one step: a
        # stream without an end of its life would stay for ever.
        pipe = self.redis.pipeline(transaction=True)
        pipe.xadd(key, {"x": ""})
        pipe.pexpire(key, self._stream_life)
        return str(pipe.execute()[0])

    def keep_stream(self) -> None:
        """Have events written for another `stream_retention`; what has expired begins anew."""
        pipe = self.redis.pipeline(transaction=False)
        for partition in range(self.keys.partitions):
            pipe.pexpire(self.keys.stream(partition), self._stream_life)
        kept = self.read(pipe.execute)
        for partition in (p for p, found in enumerate(kept) if not found):
            self.read(self._open_one, self.keys.stream(partition))

    @property
    def _stream_life(self) -> int:
        return int(self.settings.stream_retention * 1000)

    def gaps(self, position: Position, partitions: Iterable[int]) -> list[int]:
        """Those of ``partitions`` of which events behind ``position`` may be gone.

        As long as its entry is there, nothing behind it was trimmed.
        """
        asked = list(partitions)
        pipe = self.redis.pipeline(transaction=False)
        for partition in asked:
            id = position[partition]
            pipe.xrange(self.keys.stream(partition), id, id, count=1)
        found = self.read(pipe.execute)
        return [partition for partition, there in zip(asked, found, strict=True) if not there]

    def read_stream(self, position: Position, *, block: int, most: int = 1000) -> list[StreamEntry]:
        """What was told behind ``position``, in the order in which it was; waits ``block`` ms.

        ``most``: of each partition.
        """
        keys = {self.keys.stream(partition): partition for partition in position}
        streams: Any = {key: position[partition] for key, partition in keys.items()}
        found = self.read(self.redis.xread, streams, count=most, block=block)
        entries = [
            StreamEntry(
                keys[key],
                id,
                fields.get("x", ""),
                tuple(
                    entry
                    for n in range(1, len(fields))
                    if str(n) in fields
                    for entry in read_entries([fields[str(n)]])
                ),
            )
            for key, told in found or ()
            for id, fields in told
        ]
        return sorted(entries, key=lambda entry: _order(entry.id))

    def workflows_of(self, executions: list[str]) -> list[str | None]:
        """The workflow of each execution; None where it is gone."""
        pipe = self.redis.pipeline(transaction=False)
        for execution in executions:
            pipe.hget(self.keys.record(execution), "workflow")
        return list(self.read(pipe.execute))


def dump_position(position: Position) -> str:
    """As one word that a caller may keep."""
    ids = [position[partition] for partition in sorted(position)]
    return base64.urlsafe_b64encode(json.dumps(ids, separators=(",", ":")).encode()).decode()


def parse_position(text: str, partitions: int) -> Position:
    """Raises InputError where ``text`` is no position, or one of another Redis."""
    try:
        ids = json.loads(base64.urlsafe_b64decode(text.encode()))
        if not isinstance(ids, list):
            raise ValueError("no list")
        for id in ids:
            _order(id)
    except (ValueError, AttributeError, TypeError) as exc:
        raise InputError(
            f"{text[:40]!r} is no position of the stream of events",
            hint="take the `position` of an event, whole",
        ) from exc
    if len(ids) != partitions:
        raise InputError(
            f"the position is of {len(ids)} partitions, and this Redis has {partitions}",
            hint="it belongs to another Redis, or namespace",
        )
    return dict(enumerate(ids))


def _order(id: str) -> tuple[int, int]:
    at, _, number = id.partition("-")
    return int(at), int(number)
