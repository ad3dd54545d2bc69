"""The memory of projects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from orch.facade.base import Base
from orch.memory.memory import MemoryFilters, MemoryStatistics
from orch.memory.record import MemoryRecord


class Memories(Base):
    """The memory of projects."""

    def store_memory(
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
        """Remember something; the record as it is kept.

        ``content`` begins with `ORCH:AREA: `. ``project_id``: None is that of the setting.
        ``related``: ids of other records; ``confidence``: 0 to 1; ``source``: what it tells of.
        ``id``: one of the caller's own; where the project has a record of it, that one is
        answered and nothing changes. Raises InputError.
        """
        return self.memory.store(
            agent_role,
            project_id,
            content,
            id=id,
            tags=tags,
            data=data,
            related=related,
            confidence=confidence,
            source=source,
        )

    def search_memory(
        self, *, project: str | None = None, limit: int = 50, **filters: Unpack[MemoryFilters]
    ) -> list[MemoryRecord]:
        """Records of one project that all ``filters`` hold of, the newest first: `text`,
        `prefix`, `tag` (one, or several), `agent`, `source`, `since`, `until`; see
        `MemoryFilters`. ``project``: None is that of the setting. Raises InputError."""
        return self.memory.search(project=project, limit=limit, **filters)

    def get_memory(self, id: str, project: str | None = None) -> MemoryRecord:
        """A record of one project. Raises NotFound."""
        return self.memory.get(id, project)

    def memory_statistics(self, project: str | None = None) -> MemoryStatistics:
        """How many records a project has, by area, agent and tag."""
        return self.memory.statistics(project)

    def export_memory(
        self,
        target: Path | str | BinaryIO,
        *,
        project: str | None = None,
        **filters: Unpack[MemoryFilters],
    ) -> int:
        """Write records as JSON lines, the newest first, to a file; how many. Raises InputError."""
        return self.memory.export(target, project=project, **filters)
