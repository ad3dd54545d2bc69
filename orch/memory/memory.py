"""The memory of a project: written once, found by prefix, tag, text, agent and time."""

from __future__ import annotations

import contextlib
import heapq
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, Unpack

from pydantic import BaseModel, Field

from orch.control.filters import Instant
from orch.control.search import milliseconds_of
from orch.errors import InputError, NotFound
from orch.journal.journal import Journal
from orch.journal.memories import READ, TOP, Range
from orch.memory import entries
from orch.memory.query import EVERY, Condition, MemoryQuery
from orch.memory.record import (
    AREAS,
    MemoryRecord,
    checked_name,
    dumps,
    loads,
    new_id,
    new_record,
)

FEW = 200
"""So many records are rather read and looked at than sought in a further part of the index."""

MOST_SPELLED = 20
"""Different words with one beginning that are walked along side by side."""

MOST_HEADS = 100
"""Agents, and tags, that the statistics count."""


class MemoryFilters(TypedDict, total=False):
    """What records may be asked for; each that is given must hold, None is not given.

    ``text``: each of its words begins a word of the content. ``prefix``: how the content begins,
    `ORCH:ESCALATION:`. ``tag``: one, or several that it all has. ``agent``: the role of who wrote
    it. ``source``: what it tells of. ``since``, ``until``: written then or later, and before.
    """

    text: str | None
    prefix: str | None
    tag: str | Iterable[str] | None
    agent: str | None
    source: str | None
    since: Instant | None
    until: Instant | None


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


class Memory:
    """The memory in one Redis. Every method may raise Unreachable.

    ``project``: None is that of the setting `project_id`. No method sees more than one project.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.settings = journal.settings

    def store(
        self,
        agent_role: str,
        project_id: str | None,
        content: str,
        *,
        id: str | None = None,
        **given: Any,
    ) -> MemoryRecord:
        """See `Orchestrator.store_memory`. ``created``: ms, where it is not now."""
        project = self._project(project_id)
        key = new_id() if id is None else checked_name("the id of a memory record", id)
        record = new_record(self.settings, self.journal.clock(), agent_role, content, **given)
        found_by = entries.entries_of(key, record)
        text, most = dumps(record), self.settings.memory_limit
        while True:
            known, gone = self.journal.add_memory(
                project, key, text, found_by, record["expires"], most
            )
            self._forget(project, gone)
            if key not in gone:
                stored = record if known is None else loads(known)
                return MemoryRecord.of(project, key, stored)

    def get(self, id: str, project: str | None = None) -> MemoryRecord:
        """Raises NotFound."""
        project = self._project(project)
        (text,) = self.journal.read_memories(project, [id])
        found = None if text is None else loads(text)
        if found is None or found["expires"] <= self.journal.clock():
            raise NotFound(
                f"the memory of project {project!r} has no record {id!r}",
                hint="`orch memory search` lists what there is; --project names another project",
            )
        return MemoryRecord.of(project, id, found)

    def search(
        self, *, project: str | None = None, limit: int = 50, **filters: Unpack[MemoryFilters]
    ) -> list[MemoryRecord]:
        """At most ``limit`` records, the newest first. Raises InputError."""
        if limit < 1:
            raise InputError(f"at least 1 record is to be found, not {limit}")
        found = self.walk(project=project, **filters)
        return [record for record, _ in zip(found, range(limit), strict=False)]

    def walk(
        self, *, project: str | None = None, **filters: Unpack[MemoryFilters]
    ) -> Iterator[MemoryRecord]:
        """All records that the filters hold of, the newest first. Raises InputError."""
        name, query = self._project(project), self._query(filters)
        return self._found(name, query, query.conditions())

    def statistics(self, project: str | None = None) -> MemoryStatistics:
        """How many records there are, by area, agent and tag; right on an empty memory, too."""
        name = self._project(project)
        while expired := self.journal.expired_memories(name):
            self._forget(name, expired)
        (every,) = EVERY.ranges()
        newest = self.journal.memory_entries(name, every, 1)
        (count,) = self.journal.count_memories(name, [every])
        times = [*newest, *self.journal.oldest_memory(name, every)]
        instants = [
            MemoryRecord.of(name, "", loads(text)).created
            for text in self.journal.read_memories(
                name, [entries.id_in(entries.place_in(entry)) for entry in times]
            )
            if text is not None
        ]
        areas = [entries.head(entries.AREA, area) for area in AREAS]
        return MemoryStatistics(
            project_id=name,
            records=count,
            by_area=self._counted(name, areas),
            by_agent=self._counted(name, self._heads(name, entries.AGENT)),
            by_tag=self._counted(name, self._heads(name, entries.TAG)),
            oldest=instants[-1] if instants else None,
            newest=instants[0] if instants else None,
            projects=self.journal.memory_projects(),
        )

    def export(
        self,
        target: Path | str | BinaryIO,
        *,
        project: str | None = None,
        **filters: Unpack[MemoryFilters],
    ) -> int:
        """See `Orchestrator.export_memory`."""
        found = self.walk(project=project, **filters)
        if not isinstance(target, str | Path):
            return _write(target, found)
        path = Path(target)
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as file:
                count = _write(file, found)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as exc:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise InputError(f"{path} cannot be written: {exc.strerror or exc}") from exc
        return count

    # --- behind them -------------------------------------------------------------------------

    def _found(
        self, project: str, query: MemoryQuery, conditions: Sequence[Condition]
    ) -> Iterator[MemoryRecord]:
        now = self.journal.clock()
        for page in self._places(project, query, conditions):
            ids = [entries.id_in(place) for place in page]
            for place, text in zip(page, self.journal.read_memories(project, ids), strict=True):
                if text is None:
                    continue
                record, id = loads(text), entries.id_in(place)
                is_it = place == entries.place(record["created"], id)
                if is_it and record["expires"] > now and query.matches(record):
                    yield MemoryRecord.of(project, id, record)

    def _places(
        self, project: str, query: MemoryQuery, conditions: Sequence[Condition]
    ) -> Iterator[list[str]]:
        """Pages of where records stand that may be meant, the newest first.

        Where few records meet one condition, these are looked at; else all conditions are walked
        along side by side, to where all of them meet.
        """
        times = (query.since, query.until)
        ranges = [self._spelled(project, each).ranges(*times) for each in conditions]
        every = self.journal.count_memories(project, [one for each in ranges for one in each])
        counted = iter(every)
        counts = [sum(next(counted) for _ in each) for each in ranges]
        if not min(counts):
            return
        if min(counts) <= FEW:
            ranges = [ranges[counts.index(min(counts))]]
        low = entries.place(query.since or 0)
        high = TOP if query.until is None else entries.place(query.until)
        found = _common([self._walked(project, each) for each in ranges])
        yield from _paged(place for place in found if low <= place < high)

    def _spelled(self, project: str, condition: Condition) -> Condition:
        """By its heads, if these are not too many: those lie in the order of their time."""
        if condition.heads:
            return condition
        heads = self.journal.memory_heads(project, condition.beginning, MOST_SPELLED + 1)
        return Condition(tuple(heads)) if 0 < len(heads) <= MOST_SPELLED else condition

    def _walked(self, project: str, ranges: Sequence[Range]) -> Iterator[str]:
        """Where the records of any range stand, the newest first, each once."""
        if len(ranges) == 1 and " " not in ranges[0].low:  # of many heads, and not in order
            found = self.journal.memory_entries(project, ranges[0])
            return iter(sorted({entries.place_in(entry) for entry in found}, reverse=True))
        lines = [self._line(project, range) for range in ranges]
        return lines[0] if len(lines) == 1 else _each_once(heapq.merge(*lines, reverse=True))

    def _line(self, project: str, range: Range) -> Iterator[str]:
        size = FEW
        while page := self.journal.memory_entries(project, range, size):
            yield from map(entries.place_in, page)
            if len(page) < size:
                return
            range, size = Range(range.low, page[-1]), READ

    def _forget(self, project: str, ids: Sequence[str]) -> None:
        texts = self.journal.read_memories(project, ids)
        found_by = {
            id: entries.entries_of(id, loads(text)) if text is not None else []
            for id, text in zip(ids, texts, strict=True)
        }
        self.journal.forget_memories(project, found_by)

    def _heads(self, project: str, letter: str) -> list[str]:
        return self.journal.memory_heads(project, letter, MOST_HEADS)

    def _counted(self, project: str, heads: Sequence[str]) -> dict[str, int]:
        """How many records each head has, the most frequent first; none that has none."""
        if not heads:
            return {}
        ranges = Condition(tuple(heads)).ranges()
        counts = zip(heads, self.journal.count_memories(project, ranges), strict=True)
        ordered = sorted(counts, key=lambda each: -each[1])
        return {entries.text_of(head): count for head, count in ordered if count}

    def _query(self, filters: Mapping[str, Any]) -> MemoryQuery:
        unknown = filters.keys() - MemoryFilters.__annotations__.keys()
        if unknown:
            raise InputError(
                f"the memory cannot be searched by {', '.join(sorted(unknown))}",
                hint=f"it can by: {', '.join(MemoryFilters.__annotations__)}",
            )
        tag, now = filters.get("tag"), self.journal.clock()
        tags = () if tag is None else (tag,) if isinstance(tag, str) else tuple(tag)
        return MemoryQuery(
            prefix=filters.get("prefix") or "",
            text=filters.get("text") or "",
            tags=tags,
            agent=filters.get("agent"),
            source=filters.get("source"),
            since=milliseconds_of("since", filters.get("since"), now),
            until=milliseconds_of("until", filters.get("until"), now),
        )

    def _project(self, given: str | None) -> str:
        return checked_name("a project", self.settings.project_id if given is None else given)


def _each_once(places: Iterator[str]) -> Iterator[str]:
    last = None
    for place in places:
        if place != last:
            yield place
        last = place


def _common(lines: Sequence[Iterator[str]]) -> Iterator[str]:
    """What all lines have, each of which descends: those that are ahead go on to the last."""
    at = [next(line, None) for line in lines]
    while (last := _lowest(at)) is not None:
        for number, line in enumerate(lines):
            while (found := at[number]) is not None and found > last:
                at[number] = next(line, None)
        if all(found == last for found in at):
            yield last
            at = [next(line, None) for line in lines]


def _lowest(places: Sequence[str | None]) -> str | None:
    """None: one of the lines has ended."""
    found = [place for place in places if place is not None]
    return min(found) if len(found) == len(places) else None


def _paged(places: Iterator[str]) -> Iterator[list[str]]:
    while page := list(islice(places, FEW)):
        yield page


def _write(file: BinaryIO, records: Iterable[MemoryRecord]) -> int:
    count = 0
    for record in records:
        file.write(json.dumps(record.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n")
        count += 1
    return count
