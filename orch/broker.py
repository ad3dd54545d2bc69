"""Redis as a broker, with priorities: the higher the number, the sooner a message is taken.

Messages without a priority lie in the list of their queue's name, as ever, and are taken last;
those of level 1 to 9 in lists beside it. Kombu has it the other way round: what has no priority
goes first. A worker looks only at levels that were ever used, which it asks for once a second:
ten lists for each queue would cost every message some time.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from kombu.transport import redis, virtual
from redis.exceptions import ResponseError

from orch.workflows.node import TASK_PREFIX

JSON = "application/json"
HIGHEST = 9
LEVELS_KEY = "levels_key"
"""The transport option that names the set of levels in use."""
ADDED_EVERY = 1.0
"""Seconds after which a connection is added to the event loop again."""
BLOCKED_FOR = 3
"""Seconds that a worker waits for a message in one command; kombu's own is 1."""
ASKED_EVERY = 1.0
"""Seconds between questions for the levels in use, and between notes of a level that is used."""


class _Unblocked:
    """A channel whose wait for a message is ended when it is closed. Mixed into one of kombu.

    Kombu waits until the command is over, for a message may come by it.
    """

    _waits_by: Any = None
    _number = 0

    def _brpop_start(self, timeout: float | None = None) -> None:
        channel: Any = self
        connection = channel.client.connection
        if connection._sock is not None and connection._sock is not self._waits_by:
            self._waits_by, self._number = connection._sock, 0
            with contextlib.suppress(ResponseError):
                connection.send_command("CLIENT", "ID")
                self._number = int(connection.read_response())
        super()._brpop_start(timeout)  # type: ignore[misc]

    def unblock(self) -> None:
        """End the wait that is under way, if one is."""
        channel: Any = self
        if channel._in_poll and self._number:
            away = (ResponseError, *channel.connection_errors)
            with contextlib.suppress(*away), channel.conn_or_acquire() as client:
                client.client_unblock(self._number)

    def close(self) -> None:
        self.unblock()
        super().close()  # type: ignore[misc]


class _Levels:
    """What a channel knows of the levels in use. Mixed into a channel of kombu."""

    _levels: tuple[int, ...] = (0,)
    _asked = float("-inf")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._noted: dict[int, float] = {}
        super().__init__(*args, **kwargs)

    @property
    def priority_steps(self) -> tuple[int, ...]:
        """Levels in the order in which their lists are looked at."""
        channel: Any = self
        if time.monotonic() - self._asked > ASKED_EVERY:
            self._asked = time.monotonic()
            with contextlib.suppress(*channel.connection_errors):
                with channel.conn_or_acquire() as client:
                    used = client.smembers(_key(channel))
                self._levels = (*sorted((int(level) for level in used), reverse=True), 0)
        return self._levels

    def priority(self, n: int) -> int:
        return max(0, min(int(n), HIGHEST))

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        channel: Any = super()
        level: int = channel._get_message_priority(message, reverse=False)
        if level > 0:
            self._note(level)
        channel._put(queue, message, **kwargs)

    def _note(self, level: int) -> None:
        """Before its message is there, so that nobody overlooks it for long."""
        channel: Any = self
        now = time.monotonic()
        if now - self._noted.get(level, float("-inf")) > ASKED_EVERY:
            with channel.conn_or_acquire() as client:
                client.sadd(_key(channel), level)
            self._noted[level] = now


def list_of(queue: str, level: int) -> str:
    """The list in which the messages of a queue lie that have a level, as kombu names it."""
    return f"{queue}{redis.Channel.sep}{level}" if level else queue


def _key(channel: Any) -> str:
    options = channel.connection.client.transport_options
    return str(options.get(LEVELS_KEY, "orch:priorities"))


class _Reading:
    """Mixed into a message of kombu: that of a step is JSON in which nothing stands for another
    type, so it is not looked for in each object of it."""

    def _decode(self) -> Any:
        message: Any = self
        if (
            message.content_type != JSON
            or message.accept is None
            or JSON not in message.accept
            or not str(message.headers.get("task", "")).startswith(TASK_PREFIX)
        ):
            return super()._decode()  # type: ignore[misc]
        return json.loads(message.body)


class Message(_Reading, virtual.Message):
    """A message in the main process of a worker."""


class Channel(_Levels, _Unblocked, redis.Channel):  # type: ignore[misc]
    """A channel of a single Redis."""

    Message = Message


class _Settled:
    """An event loop in which a reader that is there is not put there again.

    Kombu adds all of its connections anew at each turn of the loop, of which a message takes
    four. Once a second it still may: should one have been lost, it is found again.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._added: dict[Any, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        now = time.monotonic()
        if fd in self._loop.readers and now - self._added.get(fd, float("-inf")) < ADDED_EVERY:
            return
        self._loop.add_reader(fd, callback, *args)
        self._added[fd] = now


class _Polling:
    """Mixed into a transport of kombu."""

    brpop_timeout = BLOCKED_FOR

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        transport: Any = super()
        transport.register_with_event_loop(connection, _Settled(loop))

    def _reject_inbound_message(self, raw_message: Any) -> None:
        """A message that came by a wait whose queue was let go of meanwhile goes back to the head
        of its queue. Kombu knows how only where messages are acknowledged."""
        transport: Any = self
        channel = next((each for each in transport.channels if each), None)
        if channel is None:
            return
        properties = raw_message["properties"]
        level = channel.priority(properties.get("priority") or 0)
        queue = properties["delivery_info"]["routing_key"]
        with channel.conn_or_acquire() as client:
            client.rpush(list_of(queue, level), json.dumps(raw_message))


class Transport(_Polling, redis.Transport):
    Channel = Channel


class SentinelChannel(_Levels, _Unblocked, redis.SentinelChannel):  # type: ignore[misc]
    """A channel of a Redis that sentinels watch."""

    Message = Message


class SentinelTransport(_Polling, redis.SentinelTransport):
    Channel = SentinelChannel
