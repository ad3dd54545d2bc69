"""Tasks that somebody outside does, in workflows and without."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from orch.agents.assignments import Task, TaskAssignment
from orch.async_facade.base import Base
from orch.control.external import ExternalTask


class Tasks(Base):
    """Tasks that somebody outside does, in workflows and without."""

    async def list_tasks(
        self,
        capability: str | None = None,
        *,
        agent: str | None = None,
        limit: int | None = None,
    ) -> list[ExternalTask]:
        found = self.sync.list_tasks
        return await asyncio.to_thread(found, capability, agent=agent, limit=limit)

    async def complete_task(self, task: str, output: Any = None, *, by: str | None = None) -> bool:
        return await asyncio.to_thread(self.sync.complete_task, task, output, by=by)

    async def fail_task(
        self,
        task: str,
        error: str = "TaskFailed",
        message: str = "",
        *,
        retryable: bool = True,
        by: str | None = None,
    ) -> bool:
        return await asyncio.to_thread(
            self.sync.fail_task, task, error, message, retryable=retryable, by=by
        )

    async def heartbeat_task(self, task: str, progress: Any = None) -> None:
        await asyncio.to_thread(self.sync.heartbeat_task, task, progress)

    async def assign_task(self, agent: str | None, task: Task) -> TaskAssignment:
        return await asyncio.to_thread(self.sync.assign_task, agent, task)

    async def bulk_assign_tasks(self, tasks: Iterable[Task]) -> list[TaskAssignment]:
        return await asyncio.to_thread(self.sync.bulk_assign_tasks, tasks)

    async def get_task_status(self, task: str) -> TaskAssignment:
        return await asyncio.to_thread(self.sync.get_task_status, task)
