"""What an analysis of the memory says. Instants are ISO 8601 in UTC; each part says of how many
records it tells."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class AreaUse(BaseModel):
    """Of an area, an agent or a tag."""

    records: int
    read: int = Field(description="records that were read at least once")
    reads: int
    last_read: str | None = None


class ReadRecord(BaseModel):
    id: str
    content: str
    reads: int
    last_read: str | None = None


class UsageAnalysis(BaseModel):
    """What is read, by `get_memory`, `orch memory show`, and what steps recall."""

    records: int = 0
    read: int = Field(0, description="records that were read at least once")
    never_read: int = 0
    reads: int = 0
    last_read: str | None = None
    most_read: list[ReadRecord] = Field(default_factory=list)
    by_area: dict[str, AreaUse] = Field(default_factory=dict)
    by_agent: dict[str, AreaUse] = Field(default_factory=dict)
    by_tag: dict[str, AreaUse] = Field(default_factory=dict)


class ConfidenceSpread(BaseModel):
    """How sure records are. None: there is no record."""

    mean: float | None = None
    median: float | None = None
    lowest: float | None = None
    highest: float | None = None
    tenths: list[int] = Field(
        default_factory=lambda: [0] * 10,
        description="records from 0 to below 0.1, from 0.1 to below 0.2, … from 0.9 to 1",
    )


class AgeSpread(BaseModel):
    """How old records are, in seconds. None: there is no record."""

    youngest: float | None = None
    median: float | None = None
    oldest: float | None = None


class BrokenReference(BaseModel):
    id: str
    missing: str = Field(description="what it names, and is not there (any more)")


class Duplicates(BaseModel):
    """Contents that differ in numbers, ids, blanks and capital letters at most."""

    records: int
    content: str = Field(description="of the newest")
    ids: list[str] = Field(description="the newest ones, 10 at most")


class QualityAnalysis(BaseModel):
    records: int = 0
    confidence: ConfidenceSpread = Field(default_factory=ConfidenceSpread)
    age: AgeSpread = Field(default_factory=AgeSpread)
    rated: int = Field(0, description="records to which somebody gave another confidence")
    without_source: int = 0
    without_tags: int = 0
    references: int = Field(0, description="ids that were looked up, of all that records name")
    references_left: int = Field(0, description="ids that were not, because they are too many")
    broken: int = Field(0, description="references to what is not there")
    broken_references: list[BrokenReference] = Field(default_factory=list)
    duplicates: int = Field(0, description="records that say what a newer one says, too")
    duplicate_groups: list[Duplicates] = Field(default_factory=list)


class Trend(BaseModel):
    """How many records were written in the window, and in the one before."""

    records: int = 0
    before: int | None = Field(0, description="None: not all records of the two were read")
    change: float | None = Field(
        None, description="(records - before) / before; None: nothing to compare with"
    )


class Bucket(BaseModel):
    at: str = Field(description="when it begins")
    records: int


class TrendAnalysis(Trend):
    every: Literal["hour", "day"] = Field("day", description="how long a bucket is")
    per_day: float | None = Field(None, description="records of a day, on the average")
    buckets: list[Bucket] = Field(
        default_factory=list, description="from the first record on, also those without records"
    )
    by_area: dict[str, Trend] = Field(default_factory=dict)
    by_tag: dict[str, Trend] = Field(default_factory=dict)


class Together(BaseModel):
    """Two that many records have."""

    first: str
    second: str
    records: int
    lift: float = Field(
        description="how many times as often as if they had nothing to do with each other: "
        "P(both) / (P(first) P(second))"
    )


class Recurring(BaseModel):
    name: str
    records: int
    last: str


class ErrorTimes(BaseModel):
    """When errors of a class, by the tag `class:…`, are remembered, in UTC."""

    records: int
    by_weekday: list[int] = Field(description="from Monday to Sunday")
    by_hour: list[int] = Field(description="from 0 to 23")


class Burst(BaseModel):
    """A bucket that has more than its mean and three standard deviations of a Poisson process:
    more than m + 3 √m, and five at least."""

    at: str
    records: int
    mean: float


class PatternAnalysis(BaseModel):
    records: int = 0
    tags: list[Together] = Field(default_factory=list)
    words: list[Together] = Field(default_factory=list)
    sources: list[Recurring] = Field(default_factory=list)
    errors: dict[str, ErrorTimes] = Field(default_factory=dict)
    bursts: list[Burst] = Field(default_factory=list)


class MemoryAnalysis(BaseModel):
    """Of the records of a project that were written from `since` on and before `until`."""

    project_id: str
    since: str
    until: str
    records: int = Field(0, description="that were read of this window")
    limit: int
    complete: bool = Field(
        True, description="False: there are more, older ones, and all figures are of the newest"
    )
    usage: UsageAnalysis = Field(default_factory=UsageAnalysis)
    quality: QualityAnalysis = Field(default_factory=QualityAnalysis)
    trends: TrendAnalysis = Field(default_factory=TrendAnalysis)
    patterns: PatternAnalysis = Field(default_factory=PatternAnalysis)
