"""What recurs: tags and words that go together, sources, errors by the time, bursts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import combinations
from math import sqrt
from statistics import fmean
from typing import Any

from orch.control.status import instant
from orch.memory.analysis import Burst, ErrorTimes, PatternAnalysis, Recurring, Together
from orch.memory.entries import told, words_of
from orch.memory.trends import buckets
from orch.memory.window import Window

MOST = 20
"""Pairs, sources and bursts that are named."""

FREQUENT = 100
"""The most frequent tags and words, of which pairs are counted."""

SHORTEST_WORD = 3
LEAST = 2
"""Records that a pattern has."""

LEAST_OF_BURST = 5
ERROR = "class:"


def patterns(window: Window) -> PatternAnalysis:
    records = [record for _, record in window.records]
    return PatternAnalysis(
        records=len(records),
        tags=_together([set(record["tags"]) for record in records]),
        words=_together([_words(record) for record in records]),
        sources=_sources(records),
        errors=_errors(records),
        bursts=_bursts(window),
    )


def _words(record: dict[str, Any]) -> set[str]:
    """Long ones, and no numbers: these are different each time."""
    words = words_of(told(record))
    return {word for word in words if len(word) >= SHORTEST_WORD and not word[0].isdigit()}


def _together(several: Sequence[set[str]]) -> list[Together]:
    """Pairs that meet more often than by chance, the most frequent first."""
    counts = Counter(name for names in several for name in names)
    frequent = {name for name, count in counts.most_common(FREQUENT) if count >= LEAST}
    pairs = Counter(pair for names in several for pair in combinations(sorted(names & frequent), 2))
    found = [
        Together(
            first=first,
            second=second,
            records=count,
            lift=count * len(several) / (counts[first] * counts[second]),
        )
        for (first, second), count in pairs.items()
        if count >= LEAST
    ]
    found = [each for each in found if each.lift > 1]
    return sorted(found, key=lambda e: (-e.records, -e.lift, e.first, e.second))[:MOST]


def _sources(records: Iterable[dict[str, Any]]) -> list[Recurring]:
    """What several records tell of; those are the newest first."""
    last: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for record in records:
        for source in {record["source"], *record.get("sources", ())} - {""}:
            counts[source] += 1
            last.setdefault(source, record["created"])
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [
        Recurring(name=name, records=count, last=instant(last[name]))
        for name, count in ordered[:MOST]
        if count >= LEAST
    ]


def _errors(records: Iterable[dict[str, Any]]) -> dict[str, ErrorTimes]:
    found: dict[str, ErrorTimes] = {}
    for record in records:
        at = datetime.fromtimestamp(record["created"] / 1000, UTC)
        for tag in record["tags"]:
            if tag.startswith(ERROR):
                empty = ErrorTimes(records=0, by_weekday=[0] * 7, by_hour=[0] * 24)
                times = found.setdefault(tag.removeprefix(ERROR), empty)
                times.records += 1
                times.by_weekday[at.weekday()] += 1
                times.by_hour[at.hour] += 1
    return dict(sorted(found.items(), key=lambda each: (-each[1].records, each[0])))


def _bursts(window: Window) -> list[Burst]:
    """The largest first."""
    counts = buckets(window)
    mean = fmean(counts.values()) if counts else 0.0
    bound = max(mean + 3 * sqrt(mean), LEAST_OF_BURST - 1)
    found = [
        Burst(at=instant(at), records=count, mean=mean)
        for at, count in counts.items()
        if count > bound
    ]
    return sorted(found, key=lambda burst: -burst.records)[:MOST]
