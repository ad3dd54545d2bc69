"""The memory of projects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from orch.control.filters import Instant
from orch.control.user import current_user
from orch.errors import InputError
from orch.facade.base import Base
from orch.memory.analysis import MemoryAnalysis
from orch.memory.analytics import MOST, MemoryAnalytics
from orch.memory.compaction import DAY, Compaction, compact
from orch.memory.memory import MemoryFilters, MemoryUse
from orch.memory.rating import rate
from orch.memory.record import MemoryRecord
from orch.memory.relating import RelatedMemory, related
from orch.memory.sharing import share
from orch.memory.sight import Sight, Sighted
from orch.memory.statistics import MemoryStatistics, statistics
from orch.memory.transfer import MemoryImport, export, load


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
        private: bool = False,
        keep: float | timedelta | None = None,
    ) -> MemoryRecord:
        """Remember something; the record as it is kept.

        ``content`` begins with `ORCH:AREA: `. ``project_id``: None is that of the setting.
        ``related``: ids of other records; ``confidence``: 0 to 1; ``source``: what it tells of.
        ``id``: one of the caller's own; where the project has a record of it, that one is
        answered and nothing changes. ``private``: only ``agent_role`` sees it. ``keep``: seconds,
        or a timedelta, instead of what the settings say. Raises InputError.
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
            private=private,
            keep=keep,
        )

    def search_memory(
        self, *, project: str | None = None, limit: int = 50, **filters: Unpack[MemoryFilters]
    ) -> list[MemoryRecord]:
        """Records of one project that all ``filters`` hold of, the newest first: `text`,
        `prefix`, `tag` (one, or several), `agent`, `source`, `since`, `until`, `min_confidence`,
        `viewer`, `all_private`; see `MemoryFilters`. ``project``: None is that of the setting.
        Raises InputError."""
        return self.memory.search(project=project, limit=limit, **filters)

    def get_memory(
        self, id: str, project: str | None = None, **sight: Unpack[Sighted]
    ) -> MemoryRecord:
        """A record of one project, or the one that it was merged into; this counts as a read.

        ``sight``: `viewer`, a role, sees what is private to it, too, and `all_private` what is
        private to any. Raises NotFound.
        """
        found = self.memory.get(id, project, **sight)
        self.memory.count_reads(project, [found.id])
        return found

    def memory_use(self, ids: Sequence[str], project: str | None = None) -> list[MemoryUse]:
        """How often each record was read, and when last."""
        return self.memory.uses(project, ids)

    def related_memories(
        self,
        id: str,
        *,
        depth: int = 1,
        project: str | None = None,
        limit: int = 100,
        **sight: Unpack[Sighted],
    ) -> list[RelatedMemory]:
        """Records that a record names, and that name it, up to ``depth`` steps away (10 at most),
        the nearest first. Raises NotFound, InputError."""
        return related(
            self.memory, id, depth=depth, project=project, limit=limit, sight=Sight(**sight)
        )

    def rate_memory(
        self,
        id: str,
        confidence: float,
        *,
        by: str | None = None,
        project: str | None = None,
        **sight: Unpack[Sighted],
    ) -> MemoryRecord:
        """Give a record another confidence, 0 to 1; who did, and when, stays with it.

        ``by``: None is the user's name. Raises NotFound, InputError.
        """
        return rate(self.memory, id, confidence, by or current_user(), project, Sight(**sight))

    def share_memory(
        self,
        id: str,
        roles: Sequence[str] = (),
        *,
        to_project: str | None = None,
        project: str | None = None,
        **sight: Unpack[Sighted],
    ) -> MemoryRecord:
        """Have further ``roles`` see a private record; or copy a record into another project,
        where all see it, once: the second time answers the copy that is there.

        Raises NotFound, and InputError unless there is one of ``roles`` and ``to_project``.
        """
        return share(
            self.memory,
            id,
            roles=roles,
            to_project=to_project,
            project=project,
            sight=Sight(**sight),
        )

    def forget_memories(
        self, ids: Sequence[str] = (), *, project: str | None = None, **filters: Any
    ) -> int:
        """Drop records, by their ids or by what they may be searched by; how many there were.

        Raises NotFound, and InputError where neither is given.
        """
        seen = {name: filters.pop(name) for name in Sighted.__annotations__ if name in filters}
        given = {name: value for name, value in filters.items() if value not in (None, "")}
        if bool(ids) == bool(given):
            raise InputError("records are forgotten by their ids, or by filters: name one of them")
        if given:
            ids = [found.id for found in self.memory.walk(project=project, **given, **seen)]
            self.memory.drop(self.memory.project_named(project), ids)
            return len(ids)
        return self.memory.forget(project, ids, Sight(**seen))

    def compact_memory(
        self,
        project: str | None = None,
        *,
        older: timedelta = DAY,
        similar: bool = False,
        dry_run: bool = False,
    ) -> Compaction:
        """Merge records that say the same: content, role, tags and who sees them.

        The one that stays says how many there were, and when the first was written; the ids of
        the others lead to it. ``older``: only what was written so long ago. ``similar``: also what
        differs in numbers, ids, blanks and capital letters. ``dry_run``: say what would be done.
        """
        return compact(self.memory, project, older=older, similar=similar, dry_run=dry_run)

    def memory_statistics(self, project: str | None = None) -> MemoryStatistics:
        """How many records a project has, by area, agent and tag."""
        return statistics(self.memory, project)

    def analyze_memory(
        self,
        project: str | None = None,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        limit: int = MOST,
        **sight: Unpack[Sighted],
    ) -> MemoryAnalysis:
        """How the records of a window are used, how good they are, their trends and patterns.

        ``since``: None is seven days ago; ``until``: None is now. ``limit``: records that are
        read of this window, and of the one before it. Raises InputError.
        """
        return MemoryAnalytics(self.memory).analyze(
            project, since=since, until=until, limit=limit, **sight
        )

    def export_memory(
        self,
        target: Path | str | BinaryIO,
        *,
        project: str | None = None,
        **filters: Unpack[MemoryFilters],
    ) -> int:
        """Write records as JSON lines, the newest first, to a file; how many. Raises InputError."""
        return export(self.memory, target, project=project, **filters)

    def import_memory(
        self, source: Path | str | BinaryIO, *, project: str | None = None
    ) -> MemoryImport:
        """Keep the records of a file that `export_memory` wrote, each once, under its id.

        ``project``: instead of those that the records name. Raises InputError, which names the
        line; what stands before it is imported.
        """
        return load(self.memory, source, project=project)
