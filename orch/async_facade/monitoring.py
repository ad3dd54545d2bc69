"""How workflows do, and how the whole does."""

from __future__ import annotations

import asyncio

from orch.async_facade.base import Base
from orch.control.filters import Instant
from orch.monitoring.metrics import SystemMetrics, WorkflowMetrics
from orch.monitoring.performance import SAMPLE


class Monitoring(Base):
    """How workflows do, and how the whole does."""

    async def get_workflow_metrics(
        self, name: str, *, since: Instant | None = None, sample: int = SAMPLE
    ) -> WorkflowMetrics:
        get = self.sync.get_workflow_metrics
        return await asyncio.to_thread(get, name, since=since, sample=sample)

    async def get_system_metrics(self) -> SystemMetrics:
        return await asyncio.to_thread(self.sync.get_system_metrics)
