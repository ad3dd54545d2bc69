"""What is known of agents beside their signs of life: what they offer, and what they have done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orch.journal.connection import Connection
from orch.workflows.state import encode

PROFILE_KEPT = 3_600_000
"""Ms for which what workers offer is kept after one of them said so last."""

LIFE_ENDS = 120_000
"""Ms of silence after which what an agent did in one of its lives counts as its past."""

Sums = tuple[int, int, float]
"""Calls, failures, and seconds that they took."""


@dataclass(frozen=True)
class AgentRecord:
    """What is kept of an agent under its name. ``lives``: incarnation -> what it did in it."""

    name: str
    about: Mapping[str, Any] = field(default_factory=dict)
    seen: int = 0  # ms
    past: Sums = (0, 0, 0.0)
    lives: Mapping[str, Sums] = field(default_factory=dict)
    outside: Sums = (0, 0, 0.0)  # tasks that it reported

    def sums(self, live: Mapping[str, Sums]) -> Sums:
        """Of all lives; ``live``: what those that go on say themselves, which is newer."""
        all = [self.past, self.outside, *{**self.lives, **live}.values()]
        calls, failures, seconds = (sum(each[place] for each in all) for place in range(3))
        return int(calls), int(failures), float(seconds)


class Agents(Connection):
    """Every method may raise Unreachable."""

    def keep_profile(self, offered: Mapping[str, Any]) -> str:
        """Keep what a worker offers, by capability; the name under which it is found."""
        text = json.dumps(offered, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        key = self.keys.profile(digest)
        self.read(lambda: self.redis.set(key, text, px=PROFILE_KEPT))
        return digest

    def read_profiles(self, digests: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What is kept under each of these; one that is not is left out."""
        names = sorted(set(digests))
        pipe = self.redis.pipeline(transaction=False)
        for name in names:
            pipe.get(self.keys.profile(name))
        found = self.read(pipe.execute) if names else []
        return {n: json.loads(text) for n, text in zip(names, found, strict=True) if text}

    def tell_agent(
        self, name: str, incarnation: str, sums: Sums, about: Mapping[str, Any], keep: int
    ) -> None:
        """What an agent has done in its present life, to be kept under its name for ``keep`` ms."""
        now = self.clock()
        reply = self.run(
            "tell_agent",
            agent=self.keys.agent(name),
            incarnation=incarnation,
            sums=list(sums),
            about=encode(dict(about)),
            now=now,
            silence=LIFE_ENDS,
            keep=keep,
        )
        self._word("tell_agent", reply, "TOLD")

        def list_it() -> None:
            pipe = self.redis.pipeline(transaction=False)
            pipe.zadd(self.keys.agents(), {name: now})
            pipe.zremrangebyscore(self.keys.agents(), "-inf", now - keep)
            pipe.execute()

        self.read(list_it)

    def known_agents(self) -> list[str]:
        """Names of all that were ever told of, and are not forgotten yet."""
        return [str(name) for name in self.read(self.redis.zrange, self.keys.agents(), 0, -1)]

    def read_agents(self, names: Sequence[str]) -> dict[str, AgentRecord]:
        """What is kept of each of these."""
        pipe = self.redis.pipeline(transaction=False)
        for name in names:
            pipe.hgetall(self.keys.agent(name))
        found = self.read(pipe.execute) if names else []
        return {name: _record(name, text) for name, text in zip(names, found, strict=True)}

    def forget_agent(self, name: str) -> None:
        def forget() -> None:
            pipe = self.redis.pipeline(transaction=False)
            pipe.delete(self.keys.agent(name))
            pipe.zrem(self.keys.agents(), name)
            pipe.execute()

        self.read(forget)


def _record(name: str, found: Mapping[str, str]) -> AgentRecord:
    lives = {
        life[1:]: _sums(json.loads(text)) for life, text in found.items() if life.startswith("@")
    }
    return AgentRecord(
        name,
        json.loads(found.get("about", "{}")),
        int(found.get("seen", 0)),
        _sums(json.loads(found.get("past", "[0,0,0]"))),
        lives,
        (int(found.get("calls", 0)), int(found.get("failures", 0)), int(found.get("ms", 0)) / 1000),
    )


def _sums(said: Sequence[float]) -> Sums:
    return int(said[0]), int(said[1]), float(said[2])
