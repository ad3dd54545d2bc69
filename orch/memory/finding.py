"""Which records of the memory are meant is walked along in its index, the newest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from orch.journal.journal import Journal
from orch.journal.memories import READ, TOP, Range
from orch.memory import entries
from orch.memory.query import Condition, Exclusion, MemoryQuery
from orch.memory.record import loads

FEW = 200
"""So many records are rather read and looked at than sought in a further part of the index."""

MANY_TIMES = 4
"""What is excluded is walked along, too, unless it is so many times what may be found."""

MOST_SPELLED = 20
"""Different words with one beginning that are walked along side by side."""


class Finder:
    """Reads the index and the records of the memory. Every method may raise Unreachable."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def found(
        self, project: str, query: MemoryQuery, conditions: Sequence[Condition]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Ids, and records as they are stored, that ``query`` holds of, the newest first."""
        now = self.journal.clock()
        for page in self._places(project, query, conditions):
            ids = [entries.id_in(place) for place in page]
            for place, text in zip(page, self.journal.read_memories(project, ids), strict=True):
                if text is None:
                    continue
                record, id = loads(text), entries.id_in(place)
                is_it = place == entries.place(record["created"], id)
                if is_it and record["expires"] > now and query.matches(record):
                    yield id, record

    def _places(
        self, project: str, query: MemoryQuery, conditions: Sequence[Condition]
    ) -> Iterator[list[str]]:
        """Pages of where records stand that may be meant, the newest first.

        Where few records meet one condition, these are looked at; else all conditions are walked
        along side by side, to where all of them meet.
        """
        times = (query.since, query.until)
        ranges = [self._spelled(project, each).ranges(*times) for each in conditions]
        exclusions = query.excluded()
        heads = tuple(each.head for each in exclusions)
        excluded = Condition(heads).ranges(*times) if heads else []
        asked = [one for each in ranges for one in each]
        counted = iter(self.journal.count_memories(project, [*asked, *excluded]))
        counts = [sum(next(counted) for _ in each) for each in ranges]
        if not min(counts):
            return
        if min(counts) <= FEW:
            ranges, exclusions = [ranges[counts.index(min(counts))]], []
        most = MANY_TIMES * min(counts)
        exclusions = [each for each in exclusions if 0 < next(counted) <= most]
        low = entries.place(query.since or 0)
        high = TOP if query.until is None else entries.place(query.until)
        lines = [self._walked(project, each) for each in ranges]
        found = _common(lines) if len(lines) > 1 else lines[0]
        if low != entries.place(0) or high != TOP:
            found = (place for place in found if low <= place < high)
        yield from _paged(self._without(project, found, exclusions) if exclusions else found)

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

    def _without(
        self, project: str, places: Iterator[str], exclusions: Sequence[Exclusion]
    ) -> Iterator[str]:
        """Those of ``places`` that are not excluded."""
        size = FEW
        while page := list(islice(places, size)):
            excluded: set[str] = set()
            for each in exclusions:
                found = self._between(project, each.head, page)
                for head in each.unless:
                    found -= self._between(project, head, page)
                excluded |= found
            yield from (place for place in page if place not in excluded)
            size = READ

    def _between(self, project: str, head: str, page: Sequence[str]) -> set[str]:
        """Where a head stands between the last and the first place of a page, these included."""
        between = Range(f"{head} {page[-1]}", f"{head} {page[0]}{TOP}")
        return set(map(entries.place_in, self.journal.memory_entries(project, between)))

    def _line(self, project: str, range: Range) -> Iterator[str]:
        size = FEW
        while page := self.journal.memory_entries(project, range, size):
            yield from map(entries.place_in, page)
            if len(page) < size:
                return
            range, size = Range(range.low, page[-1]), READ


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
