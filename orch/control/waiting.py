"""When to look whether an execution has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress

from orch.journal.ends import BROKEN, EndLine, Ends

LOOK = 1.0
"""Seconds after which one looks that has heard nothing."""

SHORTEST, LONGEST, GROWTH = 0.005, 0.1, 1.5
"""Seconds between looks where Redis cannot be listened to, and how they grow."""


class Looks:
    """Come back whenever an execution may have ended, at first at once, last when the time is over.

    ``channel``: that of its end, see `Ends`. ``timeout`` in seconds, None: for ever. ``patience``:
    seconds for which a look may be repeated while Redis is away.
    """

    def __init__(self, ends: Ends, channel: str, timeout: float | None, patience: float) -> None:
        self._ends = ends
        self._channel = channel
        self._patience = patience
        self._limit = float("inf") if timeout is None else time.monotonic() + timeout
        self._pause = SHORTEST

    @property
    def patience(self) -> float:
        return max(0.0, self._left(self._patience))

    def in_thread(self) -> Generator[bool, None, None]:
        """Whether it was heard of. To be closed by who does not go on to the end."""
        while (left := self._left(LOOK)) > 0:
            with suppress(*BROKEN), self._ends.listening(self._channel, left) as line:
                yield False
                if line is None:
                    time.sleep(max(0.0, self._left(self._longer())))
                else:
                    yield from self._heard(line)
        yield False

    def _heard(self, line: EndLine) -> Generator[bool, None, None]:
        while (left := self._left(LOOK)) > 0:
            yield line.hear(left) == ("message", self._channel)

    async def in_loop(self) -> AsyncGenerator[None, None]:
        """As `in_thread`, for a coroutine: it holds no thread."""
        told = asyncio.Event()
        yield
        while self._left(LOOK) > 0:
            async with self._ends.listening_in_loop(self._channel, told) as listens:
                while True:
                    left = self._left(LOOK if listens() else self._longer())
                    with suppress(TimeoutError):
                        await asyncio.wait_for(told.wait(), left)
                    told.clear()
                    yield
                    if not listens() or self._left(LOOK) <= 0:
                        break

    def _longer(self) -> float:
        pause, self._pause = self._pause, min(self._pause * GROWTH, LONGEST)
        return pause

    def _left(self, pause: float) -> float:
        """Seconds until the next look; not above 0: the time is over."""
        return min(pause, self._limit - time.monotonic())
