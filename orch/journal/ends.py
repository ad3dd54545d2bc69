"""Hearing that an execution has ended, instead of asking again and again.

The script with which one ends publishes that on the channel of its name, that of its record. A
thread that waits listens on a connection of its own; the coroutines of a loop share one. What is
published is a hint and no more: it gets lost with a connection, and other databases of the same
Redis are heard, too. So who is told looks, and looks by itself from time to time.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

MOST_KEPT = 4
"""Connections that are kept for the next one that waits."""

BROKEN = (RedisError, OSError, ValueError)
"""What a connection raises that is of no use any more; the last, if it was closed meanwhile."""


class EndLine:
    """A connection that listens. It is used by one thread at a time."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection = pool.get_connection()
        self.channels: set[str] = set()

    @property
    def file(self) -> int:
        """The descriptor from which is read."""
        return int(self._connection._sock.fileno())

    def listen(self, channel: str, *, alone: bool = False) -> None:
        """To a channel as well, or ``alone``. Redis confirms it, which `hear` tells."""
        left = self.channels - {channel} if alone else set()
        # In this order the confirmation comes last: nothing behind it is taken for news.
        self._send([*([("UNSUBSCRIBE", *left)] if left else []), ("SUBSCRIBE", channel)])
        self.channels = (self.channels | {channel}) - left

    def leave(self, channel: str) -> None:
        self._send([("UNSUBSCRIBE", channel)])
        self.channels.discard(channel)

    def hear(self, seconds: float) -> tuple[str, str] | None:
        """What came, in time: `subscribe`, `unsubscribe` or `message`, and the channel."""
        if not self._connection.can_read(timeout=seconds):
            return None
        kind, channel, *_ = self._connection.read_response(push_request=True)
        return kind, channel

    def close(self) -> None:
        self._connection.disconnect()
        self._pool.release(self._connection)

    def _send(self, commands: list[tuple[str, ...]]) -> None:
        connection = self._connection
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)


class Ends:
    """The ends of executions in one Redis, for who waits for them.

    ``refused``: Redis does not let this user listen; who waits has to look often.
    """

    def __init__(self, redis: Redis) -> None:
        self.refused = False
        self._pool: Any = redis.connection_pool
        self._kept: list[EndLine] = []
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopEnds] = WeakKeyDictionary()

    @contextmanager
    def listening(self, channel: str, patience: float) -> Iterator[EndLine | None]:
        """A connection that hears a channel from now on; None: there is none at the moment.

        ``patience``: seconds until Redis has confirmed that; who waits looks then.
        """
        line: EndLine | None = None
        try:
            line = self.take()
            if line is not None:
                line.listen(channel, alone=True)
                while line.hear(patience) not in (("subscribe", channel), None):
                    pass
        except BROKEN as exc:
            self.drop(line, exc)
            line = None
        try:
            yield line
        except BROKEN as exc:
            self.drop(line, exc)
            line = None
            raise
        finally:
            if line is not None:
                self.keep(line)

    @asynccontextmanager
    async def listening_in_loop(
        self, channel: str, told: asyncio.Event
    ) -> AsyncIterator[Callable[[], bool]]:
        """Set ``told`` when a channel is heard, at first when that begins, and when it ends.

        Yields what says whether it still does.
        """
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._loops[loop] = _LoopEnds(self, loop)
        async with self._loops[loop].listening(channel, told) as line:
            yield lambda: line is not None and line is self._loops[loop].line

    def take(self) -> EndLine | None:
        """A connection, kept or new; None: it would be of no use. Raises what `BROKEN` names."""
        return None if self.refused else self.kept() or EndLine(self._pool)

    def kept(self) -> EndLine | None:
        """One that is there; it takes no time."""
        with self._lock:
            if self._pid != os.getpid():  # those are of the process that forked this one
                self._kept, self._pid = [], os.getpid()
            return self._kept.pop() if self._kept else None

    def prepare(self) -> None:
        """See to it that one is there. Raises what `BROKEN` names."""
        if (line := self.take()) is not None:
            self.keep(line)

    def keep(self, line: EndLine) -> None:
        """For the next one that waits."""
        with self._lock:
            if len(self._kept) < MOST_KEPT:
                self._kept.append(line)
                return
        line.close()

    def drop(self, line: EndLine | None, exc: Exception) -> None:
        if isinstance(exc, NoPermissionError):
            self.refused = True
        if line is not None:
            line.close()


class _LoopEnds:
    """What the coroutines of one loop wait for, and the connection that they share."""

    def __init__(self, ends: Ends, loop: asyncio.AbstractEventLoop) -> None:
        self._ends = ends
        self._loop = loop
        self.line: EndLine | None = None
        self._file = -1
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def listening(self, channel: str, told: asyncio.Event) -> AsyncIterator[EndLine | None]:
        async with self._opening:
            if self.line is None:
                with suppress(*BROKEN, NotImplementedError):
                    # Who is cancelled here leaves the connection to the next one.
                    await asyncio.to_thread(self._ends.prepare)
                    self._begin(self._ends.kept())
        self._waiting.setdefault(channel, []).append(told)
        try:
            self._tell_redis(EndLine.listen, channel)
            yield self.line
        finally:
            self._waiting[channel].remove(told)
            if not self._waiting[channel]:
                del self._waiting[channel]
                self._tell_redis(EndLine.leave, channel)
            if not self._waiting and self.line is not None:
                self._ends.keep(self._end(self.line))

    def _begin(self, line: EndLine | None) -> None:
        if line is not None:
            try:
                self._loop.add_reader(line.file, self._hear)
            except BaseException:  # a loop that cannot: it looks often
                line.close()
                raise
            self.line, self._file = line, line.file

    def _end(self, line: EndLine) -> EndLine:
        self._loop.remove_reader(self._file)
        self.line = None
        return line

    def _hear(self) -> None:
        line = self.line
        if line is None:
            return
        try:
            while (heard := line.hear(0)) is not None:
                for told in self._waiting.get(heard[1], ()):
                    told.set()
        except BROKEN as exc:
            self._lose(line, exc)

    def _tell_redis(self, what: Any, channel: str) -> None:
        if self.line is not None:
            try:
                what(self.line, channel)
            except BROKEN as exc:
                self._lose(self.line, exc)

    def _lose(self, line: EndLine, exc: Exception) -> None:
        """All who wait look, and listen anew."""
        self._ends.drop(self._end(line), exc)
        for waiting in self._waiting.values():
            for told in waiting:
                told.set()
