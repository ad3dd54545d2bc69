"""How workflows do, and how the whole does."""

from __future__ import annotations

import asyncio

from orch.async_facade.base import Base
from orch.control.filters import Instant
from orch.memory.record import MemoryRecord
from orch.monitoring.metrics import SystemMetrics, WorkflowMetrics
from orch.monitoring.performance import SAMPLE
from orch.monitoring.report import Report


class Monitoring(Base):
    """How workflows do, and how the whole does."""

    async def get_workflow_metrics(
        self, name: str, *, since: Instant | None = None, sample: int = SAMPLE
    ) -> WorkflowMetrics:
        get = self.sync.get_workflow_metrics
        return await asyncio.to_thread(get, name, since=since, sample=sample)

    async def get_report(self, since: Instant | None = None, *, remember: bool = False) -> Report:
        return await asyncio.to_thread(self.sync.get_report, since, remember=remember)

    async def remember_graph(self, name: str) -> MemoryRecord:
        return await asyncio.to_thread(self.sync.remember_graph, name)

    async def get_system_metrics(self) -> SystemMetrics:
        return await asyncio.to_thread(self.sync.get_system_metrics)
