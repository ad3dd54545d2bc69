"""Agents: live workers, as those who choose among them see them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

OTHER = "other"
"""Instead of the name of an agent: one that has not failed at it."""


@dataclass(frozen=True)
class Agent:
    """A live worker. ``incarnation``: its present life. ``load``: steps that it holds."""

    name: str
    incarnation: str
    queues: frozenset[str]
    load: int


def agent_queue(name: str) -> str:
    """The queue of what one agent alone is to do."""
    return f"agent.{name}"


def queues_of_agent(name: str) -> list[str]:
    """Those that an agent takes from beside those of its capabilities: by its whole name,
    `lint@host`, and without its host."""
    return list(dict.fromkeys((agent_queue(name), agent_queue(name.partition("@")[0]))))


def choose_agent(
    agents: Iterable[Agent], queue: str, wanted: str, failed: Collection[str]
) -> Agent | None:
    """Who is to do it: the one of that name, or the one with the least load that has not failed.

    ``queue``: that of the capability, which it must serve. None: there is none.
    """
    able = [agent for agent in agents if queue in agent.queues]
    if wanted != OTHER:
        named = [a for a in able if wanted in (a.name, a.name.partition("@")[0])]
        return named[0] if named else None
    fit = [agent for agent in able if agent.name not in failed]
    return min(fit, key=lambda agent: (agent.load, agent.name), default=None)
