"""Agents: live workers, as those who choose among them see them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

OTHER = "other"
"""Instead of the name of an agent: one that has not failed at it."""


@dataclass(frozen=True)
class Agent:
    """A live worker. ``incarnation``: its present life. ``load``: steps that it holds.

    ``concurrency``: how many it does at a time. ``success``: the share of its calls that went
    well. ``profile``: under which is found what its code offers.
    """

    name: str
    incarnation: str
    queues: frozenset[str]
    load: int
    concurrency: int = 1
    success: float = 1.0
    profile: str = ""


@dataclass(frozen=True)
class Tallied:
    """What an agent has done of one capability since it began; times are seconds.

    ``busy``: calls that run. ``recent_calls``, ``recent_seconds`` and ``recent_failures``: of the
    last ``window``.
    """

    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    busy: int = 0
    recent_calls: int = 0
    recent_seconds: float = 0.0
    window: float = 1.0
    recent_failures: int = 0

    @classmethod
    def of(cls, said: Sequence[Any]) -> Tallied:
        """From the list that a sign of life has; what a newer release adds is left aside."""
        return cls(*said[: len(cls.__dataclass_fields__)])

    def as_list(self) -> list[int | float]:
        return list(astuple(self))

    @property
    def duration(self) -> float | None:
        """Mean of a call: of the latest ones, else of all; None: none has ended."""
        if self.recent_calls:
            return self.recent_seconds / self.recent_calls
        return self.seconds / self.calls if self.calls else None

    @property
    def rate(self) -> float:
        """Calls that ended per second, lately."""
        return self.recent_calls / self.window


@dataclass(frozen=True)
class Drain:
    """An agent that is to take nothing new. ``incarnation``: the life of it that is meant, '' if
    any. ``at`` in ms.

    ``stay``: it goes on living, drained, over restarts as well; else it leaves when it has
    finished.
    ``reassign``: steps that name it go to other agents.
    """

    at: int
    by: str
    incarnation: str = ""
    stay: bool = False
    reassign: bool = False

    def dumps(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Drain:
        return cls(**json.loads(text))

    def means(self, incarnation: str) -> bool:
        """Whether it is of this life of the agent."""
        return self.stay or self.incarnation in ("", incarnation)


AGENT_QUEUE = "agent."


def agent_queue(name: str) -> str:
    """The queue of what one agent alone is to do."""
    return f"{AGENT_QUEUE}{name}"


def agent_of_queue(queue: str) -> str | None:
    """Whose queue it is; None: that of a capability."""
    return queue.removeprefix(AGENT_QUEUE) if queue.startswith(AGENT_QUEUE) else None


def queues_of_agent(name: str) -> list[str]:
    """Those that an agent takes from beside those of its capabilities: by its whole name,
    `lint@host`, and without its host."""
    return list(dict.fromkeys((agent_queue(name), agent_queue(name.partition("@")[0]))))


def is_called(agent: str, name: str) -> bool:
    """Whether an agent is meant by a name: its whole one, or that without its host."""
    return name in (agent, agent.partition("@")[0])
