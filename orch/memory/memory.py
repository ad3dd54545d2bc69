"""The memory of a project: written once, found by prefix, tag, text, agent and time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from pydantic import BaseModel

from orch.control.filters import Instant
from orch.control.search import milliseconds_of
from orch.control.status import instant
from orch.errors import InputError, NotFound, Unreachable
from orch.journal.journal import Journal
from orch.journal.memories import Revision
from orch.memory import entries
from orch.memory.finding import Finder
from orch.memory.query import MemoryQuery
from orch.memory.record import (
    MemoryRecord,
    checked_id,
    checked_name,
    dumps,
    loads,
    new_id,
    new_record,
)
from orch.memory.sight import EVERYTHING, Sight

AT_ONCE = 100
"""Records that are forgotten in one script."""

Stored = dict[str, Any]
"""A record as it is stored: instants in ms, and only what it has."""


class MemoryFilters(TypedDict, total=False):
    """What records may be asked for; each that is given must hold, None is not given.

    ``text``: each of its words begins a word of the content. ``prefix``: how the content begins,
    `ORCH:ESCALATION:`. ``tag``: one, or several that it all has. ``agent``: the role of who wrote
    it. ``source``: what it tells of. ``since``, ``until``: written then or later, and before.
    ``min_confidence``: 0 to 1. ``viewer``: the role that asks; what is private to it is found,
    too. ``all_private``: what is private to any role is found.
    """

    text: str | None
    prefix: str | None
    tag: str | Iterable[str] | None
    agent: str | None
    source: str | None
    since: Instant | None
    until: Instant | None
    min_confidence: float | None
    viewer: str | None
    all_private: bool


class MemoryUse(BaseModel):
    """How often a record was read, and when last, ISO 8601 in UTC."""

    reads: int = 0
    last_read: str | None = None


class Memory:
    """The memory in one Redis. Every method may raise Unreachable.

    ``project``: None is that of the setting `project_id`. No method sees more than one project.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.settings = journal.settings
        self._finder = Finder(journal)

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
        key = new_id() if id is None else checked_id(id)
        project = self.project_named(project_id)
        record = new_record(self.settings, self.journal.clock(), agent_role, content, **given)
        if record["related"]:
            record["related"] = self._standing_in(project, record["related"])
        return self.add(project, key, record)[0]

    def add(self, project: str, id: str, record: Stored) -> tuple[MemoryRecord, bool]:
        """Keep a record; what there is of its id now, and whether that is new. Raises InputError
        where the id is that of a record that its author does not see."""
        text, found_by = dumps(record), entries.entries_of(id, record)
        while True:
            most = self.settings.memory_limit
            added = self.journal.add_memory(project, id, text, found_by, record["expires"], most)
            self.drop(project, added.gone)
            if added.kept:
                return MemoryRecord.of(project, id, record), True
            if added.known is not None:
                known = loads(added.known)
                if not Sight(record["agent_role"]).sees(known):
                    raise InputError(f"the id {id!r} is taken in the memory of project {project!r}")
                return MemoryRecord.of(project, added.id, known), False

    def get(
        self,
        id: str,
        project: str | None = None,
        *,
        viewer: str | None = None,
        all_private: bool = False,
    ) -> MemoryRecord:
        """The record of an id, or the one that it was merged into. Raises NotFound."""
        name = self.project_named(project)
        at, stored = self.look_up(name, id, Sight(viewer, all_private))
        return MemoryRecord.of(name, at, stored)

    def look_up(self, project: str, id: str, sight: Sight) -> tuple[str, Stored]:
        """As `get`: id, and the record as it is stored. Raises NotFound."""
        found = self.look_up_many(project, [id], sight).get(id)
        if found is None:
            raise self._missing(project, id)
        return found

    def look_up_many(
        self, project: str, ids: Sequence[str], sight: Sight
    ) -> dict[str, tuple[str, Stored]]:
        """The same of all that there are, by the ids that were asked for."""
        found: dict[str, tuple[str, Stored]] = {}
        now, asked = self.journal.clock(), {id: id for id in ids}
        while asked:
            missing = {}
            texts = self.journal.read_memories(project, list(asked.values()))
            for (id, at), text in zip(asked.items(), texts, strict=True):
                if text is None:
                    missing[id] = at
                elif (stored := loads(text))["expires"] > now and sight.sees(stored):
                    found[id] = at, stored
            stand_ins = self.journal.merged_memories(project, list(missing.values()))
            asked = {id: at for id, at in zip(missing, stand_ins, strict=True) if at is not None}
        return found

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
        name = self.project_named(project)
        found = self.stored(name, **filters)
        return (MemoryRecord.of(name, id, record) for id, record in found)

    def stored(
        self, project: str, **filters: Unpack[MemoryFilters]
    ) -> Iterator[tuple[str, Stored]]:
        """As `walk`: ids, and records as they are stored."""
        query = self._query(filters)
        return self._finder.found(project, query, query.conditions())

    def count_reads(self, project: str | None, ids: Sequence[str]) -> None:
        """Count that records were read. What cannot be counted is read all the same."""
        if ids:
            with contextlib.suppress(Unreachable):
                self.journal.count_memory_reads(self.project_named(project), ids)

    def uses(self, project: str | None, ids: Sequence[str]) -> list[MemoryUse]:
        """How each record was used."""
        found = self.journal.memory_reads(self.project_named(project), ids)
        return [
            MemoryUse(reads=count, last_read=None if last is None else instant(last))
            for count, last in found
        ]

    def change(
        self, project: str, id: str, sight: Sight, change: Callable[[Stored], Stored]
    ) -> MemoryRecord:
        """Replace a record by what ``change`` makes of it, whatever others do meanwhile.

        Raises NotFound, and what ``change`` raises.
        """
        while True:
            at, before = self.look_up(project, id, sight)
            after = change(before)
            (text,) = self.journal.read_memories(project, [at])
            if text is None or loads(text) != before:
                continue
            revised = revision({at: text}, {at: after})
            if after == before or self.journal.revise_memories(project, revised):
                return MemoryRecord.of(project, at, after)

    def forget(self, project: str | None, ids: Sequence[str], sight: Sight = EVERYTHING) -> int:
        """Drop records; how many there were. Raises NotFound, before anything is dropped."""
        name = self.project_named(project)
        found = self.look_up_many(name, list(dict.fromkeys(ids)), sight)
        for id in ids:
            if id not in found:
                raise self._missing(name, id)
        gone = list({at: None for at, _ in found.values()})
        self.drop(name, gone)
        return len(gone)

    def drop(self, project: str, ids: Sequence[str]) -> None:
        """Drop records, with their entries, of those that there are."""
        for first in range(0, len(ids), AT_ONCE):
            some = ids[first : first + AT_ONCE]
            while True:
                texts = self.journal.read_memories(project, some)
                out = {
                    entry
                    for id, text in zip(some, texts, strict=True)
                    if text is not None
                    for entry in entries.entries_of(id, loads(text))
                }
                gone = Revision(dict(zip(some, texts, strict=True)), out=frozenset(out))
                if self.journal.revise_memories(project, gone):
                    break

    @staticmethod
    def _missing(project: str, id: str) -> NotFound:
        return NotFound(
            f"the memory of project {project!r} has no record {id!r}",
            hint="`orch memory search` lists what there is; --project names another project",
        )

    def _standing_in(self, project: str, ids: Sequence[str]) -> list[str]:
        """For each id that of the record that stands for it, if it was merged."""
        merged = self.journal.merged_memories(project, ids)
        found = (id if other is None else other for id, other in zip(ids, merged, strict=True))
        return list(dict.fromkeys(found))

    def project_named(self, given: str | None) -> str:
        """Raises InputError."""
        return checked_name("a project", self.settings.project_id if given is None else given)

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
            min_confidence=filters.get("min_confidence"),
            sight=Sight(filters.get("viewer"), bool(filters.get("all_private"))),
        )


def revision(
    before: Mapping[str, str],
    after: Mapping[str, Stored],
    stand_in: Sequence[tuple[str, str, int]] = (),
) -> Revision:
    """From what was read, as JSON, to what is to be, by id; what is only in ``before`` goes."""
    return Revision(
        before=before,
        after={id: (dumps(record), record["expires"]) for id, record in after.items()},
        out=_entries({id: loads(text) for id, text in before.items()}),
        into=_entries(after),
        stand_in=stand_in,
    )


def _entries(records: Mapping[str, Stored]) -> frozenset[str]:
    found = (entries.entries_of(id, record) for id, record in records.items())
    return frozenset(entry for each in found for entry in each)
