"""What the processes of a pool have drawn, told to the main process by shared memory."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from orch.journal.pipelining import Fiber

FIBERS = 16
"""The most that one process has in hand."""

ROWS, BYTES = 256 * FIBERS, 256
_PIDS = struct.Struct(f"={ROWS}i")
_PID = struct.Struct("=i")
_HEAD = struct.Struct("=?H")

CARRIER = "orch_carrier"
"""Of the request of a drawn message: the id of the message that Celery knows of."""


FIBER = "orch_fiber"
"""Of the request of a drawn message: the `Fiber` in which it is worked on."""


class DrawnToken(NamedTuple):
    """``waits``: its process does something else, and it has only been claimed, or is done."""

    pid: int
    execution: str
    path: str
    waits: bool


class DrawnTokens:
    """What the processes of a pool have in hand: `execution path` of a message, one for each row.

    Made before the pool is. A reader may meet a row that is being written: what it reads then is
    that of no token, and the next look finds it.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _PIDS.size + ROWS * BYTES)

    def note(self, row: int, token: str) -> bool:
        """False: it is too long."""
        text = token.encode()
        if len(text) > BYTES - _HEAD.size:
            return False
        place = _place(row)
        self._memory[place + _HEAD.size : place + _HEAD.size + len(text)] = text
        _HEAD.pack_into(self._memory, place, False, len(text))
        _PID.pack_into(self._memory, row % ROWS * _PID.size, os.getpid())
        return True

    def wait(self, row: int, waits: bool) -> None:
        """Tell whether its process does something else."""
        self._memory[_place(row)] = waits

    def clear(self, row: int) -> None:
        _PID.pack_into(self._memory, row % ROWS * _PID.size, 0)

    def take(self, pid: int | None) -> list[DrawnToken]:
        """What a process had in hand that is gone: nobody has it any more."""
        found = []
        for row, own in enumerate(_PIDS.unpack_from(self._memory)):
            if own and own == pid:
                found.append(self._read(row, own))
                self.clear(row)
        return found

    def read(self) -> Iterator[DrawnToken]:
        for row, pid in enumerate(_PIDS.unpack_from(self._memory)):
            if pid:
                yield self._read(row, pid)

    def _read(self, row: int, pid: int) -> DrawnToken:
        place = _place(row)
        waits, length = _HEAD.unpack_from(self._memory, place)
        text = self._memory[place + _HEAD.size : place + _HEAD.size + length]
        execution, _, path = text.decode(errors="replace").partition(" ")
        return DrawnToken(pid, execution, path, waits)


def _place(row: int) -> int:
    return _PIDS.size + row % ROWS * BYTES


tokens = DrawnTokens()
"""Of this worker."""


def drawn_now() -> set[str]:
    """`execution path` of each message that a process of this worker has in hand."""
    return {f"{each.execution} {each.path}" for each in tokens.read()}


def carrier_of(request: Any) -> str:
    """The id of the message that Celery knows of, where this one was drawn behind it; else ''."""
    return str(getattr(request, CARRIER, None) or "")


def fiber_of(request: Any) -> Fiber | None:
    """In which the message is worked on, if it was drawn."""
    found: Fiber | None = getattr(request, FIBER, None)
    return found
