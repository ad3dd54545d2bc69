"""Agents: who there is, and who does what."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from orch.agents.coordinator import AgentBacklog, Candidate, DrainedAgent
from orch.agents.info import AgentCapability, AgentInfo
from orch.agents.outside import Given, Offered
from orch.async_facade.base import Base


class Agents(Base):
    """Agents: who there is, and who does what."""

    async def list_agents(self, *, offline: bool = False) -> list[AgentInfo]:
        return await asyncio.to_thread(self.sync.list_agents, offline=offline)

    async def get_agent(self, agent: str) -> AgentInfo:
        return await asyncio.to_thread(self.sync.get_agent, agent)

    async def get_agent_capabilities(self, agent: str) -> list[AgentCapability]:
        return await asyncio.to_thread(self.sync.get_agent_capabilities, agent)

    async def find_agents_by_capability(self, capability: str) -> list[AgentInfo]:
        return await asyncio.to_thread(self.sync.find_agents_by_capability, capability)

    async def drain_agent(
        self,
        agent: str,
        *,
        stay: bool = False,
        reassign: bool = False,
        by: str | None = None,
        timeout: float | None = None,
    ) -> DrainedAgent:
        drain = self.sync.drain_agent
        return await asyncio.to_thread(
            drain, agent, stay=stay, reassign=reassign, by=by, timeout=timeout
        )

    async def resume_agent(self, agent: str) -> bool:
        return await asyncio.to_thread(self.sync.resume_agent, agent)

    async def choose_agent(
        self,
        capability: str,
        *,
        key: str = "",
        versions: str | None = None,
        failed: Collection[str] = (),
    ) -> list[Candidate]:
        choose = self.sync.choose_agent
        return await asyncio.to_thread(
            choose, capability, key=key, versions=versions, failed=failed
        )

    async def balance_agents(self, *, move: bool = False) -> list[AgentBacklog]:
        return await asyncio.to_thread(self.sync.balance_agents, move=move)

    async def drained_agents(self) -> list[DrainedAgent]:
        return await asyncio.to_thread(self.sync.drained_agents)

    async def register_agent(self, agent: Given, capabilities: Offered) -> str:
        return await asyncio.to_thread(self.sync.register_agent, agent, capabilities)

    async def unregister_agent(self, agent: str) -> None:
        await asyncio.to_thread(self.sync.unregister_agent, agent)

    async def heartbeat_agent(self, agent: str, load: float = 0.0) -> None:
        await asyncio.to_thread(self.sync.heartbeat_agent, agent, load)
