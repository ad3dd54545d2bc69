"""Looks for an answer for a moment before it sleeps, as a lock does that is soon free.

To fall asleep and to be woken costs a process more than most answers of a Redis on the same
machine take. Some take longer, where a hypervisor has lent the processor to somebody else; to sleep
then makes it two that have to be woken. While it looks it gives way to whoever wants to run.
"""

from __future__ import annotations

import os
import select
import time
from typing import Any

NEAR, EACH = 0.0003, 0.0001
"""Seconds within which most answers come of a Redis on the same machine: to one command, and to
each that goes with it."""

MISSES = 16
"""Answers in a row that came later, after which Redis is taken to be farther away."""

RESTS = 1000
"""Answers for which nobody looks then: by that time Redis may be quicker again."""

_poll = getattr(select, "poll", None)  # not everywhere, as the other
_give_way = getattr(os, "sched_yield", None)


class BusyPoll:
    """Of one connection. ``seconds``: for which it looks; 0: not at all."""

    __slots__ = ("_look", "_misses", "_rests", "_seconds", "_socket")

    def __init__(self, seconds: float) -> None:
        there = _poll is not None and _give_way is not None
        self._seconds = seconds if there else 0.0
        self._socket: Any = None
        self._look: Any = None
        self._misses = self._rests = 0

    def look(self, socket: Any, commands: int = 1) -> bool:
        """Whether an answer to so many commands has come; whoever reads waits for the rest."""
        if not self._seconds or socket is None:
            return False
        if self._rests:
            self._rests -= 1
            return False
        if socket is not self._socket:
            self._register(socket)
        look, begun = self._look, time.perf_counter()
        while not (found := look(0)) and time.perf_counter() - begun < self._seconds:
            _give_way()  # type: ignore[misc]
        if found and time.perf_counter() - begun < NEAR + EACH * (commands - 1):
            self._misses = 0
            return True
        self._misses += 1
        if self._misses >= MISSES:
            self._misses, self._rests = 0, RESTS
        return bool(found)

    def _register(self, socket: Any) -> None:
        watched = select.poll()
        watched.register(socket, select.POLLIN)
        self._socket, self._look = socket, watched.poll
