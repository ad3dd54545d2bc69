"""One method per transition, typed in and out; the words of the scripts end here.

Calls are not repeated by the Redis client: `Journal.patiently` does it, since every script
may be run twice without harm (its fence, its start key or its owner says so).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from orch.errors import JournalError, NotFound, PartitionMismatch, Unreachable
from orch.journal import scripts
from orch.journal.keys import Keys
from orch.settings import Settings
from orch.workflows.transition import (
    ALL_VARIABLES,
    CAUSE_FIELD,
    INPUT_FIELD,
    WORKFLOW_FIELD,
    ExecutionStatus,
    Open,
    StepState,
    Transition,
    View,
)

T = TypeVar("T")

AWAY = (RedisConnectionError, RedisTimeoutError)
"""What the client raises when Redis is out of reach, restarting, or still loading its data."""

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


def open_redis(url: str, *, timeout: float = 5.0) -> Redis:
    """A client that repeats nothing by itself. ``timeout`` in seconds, for each command."""
    return Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        **ENCODING,
    )


@dataclass(frozen=True)
class Claimed:
    """An attempt is ours."""

    state: StepState
    view: View


@dataclass(frozen=True)
class Refused:
    """A script said no; ``word`` is its word, ``rest`` what it added."""

    word: str
    rest: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Settled:
    """An outcome is committed. ``joined``: the parallel step whose branches it closed."""

    joined: str | None = None
    repeated: bool = False


@dataclass(frozen=True)
class Start:
    """All that a new execution is made of."""

    id: str
    workflow: str
    version: str
    plan: str
    input: str  # JSON
    transition: Transition
    deadline: int = 0  # ms since the epoch, 0: none
    idempotency_key: str | None = None


@dataclass(frozen=True)
class HistoryEntry:
    """One event of an execution. ``at``: ms since the epoch."""

    at: int
    event: str
    path: str
    attempt: int
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "at": self.at,
            "event": self.event,
            "path": self.path,
            "attempt": self.attempt,
            "detail": dict(self.detail),
        }


@dataclass(frozen=True)
class Record:
    """The record of an execution; JSON texts decoded. Instants in ms since the epoch."""

    id: str
    workflow: str
    version: str
    plan: str
    status: ExecutionStatus
    created: int
    ended: int
    input: Any
    output: Any
    variables: Mapping[str, Any]
    error: Mapping[str, Any] | None


class Journal:
    """The journal of all executions in one Redis.

    Every method may raise Unreachable when Redis is away, JournalError when a script answers
    a word that its contract does not list. ``clock`` gives ms since the epoch.
    """

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        *,
        url: str = "",
        clock: Callable[[], int] = milliseconds,
    ) -> None:
        self.redis = redis
        self.settings = settings
        self.url = without_password(url)
        self.clock = clock
        self.keys = Keys(settings.namespace, settings.partitions)
        self.grace = int(settings.dispatch_grace * 1000)
        self._scripts = scripts.load()

    # --- reaching Redis --------------------------------------------------------------------

    def check(self) -> None:
        """Make sure that Redis answers and that it holds our partition count.

        Raises Unreachable or PartitionMismatch.
        """
        try:
            self.redis.hsetnx(self.keys.meta(), "partitions", self.settings.partitions)
            found = int(self.redis.hget(self.keys.meta(), "partitions") or 0)
        except RedisError as exc:
            raise self._unreachable(exc) from exc
        if found != self.settings.partitions:
            raise PartitionMismatch(
                f"Redis at {self.url} was first used with {found} partitions, and the setting "
                f"`partitions` is {self.settings.partitions}; executions would not be found",
                hint=f"set ORCH_PARTITIONS={found}, or another ORCH_NAMESPACE or database",
            )

    def patiently(self, call: Callable[[], T], patience: float | None = None) -> T:
        """Repeat ``call`` with back-off (50 ms to 1 s) while Redis is away.

        ``patience`` in seconds, by default the setting `redis_patience`.
        """
        limit = time.monotonic() + (
            self.settings.redis_patience if patience is None else patience
        )
        pause = 0.05
        while True:
            try:
                return call()
            except Unreachable:
                if time.monotonic() >= limit:
                    raise
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 1.0)

    def _run(self, name: str, **given: Any) -> Any:
        try:
            return self._scripts[name](self.redis, **given)
        except AWAY as exc:
            raise self._unreachable(exc) from exc
        except ResponseError as exc:
            raise JournalError(
                f"script {name} failed in Redis at {self.url}: {exc}",
                hint="OOM: raise maxmemory; READONLY: name the primary in ORCH_REDIS_URL; "
                "MISCONF: Redis cannot write its disk",
            ) from exc

    def _read(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except AWAY as exc:
            raise self._unreachable(exc) from exc

    def _unreachable(self, exc: Exception) -> Unreachable:
        return Unreachable(
            f"Redis at {self.url} does not answer: {exc}",
            url=self.url,
            hint="start it, or set ORCH_REDIS_URL=redis://host:6379/0 to one that runs",
        )

    # --- transitions -----------------------------------------------------------------------

    def start(self, start: Start) -> bool:
        """Create an execution with its first tokens. False: it exists already."""
        now = self.clock()
        fields: dict[str, str] = {
            "status": ExecutionStatus.RUNNING.value,
            WORKFLOW_FIELD: start.workflow,
            "version": start.version,
            "plan": start.plan,
            "created": str(now),
            INPUT_FIELD: start.input,
        }
        transition = start.transition
        fields.update(transition.fields)
        if start.idempotency_key is not None:
            fields["key"] = start.idempotency_key
        if transition.end is not None:
            fields["status"] = transition.end.status.value
            fields["ended"] = str(now)
            if transition.end.output is not None:
                fields["output"] = transition.end.output
            if transition.end.error is not None:
                fields["error"] = transition.end.error
        started = json.dumps([now, "started", "", 0], separators=(",", ":"))
        reply = self._run(
            "start",
            **self._four(start.id),
            index=self.keys.index(self.keys.partition(start.id)),
            now=now,
            id=start.id,
            fields=_flat(fields.items()),
            opens=_opens(transition.opens),
            texts=_flat(transition.texts),
            events=[started, *(event.dumps(now) for event in transition.events)],
            ended=self._keep() if transition.end else 0,
            deadline=start.deadline,
        )
        return bool(self._word("start", reply, "STARTED", "EXISTS") == "STARTED")

    def claim(
        self,
        execution: str,
        path: str,
        *,
        owner: str,
        plan: str,
        queue: str,
        reads: Sequence[str],
        lease: int,
    ) -> Claimed | Refused:
        """Take the dispatched attempt of a token. ``lease`` in ms: when to look at it."""
        now = self.clock()
        reply = self._run(
            "claim",
            **self._four(execution),
            marks=self.keys.marks(self.keys.partition(execution)),
            now=now,
            id=execution,
            path=path,
            owner=owner,
            due=now + lease,
            plan=plan,
            queue=queue,
            reads=list(reads),
        )
        words = ("CLAIMED", "DONE", "OWNED", "EARLY", "PAUSED", "ENDED", "MISSING", "REPLANNED")
        word = self._word("claim", reply, *words)
        if word != "CLAIMED":
            return Refused(word, tuple(reply[1:]))
        return Claimed(
            StepState.loads(reply[1]), make_view(execution, zip(reads, reply[2:], strict=True))
        )

    def settle(
        self,
        execution: str,
        transition: Transition,
        *,
        expect: str,
        attempt: int,
        owner: str = "",
    ) -> Settled | Refused:
        """Commit a transition, if its token is still at ``expect``, ``attempt`` and ``owner``."""
        assert transition.state is not None
        now = self.clock()
        branch, end = transition.branch, transition.end
        reply = self._run(
            "settle",
            **self._four(execution),
            now=now,
            id=execution,
            path=transition.path,
            expect=expect,
            attempt=attempt,
            owner=owner,
            state=transition.state.dumps(),
            due=transition.due or 0,
            opens=_opens(transition.opens),
            texts=_flat(transition.texts),
            fields=_flat(transition.fields),
            branch=[branch.join, branch.number, int(branch.ok), branch.text] if branch else [],
            ends=[end.status.value, end.output or "", end.error or ""] if end else [],
            events=[event.dumps(now) for event in transition.events],
            grace=self.grace,
            keep=self._keep(),
        )
        words = ("SETTLED", "JOINED", "REPEATED", "SUPERSEDED", "ENDED", "MISSING")
        word = self._word("settle", reply, *words)
        if word == "SETTLED":
            return Settled()
        if word in ("JOINED", "REPEATED"):
            joined = reply[1] if len(reply) > 1 else None
            return Settled(joined=joined, repeated=word == "REPEATED")
        return Refused(word, tuple(reply[1:]))

    def redispatch(self, execution: str, path: str, state: StepState) -> bool:
        """Say that the token gets a message again. False: it moved on, or must not start."""
        now = self.clock()
        reply = self._run(
            "redispatch",
            **self._four(execution),
            now=now,
            id=execution,
            path=path,
            expect=state.status.value,
            attempt=state.attempt,
            due=now + self.grace,
        )
        words = ("DISPATCHED", "SUPERSEDED", "PAUSED", "ENDED", "MISSING")
        return self._word("redispatch", reply, *words) == "DISPATCHED"

    def postpone(self, execution: str, path: str, state_text: str, due: int) -> bool:
        """Look at the token at ``due`` (ms; 0: never) instead, unless its state has changed."""
        reply = self._run(
            "postpone",
            steps=self.keys.steps(execution),
            watch=self.keys.watch(self.keys.partition(execution)),
            id=execution,
            path=path,
            state=state_text,
            due=due,
        )
        return self._word("postpone", reply, "POSTPONED", "SUPERSEDED") == "POSTPONED"

    def take_due(
        self, *, hold: int = 5000, most: int = 100, partitions: Iterable[int] | None = None
    ) -> tuple[int | None, list[tuple[str, str]]]:
        """The tokens that are due, as (execution, path), and when the next one is (ms).

        A path of ``""`` is the deadline of the execution. Who takes a token has ``hold`` ms to
        deal with it before somebody else is given it.
        """
        chosen = range(self.keys.partitions) if partitions is None else partitions
        reply = self._run(
            "take_due",
            watches=[self.keys.watch(partition) for partition in chosen],
            now=self.clock(),
            hold=hold,
            most=most,
        )
        tokens = [(e, path) for e, _, path in (member.partition(" ") for member in reply[1:])]
        return (int(reply[0]) if reply[0] else None), tokens

    def end(
        self, execution: str, status: ExecutionStatus, error: Mapping[str, Any]
    ) -> Refused | None:
        """End an execution from outside; None when it was ended by this call."""
        now = self.clock()
        detail = {"status": status.value, "error": error}
        reply = self._run(
            "end_execution",
            **self._four(execution),
            now=now,
            id=execution,
            status=status.value,
            error=_dumps(error),
            event=_dumps([now, "ended", "", 0, detail]),
            keep=self._keep(),
        )
        word = self._word("end_execution", reply, "ENDED", "DONE", "MISSING")
        return None if word == "ENDED" else Refused(word, tuple(reply[1:]))

    # --- reading -----------------------------------------------------------------------------

    def read_state(self, execution: str, path: str) -> tuple[str, StepState] | None:
        """The state of a token, as text and decoded; None when there is none."""
        text = self._read(lambda: self.redis.hget(self.keys.steps(execution), path))
        return None if text is None else (str(text), StepState.loads(text))

    def plan_of(self, execution: str) -> str | None:
        """The key of the plan of an execution; None when it is not there."""
        found = self._read(lambda: self.redis.hget(self.keys.record(execution), "plan"))
        return None if found is None else str(found)

    def read_view(self, execution: str, reads: Sequence[str]) -> View:
        """What a claim would give, without claiming."""
        if ALL_VARIABLES in reads:
            everything = self._read(lambda: self.redis.hgetall(self.keys.record(execution)))
            return make_view(execution, everything.items())
        values = self._read(lambda: self.redis.hmget(self.keys.record(execution), list(reads)))
        return make_view(execution, zip(reads, values, strict=True))

    def read_branches(
        self, execution: str, path: str, total: int
    ) -> tuple[tuple[Any, Mapping[str, Any] | None], ...]:
        """(output, failure) of each branch of the parallel step at ``path``, in order."""
        names = [f"{mark}{path}/{number}" for number in range(total) for mark in "=!"]
        texts = self._read(lambda: self.redis.hmget(self.keys.steps(execution), names))
        values = [None if text is None else json.loads(text) for text in texts]
        return tuple(zip(values[::2], values[1::2], strict=True))

    def record(self, execution: str) -> Record:
        """Raises NotFound when the execution is not there (or no longer)."""
        found = self._read(lambda: self.redis.hgetall(self.keys.record(execution)))
        if not found:
            raise NotFound(
                f"no execution {execution!r} in Redis at {self.url}",
                hint="`orch list` shows those that are there; ended ones are kept for "
                f"{self.settings.retention / 86400:g} days",
            )
        return _record(execution, found)

    def steps(self, execution: str) -> dict[str, str]:
        """All fields of the steps' hash: states, outputs (`=path`), failures (`!path`)."""
        return dict(self._read(lambda: self.redis.hgetall(self.keys.steps(execution))))

    def history(self, execution: str, since: int = 0) -> list[HistoryEntry]:
        """Events of an execution, oldest first, from the ``since``-th on."""
        texts = self._read(
            lambda: self.redis.lrange(self.keys.history(execution), since, -1)
        )
        return [HistoryEntry(*json.loads(text)) for text in texts]

    def status(self, execution: str) -> ExecutionStatus | None:
        found = self._read(lambda: self.redis.hget(self.keys.record(execution), "status"))
        return None if found is None else ExecutionStatus(found)

    def executions(self, limit: int) -> Iterator[Record]:
        """The latest executions, newest first; entries of expired ones are dropped."""
        pipe = self.redis.pipeline(transaction=False)
        for partition in range(self.keys.partitions):
            pipe.zrange(self.keys.index(partition), 0, limit - 1, desc=True, withscores=True)
        pages = self._read(pipe.execute)
        newest = sorted(
            ((score, execution) for page in pages for execution, score in page), reverse=True
        )
        for _, execution in newest[:limit]:
            found = self._read(lambda id=execution: self.redis.hgetall(self.keys.record(id)))
            if found:
                yield _record(execution, found)

    def forget_expired(self) -> int:
        """Drop the index entries of executions whose journal has expired; how many."""
        dropped = 0
        oldest = self.clock() - self._keep()
        for partition in range(self.keys.partitions):
            index = self.keys.index(partition)
            old = self._read(lambda key=index: self.redis.zrangebyscore(key, "-inf", oldest, 0, 200))
            gone = [e for e in old if not self._read(lambda id=e: self.redis.exists(self.keys.record(id)))]
            if gone:
                dropped += int(self._read(lambda key=index, ids=gone: self.redis.zrem(key, *ids)))
        return dropped

    def mark(self, execution: str, queue: str) -> int:
        """The latest dispatch instant (ms) of which a claim was seen on ``queue``, or 0."""
        key = self.keys.marks(self.keys.partition(execution))
        return int(self._read(lambda: self.redis.hget(key, queue)) or 0)

    # --- definitions -------------------------------------------------------------------------

    def store_definition(self, name: str, version: str, canonical: str) -> None:
        def store() -> None:
            self.redis.set(self.keys.definition(version), canonical)
            self.redis.hset(self.keys.workflows(), name, version)

        self._read(store)

    def store_plan(self, plan: str, content: str) -> None:
        self._read(lambda: self.redis.set(self.keys.plan(plan), content))

    def read_definition(self, version: str) -> str | None:
        found: str | None = self._read(lambda: self.redis.get(self.keys.definition(version)))
        return found

    def read_plan(self, plan: str) -> str | None:
        found: str | None = self._read(lambda: self.redis.get(self.keys.plan(plan)))
        return found

    def workflows(self) -> dict[str, str]:
        """Name -> latest version of every stored workflow."""
        return dict(self._read(lambda: self.redis.hgetall(self.keys.workflows())))

    # --- workers -----------------------------------------------------------------------------

    def renew_worker(self, incarnation: str, content: str, ttl: int) -> None:
        """A sign of life: believed for ``ttl`` ms. ``content``: what it is, serves and holds."""

        def renew() -> None:
            now = self.clock()
            pipe = self.redis.pipeline(transaction=False)
            pipe.set(self.keys.worker(incarnation), content, px=ttl)
            pipe.zadd(self.keys.workers(), {incarnation: now + ttl})
            pipe.zremrangebyscore(self.keys.workers(), "-inf", now - 10 * ttl)
            pipe.execute()

        self._read(renew)

    def remove_worker(self, incarnation: str) -> None:
        def remove() -> None:
            pipe = self.redis.pipeline(transaction=False)
            pipe.delete(self.keys.worker(incarnation))
            pipe.zrem(self.keys.workers(), incarnation)
            pipe.execute()

        self._read(remove)

    def read_worker(self, incarnation: str) -> tuple[dict[str, Any], int] | None:
        """What a worker last said, and for how many ms more it is believed; None: dead."""

        def read() -> Any:
            pipe = self.redis.pipeline(transaction=False)
            pipe.get(self.keys.worker(incarnation))
            pipe.pttl(self.keys.worker(incarnation))
            return pipe.execute()

        text, ttl = self._read(read)
        return None if text is None else (json.loads(text), int(ttl))

    def live_workers(self) -> list[dict[str, Any]]:
        """What each live worker last said of itself."""
        names = self._read(
            lambda: self.redis.zrangebyscore(self.keys.workers(), self.clock(), "+inf")
        )
        texts = [self._read(lambda n=name: self.redis.get(self.keys.worker(n))) for name in names]
        return [json.loads(text) for text in texts if text is not None]

    # --- small things --------------------------------------------------------------------------

    def _four(self, execution: str) -> dict[str, str]:
        return {
            "record": self.keys.record(execution),
            "steps": self.keys.steps(execution),
            "history": self.keys.history(execution),
            "watch": self.keys.watch(self.keys.partition(execution)),
        }

    def _keep(self) -> int:
        return int(self.settings.retention * 1000)

    @staticmethod
    def _word(script: str, reply: Any, *known: str) -> str:
        if reply[0] not in known:
            raise JournalError(
                f"script {script} answered {reply[0]!r}; its contract lists {', '.join(known)}",
                hint="are workers of different releases at work on this Redis?",
            )
        return str(reply[0])


def make_view(execution: str, fields: Iterable[tuple[str, Any]]) -> View:
    """Fields of the record -> View; fields that are not of the kind are left aside."""
    variables: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for name, text in fields:
        if text is None:
            continue
        if name == ALL_VARIABLES:
            variables.update(
                (key[2:], json.loads(value)) for key, value in zip(text[::2], text[1::2], strict=True)
            )
        elif name.startswith("v:"):
            variables[name[2:]] = json.loads(text)
        elif name.startswith("o:"):
            outputs[name[2:]] = json.loads(text)
        elif name.startswith("e:"):
            errors[name[2:]] = json.loads(text)
        elif name in (INPUT_FIELD, CAUSE_FIELD):
            found[name] = json.loads(text)
        elif name == WORKFLOW_FIELD:
            found[name] = text
    return View(
        execution,
        found.get(WORKFLOW_FIELD, ""),
        input=found.get(INPUT_FIELD),
        variables=variables,
        outputs=outputs,
        errors=errors,
        cause=found.get(CAUSE_FIELD),
    )


def _record(execution: str, found: Mapping[str, str]) -> Record:
    view = make_view(execution, found.items())
    return Record(
        id=execution,
        workflow=found["workflow"],
        version=found["version"],
        plan=found["plan"],
        status=ExecutionStatus(found["status"]),
        created=int(found["created"]),
        ended=int(found.get("ended", 0)),
        input=view.input,
        output=json.loads(found["output"]) if "output" in found else None,
        variables=view.variables,
        error=json.loads(found["error"]) if "error" in found else None,
    )


def _flat(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [part for pair in pairs for part in pair]


def _opens(opens: Iterable[Open]) -> list[list[Any]]:
    return [[o.path, o.state.dumps(), o.due or 0] for o in opens]


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
