"""Which records of the memory are meant: the ranges of the index, and the check on a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orch.errors import InputError
from orch.journal.memories import TOP, Range
from orch.memory import entries
from orch.memory.entries import head
from orch.memory.record import AREAS, checked_confidence, unknown_area
from orch.memory.sight import PUBLIC, Sight


@dataclass(frozen=True)
class Condition:
    """One of ``heads`` is a record's, or, if there are none, one that begins with ``beginning``."""

    heads: tuple[str, ...] = ()
    beginning: str = ""

    def ranges(self, since: int | None = None, until: int | None = None) -> list[Range]:
        """Of its heads in their time; of a beginning all that begins so, at any time."""
        if not self.heads:
            return [Range(self.beginning, f"{self.beginning}{TOP}")]
        low = "" if since is None else entries.place(since)
        high = TOP if until is None else entries.place(until)
        return [Range(f"{head} {low}", f"{head} {high}") for head in self.heads]


@dataclass(frozen=True)
class Exclusion:
    """No record is meant that has ``head``, unless it has one of ``unless``."""

    head: str
    unless: tuple[str, ...] = ()


@dataclass(frozen=True)
class MemoryQuery:
    """What is None or empty does not matter. ``since``, ``until``: written then or later, and
    before then; ms. ``text``: each of its words begins a word of the record. ``sight``: of who
    asks."""

    prefix: str = ""
    text: str = ""
    tags: tuple[str, ...] = ()
    agent: str | None = None
    source: str | None = None
    since: int | None = None
    until: int | None = None
    min_confidence: float | None = None
    sight: Sight = PUBLIC

    def conditions(self) -> list[Condition]:
        """Those that the index knows. Raises InputError for a prefix that no record can have."""
        found = list(self._of_prefix())
        found += [Condition((head(entries.TAG, tag),)) for tag in self.tags]
        if self.agent is not None:
            found.append(Condition((head(entries.AGENT, self.agent),)))
        if self.source is not None:
            found.append(Condition((head(entries.SOURCE, self.source),)))
        found += map(_of_word, entries.words_asked(self.text))
        return found or [EVERY]

    def excluded(self) -> list[Exclusion]:
        """What need not be read, as the index knows it. Raises InputError for no confidence."""
        found = []
        if not self.sight.all_private:
            role = self.sight.viewer
            seen = () if role is None else (head(entries.AGENT, role), head(entries.SHARED, role))
            found.append(Exclusion(head(entries.PRIVATE), seen))
        if self.min_confidence is not None:
            lowest = entries.tenth_of(checked_confidence(self.min_confidence))
            found += [Exclusion(entries.doubt(tenth)) for tenth in range(lowest)]
        return found

    def _of_prefix(self) -> Iterator[Condition]:
        if "ORCH:".startswith(self.prefix):
            return
        if not self.prefix.startswith("ORCH:"):
            raise InputError(
                f"no record begins with {self.prefix!r}",
                hint="a prefix is ORCH:, ORCH:AREA:, or that and the beginning of a text",
            )
        area, colon, rest = self.prefix.removeprefix("ORCH:").partition(":")
        among = [each for each in AREAS if each == area or (not colon and each.startswith(area))]
        if not among:
            raise unknown_area(area)
        yield Condition(tuple(head(entries.AREA, each) for each in among))
        yield from map(_of_word, entries.words_asked(rest))

    def matches(self, record: Mapping[str, Any]) -> bool:
        """``record``: as it is stored."""
        if not record["content"].startswith(self.prefix):
            return False
        if self.agent not in (None, record["agent_role"]):
            return False
        if self.source not in (None, record["source"], *record.get("sources", ())):
            return False
        if self.min_confidence is not None and record["confidence"] < self.min_confidence:
            return False
        if not self.sight.sees(record):
            return False
        if not set(self.tags) <= set(record["tags"]):
            return False
        if not _within(record["created"], self.since, self.until):
            return False
        asked = entries.words_asked(self.text)
        words = entries.words_of(entries.told(record)) if asked else ()
        return all(any(word.startswith(each) for word in words) for each in asked)


EVERY = Condition((head(entries.EVERY),))


def _of_word(word: str) -> Condition:
    return Condition(beginning=head(entries.WORD, word))


def _within(created: int, since: int | None, until: int | None) -> bool:
    return (since is None or since <= created) and (until is None or created < until)
