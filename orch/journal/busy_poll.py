"""Looks for an answer for a moment before it sleeps, as a lock does that is soon free.

To fall asleep and to be woken costs a process more than most answers of a Redis on the same machine
take. While it looks it gives way to whoever wants to run.
"""

from __future__ import annotations

import os
import select
import time
from typing import Any

MISSES = 16
"""Looks in a row that came to nothing, after which Redis is taken to be farther away."""

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

    def look(self, socket: Any) -> bool:
        """Whether something has come on a socket; whoever reads waits for the rest as ever."""
        if not self._seconds or socket is None:
            return False
        if self._rests:
            self._rests -= 1
            return False
        if socket is not self._socket:
            self._register(socket)
        look, end = self._look, time.perf_counter() + self._seconds
        while not look(0):
            if time.perf_counter() >= end:
                self._misses += 1
                if self._misses >= MISSES:
                    self._misses, self._rests = 0, RESTS
                return False
            _give_way()  # type: ignore[misc]
        self._misses = 0
        return True

    def _register(self, socket: Any) -> None:
        watched = select.poll()
        watched.register(socket, select.POLLIN)
        self._socket, self._look = socket, watched.poll
