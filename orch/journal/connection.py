"""The seam to Redis: opening it, running scripts, and translating what goes wrong.

Calls are not repeated by the Redis client: `Connection.patiently` does it, since every script
may be run twice without harm (its fence, its start key or its owner says so).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from orch.errors import JournalError, LayoutMismatch, PartitionMismatch, Unreachable
from orch.journal import scripts
from orch.journal.keys import Keys
from orch.journal.wire import Command, wire_of
from orch.settings import Settings

T = TypeVar("T")

AWAY = (RedisConnectionError, RedisTimeoutError)
"""What the client raises when Redis is out of reach, restarting, or still loading its data."""

CANNOT_NOW: dict[str | type[Exception], str] = {
    OutOfMemoryError: "its memory is full; raise `maxmemory`",
    ReadOnlyError: "it is a replica; name the primary in ORCH_REDIS_URL",
    MasterDownError: "its primary is down",
    ClusterDownError: "its cluster is down",
    TryAgainError: "its cluster is moving slots",
    "MISCONF": "it cannot write its disk; free space there",
    "NOREPLICAS": "too few of its replicas are up",
    "BUSY": "another client's script runs for too long",
}
"""Answers of a Redis that is there and cannot write: nothing was done, and later it may be.
The client turns some of them into a class of their own and drops the word."""

LAYOUT = 2
"""The number of the layout of keys that this release reads and writes."""

ENCODING = {"encoding": "utf-8", "encoding_errors": "surrogateescape", "decode_responses": True}


def milliseconds() -> int:
    """The wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


def open_redis(
    url: str, *, timeout: float = 5.0, opened: Callable[[Any], None] | None = None
) -> Redis:
    """A client that repeats nothing by itself. ``timeout`` in seconds, for each command.

    ``opened``: called with each new connection, instead of its own `on_connect`.
    """
    return Redis.from_url(
        url,
        redis_connect_func=opened,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        **ENCODING,
    )


class Connection:
    """A Redis, its keys and scripts. ``clock`` gives ms since the epoch."""

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        *,
        url: str = "",
        clock: Callable[[], int] = milliseconds,
    ) -> None:
        self.redis = redis
        self.wire = wire_of(redis)
        self.settings = settings
        self.url = without_password(url)
        self.clock = clock
        self.keys = Keys(settings.namespace, settings.partitions)
        self.grace = int(settings.dispatch_grace * 1000)
        self.keep = int(settings.retention * 1000)
        self.expires = self.keep if settings.archive_dir is None else 0
        self._scripts = scripts.load()
        self._in_redis: set[str] = set()  # hashes of the scripts that were loaded from here

    def check(self) -> None:
        """Make sure that Redis answers and that it holds our partition count and layout.

        Raises Unreachable, PartitionMismatch or LayoutMismatch.
        """
        found = self.check_partitions()
        if found != LAYOUT:
            raise LayoutMismatch(
                f"Redis at {self.url} was filled by another release: its executions lie in "
                f"layout {found}, and this one finds them in layout {LAYOUT}",
                hint="end all workers, then `orch reindex`"
                if found < LAYOUT
                else "use the newer release, or another ORCH_NAMESPACE or database",
            )

    def check_partitions(self) -> int:
        """As `check`, whatever the layout is; its number."""
        meta, fresh = self.keys.meta(), {"partitions": self.settings.partitions, "layout": LAYOUT}
        try:
            told = self.redis.hmget(meta, "partitions", "layout")
            if told == [None, None]:
                pipe = self.redis.pipeline(transaction=True)
                for name, value in fresh.items():
                    pipe.hsetnx(meta, name, value)
                pipe.execute()
                told = self.redis.hmget(meta, "partitions", "layout")
        except RedisError as exc:
            raise self._unreachable(exc) from exc
        found = int(told[0] or 0)
        if found != self.settings.partitions:
            raise PartitionMismatch(
                f"Redis at {self.url} was first used with {found} partitions, and the setting "
                f"`partitions` is {self.settings.partitions}; executions would not be found",
                hint=f"set ORCH_PARTITIONS={found}, or another ORCH_NAMESPACE or database",
            )
        return int(told[1] or 1)

    def patiently(self, call: Callable[[], T], patience: float | None = None) -> T:
        """Repeat ``call`` with back-off (50 ms to 1 s) while Redis is away.

        ``patience`` in seconds, by default the setting `redis_patience`.
        """
        limit = time.monotonic() + (self.settings.redis_patience if patience is None else patience)
        pause = 0.05
        while True:
            try:
                return call()
            except Unreachable:
                if time.monotonic() >= limit:
                    raise
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 1.0)

    def run(self, script: str, **given: Any) -> Any:
        """Run a script of ``lua/``. Raises Unreachable, JournalError."""
        return self.read(self._scripts[script], self.wire, **given)

    def run_ahead(self, behind: scripts.Behind, script: str, **given: Any) -> Any:
        """As `run`, with commands that are sent behind it; see `Wire.execute_first`."""
        made = self._scripts[script]
        return self.run_written(made, made.command(given), behind)

    def run_written(
        self,
        script: scripts.Script,
        command: Command,
        behind: scripts.Behind,
        beside: scripts.Beside | None = None,
    ) -> Any:
        """Run a script by a command that is made already.

        ``behind``: as in `run_ahead`; ``beside``: what is asked with it, where nothing is behind.
        """
        if behind and script.sha not in self._in_redis:  # else what is behind goes first, and twice
            self._load(script)

        def run() -> Any:
            if beside is None:
                return self.wire.execute_first(command, *behind)
            reply, beside.answer = self.wire.read_all(command, beside.command)
            return reply

        return self._loaded(script, run)

    def _loaded(self, script: scripts.Script, run: Callable[[], T]) -> T:
        """Run what needs a script by its hash; again, where Redis had forgotten that."""
        run.__name__ = script.name  # as errors call it
        try:
            return self.read(run)  # type: ignore[no-any-return]
        except JournalError as exc:
            if not isinstance(exc.__cause__, NoScriptError):
                raise
        self._load(script)
        return self.read(run)  # type: ignore[no-any-return]

    def _load(self, script: scripts.Script) -> None:
        self.read(self.redis.script_load, script.lua)
        self._in_redis.add(script.sha)

    def run_many(self, script: str, given: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run a script, which may be repeated, for each of ``given``, in one round trip."""
        made = self._scripts[script]

        def run() -> list[Any]:
            pipe = self.redis.pipeline(transaction=False)
            for each in given:
                keys, argv = made.pack(dict(each))
                pipe.evalsha(made.sha, len(keys), *keys, *argv)
            return list(pipe.execute())

        return self._loaded(made, run)

    def read(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the Redis client, in our errors: Unreachable, JournalError."""
        try:
            return call(*args, **kwargs)
        except AWAY as exc:
            raise self._unreachable(exc) from exc
        except ResponseError as exc:
            reason = CANNOT_NOW.get(type(exc)) or CANNOT_NOW.get(str(exc).split(" ", 1)[0])
            if reason is None:
                name = getattr(call, "name", getattr(call, "__name__", "a call"))
                raise JournalError(f"{name} failed in Redis at {self.url}: {exc}") from exc
            raise Unreachable(
                f"Redis at {self.url} refuses to write: {reason} ({exc})", url=self.url
            ) from exc

    def look_sooner(self, tokens: Sequence[tuple[str, str]], due: int) -> None:
        """Have tokens, as (execution, path), looked at at ``due`` (ms), if they would be later.

        A look too early does no harm, and one that is no token any more has none.
        """

        def hasten() -> None:
            pipe = self.redis.pipeline(transaction=False)
            for id, path in tokens:
                watch = self.keys.watch(self.keys.partition(id))
                pipe.zadd(watch, {f"{id} {path}": due}, xx=True, lt=True)
            pipe.execute()

        if tokens:
            self.read(hasten)

    def _keys(self, execution: str) -> dict[str, str]:
        return _keys_of(self.keys, execution)

    def _keys_and_items(self, execution: str) -> dict[str, str]:
        return keys_and_items_of(self.keys, execution)

    def _all_keys(self, execution: str) -> dict[str, str]:
        """Those whose lifetime is that of the execution, with what its scripts look at."""
        return {**self._keys_and_items(execution), "logs": self.keys.logs(execution)}

    def _index_of(self, execution: str) -> str:
        return self.keys.index(self.keys.partition(execution))

    def _index_and_totals(self, execution: str) -> dict[str, str]:
        return _of_partition(self.keys, execution)

    @staticmethod
    def _word(script: str, reply: Any, *known: str) -> str:
        if reply[0] not in known:
            raise JournalError(
                f"script {script} answered {reply[0]!r}; its contract lists {', '.join(known)}",
                hint="are workers of different releases at work on this Redis?",
            )
        return str(reply[0])

    def _unreachable(self, exc: Exception) -> Unreachable:
        return Unreachable(
            f"Redis at {self.url} does not answer: {exc}",
            url=self.url,
            hint="start it, or set ORCH_REDIS_URL=redis://host:6379/0 to one that runs",
        )


@lru_cache(256)
def _of_partition(keys: Keys, execution: str) -> dict[str, str]:
    """Not to be changed by who gets it."""
    partition = keys.partition(execution)
    return {"index": keys.index(partition), "totals": keys.totals(partition)}


@lru_cache(256)
def _keys_of(keys: Keys, execution: str) -> dict[str, str]:
    """Asked for twice for each step of an execution. Not to be changed by who gets it."""
    partition = keys.partition(execution)
    return {
        "record": keys.record(execution),
        "steps": keys.steps(execution),
        "history": keys.history(execution),
        "stream": keys.stream(partition),
        "watch": keys.watch(partition),
    }


@lru_cache(256)
def keys_and_items_of(keys: Keys, execution: str) -> dict[str, str]:
    """As `_keys_of`."""
    return {**_keys_of(keys, execution), "items": keys.items(execution)}
