"""Agents: who there is, and who does what."""

from __future__ import annotations

from collections.abc import Collection

from orch.agents.coordinator import AgentBacklog, Candidate, DrainedAgent
from orch.agents.info import AgentCapability, AgentInfo
from orch.agents.outside import Given, Offered
from orch.facade.base import Base


class Agents(Base):
    """Agents: who there is, and who does what."""

    # ``agent``: the id of one, or its name, with its host or without.

    def list_agents(self, *, offline: bool = False) -> list[AgentInfo]:
        """The agents that live, by their names; ``offline``: also those that are remembered."""
        return self.registry.list(offline=offline)

    def get_agent(self, agent: str) -> AgentInfo:
        """One of them, also where it is gone. Raises NotFound."""
        return self.registry.show(agent)

    def get_agent_capabilities(self, agent: str) -> list[AgentCapability]:
        """What an agent that lives offers, with versions and JSON Schemas. Raises NotFound."""
        return list(self.registry.capabilities(agent))

    def find_agents_by_capability(self, capability: str) -> list[AgentInfo]:
        """The agents that serve it and take work; those with the least load first, then those
        with the most success."""
        return self.registry.find(capability)

    def register_agent(self, agent: Given, capabilities: Offered) -> str:
        """Register an agent outside of Celery, or what is new of it; its id, which is its name.

        ``agent``: its name, or the fields of an `OutsideAgent`: with a ``url`` its tasks are
        posted to it, without one it asks for them. ``capabilities``: names, or mappings of
        ``name``, ``version``, ``input``, ``output`` and what else `AgentCapability` has.
        Raises InputError.
        """
        return self.registry.outside.register(agent, capabilities)

    def unregister_agent(self, agent: str) -> None:
        """Take an agent outside of Celery off the list. Raises NotFound."""
        self.registry.outside.unregister(agent)

    def heartbeat_agent(self, agent: str, load: float = 0.0) -> None:
        """Say that an agent outside lives, and its load, 0 to 1. Raises NotFound: register it."""
        self.registry.outside.heartbeat(agent, load)

    def drain_agent(
        self,
        agent: str,
        *,
        stay: bool = False,
        reassign: bool = False,
        by: str | None = None,
        timeout: float | None = None,
    ) -> DrainedAgent:
        """Have a worker take nothing new, finish what it has, and leave, or ``stay`` drained.

        ``agent``: its name, with its host or without. ``reassign``: steps that name it go to others
        meanwhile. ``timeout``: seconds to wait until it has left, or finished. Raises NotFound,
        InputError, WaitTimeout.
        """
        return self.agents.drain(agent, stay=stay, reassign=reassign, by=by, timeout=timeout)

    def resume_agent(self, agent: str) -> bool:
        """Have a drained worker take messages again. False: it was not drained."""
        return self.agents.resume(agent)

    def choose_agent(
        self,
        capability: str,
        *,
        key: str = "",
        versions: str | None = None,
        failed: Collection[str] = (),
    ) -> list[Candidate]:
        """The agents that serve a capability, the one that is chosen for ``key`` first.

        ``versions``: a range that its version must be in, `>=2,<3`. ``failed``: agents that are not
        to be chosen. Raises NotFound, InputError.
        """
        return self.agents.choose(capability, key=key, versions=versions, failed=failed)

    def balance_agents(self, *, move: bool = False) -> list[AgentBacklog]:
        """What waits for single agents; with ``move``, what others may do goes to them."""
        return self.agents.balance(move=move)

    def drained_agents(self) -> list[DrainedAgent]:
        """The workers that are to take nothing new."""
        return self.agents.drained()
