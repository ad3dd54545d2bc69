"""Limits in Redis: who holds what of them, who waits; see `orch/workflows/limits.py`.

All of them lie in one partition, so that one script takes several at once, or none. What they say
of a token and what its execution says are brought together by `orch/control/limiting.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from orch.journal.noted import Noted, without_notes
from orch.limits import Limit
from orch.workflows.limits import LIMITS_MARK, Want, rank_of, resource_name
from orch.workflows.note import Note
from orch.workflows.state import StepState

USAGE_KEPT = 14 * 86_400_000
"""Ms for which it is known how limits were used."""

HOUR = 3_600_000

MOST_LOOKED_AT = 100
"""Tokens that one look brings together with their states."""

MOST_READ = 10_000
"""Requests that a list of limits reads, at the most."""

HELD, WAITS = "HELD", "WAITS"


@dataclass(frozen=True)
class Reserved:
    """``word``: HELD, WAITS, SUPERSEDED, or UNKNOWN or MORE of ``limit``, whose capacity is
    ``capacity``. ``granted``: others that got what they waited for, as `execution path`."""

    word: str
    limit: str = ""
    capacity: int = 0
    granted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """Who holds what it wants, or waits at one limit for it. Instants in ms."""

    member: str
    held: bool
    attempt: int
    owner: str
    tenant: str
    rank: str
    at: str
    asked: int
    since: int
    wants: tuple[Want, ...]

    @property
    def project(self) -> str:
        return unquote(self.tenant)

    @property
    def token(self) -> tuple[str, str]:
        """Execution and path."""
        execution, _, path = self.member.partition(" ")
        return execution, path

    @classmethod
    def loads(cls, member: str, text: str) -> Request:
        found = json.loads(text)
        return cls(
            member,
            bool(found["held"]),
            int(found["attempt"]),
            found["owner"],
            found["tenant"],
            found["rank"],
            found["at"],
            int(found["asked"]),
            int(found["since"]),
            tuple(Want.of(want) for want in found["wants"]),
        )


@dataclass(frozen=True)
class Waiting:
    """How a request waits: at which limit, how many before it and in all, what is held of it; of a
    rate the instant of its next start, ms."""

    request: Request
    before: int
    waiting: int
    held: int
    capacity: int
    next: int


@dataclass(frozen=True)
class LookedAt:
    """``granted`` as of `Reserved`; ``found``: (member, owner, whether it holds) to compare with
    the states of their tokens."""

    granted: tuple[str, ...]
    found: tuple[tuple[str, str, bool], ...]


class Limits(Noted):
    """Every method may raise Unreachable."""

    def reserve(
        self,
        member: str,
        wants: Sequence[Want],
        *,
        attempt: int,
        owner: str,
        tenant: str,
        weight: float = 1.0,
        priority: int = 0,
    ) -> Reserved:
        """Take all of ``wants``, or wait for it. Harmless if repeated by the same owner."""
        level = int(self.settings.priority_ageing * 1000)
        reply = self.run(
            "reserve",
            **self._of_limits(),
            member=member,
            attempt=attempt,
            owner=owner,
            tenant=quote(tenant, safe="", errors="surrogatepass"),
            weight=repr(float(weight)),
            rank=rank_of(self.clock(), priority, level),
            wants=[want.as_list() for want in wants],
        )
        word = self._word("reserve", reply, HELD, WAITS, "UNKNOWN", "MORE", "SUPERSEDED")
        if word == "SUPERSEDED":
            return Reserved(word)
        if word in ("UNKNOWN", "MORE"):
            return Reserved(word, reply[1], int(reply[2]))
        return Reserved(word, reply[1], granted=tuple(reply[2:]))

    def release(self, leave: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """Give back what is held, or wait no longer, as (member, owner); who got it."""
        reply = self.run("release", **self._of_limits(), leave=[list(each) for each in leave])
        self._word("release", reply, "RELEASED")
        return tuple(reply[1:])

    def look_at_limits(self, names: Sequence[str] = ()) -> LookedAt:
        """Give out what has become free with time, or of the limits of these names."""
        reply = self.run(
            "look_at_limits",
            **self._of_limits(),
            names=list(names),
            patience=int(self.settings.limit_patience * 1000),
            most=MOST_LOOKED_AT,
        )
        self._word("look_at_limits", reply, "LOOKED")
        found = ((member, owner, bool(held)) for member, owner, held in reply[2])
        return LookedAt(tuple(reply[1]), tuple(found))

    def read_request(self, execution: str, path: str) -> Request | None:
        """None: it neither holds nor wants anything."""
        member = f"{execution} {path}"
        text = self.read(self.redis.hget, self.keys.limits("requests"), member)
        return None if text is None else Request.loads(member, text)

    def read_requests(self) -> list[Request]:
        """All that hold or wait; of very many only some."""

        def read() -> dict[str, str]:
            found: dict[str, str] = {}
            for member, text in self.redis.hscan_iter(self.keys.limits("requests"), count=1000):
                found[member] = text
                if len(found) >= MOST_READ:
                    break
            return found

        return [Request.loads(member, text) for member, text in self.read(read).items()]

    def read_waiting(self, request: Request) -> Waiting:
        name = request.at
        low, high = f"[{name}\x1f", f"({name} "
        pipe = self.redis.pipeline(transaction=False)
        pipe.zrangebylex(self.keys.limits("blocked"), low, high, start=0, num=MOST_READ)
        pipe.hget(self.keys.limits("taken"), name)
        pipe.hmget(self.keys.limits("resources"), f"d:{name}", f"s:{name}")
        pipe.zscore(self.keys.limits("nexts"), name)
        entries, held, capacities, following = self.read(pipe.execute)
        ranks = [tuple(entry.split("\x1f")[2:4]) for entry in entries]
        before = sum(each < (request.rank, request.member) for each in ranks)
        want = next((want for want in request.wants if want.name == name), None)
        capacity = capacities[0] or capacities[1] or (int(want.size) if want else 0)
        return Waiting(
            request, before, len(entries), int(held or 0), int(capacity), int(following or 0)
        )

    def read_token_states(
        self, tokens: Sequence[tuple[str, str]]
    ) -> list[tuple[str, StepState | None]]:
        """Status of the execution ('' where there is none), and state, of each token."""

        def read() -> list[Any]:
            pipe = self.redis.pipeline(transaction=False)
            for execution, path in tokens:
                pipe.hget(self.keys.record(execution), "status")
                pipe.hget(self.keys.steps(execution), path)
            return list(pipe.execute())

        reply = iter(self.read(read))
        return [
            (status or "", None if text is None else StepState.loads(text))
            for status, text in zip(reply, reply, strict=True)
        ]

    # --- resources -----------------------------------------------------------------------------

    def declare_resources(self, capacities: Mapping[str, int]) -> None:
        """What the settings say; what was defined by hand prevails."""
        self._set_resources("s", capacities)

    def define_resource(self, name: str, capacity: int, note: Note | None = None) -> None:
        self._set_resources("d", {name: capacity}, note)

    def _set_resources(
        self, kind: str, capacities: Mapping[str, int], note: Note | None = None
    ) -> None:
        if capacities:
            told = {f"{kind}:{resource_name(n)}": str(each) for n, each in capacities.items()}
            self.amend(self.keys.limits("resources"), told, note=note)

    def remove_resource(self, name: str, note: Note | None = None) -> bool:
        """False: there was none."""
        fields = [f"{kind}:{resource_name(name)}" for kind in "ds"]
        return self.amend(self.keys.limits("resources"), drops=fields, note=note)

    def read_resources(self) -> dict[str, tuple[int, bool]]:
        """Limit of a resource -> its capacity, and whether it was defined by hand."""
        found: dict[str, tuple[int, bool]] = {}
        told = without_notes(self.read(self.redis.hgetall, self.keys.limits("resources")))
        for field, capacity in sorted(told.items(), reverse=True):  # `s:` before `d:`
            kind, _, name = field.partition(":")
            found[name] = int(capacity), kind == "d"
        return dict(sorted(found.items()))

    # --- what workers know ---------------------------------------------------------------------

    def declare_limits(self, declared: Mapping[str, Limit | None]) -> None:
        """What a worker knows of its capabilities; None: that one has no limit."""
        found: dict[Any, Any] = {
            name: json.dumps(limit.as_dict()) for name, limit in declared.items() if limit
        }
        without = [name for name, limit in declared.items() if limit is None]

        def declare() -> None:
            pipe = self.redis.pipeline(transaction=False)
            if without:
                pipe.hdel(self.keys.limits("declared"), *without)
            if found:
                pipe.hset(self.keys.limits("declared"), mapping=found)
            pipe.execute()

        self.read(declare)

    def declared_limits(self) -> dict[str, Limit]:
        found = self.read(self.redis.hgetall, self.keys.limits("declared"))
        return {name: Limit(**json.loads(text)) for name, text in sorted(found.items())}

    def next_starts(self) -> dict[str, int]:
        """Rate for which somebody waits -> when the next may begin, ms."""
        found = self.read(self.redis.zrange, self.keys.limits("nexts"), 0, -1, withscores=True)
        return {name: int(at) for name, at in found}

    # --- usage ---------------------------------------------------------------------------------

    def read_usage(self, hours: int) -> list[tuple[int, dict[str, int]]]:
        """When each hour began, ms, and what was counted in it; the latest first."""
        last = self.clock() // HOUR
        pipe = self.redis.pipeline(transaction=False)
        for hour in range(last, last - hours, -1):
            pipe.hgetall(self.keys.limits(f"usage:{hour}"))
        found = self.read(pipe.execute)
        return [
            ((last - back) * HOUR, {field: int(count) for field, count in counted.items()})
            for back, counted in enumerate(found)
        ]

    def _of_limits(self) -> dict[str, str | int]:
        now = self.clock()
        names = ("requests", "taken", "rates", "blocked", "shares", "looks", "nexts")
        return {
            **{name: self.keys.limits(name) for name in names},
            "capacities": self.keys.limits("resources"),
            "usage": self.keys.limits(f"usage:{now // HOUR}"),
            "watch": self.keys.watch(self.keys.partition("limits")),
            "now": now,
            "soon": self.grace,
            "kept": USAGE_KEPT,
        }


__all__ = ["HELD", "LIMITS_MARK", "WAITS", "Limits", "LookedAt", "Request", "Reserved", "Waiting"]
