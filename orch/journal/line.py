"""The connection by which a worker is seen to live.

The kernel closes it at the instant at which its process dies, however that happens, and it
stays open while the process is frozen or starved. So who asks Redis for it knows at once of a
death, and takes nobody for dead who is only slow.
"""

from __future__ import annotations

import os
import re
import time
import weakref
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError


class Line:
    """The first connection of a warden's Redis client, which one thread uses alone.

    Its ``opened`` is given to `open_redis`. ``name``: shown by ``CLIENT LIST``. ``number``: by
    which Redis knows the connection; 0 where nobody may ask for it, or would not find it: behind
    some proxies, where an ACL forbids it, before Redis 6.2. ``changed``: it is another one since
    the worker last said so. ``patience``: seconds that others have to come back to a Redis that
    was away.
    """

    def __init__(self, namespace: str, incarnation: str, patience: float) -> None:
        self.name = line_name(namespace, incarnation)
        self.number = 0
        self.changed = False
        self._patience = patience
        self._settled = float("-inf")
        self._connection: Any = None
        _lines.add(self)

    def opened(self, connection: Any) -> None:
        """Called by the Redis client with each new connection, before it is used."""
        connection.on_connect()
        before = self._connection
        if before is not None and before is not connection and before._sock is not None:
            return  # one more
        self._connection = connection
        self.number = self._introduce(connection)
        self.changed = True
        missed = max(self._patience - _uptime(connection), 0) if before is None else self._patience
        self._settled = time.monotonic() + missed

    def check(self) -> None:
        """See to it that it is open, without a word to Redis if it is. Raises what the client does.

        Others miss it before it is used the next time.
        """
        connection = self._connection
        if connection is None:
            return
        try:
            connection.can_read(0)
        except (RedisConnectionError, OSError):
            connection.disconnect()
        if connection._sock is None:
            connection.connect()

    @property
    def settled(self) -> bool:
        """Whether those who live had the time to come back, should all have been cut off."""
        return time.monotonic() >= self._settled

    def close_in_child(self) -> None:
        """A forked child that held it open would let its dead parent look alive."""
        if self._connection is not None:
            self._connection.disconnect()  # in another process than its own: closes, no more

    def _introduce(self, connection: Any) -> int:
        try:
            _ask(connection, "CLIENT", "SETNAME", self.name)
            number = int(_ask(connection, "CLIENT", "ID"))
            shown = str(_ask(connection, "CLIENT", "LIST", "ID", number)).split()
        except ResponseError:
            return 0
        return number if {f"id={number}", f"name={self.name}"} <= set(shown) else 0


def line_name(namespace: str, incarnation: str) -> str:
    """The name of a worker's connection: no blank, and nothing but ASCII, is allowed there."""
    return re.sub(r"[^!-~]", "_", f"{namespace}:worker:{incarnation}")


def _ask(connection: Any, *command: Any) -> Any:
    connection.send_command(*command)
    return connection.read_response()


def _uptime(connection: Any) -> float:
    """Seconds for which Redis has been up; for ever, where it does not say."""
    try:
        found = re.search(r"uptime_in_seconds:(\d+)", str(_ask(connection, "INFO", "server")))
    except ResponseError:
        found = None
    return float(found[1]) if found else float("inf")


_lines: weakref.WeakSet[Line] = weakref.WeakSet()


def _close_in_child() -> None:
    for line in list(_lines):
        line.close_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
