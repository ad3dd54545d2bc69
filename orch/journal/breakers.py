"""Breakers in Redis: one for each capability that has one, shared by all workers.

Its two keys have a hash tag of their own; what they say of an attempt is written into its
execution by the settle that gives it back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orch.breaker import Breaker
from orch.journal.noted import Noted
from orch.workflows.breaking import Standing

BREAKER_KEPT = 7 * 86_400_000
"""Ms for which the state of a breaker is kept after somebody asked for it last."""

BUCKETS = 10
"""Into which its window is cut; what has left the window is forgotten a bucket at a time."""

Calls = Sequence[tuple[int, int, int]]
"""(number of a bucket, calls, failures) of each bucket."""


@dataclass(frozen=True)
class Change:
    """``word``: opened, reopened or closed, at an instant in ms; ``by``: by hand, '' if not."""

    at: int
    word: str
    by: str
    why: str


@dataclass(frozen=True)
class Counted:
    """What is kept of a breaker. ``since`` 0: it is closed; ``probes``: when each expires, ms."""

    since: int = 0
    until: int = 0
    by: str = ""
    why: str = ""
    calls: int = 0
    failures: int = 0
    probes: tuple[int, ...] = ()


def bucket_of(breaker: Breaker, now: int) -> int:
    return now // _width(breaker)


def _width(breaker: Breaker) -> int:
    return int(breaker.window * 1000) // BUCKETS


class Breakers(Noted):
    def ask_breaker(
        self,
        capability: str,
        breaker: Breaker,
        attempt: str = "",
        *,
        wants: bool = False,
        ended: str = "",
        calls: Calls = (),
        why: str = "",
    ) -> Standing:
        """Count calls, say what an attempt came to (``ended``: ok, bad), or ask for another."""
        policy = [
            float(breaker.failure_rate),
            _width(breaker),
            BUCKETS,
            breaker.minimum,
            int(breaker.open_for * 1000),
            breaker.probes,
        ]
        reply = self.run(
            "ask_breaker",
            **self._of_breaker(capability),
            attempt=attempt,
            wants=int(wants),
            ended=ended,
            calls=[list(each) for each in calls],
            why=why,
            policy=policy,
        )
        word = self._word("ask_breaker", reply, "CLOSED", "OPEN", "HALF_OPEN", "PROBE")
        return Standing(word, int(reply[1]), int(reply[2]), bool(reply[3]), reply[4])

    def count_late(self, capability: str, attempt: str, why: str) -> Standing | None:
        """An attempt was given up by somebody else than its worker; None: it has no breaker."""
        text = self.read(self.redis.hget, self.keys.breakers(), capability)
        if text is None:
            return None
        breaker = Breaker.loads(text)
        calls = [(bucket_of(breaker, self.clock()), 1, 1)]
        return self.ask_breaker(capability, breaker, attempt, ended="bad", calls=calls, why=why)

    def switch_breaker(
        self, capability: str, *, opens: bool, until: int = 0, by: str = "", why: str = ""
    ) -> bool:
        """Open or close it by hand; False: it was closed. ``until``: ms, 0: until it is closed."""
        reply = self.run(
            "switch_breaker",
            **self._of_breaker(capability),
            opens=int(opens),
            over=until,
            by=by,
            why=why,
        )
        switched = self._word("switch_breaker", reply, "SWITCHED", "AS_BEFORE") == "SWITCHED"
        if switched and self.settings.remember != "off":
            self.heard(self.keys.breaker_notes(capability))
        return switched

    def declare_breakers(self, declared: Mapping[str, Breaker | None]) -> None:
        """What a worker knows of its capabilities; None: that one has no breaker."""
        found: dict[Any, Any] = {
            name: each.dumps() for name, each in declared.items() if each is not None
        }
        without = [name for name, each in declared.items() if each is None]

        def declare() -> None:
            pipe = self.redis.pipeline(transaction=False)
            if without:
                pipe.hdel(self.keys.breakers(), *without)
            if found:
                pipe.hset(self.keys.breakers(), mapping=found)
            pipe.execute()

        self.read(declare)

    def declared_breakers(self) -> dict[str, Breaker]:
        found = self.read(self.redis.hgetall, self.keys.breakers())
        return {name: Breaker.loads(text) for name, text in sorted(found.items())}

    def read_breakers(self, declared: Mapping[str, Breaker]) -> list[Counted]:
        """The state of each, in their order."""
        pipe = self.redis.pipeline(transaction=False)
        for name in declared:
            pipe.hgetall(self.keys.breaker(name))
        now = self.clock()
        found = self.read(pipe.execute)
        return [_counted(h, b, now) for h, b in zip(found, declared.values(), strict=True)]

    def breaker_changes(self, capability: str) -> list[Change]:
        """The latest first."""
        found: Iterable[str] = self.read(
            self.redis.lrange, self.keys.breaker_changes(capability), 0, -1
        )
        return [Change(*json.loads(text)) for text in found]

    def _of_breaker(self, capability: str) -> dict[str, str | int]:
        return {
            "breaker": self.keys.breaker(capability),
            "changes": self.keys.breaker_changes(capability),
            "notes": self.keys.breaker_notes(capability),
            "name": capability if self.settings.remember != "off" else "",
            "now": self.clock(),
            "keep": BREAKER_KEPT,
        }


def _counted(found: Mapping[str, str], breaker: Breaker, now: int) -> Counted:
    oldest = bucket_of(breaker, now) - BUCKETS
    calls = [each for each in json.loads(found.get("calls") or "[]") if each[0] > oldest]
    probes = json.loads(found.get("probes") or "{}") or {}
    return Counted(
        since=int(found.get("since", 0)),
        until=int(found.get("until", 0)),
        by=found.get("by", ""),
        why=found.get("why", ""),
        calls=sum(each[1] for each in calls),
        failures=sum(each[2] for each in calls),
        probes=tuple(sorted(int(expiry) for expiry in probes.values() if expiry > now)),
    )
