"""Records of the memory, and what an analysis says of them, for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from orch.cli import output

if TYPE_CHECKING:
    from orch.memory.analysis import (
        MemoryAnalysis,
        PatternAnalysis,
        QualityAnalysis,
        TrendAnalysis,
        UsageAnalysis,
    )
    from orch.memory.memory import MemoryUse
    from orch.memory.record import MemoryRecord
    from orch.memory.relating import RelatedMemory
    from orch.memory.statistics import MemoryStatistics

SHOWN = 10
"""Lines of each list of an analysis."""

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def print_record(record: MemoryRecord, use: MemoryUse) -> None:
    rows: dict[str, Any] = {
        "id": record.id,
        "project": record.project_id,
        "agent": record.agent_role,
        "created": record.created,
        "expires": record.expires,
        "confidence": record.confidence,
        "source": record.source,
        "tags": ", ".join(record.tags),
        "related": ", ".join(record.related),
        "private": "yes" if record.private else "",
        "shared with": ", ".join(record.shared_with),
        "stands for": f"{record.times} records since {record.first}" if record.first else "",
        "sources": ", ".join(record.sources),
        "copy of": f"{record.origin.id} of {record.origin.project_id}" if record.origin else "",
        "read": f"{use.reads} times, last {use.last_read}" if use.reads else "",
    }
    output.line(record.content)
    for name, value in rows.items():
        if value != "":
            output.line(f"{name}: {value}")
    for rating in record.ratings:
        output.line(f"rated: {rating.confidence} by {rating.by}, {rating.at}")
    if record.data is not None:
        output.line(f"data: {json.dumps(record.data, ensure_ascii=False)}")


def print_related(found: Sequence[RelatedMemory]) -> None:
    if not found:
        output.say("it names no record, and none names it")
        return
    rows = [(each.depth, each.direction, each.of, each.id, _content(each.record)) for each in found]
    output.table(("depth", "is", "of", "id", "content"), rows)


def print_statistics(found: MemoryStatistics) -> None:
    output.line(f"project {found.project_id}: {found.records} records")
    if found.records:
        output.line(f"from {found.oldest} to {found.newest}")
    counted = {"area": found.by_area, "agent": found.by_agent, "tag": found.by_tag}
    for name, counts in counted.items():
        for what, count in counts.items():
            output.line(f"{name} {what}: {count}")
    if found.projects:
        output.line(f"projects: {', '.join(found.projects)}")


def print_analysis(found: MemoryAnalysis) -> None:
    output.line(f"project {found.project_id}, from {found.since} to {found.until}")
    more = "" if found.complete else f", the newest; there are more than {found.limit}"
    output.line(f"{_count_of(found.records)} read{more}")
    if not found.records:
        return
    _print_usage(found.usage)
    _print_quality(found.quality)
    _print_trends(found.trends)
    _print_patterns(found.patterns)


def _count_of(records: int) -> str:
    return f"{records} record{'s'[: records != 1]}"


def _print_usage(found: UsageAnalysis) -> None:
    last = f", last {found.last_read}" if found.last_read else ""
    output.line(f"usage: {found.reads} reads of {found.read} of {found.records} records{last}")
    for kind, uses in {"area": found.by_area, "agent": found.by_agent, "tag": found.by_tag}.items():
        for name, use in list(uses.items())[:SHOWN]:
            said = f"{use.reads} reads of {use.read} of {use.records} records"
            output.line(f"  {kind} {name}: {said}")
    for each in found.most_read[:SHOWN]:
        output.line(f"  read {each.reads} times: {each.id} {_short(each.content)}")


def _print_quality(found: QualityAnalysis) -> None:
    sure = found.confidence
    output.line(
        f"quality: confidence {_number(sure.mean)} on the average, "
        f"from {_number(sure.lowest)} to {_number(sure.highest)}; {found.rated} rated"
    )
    output.line(f"  by tenths of confidence: {' '.join(map(str, sure.tenths))}")
    output.line(f"  without source: {found.without_source}; without tags: {found.without_tags}")
    output.line(f"  names of records: {found.references}; of none that is there: {found.broken}")
    for reference in found.broken_references[:SHOWN]:
        output.line(f"    {reference.id} names {reference.missing}")
    output.line(f"  say what a newer one says: {found.duplicates}")
    for group in found.duplicate_groups[:SHOWN]:
        output.line(f"    {group.records} times: {_short(group.content)}")
    youngest, median, oldest = (
        output.duration(None if age is None else age * 1000)
        for age in (found.age.youngest, found.age.median, found.age.oldest)
    )
    output.line(f"  age: {youngest} to {oldest}, half of them up to {median}")


def _print_trends(found: TrendAnalysis) -> None:
    output.line(f"trends: {found.records} records, {_change(found.before, found.change)}")
    for kind, trends in {"area": found.by_area, "tag": found.by_tag}.items():
        for name, trend in list(trends.items())[:SHOWN]:
            said = _change(trend.before, trend.change)
            output.line(f"  {kind} {name}: {trend.records}, {said}")
    for bucket in found.buckets:
        output.line(f"  {found.every} of {bucket.at}: {bucket.records}")


def _print_patterns(found: PatternAnalysis) -> None:
    output.line(f"patterns of {_count_of(found.records)}:")
    for kind, pairs in {"tags": found.tags, "words": found.words}.items():
        for pair in pairs[:SHOWN]:
            said = f"{pair.records} records, {pair.lift:.1f} times as often as by chance"
            output.line(f"  {kind} {pair.first} and {pair.second}: {said}")
    for source in found.sources[:SHOWN]:
        output.line(f"  source {source.name}: {source.records} records, last {source.last}")
    for name, times in found.errors.items():
        days = _counted(zip(DAYS, times.by_weekday, strict=True))
        hours = _counted((f"{hour} h", count) for hour, count in enumerate(times.by_hour))
        output.line(f"  error class {name}: {times.records} records; {days}; {hours} (UTC)")
    for burst in found.bursts[:SHOWN]:
        output.line(f"  burst at {burst.at}: {burst.records}, on the average {burst.mean:.1f}")


def _change(before: int | None, change: float | None) -> str:
    if before is None:
        return "not compared: not all were read"
    return f"before {before}" + ("" if change is None else f" ({change:+.0%})")


def _counted(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts if count)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _content(record: MemoryRecord | None) -> str:
    return "(not there)" if record is None else _short(record.content)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 100 else f"{words[:99]}…"
