"""What the capabilities of a worker have done: calls, failures and time, of all its processes.

The figures lie in memory that the processes of the pool share with the main one, a row for each
process: a step costs two additions to it, and the main process says the sums with its signs of
life. A row is written by its process alone, under a lock among its threads.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping

from billiard import current_process

from orch.workflows.agents import Tallied

ROWS = 512
"""Processes of a pool that are told apart; further ones share rows, and may lose a count."""

BEGUN, CALLS, FAILURES, SECONDS = range(4)
FIELDS = 4
BYTES = 8

RECENT = 60.0
"""Seconds over which the latest pace is told."""

KEPT_EVERY = 5.0
"""Seconds between the sums that are kept for it."""


Before = tuple[float, float, float]
"""Calls, failures and seconds, as they once were."""


class Tally:
    """Counts of some capabilities. Made before the pool is, so that its processes inherit it."""

    def __init__(self, names: Iterable[str]) -> None:
        self._places = {name: 1 + at * FIELDS for at, name in enumerate(sorted(set(names)))}
        self._width = 1 + len(self._places) * FIELDS  # first, whether the row is used
        self._memory = mmap.mmap(-1, ROWS * self._width * BYTES)  # zeros, and shared by a fork
        self._cells = memoryview(self._memory).cast("d")
        self._row: int | None = None
        self._lock = threading.Lock()
        self._kept: deque[tuple[float, dict[str, Before]]] = deque()
        os.register_at_fork(after_in_child=self._begin_anew)

    def begin(self, name: str) -> None:
        place = self._places.get(name)
        if place is None:
            return
        with self._lock:
            self._cells[self._own_row() + place + BEGUN] += 1

    def end(self, name: str, seconds: float, ok: bool) -> None:
        place = self._places.get(name)
        if place is None:
            return
        with self._lock:
            at = self._own_row() + place
            self._cells[at + CALLS] += 1
            self._cells[at + SECONDS] += seconds
            if not ok:
                self._cells[at + FAILURES] += 1

    def read(self) -> dict[str, Tallied]:
        """The sums of the capabilities that were ever called; asked by the main process."""
        sums = self._sums()
        now = time.monotonic()
        window, before = self._recent(now, sums)
        found = {}
        for name, (begun, calls, failures, seconds) in sums.items():
            calls_before, failures_before, seconds_before = before.get(name, (0.0, 0.0, 0.0))
            found[name] = Tallied(
                calls=int(calls),
                failures=int(failures),
                seconds=round(seconds, 4),
                busy=int(begun - calls),
                recent_calls=int(calls - calls_before),
                recent_seconds=round(seconds - seconds_before, 4),
                window=round(window, 1),
                recent_failures=int(failures - failures_before),
            )
        return found

    def _sums(self) -> dict[str, list[float]]:
        cells, width = self._cells, self._width
        rows = [row * width for row, used in enumerate(cells[::width]) if used]
        found = {}
        for name, place in self._places.items():
            # The ends first: a call that ends in between must not look like one that runs twice.
            order = (CALLS, FAILURES, SECONDS, BEGUN)
            calls, failures, seconds, begun = (
                sum(cells[row + place + field] for row in rows) for field in order
            )
            if begun:
                found[name] = [begun, min(calls, begun), failures, seconds]
        return found

    def _recent(
        self, now: float, sums: Mapping[str, list[float]]
    ) -> tuple[float, dict[str, Before]]:
        """For how many seconds the latest figures are, and the sums at their beginning."""
        kept = self._kept
        if not kept or now - kept[-1][0] >= KEPT_EVERY:
            said = {n: (each[CALLS], each[FAILURES], each[SECONDS]) for n, each in sums.items()}
            kept.append((now, said))
        while len(kept) > 1 and now - kept[1][0] >= RECENT:
            kept.popleft()
        began, before = kept[0]
        return max(now - began, 1.0), before

    def _own_row(self) -> int:
        if self._row is None:
            index = getattr(current_process(), "index", None)
            self._row = (0 if index is None else 1 + index % (ROWS - 1)) * self._width
            self._cells[self._row] = 1.0
            self._end_lost(self._row)
        return self._row

    def _end_lost(self, row: int) -> None:
        """What a process before this one had begun when it was killed runs no more."""
        for place in self._places.values():
            self._cells[row + place + BEGUN] = self._cells[row + place + CALLS]

    def _begin_anew(self) -> None:
        self._row = None
        self._lock = threading.Lock()


_tally = Tally(())


def current_tally() -> Tally:
    """That of this worker; one that counts nothing where there is no worker."""
    return _tally


def open_tally(names: Iterable[str]) -> Tally:
    """Begin to count what this worker does of some capabilities."""
    global _tally
    _tally = Tally(names)
    return _tally
