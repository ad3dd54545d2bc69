"""A message goes to an idle process of the pool at once, in one piece.

Celery's main loop puts it where its next turn finds it: that turn asks the system to be told when
the pipe of each process can be written to, which an idle one's always can, and then writes the
length and the content apart, so that the process is woken for four bytes and sleeps again. A lone
step waits for all of that. Here it is written when it is there, if somebody is idle.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

import celery

KNOWN = "5.7."
"""The release whose pool is known; another one does as it likes."""

AT_ONCE = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes whole, or not at all."""


def carry_at_once(pool: Any, hub: Any) -> None:
    """Of a pool that has just been registered with the event loop ``hub``.

    ``pool``: one of Celery's; others than prefork have no pipes, and are left as they are.
    """
    inner: Any = getattr(pool, "_pool", None)
    write = hub.consolidate_callback
    known = celery.__version__.startswith(KNOWN) and hasattr(inner, "outbound_buffer")
    if known and write is not None:
        inner._quick_put = _carrying(inner, inner._quick_put, write)


def _carrying(
    inner: Any, put: Callable[[Any], None], write: Callable[[list[int]], None]
) -> Callable[[Any], None]:
    """``put``: leaves a message to the next turn; ``write``: has a pipe take the first one."""
    waiting, busy, writing = inner.outbound_buffer, inner._busy_workers, inner._active_writes

    def carry(message: Any) -> None:
        put(message)
        _join(waiting[-1])
        if len(waiting) > 1:
            return  # they have not found anybody idle
        for pipe in inner._all_inqueues:
            if pipe not in busy and pipe not in writing:
                write([pipe])
                return

    return carry


def _join(job: Any) -> None:
    """Have the length and the content written together, where no part of that can remain."""
    length, content, size = job._payload
    if len(length) + size <= AT_ONCE:
        job._payload = memoryview(b"".join((length, content))), memoryview(b""), 0
