"""Executions that are started again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from orch.async_facade.base import Base
from orch.control.schedules import ScheduleInfo, TickInfo
from orch.workflows.schedule import Schedule


class Schedules(Base):
    """Executions that are started again and again."""

    async def add_schedule(
        self,
        schedule: Schedule | Mapping[str, Any],
        *,
        replace: bool = False,
        by: str | None = None,
    ) -> ScheduleInfo:
        return await asyncio.to_thread(self.sync.add_schedule, schedule, replace=replace, by=by)

    async def list_schedules(self) -> Sequence[ScheduleInfo]:
        return await asyncio.to_thread(self.sync.list_schedules)

    async def get_schedule(self, name: str) -> ScheduleInfo:
        return await asyncio.to_thread(self.sync.get_schedule, name)

    async def get_schedule_ticks(self, name: str, limit: int = 20) -> Sequence[TickInfo]:
        return await asyncio.to_thread(self.sync.get_schedule_ticks, name, limit)

    async def get_next_instants(self, name: str, count: int = 10) -> Sequence[str]:
        return await asyncio.to_thread(self.sync.get_next_instants, name, count)

    async def pause_schedule(
        self, name: str, note: str = "", *, by: str | None = None
    ) -> ScheduleInfo:
        return await asyncio.to_thread(self.sync.pause_schedule, name, note, by=by)

    async def resume_schedule(
        self, name: str, note: str = "", *, by: str | None = None
    ) -> ScheduleInfo:
        return await asyncio.to_thread(self.sync.resume_schedule, name, note, by=by)

    async def trigger_schedule(self, name: str, *, by: str | None = None) -> TickInfo:
        return await asyncio.to_thread(self.sync.trigger_schedule, name, by=by)

    async def backfill_schedule(
        self, name: str, start: str, end: str, *, dry_run: bool = False, by: str | None = None
    ) -> Sequence[TickInfo]:
        backfill = self.sync.backfill_schedule
        return await asyncio.to_thread(backfill, name, start, end, dry_run=dry_run, by=by)

    async def remove_schedule(self, name: str) -> bool:
        return await asyncio.to_thread(self.sync.remove_schedule, name)
