"""An analysis of the memory reads real records, and is right where there are few or none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from orch.errors import InputError
from orch.journal.journal import Journal
from orch.memory.analysis import MemoryAnalysis
from orch.memory.analytics import MemoryAnalytics
from orch.memory.memory import Memory
from orch.memory.rating import rate
from orch.memory.sight import PUBLIC
from tests.build import FakeClock
from tests.remembered import say

HOUR, DAY = 3_600_000, 86_400_000
MONDAY = int(datetime(2025, 6, 16, 12, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def memory(journal: Journal) -> Memory:
    return Memory(journal)


@pytest.fixture(autouse=True)
def monday(clock: FakeClock) -> Iterator[None]:
    clock.now = MONDAY
    yield


def analyzed(memory: Memory, **given: Any) -> MemoryAnalysis:
    return MemoryAnalytics(memory).analyze(**given)


def test_nothing_is_right_about_nothing(memory: Memory) -> None:
    found = analyzed(memory, project="nobody's")
    assert (found.records, found.complete) == (0, True)
    assert (found.usage.records, found.usage.reads, found.usage.last_read) == (0, 0, None)
    assert (found.quality.records, found.quality.confidence.mean) == (0, None)
    assert (found.quality.age.median, found.quality.duplicates) == (None, 0)
    assert (found.trends.records, found.trends.before, found.trends.change) == (0, 0, None)
    assert (found.trends.per_day, found.trends.buckets) == (None, [])
    assert (found.patterns.tags, found.patterns.bursts, found.patterns.errors) == ([], [], {})
    assert MemoryAnalysis.model_validate_json(found.model_dump_json()) == found


def test_one_record_is_no_pattern(memory: Memory) -> None:
    id = say(memory, "is slow", tags=["a", "b"], confidence=0.5)
    found = analyzed(memory, since=MONDAY - DAY)
    assert found.records == found.usage.never_read == found.quality.records == 1
    assert (found.quality.confidence.mean, found.quality.confidence.tenths[5]) == (0.5, 1)
    assert (found.quality.without_source, found.quality.without_tags) == (1, 0)
    assert (found.trends.records, found.trends.before, found.trends.change) == (1, 0, None)
    assert found.trends.per_day == pytest.approx(1)
    assert sum(bucket.records for bucket in found.trends.buckets) == 1
    assert len(found.trends.buckets) == 1
    assert found.patterns.tags == found.patterns.words == found.patterns.sources == []
    memory.count_reads(None, [id])
    assert analyzed(memory).usage.most_read[0].id == id


def test_usage_tells_what_is_read_by_area_agent_and_tag_and_what_never(
    memory: Memory, clock: FakeClock
) -> None:
    ids = [say(memory, f"n {n}", ["AGENT", "REPORT"][n % 2], tags=[f"t{n}"]) for n in range(4)]
    for reads, id in enumerate(ids[:3]):
        clock.advance(1000)
        for _ in range(reads):
            memory.count_reads(None, [id])
    usage = analyzed(memory).usage
    assert (usage.records, usage.read, usage.never_read, usage.reads) == (4, 2, 2, 3)
    assert [(each.id, each.reads) for each in usage.most_read] == [(ids[2], 2), (ids[1], 1)]
    areas = {name: (use.records, use.read, use.reads) for name, use in usage.by_area.items()}
    assert areas == {"AGENT": (2, 1, 2), "REPORT": (2, 1, 1)}
    assert next(iter(usage.by_tag)) == "t2"
    assert usage.by_agent["ORCHESTRATOR"].last_read == usage.last_read
    assert usage.last_read == usage.most_read[0].last_read
    analyzed(memory)
    assert analyzed(memory).usage.reads == 3


def test_quality_tells_of_broken_references_duplicates_confidence_and_age(
    memory: Memory, clock: FakeClock
) -> None:
    for number in range(3):
        say(memory, f"Order {number} took {number}.5 s", id=f"n{number}", confidence=number / 2)
        clock.advance(HOUR)
    say(memory, "names", id="m", related=["n0", "gone", "hidden"], source="x1:s", tags=["t"])
    say(memory, "hidden", id="hidden", agent_role="A", private=True)
    rate(memory, "n2", 0.95, "ada", None, PUBLIC)
    quality = analyzed(memory).quality
    assert quality.records == 4
    assert (quality.references, quality.references_left, quality.broken) == (3, 0, 1)
    assert quality.broken_references[0].model_dump() == {"id": "m", "missing": "gone"}
    assert quality.duplicates == 2
    (group,) = quality.duplicate_groups
    assert (group.records, group.ids) == (3, ["n2", "n1", "n0"])
    assert quality.confidence.tenths == [1, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    assert (quality.confidence.lowest, quality.confidence.highest, quality.rated) == (0, 1, 1)
    assert quality.confidence.median == pytest.approx(0.725)
    assert (quality.without_source, quality.without_tags) == (3, 3)
    assert (quality.age.youngest, quality.age.oldest) == (0, 3 * 3600)


def test_trends_compare_a_window_with_the_one_before(memory: Memory, clock: FakeClock) -> None:
    def write(day: int, count: int, area: str, tag: str) -> None:
        for number in range(count):
            say(memory, "x", area, tags=[tag], created=MONDAY + day * DAY + number)

    write(-10, 2, "AGENT", "old")
    write(-9, 2, "REPORT", "old")
    write(-3, 4, "AGENT", "new")
    write(-1, 2, "AGENT", "old")
    write(-20, 5, "AGENT", "long ago")
    trends = analyzed(memory, since=MONDAY - 7 * DAY, until=MONDAY).trends
    assert (trends.records, trends.before, trends.change, trends.every) == (6, 4, 0.5, "day")
    assert trends.per_day == pytest.approx(6 / 7)
    assert {name: (each.records, each.before, each.change) for name, each in
            trends.by_area.items()} == {"AGENT": (6, 2, 2.0), "REPORT": (0, 2, -1.0)}  # fmt: skip
    assert trends.by_tag["new"].change is None
    assert trends.by_tag["old"].change == -0.5
    counts = [bucket.records for bucket in trends.buckets]
    assert (sum(counts), max(counts), len(counts)) == (6, 4, 4)
    assert trends.buckets[-1].at.startswith("2025-06-16")
    by_hour = analyzed(memory, since=MONDAY - DAY - HOUR, until=MONDAY).trends
    assert (by_hour.every, by_hour.records, len(by_hour.buckets)) == ("hour", 2, 24)


def test_what_was_not_all_read_is_not_compared(memory: Memory, clock: FakeClock) -> None:
    for number in range(6):
        say(memory, f"n {number}")
        clock.advance(1000)
    found = analyzed(memory, limit=3)
    assert (found.records, found.complete, found.limit) == (3, False, 3)
    assert (found.usage.records, found.quality.records, found.patterns.records) == (3, 3, 3)
    assert (found.trends.before, found.trends.change, found.trends.per_day) == (None, None, None)
    assert sum(bucket.records for bucket in found.trends.buckets) == 3
    assert found.trends.by_area["WORKFLOW"].before is None


def test_patterns_tell_what_goes_together_and_recurs(memory: Memory) -> None:
    for number in range(12):
        tags = ["eu", "slow"] if number % 3 == 0 else ["us"]
        words = "disk full again" if number % 3 == 0 else f"order {number} done"
        say(memory, words, tags=tags, source="x1:a" if number % 3 == 0 else f"x{number}:b")
    patterns = analyzed(memory).patterns
    pair = patterns.tags[0]
    assert (pair.first, pair.second, pair.records, pair.lift) == ("eu", "slow", 4, 3.0)
    assert {(each.first, each.second) for each in patterns.words} >= {("disk", "full")}
    assert not any(each.first.isdigit() or each.second.isdigit() for each in patterns.words)
    assert [(each.name, each.records) for each in patterns.sources] == [("x1:a", 4)]


def test_errors_are_told_by_weekday_and_hour_and_bursts_by_how_many(memory: Memory) -> None:
    for week in range(3):
        at = MONDAY - (week + 1) * 7 * DAY
        say(memory, "failed", "ESCALATION", tags=["class:resource"], created=at)
    for number in range(40):
        say(memory, "failed", tags=["class:unknown"], created=MONDAY - 2 * DAY + number)
    patterns = analyzed(memory, since=MONDAY - 40 * DAY).patterns
    assert list(patterns.errors) == ["unknown", "resource"]
    resource = patterns.errors["resource"]
    assert (resource.records, resource.by_weekday[0], resource.by_hour[12]) == (3, 3, 3)
    assert sum(resource.by_weekday) == sum(resource.by_hour) == 3
    (burst,) = patterns.bursts
    assert (burst.records, burst.at[:10]) == (40, "2025-06-14")
    assert burst.mean < 5


def test_only_what_one_sees_is_analyzed(memory: Memory) -> None:
    say(memory, "open")
    say(memory, "mine", agent_role="A", private=True)
    assert analyzed(memory).records == analyzed(memory, viewer="B").records == 1
    assert analyzed(memory, viewer="A").records == analyzed(memory, all_private=True).records == 2


@pytest.mark.parametrize(
    "given",
    [{"limit": 0}, {"since": MONDAY, "until": MONDAY}, {"since": "yesterday"}, {"project": " "}],
)
def test_what_cannot_be_analyzed_is_refused(memory: Memory, given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        analyzed(memory, **given)
