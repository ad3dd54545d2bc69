"""MemoryAnalytics: how the memory of a project is used, how good it is, and what it shows."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice

from orch.control.filters import Instant
from orch.control.search import milliseconds_of
from orch.control.status import instant
from orch.errors import InputError
from orch.memory.analysis import MemoryAnalysis
from orch.memory.memory import Memory
from orch.memory.patterns import patterns
from orch.memory.quality import quality
from orch.memory.sight import Sight
from orch.memory.trends import trends
from orch.memory.usage import usage
from orch.memory.window import Window

WEEK = timedelta(days=7)
MOST = 10_000
"""Records of a window that are read, unless one asks for more."""

MOST_REFERENCES = 10_000
"""Ids of related records that are looked up."""


class MemoryAnalytics:
    """Reads the records of a window and of the one before it, at most ``limit`` of each, how they
    were read, and the records that they name; it writes nothing, and is no read of a record.
    Every method may raise Unreachable."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def analyze(
        self,
        project: str | None = None,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        limit: int = MOST,
        viewer: str | None = None,
        all_private: bool = False,
    ) -> MemoryAnalysis:
        """See `Orchestrator.analyze_memory`. Raises InputError."""
        if limit < 1:
            raise InputError(f"at least 1 record is to be read, not {limit}")
        name, now = self.memory.project_named(project), self.memory.journal.clock()
        end = milliseconds_of("until", until, now)
        end = now + 1 if end is None else end
        start = milliseconds_of("since", WEEK if since is None else since, now)
        if start is None or start >= end:
            raise InputError("the window has no time in it: `since` is not before `until`")
        sight = Sight(viewer, all_private)
        window = self._read(name, start, end, limit, sight)
        before = self._read(name, max(0, 2 * start - end), start, limit, sight)
        ids = [id for id, _ in window.records]
        uses = self.memory.journal.memory_reads(name, ids)
        named = self._named(window)
        # What is private to others is there, for this: it says nothing but that.
        there = self.memory.look_up_many(name, named[:MOST_REFERENCES], Sight(all_private=True))
        return MemoryAnalysis(
            project_id=name,
            since=instant(start),
            until=instant(end),
            records=len(ids),
            limit=limit,
            complete=window.complete,
            usage=usage(window.records, uses),
            quality=quality(window.records, named[:MOST_REFERENCES], len(named), set(there), now),
            trends=trends(window, before),
            patterns=patterns(window),
        )

    def _read(self, project: str, since: int, until: int, limit: int, sight: Sight) -> Window:
        found = self.memory.stored(
            project,
            since=since,
            until=until,
            viewer=sight.viewer,
            all_private=sight.all_private,
        )
        records = list(islice(found, limit + 1))
        return Window(since, until, records[:limit], len(records) <= limit)

    @staticmethod
    def _named(window: Window) -> list[str]:
        return list(dict.fromkeys(id for _, record in window.records for id in record["related"]))
