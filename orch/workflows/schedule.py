"""A schedule: when which workflow is started, again and again; and how far one has come with it.

Pure: instants are ms since the epoch, and are given. What leads from one state to the next is
decided here, stored as a whole, and done by whichever beat leads: `orch/control/ticking.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from orch.workflows.cron import check_cron, next_instant, parse_zone
from orch.workflows.durations import parse_instant, parse_span
from orch.workflows.model import Model, Name, Priority, StepId

QUEUED_AT_MOST = 100
"""Instants that wait for the execution before them, of a schedule that lets them wait."""

BACKFILLED_AT_MOST = 10_000
"""Instants that one backfill takes."""

COUNTED_AT_MOST = 10_000
"""Instants that are counted among those that were missed."""

DAY = 24 * 3600 * 1000


class Overlap(StrEnum):
    """What happens at an instant while the execution before it has not ended."""

    SKIP = "skip"  # nothing is started
    QUEUE = "queue"  # it is started when the one before has ended
    CANCEL_PREVIOUS = "cancel-previous"  # the one before is cancelled
    ALLOW = "allow"  # both run


class SunEvent(StrEnum):
    """As Celery's `solar` names them."""

    DAWN_ASTRONOMICAL = "dawn_astronomical"
    DAWN_NAUTICAL = "dawn_nautical"
    DAWN_CIVIL = "dawn_civil"
    SUNRISE = "sunrise"
    SOLAR_NOON = "solar_noon"
    SUNSET = "sunset"
    DUSK_CIVIL = "dusk_civil"
    DUSK_NAUTICAL = "dusk_nautical"
    DUSK_ASTRONOMICAL = "dusk_astronomical"


def _span(value: Any) -> Any:
    return parse_span(value) if isinstance(value, str) else value


Span = Annotated[int, BeforeValidator(_span), Field(ge=0, le=366 * DAY)]
"""Ms, or text such as `90s`, `1h30m`, `PT10M`; at most a year."""


class Sun(Model):
    event: SunEvent
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)


NextSun = Callable[[Sun, int], int]
"""(what, after) -> the next instant at which the sun does that, ms."""


class CatchUp(Model):
    """Instants that passed while nobody looked: the latest ``limit`` of the last ``within`` are
    made up for, the others are missed."""

    limit: int = Field(10, ge=0, le=1000)
    within: Span = 3_600_000


class Schedule(Model):
    """When executions of a workflow are started. One of `cron`, `every`, `at` and `sun` says it."""

    name: StepId
    workflow: Name
    version: str | None = None
    """Of the workflow: a hash, its beginning, or a label. The latest one without it."""
    input: JsonValue = None
    cron: str | None = None
    """Five fields, six with seconds first, or `@daily` and the like."""
    timezone: str | None = None
    """IANA name, for `cron`; UTC without it."""
    every: Annotated[Span, Field(ge=1000)] | None = None
    """Ms, or text; counted from `start`, else from the beginning of 1970, UTC."""
    at: list[str] | None = Field(None, min_length=1, max_length=1000)
    """Single instants, ISO 8601 with a time zone."""
    sun: Sun | None = None
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp()
    jitter: Span = 0
    """Each execution begins up to so much later, always the same for the same instant."""
    start: str | None = None
    """No instant before it, ISO 8601."""
    end: str | None = None
    """No instant after it."""
    paused: bool = False
    note: str = Field("", max_length=1000)
    priority: Priority | None = None
    deadline: Annotated[Span, Field(ge=1)] | None = None
    """How long an execution may take."""
    attributes: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @field_validator("at", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        if value is not None:
            check_cron(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str | None) -> str | None:
        parse_zone(value)
        return value

    @field_validator("start", "end")
    @classmethod
    def _is_instant(cls, value: str | None) -> str | None:
        if value is not None:
            parse_instant(value)
        return value

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        said = [n for n in ("cron", "every", "at", "sun") if getattr(self, n) is not None]
        if len(said) != 1:
            found = " and ".join(said) or "none"
            raise ValueError(f"one of `cron`, `every`, `at` and `sun` says when; found {found}")
        if self.timezone is not None and self.cron is None:
            raise ValueError("`timezone` is for `cron`; other instants have their own")
        for instant in self.at or ():
            parse_instant(instant)
        if self.ends is not None and self.begins is not None and self.ends < self.begins:
            raise ValueError(f"`end` {self.end} is before `start` {self.start}")
        return self

    @property
    def begins(self) -> int | None:
        return None if self.start is None else parse_instant(self.start)

    @property
    def ends(self) -> int | None:
        return None if self.end is None else parse_instant(self.end)

    def when(self) -> str:
        """When it starts something, in a few words."""
        if self.cron is not None:
            return f"{self.cron} {self.timezone or 'UTC'}"
        if self.every is not None:
            return f"every {self.every / 1000:g} s"
        if self.sun is not None:
            return f"{self.sun.event.value} at {self.sun.latitude:g}, {self.sun.longitude:g}"
        return ", ".join(self.at or ())

    def delay_of(self, instant: int) -> int:
        """By how much the execution of an instant begins later, ms: the same at each call."""
        if not self.jitter:
            return 0
        digest = hashlib.sha256(f"{self.name}@{instant}".encode()).digest()
        return int.from_bytes(digest[:8]) % (self.jitter + 1)

    def key_of(self, instant: int) -> str:
        """The idempotency key of the execution of an instant."""
        return f"schedule:{self.name}@{instant}"


def next_after(schedule: Schedule, after: int, sun: NextSun) -> int | None:
    """The first instant later than ``after``; None: there is none any more."""
    after = max(after, (schedule.begins or 0) - 1)
    found: int | None = None
    if schedule.cron is not None:
        try:
            found = next_instant(schedule.cron, after, schedule.timezone)
        except ValueError:
            return None  # within fifty years
    elif schedule.every is not None:
        first = schedule.begins or 0
        found = first + ((after - first) // schedule.every + 1) * schedule.every
    elif schedule.sun is not None:
        found = sun(schedule.sun, after)
    else:
        later = (parse_instant(text) for text in schedule.at or ())
        found = min((each for each in later if each > after), default=None)
    ends = schedule.ends
    return None if found is None or (ends is not None and found > ends) else found


def instants(schedule: Schedule, after: int, until: int, sun: NextSun) -> Iterator[int]:
    """The instants later than ``after``, up to ``until``."""
    found = next_after(schedule, after, sun)
    while found is not None and found <= until:
        yield found
        found = next_after(schedule, found, sun)


@dataclass(frozen=True)
class Progress:
    """How far a schedule has come.

    last      the latest instant that was looked at
    pending   instants that are to be started, the earliest first
    starting  the one of them that was decided to be started, and maybe is; 0: none
    latest    the execution that was started last
    """

    last: int
    pending: tuple[int, ...] = ()
    starting: int = 0
    latest: str = ""
    started: int = 0
    skipped: int = 0
    missed: int = 0

    def dumps(self) -> str:
        return json.dumps(vars(self), separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Progress:
        found = json.loads(text)
        return cls(**{**found, "pending": tuple(found["pending"])})


@dataclass(frozen=True)
class Tick:
    """What became of an instant. ``outcome``: started, skipped, missed, failed or triggered;
    ``at``: when that was decided. Of instants that were missed the first one, and their ``count``.
    """

    instant: int
    outcome: str
    at: int
    execution: str = ""
    why: str = ""
    count: int = 1

    def dumps(self) -> str:
        return json.dumps(vars(self), separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Tick:
        return cls(**json.loads(text))


def look(
    schedule: Schedule, progress: Progress, now: int, sun: NextSun
) -> tuple[Progress, list[Tick]]:
    """Take note of the instants that have passed; with those that nobody will make up for."""
    if schedule.paused or now <= progress.last:
        return replace(progress, last=max(progress.last, now)), []
    since = max(progress.last, now - schedule.catch_up.within)
    missed = list(islice(instants(schedule, progress.last, since, sun), COUNTED_AT_MOST))
    passed: deque[int] = deque(instants(schedule, since, now, sun))
    while len(passed) > schedule.catch_up.limit:
        missed.append(passed.popleft())
    pending = (*progress.pending, *passed)
    surplus = pending[QUEUED_AT_MOST:]
    ticks = [Tick(missed[0], "missed", now, count=len(missed))] if missed else []
    ticks += [Tick(each, "skipped", now, why="too many wait before it") for each in surplus]
    found = replace(
        progress,
        last=now,
        pending=pending[:QUEUED_AT_MOST],
        missed=progress.missed + len(missed),
        skipped=progress.skipped + len(surplus),
    )
    return found, ticks


class Act(StrEnum):
    """What is to be done about the first instant that is pending."""

    START = "start"
    CANCEL = "cancel"  # the execution before it; then it is started
    SKIP = "skip"
    WAIT = "wait"


def act(schedule: Schedule, progress: Progress, runs: bool) -> Act | None:
    """``runs``: whether the latest execution has not ended. None: there is nothing to do."""
    if not progress.pending or (schedule.paused and not progress.starting):
        return None
    if progress.starting or not runs:
        return Act.START
    match schedule.overlap:
        case Overlap.ALLOW:
            return Act.START
        case Overlap.SKIP:
            return Act.SKIP
        case Overlap.CANCEL_PREVIOUS:
            return Act.CANCEL
    return Act.WAIT


def chosen(progress: Progress) -> Progress:
    """It is decided that the first pending instant is started."""
    return replace(progress, starting=progress.pending[0])


def done(progress: Progress, execution: str) -> Progress:
    """The first pending instant was started; without an ``execution`` it could not be."""
    return replace(
        progress,
        pending=progress.pending[1:],
        starting=0,
        latest=execution or progress.latest,
        started=progress.started + bool(execution),
    )


def resumed(progress: Progress, now: int) -> Progress:
    """From now on: what passed before, or waited, is not made up for."""
    pending = progress.pending[:1] if progress.starting else ()
    return replace(progress, last=max(progress.last, now), pending=pending)


def skipped(progress: Progress) -> Progress:
    return replace(progress, pending=progress.pending[1:], skipped=progress.skipped + 1)
