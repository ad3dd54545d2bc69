"""The memory of projects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from orch.async_facade.base import Base
from orch.control.filters import Instant
from orch.memory.analysis import MemoryAnalysis
from orch.memory.analytics import MOST
from orch.memory.compaction import DAY, Compaction
from orch.memory.memory import MemoryFilters, MemoryUse
from orch.memory.record import MemoryRecord
from orch.memory.relating import RelatedMemory
from orch.memory.sight import Sighted
from orch.memory.statistics import MemoryStatistics
from orch.memory.transfer import MemoryImport


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
        private: bool = False,
        keep: float | timedelta | None = None,
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
            private=private,
            keep=keep,
        )

    async def search_memory(
        self, *, project: str | None = None, limit: int = 50, **filters: Unpack[MemoryFilters]
    ) -> list[MemoryRecord]:
        return await asyncio.to_thread(
            lambda: self.sync.search_memory(project=project, limit=limit, **filters)
        )

    async def get_memory(
        self, id: str, project: str | None = None, **sight: Unpack[Sighted]
    ) -> MemoryRecord:
        return await asyncio.to_thread(lambda: self.sync.get_memory(id, project, **sight))

    async def memory_use(self, ids: Sequence[str], project: str | None = None) -> list[MemoryUse]:
        return await asyncio.to_thread(self.sync.memory_use, ids, project)

    async def related_memories(
        self,
        id: str,
        *,
        depth: int = 1,
        project: str | None = None,
        limit: int = 100,
        **sight: Unpack[Sighted],
    ) -> list[RelatedMemory]:
        return await asyncio.to_thread(
            lambda: self.sync.related_memories(
                id, depth=depth, project=project, limit=limit, **sight
            )
        )

    async def rate_memory(
        self,
        id: str,
        confidence: float,
        *,
        by: str | None = None,
        project: str | None = None,
        **sight: Unpack[Sighted],
    ) -> MemoryRecord:
        return await asyncio.to_thread(
            lambda: self.sync.rate_memory(id, confidence, by=by, project=project, **sight)
        )

    async def share_memory(
        self,
        id: str,
        roles: Sequence[str] = (),
        *,
        to_project: str | None = None,
        project: str | None = None,
        **sight: Unpack[Sighted],
    ) -> MemoryRecord:
        return await asyncio.to_thread(
            lambda: self.sync.share_memory(
                id, roles, to_project=to_project, project=project, **sight
            )
        )

    async def forget_memories(
        self, ids: Sequence[str] = (), *, project: str | None = None, **filters: Any
    ) -> int:
        return await asyncio.to_thread(
            lambda: self.sync.forget_memories(ids, project=project, **filters)
        )

    async def compact_memory(
        self,
        project: str | None = None,
        *,
        older: timedelta = DAY,
        similar: bool = False,
        dry_run: bool = False,
    ) -> Compaction:
        return await asyncio.to_thread(
            self.sync.compact_memory, project, older=older, similar=similar, dry_run=dry_run
        )

    async def memory_statistics(self, project: str | None = None) -> MemoryStatistics:
        return await asyncio.to_thread(self.sync.memory_statistics, project)

    async def analyze_memory(
        self,
        project: str | None = None,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        limit: int = MOST,
        **sight: Unpack[Sighted],
    ) -> MemoryAnalysis:
        return await asyncio.to_thread(
            lambda: self.sync.analyze_memory(
                project, since=since, until=until, limit=limit, **sight
            )
        )

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

    async def import_memory(
        self, source: Path | str | BinaryIO, *, project: str | None = None
    ) -> MemoryImport:
        return await asyncio.to_thread(self.sync.import_memory, source, project=project)
