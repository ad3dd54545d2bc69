"""Executions: what they do, did and used, and how they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from orch.async_facade.base import Base
from orch.async_facade.execution import AsyncExecution
from orch.control.archive import Archived
from orch.control.attempts import Attempt
from orch.control.filters import Filters
from orch.control.logs import LoggedLine
from orch.control.search import ExecutionPage
from orch.control.spending import DaySpending, ExecutionUsage
from orch.control.status import ExecutionContext, ExecutionInfo
from orch.control.subscription import AsyncSubscription, EventFilter, ExecutionEvent, Listener
from orch.control.transfer import Exported, Imported
from orch.journal.journal import HistoryEntry
from orch.monitoring.advice import Aim
from orch.monitoring.scaling import CapabilityLoad


class Following(Base):
    """Executions: what they do, did and used, and how they are kept."""

    async def events(
        self,
        filter: EventFilter | Mapping[str, Any] | None = None,
        *,
        since: str | None = None,
        follow: bool = True,
    ) -> AsyncSubscription:
        """As `Orchestrator.events`, for `async for event in await orchestrator.events()`."""
        return AsyncSubscription(
            await asyncio.to_thread(self.sync.events, filter, since=since, follow=follow)
        )

    async def subscribe_to_events(
        self,
        filter: EventFilter | Mapping[str, Any] | None,
        callback: Callable[[ExecutionEvent], Any],
        *,
        since: str | None = None,
    ) -> Listener:
        """As `Orchestrator.subscribe_to_events`: ``callback`` is called in a thread."""
        return await asyncio.to_thread(self.sync.subscribe_to_events, filter, callback, since=since)

    def execution(self, id: str) -> AsyncExecution:
        return AsyncExecution(self.sync.execution(id))

    async def get_execution_status(self, id: str) -> ExecutionContext:
        return await asyncio.to_thread(self.sync.get_execution_status, id)

    async def get_execution_history(self, id: str) -> list[HistoryEntry]:
        return await asyncio.to_thread(self.sync.get_execution_history, id)

    async def get_attempts(self, id: str, path: str) -> tuple[Attempt, ...]:
        return await asyncio.to_thread(self.sync.get_attempts, id, path)

    async def get_logs(
        self, id: str, path: str | None = None, level: str = "debug", *, follow: bool = False
    ) -> AsyncIterator[LoggedLine]:
        """As `Orchestrator.get_logs`."""
        async for line in self.execution(id).logs(path, level, follow=follow):
            yield line

    async def get_usage(self, id: str) -> ExecutionUsage:
        return await asyncio.to_thread(self.sync.get_usage, id)

    async def get_spending(self, project: str | None = None, *, days: int = 7) -> list[DaySpending]:
        return await asyncio.to_thread(self.sync.get_spending, project, days=days)

    async def set_budget(
        self,
        id: str,
        path: str | None = None,
        *,
        cost: float | None = None,
        tokens: int | None = None,
        by: str | None = None,
        reason: str = "",
    ) -> None:
        budget = self.sync.set_budget
        await asyncio.to_thread(budget, id, path, cost=cost, tokens=tokens, by=by, reason=reason)

    async def list_executions(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[Filters]
    ) -> ExecutionPage:
        return await asyncio.to_thread(
            lambda: self.sync.list_executions(limit=limit, cursor=cursor, **filters)
        )

    async def list_active_executions(self, workflow: str | None = None) -> list[ExecutionInfo]:
        return await asyncio.to_thread(self.sync.list_active_executions, workflow)

    async def export_executions(
        self,
        target: Path | str | BinaryIO,
        ids: Sequence[str] | None = None,
        *,
        live: bool = False,
        **filters: Unpack[Filters],
    ) -> Exported:
        return await asyncio.to_thread(
            lambda: self.sync.export_executions(target, ids, live=live, **filters)
        )

    async def import_executions(self, source: Path | str | BinaryIO) -> Imported:
        return await asyncio.to_thread(self.sync.import_executions, source)

    async def archive_executions(
        self, directory: Path | None = None, *, all: bool = False
    ) -> Archived:
        return await asyncio.to_thread(self.sync.archive_executions, directory, all=all)

    async def get_scaling(
        self, capabilities: Sequence[str] = (), aim: Aim | None = None
    ) -> list[CapabilityLoad]:
        return await asyncio.to_thread(self.sync.get_scaling, capabilities, aim)
