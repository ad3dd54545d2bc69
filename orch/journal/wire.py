"""Commands to Redis without all that its client does around each of them.

A step is a handful of commands, and the client spends more on taking a connection from its
pool, counting it and giving it back than on the command. Here a connection is kept at hand.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

try:
    from hiredis import pack_command
except ImportError:  # a platform without it: this is done in Python
    pack_command = None  # type: ignore[assignment]

from orch.journal.busy_poll import BusyPoll

if TYPE_CHECKING:
    from orch.journal.pipelining import Pipeline

logger = logging.getLogger(__name__)

Command = Sequence[Any]
"""Its parts; or bytes, where it is written as Redis reads it."""

Asked = tuple[Callable[["_Line", Any], Any], Any]
"""How something is asked on a connection, and what: see `Wire._execute`."""

MOST_OWED = 100
"""Answers that a connection may owe: more of them lie in the memory of the server."""


class _Line:
    """One connection, and how many answers it owes to commands for which nobody waits."""

    __slots__ = ("busy_poll", "connection", "owed", "socket")

    def __init__(self, connection: Any, busy_poll: float) -> None:
        self.connection = connection
        self.busy_poll = BusyPoll(busy_poll)
        self.socket: Any = None
        self.owed = 0

    def send(self, *commands: Command) -> None:
        """All in one write: each is a system call, and wakes the server."""
        connection = self.connection
        parts = [each if isinstance(each, bytes) else as_sent(each) for each in commands]
        connection.send_packed_command((b"".join(parts),))
        if connection._sock is not self.socket:  # another one: what the last one owed is gone
            self.socket, self.owed = connection._sock, 0

    def ask(self, *commands: Command) -> None:
        """Send what is answered soon; what was owed is taken."""
        self.send(*commands)
        self.busy_poll.look(self.socket, len(commands))
        self.settle()

    def settle(self) -> None:
        """Take the answers that are owed; an error among them is only worth a warning."""
        while self.owed:
            self.owed -= 1
            try:
                self.connection.read_response()
            except ResponseError as exc:
                _warn_of_lost(exc)

    def call(self, command: Command) -> Any:
        self.ask(command)
        return self.connection.read_response()

    def call_first(self, commands: Sequence[Command]) -> Any:
        """The answer to the first; those to the others are owed."""
        self.ask(*commands)
        self.owed = len(commands) - 1
        return self.connection.read_response()

    def call_all(self, commands: Sequence[Command]) -> Any:
        """Commands that only read, in one round trip; their answers."""
        self.ask(*commands)
        return [self.connection.read_response() for _ in commands]

    def call_each(self, asked: Sequence[Asked]) -> Any:
        """What several ask, in one round trip; the answer to each, or the error that it is."""
        calls = [(call, (found,) if call is _Line.call else found) for call, found in asked]
        self.ask(*(command for _, commands in calls for command in commands))
        return [self._read(call, len(commands)) for call, commands in calls]

    def _read(self, call: Callable[[_Line, Any], Any], count: int) -> Any:
        """The answers to ``count`` commands that were sent together, as ``call`` gives them."""
        found = [self._read_one() for _ in range(count)]
        if call is not _Line.call_all:
            for error in found[1:]:
                if isinstance(error, ResponseError):
                    _warn_of_lost(error)
            return found[0]
        errors = [each for each in found if isinstance(each, ResponseError)]
        return errors[0] if errors else found

    def _read_one(self) -> Any:
        try:
            return self.connection.read_response()
        except ResponseError as exc:
            return exc


class Wire:
    """The connections of one client, for commands that may be repeated without harm.

    Any number of threads may use it; a forked process opens connections of its own.

    ``busy_poll``: seconds for which each that is opened from now on looks for an answer before
    it sleeps. ``pipeline``: the fibers whose commands go together.
    """

    def __init__(self, redis: Redis) -> None:
        self.busy_poll = 0.0
        self.pipeline: Pipeline | None = None
        self._pool: Any = redis.connection_pool
        self._free: list[_Line] = []
        self._pid = os.getpid()

    def execute_command(self, *command: Any) -> Any:
        """Send a command and wait for its answer. Raises what the client raises.

        A connection at hand may have been closed in the meantime: then it is tried on another.
        """
        return self._execute(_Line.call, command)

    def execute_first(self, *commands: Command) -> Any:
        """As `execute_command` of the first one.

        The others go with it, in the same write, and are carried out behind it whatever its answer
        is. Nobody waits for theirs, as with `post`.
        """
        return self._execute(_Line.call_first, commands)

    def read_all(self, *commands: Command) -> list[Any]:
        """As `execute_command` for commands that only read, in one round trip."""
        found: list[Any] = self._execute(_Line.call_all, commands)
        return found

    def execute_each(self, asked: Sequence[Asked]) -> list[Any]:
        """What several ask, in one round trip: the answer to each, or the error that it is."""
        found: list[Any] = self._execute_alone(_Line.call_each, asked)
        return found

    def _execute(self, call: Callable[[_Line, Any], Any], command: Any) -> Any:
        pipeline = self.pipeline
        if pipeline is not None and pipeline.may_ask():
            return pipeline.ask((call, command))
        return self._execute_alone(call, command)

    def _execute_alone(self, call: Callable[[_Line, Any], Any], command: Any) -> Any:
        while (line := self._at_hand()) is not None:
            try:
                return self._answer(line, call, command)
            except RedisConnectionError:
                continue
        return self._answer(_Line(self._pool.get_connection(), self.busy_poll), call, command)

    def post(self, *command: Any) -> None:
        """Send a command; its answer is taken with that to the next one on its connection.

        For what is brought again by somebody else, if it gets lost.
        """
        line = self._at_hand()
        if line is None or line.owed >= MOST_OWED:
            if line is not None:
                self._free.append(line)
            self.execute_command(*command)
            return
        try:
            line.send(command)
        except RedisConnectionError:
            self._let_go(line)
            self.execute_command(*command)
            return
        except BaseException:
            self._let_go(line)
            raise
        line.owed += 1
        self._free.append(line)

    def _at_hand(self) -> _Line | None:
        if self._pid != os.getpid():
            self._free, self._pid = [], os.getpid()
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _answer(self, line: _Line, call: Callable[[_Line, Any], Any], command: Any) -> Any:
        try:
            reply = call(line, command)
        except ResponseError:
            if call is _Line.call_all:  # the other answers may not have been read
                self._let_go(line)
            else:
                self._free.append(line)
            raise
        except BaseException:
            self._let_go(line)
            raise
        self._free.append(line)
        return reply

    def _let_go(self, line: _Line) -> None:
        line.connection.disconnect()
        self._pool.release(line.connection)


def wire_of(redis: Redis) -> Wire:
    """The one of a client: whoever uses the same client shares the connections at hand."""
    pool: Any = redis.connection_pool
    if not hasattr(pool, "orch_wire"):
        pool.orch_wire = Wire(redis)
    wire: Wire = pool.orch_wire
    return wire


def _warn_of_lost(error: ResponseError) -> None:
    logger.warning("a message was not taken, the watch will send it again: %s", error)


def as_sent(command: Command, sizes: Mapping[int, bytes] | None = None) -> bytes:
    """A command as Redis reads it: an array of bulk strings, https://redis.io/docs/latest/
    develop/reference/protocol-spec/. ``sizes``: what is written as the length of a part."""
    if pack_command is not None and sizes is None:
        packed: bytes = pack_command(tuple(command))
        return packed
    written = [b"*%d\r\n" % len(command)]
    for number, part in enumerate(command):
        raw = part if isinstance(part, bytes) else str(part).encode(errors="surrogateescape")
        length = b"%d" % len(raw) if sizes is None or number not in sizes else sizes[number]
        written.append(b"$%b\r\n%b\r\n" % (length, raw))
    return b"".join(written)
