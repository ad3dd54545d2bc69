"""What a worker's processes use: cores and memory, as the kernel tells it."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

TOLD_EVERY = 15.0
"""Seconds between two readings; those of memory cost the kernel half a millisecond each."""


class Usage:
    """Of this process and all below it. Used by the thread of one warden alone."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._at = float("-inf")
        self._cpu: dict[int, float] = {}
        self._said: dict[str, float] = {}

    def read(self) -> dict[str, float]:
        """``cpu``: cores at work since the reading before; ``memory``: bytes, of what processes
        share the part of each. Nothing where the kernel does not tell, or has not been asked
        for long enough."""
        now = time.monotonic()
        passed = now - self._at
        if passed < TOLD_EVERY:
            return self._said
        self._at = now
        try:
            pids = self._processes(os.getpid())
        except OSError:
            return {}
        cpu = {pid: self._seconds(pid) for pid in pids}
        # A process that has just begun counts from its beginning; one that has ended, no more.
        used = sum(max(seconds - self._cpu.get(pid, 0.0), 0.0) for pid, seconds in cpu.items())
        known, self._cpu = bool(self._cpu), cpu
        self._said = {"memory": sum(map(self._bytes, pids))}
        if known:
            self._said["cpu"] = round(used / passed, 4)
        return self._said

    def _processes(self, pid: int) -> list[int]:
        found = [pid]
        for task in sorted((self._proc / str(pid) / "task").iterdir()):
            try:
                children = (task / "children").read_text().split()
            except OSError:  # that thread has ended
                continue
            for child in children:
                with contextlib.suppress(OSError):  # it has ended
                    found += self._processes(int(child))
        return found

    def _seconds(self, pid: int) -> float:
        try:
            fields = (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _bytes(self, pid: int) -> int:
        try:
            text = (self._proc / str(pid) / "smaps_rollup").read_text()
            return 1024 * next(
                int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")
            )
        except (OSError, StopIteration, ValueError):
            return 0
