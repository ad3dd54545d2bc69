"""How much is remembered in a project."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from orch.areas import AREAS
from orch.memory import entries
from orch.memory.memory import Memory
from orch.memory.query import EVERY, Condition
from orch.memory.record import MemoryRecord, loads

MOST_HEADS = 100
"""Agents, and tags, that the statistics count."""


class MemoryStatistics(BaseModel):
    """Counts of what is remembered in a project. Instants are ISO 8601 in UTC."""

    project_id: str
    records: int = 0
    by_area: dict[str, int] = Field(default_factory=dict)
    by_agent: dict[str, int] = Field(default_factory=dict)
    by_tag: dict[str, int] = Field(default_factory=dict)
    oldest: str | None = None
    newest: str | None = None
    projects: list[str] = Field(default_factory=list, description="all that have a memory")


def statistics(memory: Memory, project: str | None = None) -> MemoryStatistics:
    """How many records there are, private ones too; right on an empty memory. What has expired
    is dropped before. Raises Unreachable."""
    name, journal = memory.project_named(project), memory.journal
    while expired := journal.expired_memories(name):
        memory.drop(name, expired)
    journal.forget_merged(name)
    (every,) = EVERY.ranges()
    newest = journal.memory_entries(name, every, 1)
    (count,) = journal.count_memories(name, [every])
    times = [*newest, *journal.oldest_memory(name, every)]
    instants = [
        MemoryRecord.of(name, "", loads(text)).created
        for text in journal.read_memories(
            name, [entries.id_in(entries.place_in(entry)) for entry in times]
        )
        if text is not None
    ]
    return MemoryStatistics(
        project_id=name,
        records=count,
        by_area=_counted(memory, name, [entries.head(entries.AREA, area) for area in AREAS]),
        by_agent=_counted(memory, name, _heads(memory, name, entries.AGENT)),
        by_tag=_counted(memory, name, _heads(memory, name, entries.TAG)),
        oldest=instants[-1] if instants else None,
        newest=instants[0] if instants else None,
        projects=journal.memory_projects(),
    )


def _heads(memory: Memory, project: str, letter: str) -> list[str]:
    return memory.journal.memory_heads(project, letter, MOST_HEADS)


def _counted(memory: Memory, project: str, heads: Sequence[str]) -> dict[str, int]:
    """How many records each head has, the most frequent first; none that has none."""
    if not heads:
        return {}
    ranges = Condition(tuple(heads)).ranges()
    counts = zip(heads, memory.journal.count_memories(project, ranges), strict=True)
    ordered = sorted(counts, key=lambda each: -each[1])
    return {entries.text_of(head): count for head, count in ordered if count}
