"""Limits and resources, and breakers."""

from __future__ import annotations

import asyncio

from orch.async_facade.base import Base
from orch.control.breakers import BreakerInfo
from orch.control.limits import LimitInfo
from orch.resources.advice import CapacityPlan


class Limits(Base):
    """Limits and resources, and breakers."""

    async def list_limits(self) -> list[LimitInfo]:
        return await asyncio.to_thread(self.sync.list_limits)

    async def show_limit(self, name: str, key: str | None = None) -> list[LimitInfo]:
        return await asyncio.to_thread(self.sync.show_limit, name, key)

    async def list_resources(self) -> list[LimitInfo]:
        return await asyncio.to_thread(self.sync.list_resources)

    async def show_resource(self, name: str) -> LimitInfo:
        return await asyncio.to_thread(self.sync.show_resource, name)

    async def define_resource(self, name: str, capacity: int) -> LimitInfo:
        return await asyncio.to_thread(self.sync.define_resource, name, capacity)

    async def remove_resource(self, name: str) -> None:
        await asyncio.to_thread(self.sync.remove_resource, name)

    async def plan_capacity(
        self, resource: str, *, hours: int = 336, wait: float | None = None
    ) -> CapacityPlan:
        return await asyncio.to_thread(self.sync.plan_capacity, resource, hours=hours, wait=wait)

    async def optimize_allocation(self, *, hours: int = 336) -> list[CapacityPlan]:
        return await asyncio.to_thread(self.sync.optimize_allocation, hours=hours)

    async def list_breakers(self) -> list[BreakerInfo]:
        return await asyncio.to_thread(self.sync.list_breakers)

    async def show_breaker(self, name: str) -> BreakerInfo:
        return await asyncio.to_thread(self.sync.show_breaker, name)

    async def open_breaker(
        self, name: str, reason: str = "", *, seconds: float | None = None, by: str | None = None
    ) -> BreakerInfo:
        open_ = self.sync.open_breaker
        return await asyncio.to_thread(open_, name, reason, seconds=seconds, by=by)

    async def close_breaker(self, name: str, reason: str = "", *, by: str | None = None) -> bool:
        return await asyncio.to_thread(self.sync.close_breaker, name, reason, by=by)
