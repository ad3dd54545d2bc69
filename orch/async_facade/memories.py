"""The memory of projects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from orch.async_facade.base import Base
from orch.memory.memory import MemoryFilters, MemoryStatistics
from orch.memory.record import MemoryRecord


class Memories(Base):
    """The memory of projects."""

    async def store_memory(
        self,
        agent_role: str,
        project_id: str | None,
        content: str,
        *,
        tags: Sequence[str] = (),
        data: Any = None,
        related: Sequence[str] = (),
        confidence: float = 1.0,
        source: str = "",
        id: str | None = None,
    ) -> MemoryRecord:
        return await asyncio.to_thread(
            self.sync.store_memory,
            agent_role,
            project_id,
            content,
            tags=tags,
            data=data,
            related=related,
            confidence=confidence,
            source=source,
            id=id,
        )

    async def search_memory(
        self, *, project: str | None = None, limit: int = 50, **filters: Unpack[MemoryFilters]
    ) -> list[MemoryRecord]:
        return await asyncio.to_thread(
            lambda: self.sync.search_memory(project=project, limit=limit, **filters)
        )

    async def get_memory(self, id: str, project: str | None = None) -> MemoryRecord:
        return await asyncio.to_thread(self.sync.get_memory, id, project)

    async def memory_statistics(self, project: str | None = None) -> MemoryStatistics:
        return await asyncio.to_thread(self.sync.memory_statistics, project)

    async def export_memory(
        self,
        target: Path | str | BinaryIO,
        *,
        project: str | None = None,
        **filters: Unpack[MemoryFilters],
    ) -> int:
        return await asyncio.to_thread(
            lambda: self.sync.export_memory(target, project=project, **filters)
        )
