"""When a schedule starts something, and what becomes of instants: without Redis or a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.control.schedules import parse_schedule
from orch.errors import InputError
from orch.workflows.schedule import (
    Act,
    Progress,
    Schedule,
    Sun,
    Tick,
    act,
    chosen,
    done,
    instants,
    look,
    next_after,
    resumed,
    skipped,
)

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def schedule(**given: Any) -> Schedule:
    return parse_schedule({"name": "s", "workflow": "w", **given})


def no_sun(sun: Sun, after: int) -> int:
    raise AssertionError("nobody asked for the sun")


def named(found: Schedule, start: str, end: str) -> list[str]:
    zone = ZoneInfo(found.timezone or "UTC")
    return [
        datetime.fromtimestamp(each / 1000, UTC).astimezone(zone).isoformat()
        for each in instants(found, ms(start) - 1, ms(end), no_sun)
    ]


# When


def test_every_counts_from_the_start_else_from_the_epoch() -> None:
    assert next_after(schedule(every="10m"), ms("2026-01-01T00:03:00Z"), no_sun) == ms(
        "2026-01-01T00:10:00Z"
    )
    found = schedule(every="10m", start="2026-01-01T00:03:00Z")
    assert named(found, "2026-01-01T00:00:00Z", "2026-01-01T00:25:00Z") == [
        "2026-01-01T00:03:00+00:00",
        "2026-01-01T00:13:00+00:00",
        "2026-01-01T00:23:00+00:00",
    ]


def test_a_daily_time_is_there_every_day_also_when_clocks_go_forward_and_back() -> None:
    found = schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    assert named(found, "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z") == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",  # 02:30 is not there: right behind the gap
        "2026-03-30T02:30:00+02:00",
    ]
    assert named(found, "2026-10-24T00:00:00Z", "2026-10-26T23:00:00Z") == [
        "2026-10-24T02:30:00+02:00",
        "2026-10-25T02:30:00+02:00",  # there twice: the first time
        "2026-10-26T02:30:00+01:00",
    ]


def test_a_rule_of_the_past_holds_for_the_past() -> None:
    # Moscow: UTC+3 and summer time until 2011, then UTC+4 all year, UTC+3 since October 2014.
    found = schedule(cron="0 9 1 * *", timezone="Europe/Moscow")
    assert named(found, "2010-12-15T00:00:00Z", "2011-01-15T00:00:00Z") == [
        "2011-01-01T09:00:00+03:00"
    ]
    assert named(found, "2011-12-15T00:00:00Z", "2012-01-15T00:00:00Z") == [
        "2012-01-01T09:00:00+04:00"
    ]
    assert named(found, "2014-12-15T00:00:00Z", "2015-01-15T00:00:00Z") == [
        "2015-01-01T09:00:00+03:00"
    ]


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    st.integers(0, 23),
)
def test_a_daily_time_is_that_time_of_day_by_zoneinfo(day: datetime, name: str, hour: int) -> None:
    zone = ZoneInfo(name)
    after = ms(day.replace(tzinfo=UTC).isoformat())
    found = next_after(schedule(cron=f"15 {hour} * * *", timezone=name), after, no_sun)
    assert found is not None and after < found <= after + DAY + 2 * HOUR
    local = datetime.fromtimestamp(found / 1000, UTC).astimezone(zone)
    at = local.replace(hour=hour, minute=15, second=0)
    there = at.astimezone(UTC).astimezone(zone) == at  # false within the gap of that day
    assert (local.hour, local.minute) == (hour, 15) or not there or local.minute in (0, 30)


def test_single_instants_come_in_order_and_end() -> None:
    found = schedule(at=["2026-02-01T00:00:00Z", "2026-01-01T00:00:00+01:00"])
    assert named(found, "2025-01-01T00:00:00Z", "2027-01-01T00:00:00Z") == [
        "2025-12-31T23:00:00+00:00",
        "2026-02-01T00:00:00+00:00",
    ]
    assert next_after(found, ms("2026-02-01T00:00:00Z"), no_sun) is None


def test_start_and_end_bound_it_both_included() -> None:
    found = schedule(cron="@hourly", start="2026-01-01T05:00:00Z", end="2026-01-01T07:00:00Z")
    assert [text[11:13] for text in named(found, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")]
    assert named(found, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")[0][11:13] == "05"
    assert named(found, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")[-1][11:13] == "07"


def test_the_sun_rises_in_berlin_about_when_the_almanac_says() -> None:
    pytest.importorskip("ephem")
    from orch.control.sun import next_sun

    place = {"latitude": 52.52, "longitude": 13.405}
    rises = schedule(sun={"event": "sunrise", **place})
    found = next_after(rises, ms("2026-06-21T00:00:00Z"), next_sun)
    assert found is not None
    assert abs(found - ms("2026-06-21T02:43:00Z")) < 3 * MINUTE
    again = next_after(rises, found, next_sun)
    assert again is not None and abs(again - found - DAY) < 3 * MINUTE
    polar = schedule(sun={"event": "sunset", "latitude": 78.2, "longitude": 15.6})
    sets = next_after(polar, ms("2026-06-01T00:00:00Z"), next_sun)
    assert sets is not None and sets > ms("2026-08-15T00:00:00Z")  # after the midnight sun


def test_jitter_delays_an_instant_by_the_same_each_time() -> None:
    found = schedule(every="1m", jitter="30s")
    delays = [found.delay_of(minute * MINUTE) for minute in range(200)]
    assert delays == [found.delay_of(minute * MINUTE) for minute in range(200)]
    assert 0 <= min(delays) < 5000 and 25_000 < max(delays) <= 30_000
    assert schedule(every="1m").delay_of(5) == 0


# What is no schedule


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "one of `cron`, `every`, `at` and `sun` says when; found none"),
        ({"cron": "@daily", "every": "1h"}, "found cron and every"),
        ({"cron": "61 * * * *"}, "is no cron text"),
        ({"cron": "0 0 31 2 *"}, "never fires"),
        ({"cron": "@daily", "timezone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
        ({"every": "1h", "timezone": "Europe/Berlin"}, "`timezone` is for `cron`"),
        ({"every": "10ms"}, "every"),
        ({"at": "tomorrow"}, "is no instant"),
        ({"at": "2030-01-01T00:00:00"}, "has no time zone"),
        ({"every": "1h", "start": "2030-01-02T00:00Z", "end": "2030-01-01T00:00Z"}, "is before"),
        ({"every": "1h", "overlap": "perhaps"}, "overlap"),
        ({"sun": {"event": "sunrise", "latitude": 91, "longitude": 0}}, "sun.latitude"),
        ({"every": "1h", "often": True}, "often"),
        ({"every": "1h", "name": "no name"}, "name"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_field(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        schedule(**given)
    assert said in caught.value.message


# What becomes of instants

EVERY = schedule(every="1m")


def test_an_instant_that_has_passed_is_pending_once() -> None:
    progress, ticks = look(EVERY, Progress(last=30_000), 70_000, no_sun)
    assert (progress.pending, progress.last, ticks) == ((60_000,), 70_000, [])
    assert look(EVERY, progress, 80_000, no_sun)[0].pending == (60_000,)


def test_of_those_that_passed_meanwhile_the_latest_are_made_up_for() -> None:
    late = schedule(every="1m", catchUp={"limit": 2, "within": "1h"})
    progress, (missed,) = look(late, Progress(last=0), 5 * MINUTE, no_sun)
    assert progress.pending == (4 * MINUTE, 5 * MINUTE)
    assert (missed.instant, missed.count, progress.missed) == (MINUTE, 3, 3)


def test_those_that_are_too_old_are_missed() -> None:
    late = schedule(every="1m", catchUp={"limit": 100, "within": "2m"})
    progress, (missed,) = look(late, Progress(last=0), 10 * MINUTE, no_sun)
    assert progress.pending == (9 * MINUTE, 10 * MINUTE)
    assert (missed.instant, missed.count) == (MINUTE, 8)


def test_without_a_catch_up_all_are_missed() -> None:
    late = schedule(every="1m", catchUp={"limit": 0})
    progress, (missed,) = look(late, Progress(last=0), 3 * MINUTE, no_sun)
    assert (progress.pending, missed.count) == ((), 3)


def test_a_paused_one_starts_nothing_and_goes_on_from_when_it_is_resumed() -> None:
    still = schedule(every="1m", paused=True)
    progress, ticks = look(still, Progress(last=0), 5 * MINUTE, no_sun)
    assert (progress.pending, ticks, progress.last) == ((), [], 5 * MINUTE)
    waiting = Progress(last=0, pending=(MINUTE, 2 * MINUTE))
    assert act(still, waiting, False) is None
    assert resumed(waiting, 9 * MINUTE) == Progress(last=9 * MINUTE)
    decided = chosen(waiting)
    assert act(still, decided, False) is Act.START  # it may have been started
    assert resumed(decided, 9 * MINUTE).pending == (MINUTE,)


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("skip", Act.SKIP),
        ("queue", Act.WAIT),
        ("cancel-previous", Act.CANCEL),
        ("allow", Act.START),
    ],
)
def test_while_the_one_before_runs_the_policy_decides(overlap: str, expected: Act) -> None:
    found = schedule(every="1m", overlap=overlap)
    waiting = Progress(last=MINUTE, pending=(MINUTE,), latest="x")
    assert act(found, waiting, True) is expected
    assert act(found, waiting, False) is Act.START
    assert act(found, chosen(waiting), True) is Act.START  # decided before
    assert act(found, Progress(last=MINUTE), True) is None


def test_progress_and_ticks_are_read_as_they_were_written() -> None:
    progress = Progress(5, (6, 7), 6, "x", 1, 2, 3)
    assert Progress.loads(progress.dumps()) == progress
    tick = Tick(5, "missed", 6, "", "why", 4)
    assert Tick.loads(tick.dumps()) == tick


@given(
    st.lists(st.tuples(st.integers(1, 20 * MINUTE), st.booleans()), max_size=30),
    st.sampled_from(["skip", "queue", "allow"]),
    st.integers(0, 5),
    st.integers(1, 10),
)
def test_each_instant_is_started_skipped_or_missed_once(
    looks: list[tuple[int, bool]], overlap: str, limit: int, within: int
) -> None:
    found = schedule(
        every="1m", overlap=overlap, catchUp={"limit": limit, "within": within * MINUTE}
    )
    progress, now, started = Progress(last=0), 0, []
    skips = misses = 0
    for pause, runs in looks:
        now += pause
        progress, ticks = look(found, progress, now, no_sun)
        misses += sum(tick.count for tick in ticks if tick.outcome == "missed")
        skips += sum(tick.count for tick in ticks if tick.outcome == "skipped")
        while (what := act(found, progress, runs)) not in (None, Act.WAIT):
            if what is Act.SKIP:
                progress, skips = skipped(progress), skips + 1
                continue
            progress = chosen(progress) if not progress.starting else progress
            started.append(progress.starting)
            progress = done(progress, "x")
    assert len(started) == len(set(started)) == progress.started
    assert started == sorted(started)
    assert (skips, misses) == (progress.skipped, progress.missed)
    assert len(started) + skips + misses + len(progress.pending) == now // MINUTE


def test_a_backlog_of_a_month_is_looked_at_in_a_moment() -> None:
    began = datetime.now(UTC)
    often = schedule(cron="* * * * * *", catchUp={"limit": 10, "within": "10m"})
    progress, ticks = look(often, Progress(last=0), 30 * DAY, no_sun)
    assert len(progress.pending) == 10
    assert ticks[0].count >= 590
    assert datetime.now(UTC) - began < timedelta(seconds=20)
