"""Where the message of a step goes, where that is decided when it is sent, and not by its plan.

A queue is no part of what is true: whoever sends a message chooses again, and a message in the
wrong place costs a little time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orch.journal.journal import Journal
from orch.workflows.agents import Agent, Drain, is_called
from orch.workflows.node import Node
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung

FLEET_AGE = 0.5
"""Seconds for which a process believes what it has read of all agents."""


@dataclass(frozen=True)
class Fleet:
    """The live agents, and which are to take nothing new."""

    agents: tuple[Agent, ...] = ()
    drains: Mapping[str, Drain] = field(default_factory=dict)

    def gives_away(self, name: str) -> bool:
        """Whether steps that name an agent go to others for the present."""
        meant = [drain for agent, drain in self.drains.items() if is_called(agent, name)]
        serves = any(is_called(a.name, name) and a.name not in self.drains for a in self.agents)
        return not serves and any(drain.reassign for drain in meant)

    def takes(self, agent: str) -> bool:
        """Whether an agent lives and takes new steps. ``agent``: its whole name."""
        return agent not in self.drains and any(each.name == agent for each in self.agents)


class Placing:
    """Chooses queues. Every method may raise Unreachable."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._fleet = (float("-inf"), Fleet())

    def queues(self, plan: Plan, execution: str, paths: Sequence[str]) -> dict[str, str]:
        """Path -> queue, of those whose plan does not say."""
        if not plan.is_placed:
            return {}
        return {
            path: self._queue(execution, path, node)
            for path in paths
            if (node := plan.node(path)).is_placed
        }

    def queue_of(self, plan: Plan, execution: str, path: str) -> str:
        """Where the message of a token lies, or is to go."""
        node = plan.node(path)
        return self._queue(execution, path, node) if node.is_placed else node.queue

    def _queue(self, execution: str, path: str, node: Node) -> str:
        del execution
        named = node.step.agent
        if named is not None and not in_rung(path) and self.fleet().gives_away(named):
            return node.common_queue
        return node.queue

    def fleet(self) -> Fleet:
        """All agents as they were at most `FLEET_AGE` ago."""
        until, fleet = self._fleet
        if time.monotonic() >= until:
            fleet = Fleet(self.journal.live_agents(), self.journal.read_drains())
            self._fleet = (time.monotonic() + FLEET_AGE, fleet)
        return fleet
