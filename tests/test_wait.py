"""Steps that wait until an instant: which one a cron text names, and how late they are over."""

from __future__ import annotations

import threading
import time as clock
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch import Orchestrator
from orch.control.simulation import simulate
from orch.settings import Settings
from orch.workflows.cron import check_cron, next_instant, parse_zone
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.validation import validate_document
from tests.test_idle import wait_until_nothing_is_due

DAY = 24 * 3600 * 1000
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
YEARS = (datetime(2023, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def made(wait: Any, **more: Any) -> WorkflowDefinition:
    step = {"id": "pause", "type": "wait", "wait": wait, **more}
    return WorkflowDefinition.model_validate({"name": "waiting", "steps": [step]})


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(local.timestamp() * 1000)


def local(instant: int, zone: str) -> str:
    return datetime.fromtimestamp(instant / 1000, ZoneInfo(zone)).isoformat(timespec="minutes")


# --- which instant ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "after", "named"),
    [
        ("0 3 * * 1-5", "2025-06-13T03:00", "2025-06-16T03:00+02:00"),
        ("0 3 * * MON-FRI", "2025-06-16T02:59:59.999", "2025-06-16T03:00+02:00"),
        ("*/20 * * * *", "2025-06-13T10:41", "2025-06-13T11:00+02:00"),
        ("0 0 L * *", "2028-02-03T10:00", "2028-02-29T00:00+01:00"),
        ("0 9 * * MON#2", "2025-06-01T00:00", "2025-06-09T09:00+02:00"),
        ("0 0 29 2 *", "2025-01-01T00:00", "2028-02-29T00:00+01:00"),
        ("0 12 1 * MON", "2025-06-30T13:00", "2025-07-01T12:00+02:00"),
        ("@monthly", "2025-06-30T13:00", "2025-07-01T00:00+02:00"),
        ("30 0 3 * * *", "2025-06-13T03:00:30", "2025-06-14T03:00+02:00"),
        # Clocks go forward at 02:00 on 2025-03-30, and back at 03:00 on 2025-10-26.
        ("30 2 * * *", "2025-03-29T12:00", "2025-03-30T03:00+02:00"),
        ("30 2 * * *", "2025-03-30T03:00", "2025-03-31T02:30+02:00"),
        ("30 2 * * *", "2025-10-25T12:00", "2025-10-26T02:30+02:00"),
        ("30 2 * * *", "2025-10-26T02:30", "2025-10-27T02:30+01:00"),
        ("30 * * * *", "2025-10-26T02:30", "2025-10-26T02:30+01:00"),
    ],
)
def test_a_cron_text_names_the_next_instant_of_its_zone(cron: str, after: str, named: str) -> None:
    found = next_instant(cron, ms(after, "Europe/Berlin"), "Europe/Berlin")
    assert local(found, "Europe/Berlin") == named


def test_what_comes_twice_is_not_meant_the_second_time() -> None:
    amid = ms("2025-10-26T02:10", "Europe/Berlin", fold=1)
    found = next_instant("30 2 * * *", amid, "Europe/Berlin")
    assert local(found, "Europe/Berlin") == "2025-10-27T02:30+01:00"


def by_the_calendar(hours: list[int], minutes: list[int], after: int, zone: ZoneInfo) -> int:
    """The earliest time of day that is meant, said without the library."""
    begun = datetime.fromtimestamp(after / 1000, zone).date() - timedelta(days=1)
    found = []
    for day in range(4):
        for hour in hours:
            for minute in minutes:
                found.append(_real(begun + timedelta(days=day), time(hour, minute), zone))
    return min(instant for instant in found if instant > after)


def _real(day: date, at: time, zone: ZoneInfo) -> int:
    wanted = datetime.combine(day, at)
    while True:
        real = wanted.replace(tzinfo=zone).astimezone(UTC)
        if real.astimezone(zone).replace(tzinfo=None) == wanted:
            return round(real.timestamp() * 1000)
        wanted += timedelta(minutes=1)


def times(most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, most), min_size=1, max_size=3, unique=True)


@given(
    times(23),
    times(59),
    st.datetimes(YEARS[0].replace(tzinfo=None), YEARS[1].replace(tzinfo=None)),
    st.sampled_from(ZONES),
)
def test_times_of_day_are_those_of_the_calendar(
    hours: list[int], minutes: list[int], after: datetime, zone: str
) -> None:
    begun = round(after.replace(tzinfo=UTC).timestamp() * 1000)
    cron = f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *"
    assert next_instant(cron, begun, zone) == by_the_calendar(hours, minutes, begun, ZoneInfo(zone))


CHANGES = [
    datetime(2025, 3, 30, tzinfo=UTC),
    datetime(2025, 10, 26, tzinfo=UTC),
    datetime(2025, 3, 9, tzinfo=UTC),
    datetime(2025, 11, 2, tzinfo=UTC),
    datetime(2025, 4, 5, tzinfo=UTC),
    datetime(2025, 10, 4, tzinfo=UTC),
]


@given(
    times(4), times(59), st.sampled_from(CHANGES), st.integers(0, 36 * 60), st.sampled_from(ZONES)
)
def test_also_around_the_change_of_clocks(
    hours: list[int], minutes: list[int], day: datetime, later: int, zone: str
) -> None:
    begun = round((day + timedelta(minutes=later)).timestamp() * 1000)
    cron = f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *"
    assert next_instant(cron, begun, zone) == by_the_calendar(hours, minutes, begun, ZoneInfo(zone))


@given(
    st.sampled_from((1, 7, 15, 30)),
    st.sampled_from(CHANGES),
    st.integers(0, 36 * 60 * 60),
    st.sampled_from(ZONES),
)
def test_what_goes_by_elapsed_time_stands_still_at_no_change_of_clocks(
    step: int, day: datetime, later: int, zone: str
) -> None:
    begun = day + timedelta(seconds=later)
    minute = begun.replace(second=0) + timedelta(minutes=1)
    while minute.astimezone(ZoneInfo(zone)).minute % step:
        minute += timedelta(minutes=1)
    found = next_instant(f"*/{step} * * * *", round(begun.timestamp() * 1000), zone)
    assert found == round(minute.timestamp() * 1000)


@pytest.mark.parametrize(
    ("cron", "sentence"),
    [
        ("0 0 31 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 99 * *", "bad day-of-month"),
        ("0 0 1 13 *", "bad month"),
        ("* * * *", "wrong number of fields"),
        ("", "wrong number of fields"),
        ("0 0 * * FOO", "bad day-of-week"),
    ],
)
def test_what_names_no_instant_is_said_before_anything_runs(cron: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_cron(cron)
    step = {"id": "w", "type": "wait", "wait": {"cron": cron}}
    _, findings = validate_document({"name": "w", "steps": [step]})
    (finding,) = [f for f in findings if f.severity == "error"]
    assert finding.path == "steps[0].wait.cron" and sentence in finding.message and finding.hint


@pytest.mark.parametrize("zone", ["Europe/Bremen", "../etc/passwd", "/etc/localtime", "", 5])
def test_what_is_no_zone_is_refused(zone: Any) -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        parse_zone(zone)


def test_a_zone_is_checked_with_the_definition_and_belongs_to_a_cron() -> None:
    step = {"id": "w", "type": "wait", "wait": {"cron": "@daily", "timezone": "Berlin"}}
    _, findings = validate_document({"name": "w", "steps": [step]})
    assert [f.path for f in findings if f.severity == "error"] == ["steps[0].wait.timezone"]
    step = {"id": "w", "type": "wait", "wait": {"duration": 5, "timezone": "Europe/Berlin"}}
    _, findings = validate_document({"name": "w", "steps": [step]})
    assert "there is none" in findings[0].message


# --- in an execution ----------------------------------------------------------------------------


def test_a_cron_from_the_input_is_waited_for() -> None:
    definition = made({"cron": "$.input.when", "timezone": "${$.input.zone}"})
    given = {"when": "0 3 * * *", "zone": "Europe/Berlin"}
    ended = simulate(definition, key="w", input=given)
    assert ended.status == "completed" and 0 < ended.steps[0].at_ms <= DAY + 3_600_000


@pytest.mark.parametrize(
    "given", [{"when": "31 2"}, {"when": "0 0 31 2 *"}, {"when": "@daily", "zone": "Nowhere"}, {}]
)
def test_what_is_no_time_fails_the_step_by_name(given: dict[str, str]) -> None:
    definition = made({"cron": "$.input.when", "timezone": "$.input.zone"})
    ended = simulate(definition, key="w", input=given)
    assert ended.error is not None and ended.error["name"] == "InvalidWait"


def test_a_wait_of_years_takes_no_time_to_simulate() -> None:
    long = made({"cron": "0 0 29 2 *"})
    assert 0 < simulate(long, key="w").steps[0].at_ms <= 8 * 366 * DAY
    months = simulate(made({"duration": "P180D"}), key="w")
    assert [(s.at_ms, s.outcome) for s in months.steps] == [(180 * DAY, "completed")]


MOST_LATE = 200
"""Ms by which a timer may be late on an idle worker, beside what the machine itself is late."""


TRIES = 3
"""Claimed for an idle machine: on a busy one, the best of so many tries counts."""


class Sleeper(threading.Thread):
    """Says how late whoever sleeps is woken by this machine, whatever it sleeps for."""

    NAP = 0.01

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._late: list[tuple[float, float]] = []
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            due = clock.time() + self.NAP
            clock.sleep(self.NAP)
            self._late.append((due * 1000, clock.time() * 1000))

    def late_within(self, begun: int, ended: int) -> int:
        """Ms of a span, since the epoch, in which it was not woken though it should have been."""
        spans = [(max(due, begun), min(woken, ended)) for due, woken in list(self._late)]
        return round(sum(woken - due for due, woken in spans if woken > due))

    def __enter__(self) -> Sleeper:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


@pytest.mark.slow
def test_timers_are_over_in_time(redis_url: str, redis: Any, settings: Settings) -> None:
    """Spread over two seconds, so that each comes to a warden that sleeps."""
    latest: list[int] = []
    with Orchestrator(settings) as orchestrator:
        orchestrator.define_workflow("w", made({"duration": "$.input"}))
        orchestrator.define_workflow("cron", made({"cron": "* * * * * *"}))
        with orchestrator.workers(pool="solo", queues=["page_operations"]), Sleeper() as sleeper:
            while len(latest) < TRIES and min(latest, default=MOST_LATE + 1) > MOST_LATE:
                started = [orchestrator.start_workflow("w", 1000 + 41 * n) for n in range(50)]
                started.append(orchestrator.start_workflow("cron"))
                for execution in started:
                    assert execution.wait(timeout=30).status == "completed"
                spans = [timer_of(execution.history()) for execution in started]
                late = sorted(ended - due for due, ended in spans)
                own = sorted(end - due - sleeper.late_within(due, end) for due, end in spans)
                print(f"timers late by, ms: p50 {late[len(late) // 2]}, p100 {late[-1]}")
                print(f"without what the machine was late: p100 {own[-1]}")
                assert late[0] >= 0, "a timer was over too early"
                latest.append(own[-1])
            (due,) = [e.detail["until"] for e in started[-1].history() if e.event == "waiting"]
    redis.flushall()  # the worker's queues
    assert min(latest) <= MOST_LATE, latest
    assert due % 1000 == 0


PASSES = """
from orch import capability

@capability("passes")
def passes() -> None:
    pass
"""


@pytest.mark.slow
def test_a_short_timer_behind_a_step_is_over_in_time_on_a_worker_that_was_idle(
    redis_url: str, redis: Any, settings: Settings, wait_until: Any, tmp_path: Path
) -> None:
    """Without a word to its warden, that would look at the watch only when the timer is over."""
    code = tmp_path / "passing.py"
    code.write_text(PASSES)
    pause = {"id": "pause", "type": "wait", "wait": {"duration": 250}}
    steps = [{"id": "a", "capability": "passes", "next": "pause"}, pause]
    latest: list[int] = []
    with Orchestrator(settings) as orchestrator:
        orchestrator.define_workflow("w", {"name": "w", "steps": steps})
        with orchestrator.workers(pool="solo", include=[str(code)]):
            while len(latest) < TRIES and min(latest, default=MOST_LATE) >= MOST_LATE / 2:
                late = []
                for _ in range(4):
                    wait_until_nothing_is_due(redis, wait_until)
                    execution = orchestrator.start_workflow("w")
                    assert execution.wait(timeout=30).status == "completed"
                    late.append(lateness(execution.history()))
                latest.append(max(late))
    redis.flushall()  # the worker's queues
    assert min(latest) < MOST_LATE / 2, latest


def timer_of(history: Any) -> tuple[int, int]:
    """When it was to be over, and when it was, ms since the epoch."""
    (due,) = [e.detail["until"] for e in history if e.event == "waiting"]
    at = next(e.at for e in history if e.event == "completed" and e.path == "pause")
    return int(due), int(at)


def lateness(history: Any) -> int:
    due, at = timer_of(history)
    return at - due
