"""Where the message of a step goes, where that is decided when it is sent, and not by its plan.

A queue is no part of what is true: whoever sends a message chooses again, and a message in the
wrong place costs a little time. What must hold (an agent's version, the key of `affinity`) is asked
again by the worker that gets the message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from orch.control.addresses import node_at
from orch.errors import StepError
from orch.journal.journal import Journal
from orch.workflows.agents import Agent, Drain, agent_queue, is_called
from orch.workflows.choosing import draw
from orch.workflows.fitting import Offer, misfit
from orch.workflows.node import Node
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung, rung_of
from orch.workflows.state import encode
from orch.workflows.view import affinity_fields_for, context_of

logger = logging.getLogger(__name__)

FLEET_AGE = 0.5
"""Seconds for which a process believes what it has read of all agents."""

MOST_TOLD = 10
"""Agents that a sentence names, at the most."""


@dataclass(frozen=True)
class Fleet:
    """The live agents, which are to take nothing new, and what they offer (by its digest)."""

    agents: tuple[Agent, ...] = ()
    drains: Mapping[str, Drain] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Offer]] = field(default_factory=dict)

    def gives_away(self, name: str) -> bool:
        """Whether steps that name an agent go to others for the present."""
        meant = [drain for agent, drain in self.drains.items() if is_called(agent, name)]
        return any(drain.reassign for drain in meant) and not self.has(name)

    def has(self, name: str) -> bool:
        """Whether an agent that is called so lives and takes new steps."""
        return any(is_called(each.name, name) and self.takes(each.name) for each in self.agents)

    def takes(self, agent: str) -> bool:
        """As `has`, of a whole name."""
        return agent not in self.drains and any(each.name == agent for each in self.agents)

    def able(self, queue: str) -> list[Agent]:
        """Those that serve a queue, and take new steps."""
        return [a for a in self.agents if queue in a.queues and a.name not in self.drains]

    def offer(self, agent: Agent, capability: str) -> Offer | None:
        return self.profiles.get(agent.profile, {}).get(capability)


@dataclass(frozen=True)
class Place:
    """Where the message of a token lies. ``queue`` None: nowhere. ``why``: what there is to say of
    it, or ''."""

    queue: str | None
    why: str = ""


class Placing:
    """Chooses queues. Every method may raise Unreachable."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._fleet = (float("-inf"), Fleet())

    def queues(
        self, plan: Plan, execution: str, paths: Sequence[str], avoid: Collection[str] = ()
    ) -> dict[str, str | None]:
        """Path -> queue, of those whose plan does not say; None: there is nowhere to send it."""
        if not plan.is_placed:
            return {}
        return {
            path: self.queue_of(plan, execution, path, avoid)
            for path in paths
            if (node := plan.node(path)).is_placed or node.names_agent
        }

    def queue_of(
        self, plan: Plan, execution: str, path: str, avoid: Collection[str] = ()
    ) -> str | None:
        """Where the message of a token lies, or is to go; None: nobody may do it.

        ``avoid``: agents that get nothing that others may do as well.
        """
        node = node_at(self.journal, plan, execution, path)
        if not node.is_placed or (in_rung(path) and rung_of(path).agent):
            return node.queue
        if node.step.agent is not None:
            return self._queue_of_named(node, node.step.agent)
        fit = [a for a, why in self._asked(node) if not why]
        if not fit:
            return None if node.versions is not None else node.common_queue
        key = self._key(plan, execution, path, node)
        if key is not None:
            return agent_queue(self._stick(node, key, fit))
        if len(fit) == len(self.fleet().able(node.common_queue)):
            return node.common_queue
        free = [agent for agent in fit if agent.name not in avoid]
        chosen = draw(free or fit, f"{execution}/{path}", even=True)
        return node.common_queue if chosen is None else agent_queue(chosen.name)

    def place(self, plan: Plan, execution: str, path: str) -> Place:
        """As `queue_of`, for those who only ask: no agent is chosen by it."""
        node = node_at(self.journal, plan, execution, path)
        key = self._key(plan, execution, path, node)
        if node.versions is not None:
            asked = self._asked(node)
            if all(why for _, why in asked):
                return Place(None, _nobody(node, [f"{a.name}: {why}" for a, why in asked]))
        if key is not None:
            agent = self.journal.stuck(key).get(node.common_queue)
            queue = agent_queue(agent) if agent else node.common_queue
            return Place(queue, f"its affinity {key} is with {agent or 'nobody yet'}")
        queue_now = self.queue_of(plan, execution, path)
        named = [node.step.agent, *node.step.backup] if node.step.agent else []
        gone = ", ".join(name for name in named if not self.fleet().has(name))
        return Place(queue_now, f"not there: {gone}" if node.step.backup and gone else "")

    def fleet(self, *, fresh: bool = False) -> Fleet:
        """All agents as they were at most `FLEET_AGE` ago, or, if it is to be ``fresh``, now."""
        until, fleet = self._fleet
        if fresh or time.monotonic() >= until:
            agents = self.journal.live_agents()
            profiles = self.journal.read_profiles(agent.profile for agent in agents)
            fleet = Fleet(agents, self.journal.read_drains(), profiles)
            self._fleet = (time.monotonic() + FLEET_AGE, fleet)
        return fleet

    def forget(self) -> None:
        """What was read of the agents has changed."""
        self._fleet = (float("-inf"), Fleet())

    def _queue_of_named(self, node: Node, named: str) -> str:
        """That of the agent, or of the first that stands in for it; else it is waited for."""
        fleet = self.fleet()
        for name in (named, *node.step.backup):
            if fleet.has(name):
                return agent_queue(name)
        return node.common_queue if fleet.gives_away(named) else node.queue

    def _asked(self, node: Node) -> list[tuple[Agent, str]]:
        """Those that serve the step's capability, and why one may not do it."""
        fleet = self.fleet()
        able = fleet.able(node.common_queue)
        return [(agent, misfit(node, fleet.offer(agent, node.capability))) for agent in able]

    def _stick(self, node: Node, key: str, fit: Sequence[Agent]) -> str:
        chosen = draw(fit, key) or fit[0]
        names = [agent.name for agent in fit]
        return self.journal.stick(key, node.common_queue, names, chosen.name)

    def _key(self, plan: Plan, execution: str, path: str, node: Node) -> str | None:
        """The key of `affinity`, as JSON; None: it has none."""
        if node.affinity is None:
            return None
        view = self.journal.read_view(execution, affinity_fields_for(plan, path))
        try:
            value = node.affinity.evaluate(context_of(view, path))
        except StepError as exc:
            logger.warning("%s of execution %s has no affinity: %s", path, execution, exc)
            return None
        return None if value is None else encode(value)


def _nobody(node: Node, found: Sequence[str]) -> str:
    """Why a step waits that no agent may do."""
    asked = node.versions.text if node.versions is not None else ""
    there = "; ".join(found[:MOST_TOLD]) or "nobody serves it"
    return f"no live agent serves {node.capability!r} in a version {asked} that fits: {there}"
