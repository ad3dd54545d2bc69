"""Finding executions: the newest of all partitions, page by page, by what the index knows.

A page costs one script for each partition and one read for each record that is looked at; of
several filters that have an index the one that leaves the fewest executions is walked along,
and the others are checked on the records.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orch.errors import InputError
from orch.journal import heads
from orch.journal.indexing import Indexing
from orch.workflows.calls import Call
from orch.workflows.holes import DEGRADED_FIELD
from orch.workflows.state import ExecutionStatus

MOST_READ = 1000
"""Entries of one partition's index, or records, that are read at a time."""

FIELDS = (
    "status",
    "workflow",
    "version",
    "created",
    "ended",
    "error",
    "attributes",
    "parent",
    "origin",
    "at",
    "begun",
    DEGRADED_FIELD,
)


@dataclass(frozen=True)
class Query:
    """Which executions are meant; what is None or empty does not matter.

    ``kinds``: (workflow, version) pairs; a version of None is any. ``since`` and ``until``:
    started then or later, and before then; ms. ``attributes``: texts, see `attribute_text`.
    """

    statuses: tuple[str, ...] = ()
    kinds: tuple[tuple[str, str | None], ...] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    parent: str | None = None
    since: int | None = None
    until: int | None = None
    degraded: bool | None = None


@dataclass(frozen=True)
class Found:
    """An execution as a list shows it. Instants in ms since the epoch."""

    id: str
    workflow: str
    version: str
    status: ExecutionStatus
    created: int
    ended: int
    error: str | None
    attributes: Mapping[str, Any]
    parent: str | None
    origin: Mapping[str, Any] | None = None  # as of `Record`
    at: int = 0  # when it was to begin
    begun: int = 0  # when it began, if that was not when it was created
    degraded: bool = False  # whether it completed with holes

    def duration(self, now: int) -> int:
        """Ms from its beginning to its end, or to ``now``; 0 if it has not begun."""
        waits = self.status is ExecutionStatus.QUEUED
        if (self.at or waits) and not self.begun:
            return 0
        return (self.ended or now) - (self.begun or self.created)


@dataclass(frozen=True)
class Walk:
    """What is walked along: heads, or what more of them begin with, and what those end with."""

    heads: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()


class Finding(Indexing):
    """Every method may raise Unreachable."""

    def find(self, query: Query, limit: int, cursor: str | None = None) -> tuple[list[Found], str]:
        """At most ``limit`` executions, newest first, and the cursor of those that follow or ''.

        Raises InputError when the cursor is none of ours.
        """
        below = _decoded(cursor) if cursor else None
        found: list[Found] = []
        if query.kinds == ():
            return found, ""
        for page in self._pages(query, below, limit):
            for one in self._matching(query, page, min(limit + 1, MOST_READ)):
                if len(found) == limit:
                    return found, _encoded(f"{heads.instant(found[-1].created)}{found[-1].id}")
                found.append(one)
        return found, ""

    def find_ids(self, query: Query, beginning: str = "", most: int | None = None) -> list[str]:
        """As `find`, only the ids; of no more than the newest ``most`` that the index names."""
        found: list[str] = []
        if query.kinds == ():
            return found
        seen = 0
        for page in self._pages(query, None, most or MOST_READ):
            seen += len(page)
            if not beginning:
                found += [one.id for one in self._matching(query, page, MOST_READ)]
            else:
                ids = map(heads.execution_of, page)
                named = [id for id in ids if id.startswith(beginning)]
                found += [id for id in named if self._is_there(id)]
            if most is not None and seen >= most:
                break
        return found

    def kinds(self) -> set[tuple[str, str]]:
        """(workflow, version) of all that was ever started."""
        found = self.read(self.redis.smembers, self.keys.kinds())
        return {heads.kind_of(text) for text in found}

    # --- walking along the index ------------------------------------------------------------

    def _pages(self, query: Query, below: str | None, limit: int) -> Iterator[list[str]]:
        """Members of the index, newest first over all partitions, in pages."""
        walk = self._choose(query)
        top = min(_top(query), below or heads.TOP)
        open_at = dict.fromkeys(range(self.keys.partitions), top)
        waiting: dict[int, list[str]] = {partition: [] for partition in open_at}
        most = min(MOST_READ, max(4, 2 * limit // self.keys.partitions + 3))
        while open_at:
            asked = [p for p in open_at if len(waiting[p]) <= most // 4]
            given = [self._given(p, walk, query, open_at[p], most) for p in asked]
            for partition, members in zip(asked, self.run_many("find", given), strict=True):
                newest = sorted(members, key=heads.place, reverse=True)[:most]
                waiting[partition] += newest
                if len(newest) < most:
                    del open_at[partition]
                else:
                    open_at[partition] = heads.place(newest[-1])
            # Nothing that was not read yet can come before the last of what was read.
            bound = max((open_at[p] for p in open_at), default="")
            page: list[str] = []
            for partition, members in waiting.items():
                ready = sum(heads.place(member) >= bound for member in members)
                page += members[:ready]
                waiting[partition] = members[ready:]
            yield sorted(page, key=heads.place, reverse=True)
            most = min(most * 2, MOST_READ)

    def _given(
        self, partition: int, walk: Walk, query: Query, below: str, most: int
    ) -> dict[str, Any]:
        return {
            "index": self.keys.index(partition),
            "heads": list(walk.heads),
            "above": list(walk.above),
            "endings": list(walk.endings),
            "since": heads.instant(query.since or 0),
            "below": below,
            "most": most,
        }

    def _choose(self, query: Query) -> Walk:
        """The walk that passes the fewest executions."""
        walks = [Walk((heads.of_attribute(n, v),)) for n, v in query.attributes.items()]
        if query.error is not None:
            walks.append(Walk((heads.of_error(query.error),)))
        if query.parent is not None:
            walks.append(Walk((heads.of_parent(query.parent),)))
        if query.degraded:
            walks.append(Walk((heads.DEGRADED,)))
        counts = self._counts(query, walks)
        if counts and min(counts) <= MOST_READ:
            return walks[counts.index(min(counts))]
        if query.kinds is not None:
            above = tuple(heads.of_kind(workflow, version) for workflow, version in query.kinds)
            walks.append(Walk((), above, query.statuses))
        elif query.statuses or not walks:
            statuses = query.statuses or tuple(status.value for status in ExecutionStatus)
            walks.append(Walk(tuple(map(heads.of_status, statuses))))
        if len(walks) > len(counts) > 0:
            counts += self._counts(query, walks[len(counts) :])
        return walks[counts.index(min(counts))] if counts else walks[0]

    def _counts(self, query: Query, walks: Sequence[Walk]) -> list[int]:
        """How many executions each walk passes."""
        size = self.keys.partitions
        given = [self._given(p, walk, query, _top(query), 0) for walk in walks for p in range(size)]
        counts = [int(reply[0]) for reply in self.run_many("find", given)] if given else []
        return [sum(counts[first : first + size]) for first in range(0, len(counts), size)]

    # --- looking at the records ---------------------------------------------------------------

    def _matching(self, query: Query, members: Sequence[str], size: int = 32) -> Iterator[Found]:
        """Those that are there and are meant."""
        first = 0
        while first < len(members):
            page = members[first : first + size]
            first, size = first + size, min(size * 2, MOST_READ)
            pipe = self.redis.pipeline(transaction=False)
            for member in page:
                pipe.hmget(self.keys.record(heads.execution_of(member)), FIELDS)
            gone = []
            matching = []
            for member, texts in zip(page, self.read(pipe.execute), strict=True):
                if texts[0] is None:
                    gone.append(member)
                    continue
                one = _found(heads.execution_of(member), texts)
                if _matches(query, one):
                    matching.append(one)
            self.drop_gone(gone)
            yield from matching

    def _is_there(self, execution: str) -> bool:
        return bool(self.read(self.redis.exists, self.keys.record(execution)))


def _top(query: Query) -> str:
    return heads.TOP if query.until is None else heads.instant(query.until)


def _found(execution: str, texts: Sequence[str | None]) -> Found:
    status, workflow, version, created, ended, error, attributes, parent, origin, *more = texts
    at, begun, degraded = more
    return Found(
        id=execution,
        workflow=workflow or "",
        version=version or "",
        status=ExecutionStatus(status or ""),
        created=int(created or 0),
        ended=int(ended or 0),
        error=heads.error_name(error) or None,
        attributes=json.loads(attributes) if attributes else {},
        parent=Call.loads(parent).execution if parent else None,
        origin=json.loads(origin) if origin else None,
        at=int(at or 0),
        begun=int(begun or 0),
        degraded=bool(degraded) and status == ExecutionStatus.COMPLETED,
    )


def _matches(query: Query, one: Found) -> bool:
    return (
        (not query.statuses or one.status.value in query.statuses)
        and (
            query.kinds is None
            or (one.workflow, one.version) in query.kinds
            or (one.workflow, None) in query.kinds
        )
        and all(
            name in one.attributes and heads.attribute_text(one.attributes[name]) == value
            for name, value in query.attributes.items()
        )
        and query.error in (None, one.error)
        and query.parent in (None, one.parent)
        and query.degraded in (None, one.degraded)
    )


def _encoded(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    try:
        place = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        place = ""
    if not place[: heads.DIGITS].isdigit() or len(place) <= heads.DIGITS:
        raise InputError(
            f"{cursor!r} is no cursor of a list of executions",
            hint="give the `cursor` that came with the page before",
        )
    return place
