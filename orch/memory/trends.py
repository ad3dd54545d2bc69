"""How much is written, of what, and whether that is more than before. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from orch.control.status import instant
from orch.memory.analysis import Bucket, Trend, TrendAnalysis
from orch.memory.window import Window

HOUR, DAY = 3_600_000, 86_400_000

MOST_HOURS = 72
"""Hours in a window up to which it is told by hours; a longer one by days (UTC)."""

MOST_BUCKETS = 366
"""The last ones, that are told."""

MOST_TAGS = 20


def trends(window: Window, before: Window) -> TrendAnalysis:
    """``before``: of the same length, up to where ``window`` begins."""
    known = window.complete and before.complete
    now, then = len(window.records), len(before.records)
    whole = _trend(now, then, known)
    areas = _compared(_areas(window), _areas(before), known)
    tags = _compared(_tags(window), _tags(before), known)
    return TrendAnalysis(
        **whole.model_dump(),
        every=every(window),
        per_day=_per_day(window),
        buckets=[Bucket(at=instant(at), records=count) for at, count in buckets(window).items()],
        by_area=areas,
        by_tag=dict(list(tags.items())[:MOST_TAGS]),
    )


def every(window: Window) -> Literal["hour", "day"]:
    return "hour" if window.until - window.since <= MOST_HOURS * HOUR else "day"


def buckets(window: Window) -> dict[int, int]:
    """When each begins, ms -> how many records it has, the oldest first: from that of the first
    record on, none left out, the last MOST_BUCKETS of them."""
    long = HOUR if every(window) == "hour" else DAY
    counts = Counter(record["created"] // long for _, record in window.records)
    if not counts:
        return {}
    numbers = range(min(counts), (window.until - 1) // long + 1)
    return {number * long: counts[number] for number in numbers[-MOST_BUCKETS:]}


def _per_day(window: Window) -> float | None:
    """None: it cannot be told, as nothing, or not all, of the window was read."""
    if not window.records or not window.complete:
        return None
    return len(window.records) / ((window.until - window.since) / DAY)


def _compared(now: Counter[str], then: Counter[str], known: bool) -> dict[str, Trend]:
    """Those with most records first, then those that are no more."""
    names = sorted(now | then, key=lambda name: (-now[name], -then[name], name))
    return {name: _trend(now[name], then[name], known) for name in names}


def _trend(now: int, then: int, known: bool) -> Trend:
    if not known:
        return Trend(records=now, before=None)
    return Trend(records=now, before=then, change=(now - then) / then if then else None)


def _areas(window: Window) -> Counter[str]:
    return Counter(record["area"] for _, record in window.records)


def _tags(window: Window) -> Counter[str]:
    return Counter(_each(record["tags"] for _, record in window.records))


def _each(several: Iterable[list[str]]) -> Iterable[str]:
    return (one for each in several for one in each)
