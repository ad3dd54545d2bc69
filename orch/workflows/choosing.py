"""Which of several agents does something: by their load and their past success.

The draw is a weighted rendezvous (Schindelhauer and Schomaker, "Weighted distributed hash tables",
2005): each agent has a ticket, a hash of its name and of what is to be done, and the best ticket
by its weight wins. So many that choose at the same instant, by figures that are a second old, do
not all send their work to one agent; who chooses again for the same thing comes to the same agent
as long as the figures are the same; and where an agent goes, only what was its own moves.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from hashlib import blake2b

from orch.workflows.agents import OTHER, Agent, is_called

LEAST_SUCCESS = 0.05
"""Below it an agent is not thought of: one that has failed only must be able to recover."""


def weight_of(agent: Agent) -> float:
    """In proportion to which it gets work: its share of successes, over how busy it is.

    One that has as much to do as it has slots gets half of what it gets when it is idle.
    """
    busy = agent.load / max(agent.concurrency, 1)
    return max(agent.success, LEAST_SUCCESS) / (1 + busy)


def draw(agents: Iterable[Agent], key: str, *, even: bool = False) -> Agent | None:
    """One of them, the better ones more often; the same for the same ``key`` and figures.

    ``even``: all alike, whatever they have to do. None: there is none.
    """
    found = ((_ticket(each, key, 1.0 if even else weight_of(each)), each) for each in agents)
    return min(found, key=lambda pair: (pair[0], pair[1].name), default=(0.0, None))[1]


def choose_agent(
    agents: Iterable[Agent], queue: str, wanted: str, failed: Collection[str], key: str = ""
) -> Agent | None:
    """Who is to do it: the one of that name, or, as `other`, one that has not failed at it.

    ``queue``: that of the capability, which it must serve. ``key``: what is to be done, see `draw`.
    None: there is none.
    """
    able = [agent for agent in agents if queue in agent.queues]
    if wanted != OTHER:
        named = [each for each in able if is_called(each.name, wanted)]
        return named[0] if named else None
    return draw([each for each in able if each.name not in failed], key)


def _ticket(agent: Agent, key: str, weight: float) -> float:
    """An exponential variate of rate ``weight``: the least of some is that of an agent in
    proportion to its weight."""
    digest = blake2b(f"{agent.name}\0{key}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return -math.log(uniform) / weight
