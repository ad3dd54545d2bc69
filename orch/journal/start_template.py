"""Starts that differ by their ids, their instant and their input alone: one is written as the
others were.

What `Journal.start` sends is put together by a few hundred calls. Here it is cut up once, at what
differs, and the next one is joined of its pieces. The pieces come from `Journal.start` itself, and
are believed when another start of the same kind came out byte for byte.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from orch.journal.keys import Keys
from orch.journal.wire import as_sent

Pack = Callable[[str, int, str], Sequence[Any]]
"""The whole command of a start, from its id, its instant in ms and its input as JSON."""

EARLIEST, SPAN = 1_000_000_000_000, 8_000_000_000_000
"""Instants of thirteen digits, ms, as all are until the year 2286."""

MOST_PARTITIONS = 100
"""With more, the tags of some are longer than those of others."""


@dataclass(frozen=True)
class StartTemplate:
    """A command as Redis reads it, in pieces; see `make_template`.

    ``order``: which piece follows which; the first numbers are those of what differs. ``size``:
    bytes of the argument that has the input, without it. ``grace``: as of the journal, ms.
    """

    keys: Keys
    grace: int
    order: tuple[int, ...]
    pieces: tuple[bytes, ...]
    size: int

    def write(self, execution: str, now: int, input: str) -> bytes:
        """The command that starts ``execution`` at ``now``, ms, with ``input``, JSON."""
        packed: bytes = msgpack.packb(input, use_bin_type=False)
        known = (
            *_changing(self.keys, execution, now, self.grace),
            b"%d" % (self.size + len(packed)),
            packed,
            *self.pieces,
        )
        return b"".join([known[number] for number in self.order])


def _changing(keys: Keys, execution: str, now: int, grace: int) -> tuple[bytes, ...]:
    """What differs, but for the input and its length: the id, the hash tag of its partition, and
    its instant in each of the forms in which scripts are given it."""
    return (
        execution.encode(),
        keys.tag(keys.partition(execution)).encode(),
        b"%d" % now,
        now.to_bytes(6, "big"),  # in the history
        (now + grace).to_bytes(8, "big"),  # when to look, packed
    )


def make_template(keys: Keys, grace: int, pack: Pack) -> StartTemplate | None:
    """Of starts that ``pack`` makes; None: they differ by more."""
    if keys.partitions > MOST_PARTITIONS:
        return None
    execution, now = secrets.token_hex(8), EARLIEST + secrets.randbelow(SPAN)
    input, size = f'"{secrets.token_hex(8)}"', secrets.token_bytes(8)
    packed: bytes = msgpack.packb(input, use_bin_type=False)
    marks = (*_changing(keys, execution, now, grace), size, packed)
    command = [_bytes(part) for part in pack(execution, now, input)]
    holding = [number for number, part in enumerate(command) if packed in part]
    if len(holding) != 1:
        return None
    found = re.split(
        b"(" + b"|".join(map(re.escape, marks)) + b")",
        as_sent(command, {holding[0]: size}),
    )
    pieces = tuple(dict.fromkeys(part for part in found if part not in marks))
    known = [*marks, *pieces]
    template = StartTemplate(
        keys=keys,
        grace=grace,
        order=tuple(known.index(part) for part in found if part),
        pieces=pieces,
        size=len(command[holding[0]]) - len(packed),
    )
    return template if _is_true(template, pack) else None


def _is_true(template: StartTemplate, pack: Pack) -> bool:
    """Whether it gives what another start is, whose input is longer than a short text."""
    execution, now = secrets.token_hex(8), EARLIEST + secrets.randbelow(SPAN)
    input = '"' + "ä" * 1000 + '"'
    command = [_bytes(part) for part in pack(execution, now, input)]
    return template.write(execution, now, input) == as_sent(command)


def _bytes(part: Any) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()
