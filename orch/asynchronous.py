"""The facade for coroutines: Redis is talked to in threads."""

from __future__ import annotations

import asyncio
from typing import Any

from orch.async_facade.agents import Agents
from orch.async_facade.defining import Defining
from orch.async_facade.following import Following
from orch.async_facade.inbox import Inbox
from orch.async_facade.limits import Limits
from orch.async_facade.memories import Memories
from orch.async_facade.monitoring import Monitoring
from orch.async_facade.schedules import Schedules
from orch.async_facade.services import Services
from orch.async_facade.starting import Starting
from orch.async_facade.steering import Steering
from orch.async_facade.tasks import Tasks
from orch.async_facade.webhooks import Webhooks
from orch.orchestrator import Orchestrator
from orch.settings import Settings


class AsyncOrchestrator(
    Defining,
    Starting,
    Following,
    Monitoring,
    Steering,
    Tasks,
    Agents,
    Limits,
    Schedules,
    Inbox,
    Memories,
    Services,
    Webhooks,
):
    """An `Orchestrator` whose methods are coroutines; Redis is talked to in threads."""

    def __init__(self, settings: Settings | None = None, **given: Any) -> None:
        self.sync = Orchestrator(settings, **given)

    async def close(self) -> None:
        await asyncio.to_thread(self.sync.close)

    async def __aenter__(self) -> AsyncOrchestrator:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
