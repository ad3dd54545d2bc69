"""Schedules in Redis: written down, changed while beats run, and ticked by one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.control.ticking import Ticker, iso
from orch.errors import InputError, NotFound
from orch.settings import Settings
from tests.build import FakeClock

ROOT = Path(__file__).parent.parent
MINUTE = 60_000
BEGAN = 1_800_000_000_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(BEGAN)


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings, clock: FakeClock) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        made.runtime.journal.clock = clock
        made.define_workflow("w", {"name": "w", "steps": [{"id": "a", "capability": "nobody"}]})
        yield made


@pytest.fixture
def tick(orchestrator: Orchestrator) -> Callable[[], int | None]:
    return Ticker(orchestrator.manager).tick


def add(orchestrator: Orchestrator, **given: Any) -> None:
    orchestrator.add_schedule({"name": "s", "workflow": "w", "every": "1m", **given})


def outcomes(orchestrator: Orchestrator) -> list[tuple[str, str]]:
    ticks = reversed(orchestrator.get_schedule_ticks("s", 100))
    return [(tick.instant, tick.outcome) for tick in ticks]


def at(minutes: int) -> str:
    return iso(BEGAN + minutes * MINUTE)


def end(orchestrator: Orchestrator) -> None:
    latest = orchestrator.get_schedule("s").latest
    assert latest is not None
    orchestrator.terminate_workflow(latest)


def test_an_instant_starts_one_execution_that_is_found_by_it(
    orchestrator: Orchestrator, clock: FakeClock, tick: Callable[[], int | None]
) -> None:
    add(orchestrator, input={"n": 5}, attributes={"kind": "nightly"}, priority=4)
    assert tick() == BEGAN + MINUTE
    clock.advance(MINUTE)
    assert tick() == BEGAN + 2 * MINUTE
    (found,) = orchestrator.list_executions()
    assert found.attributes == {"kind": "nightly", "schedule": "s", "scheduledFor": at(1)}
    status = orchestrator.get_execution_status(found.id)
    assert status.input == {"n": 5}
    assert orchestrator.get_schedule("s").latest == found.id
    assert outcomes(orchestrator) == [(at(1), "started")]


def test_while_the_one_before_runs_an_instant_is_skipped_by_default(
    orchestrator: Orchestrator, clock: FakeClock, tick: Callable[[], int | None]
) -> None:
    add(orchestrator)
    for _ in range(3):
        clock.advance(MINUTE)
        tick()
    end(orchestrator)
    clock.advance(MINUTE)
    tick()
    kinds = [outcome for _, outcome in outcomes(orchestrator)]
    assert kinds == ["started", "skipped", "skipped", "started"]
    info = orchestrator.get_schedule("s")
    assert (info.started, info.skipped) == (2, 2)


def test_those_that_queue_are_started_one_after_the_other(
    orchestrator: Orchestrator, clock: FakeClock, tick: Callable[[], int | None]
) -> None:
    add(orchestrator, overlap="queue")
    clock.advance(3 * MINUTE)
    assert tick() == clock.now + 1000  # to look whether the one before has ended
    assert orchestrator.get_schedule("s").waiting == 2
    for waiting in (1, 0, 0):
        end(orchestrator)
        clock.advance(1000)
        tick()
        assert orchestrator.get_schedule("s").waiting == waiting
    assert outcomes(orchestrator) == [(at(n), "started") for n in (1, 2, 3)]


def test_the_one_before_is_cancelled_where_the_policy_says_so(
    orchestrator: Orchestrator, clock: FakeClock, tick: Callable[[], int | None]
) -> None:
    add(orchestrator, overlap="cancel-previous")
    for _ in range(2):
        clock.advance(MINUTE)
        tick()
    first = orchestrator.list_executions(attribute={"scheduledFor": at(1)})[0]
    clock.advance(1000)
    tick()
    assert orchestrator.get_execution_status(first.id).status in ("cancelled", "cancelling")
    orchestrator.terminate_workflow(first.id)
    clock.advance(1000)
    tick()
    assert outcomes(orchestrator) == [(at(1), "started"), (at(2), "started")]


def test_all_run_where_they_may(
    orchestrator: Orchestrator, clock: FakeClock, tick: Callable[[], int | None]
) -> None:
    add(orchestrator, overlap="allow")
    clock.advance(3 * MINUTE)
    tick()
    assert len(list(orchestrator.list_executions(status="running"))) == 3


def test_what_passed_while_no_beat_ran_follows_the_catch_up(
    orchestrator: Orchestrator, clock: FakeClock, tick: Callable[[], int | None]
) -> None:
    add(orchestrator, overlap="allow", catchUp={"limit": 2, "within": "1h"})
    clock.advance(10 * MINUTE)
    tick()
    assert outcomes(orchestrator) == [(at(1), "missed"), (at(9), "started"), (at(10), "started")]
    assert orchestrator.get_schedule_ticks("s")[-1].count == 8


def test_two_that_tick_at_once_start_one(
    orchestrator: Orchestrator, settings: Settings, clock: FakeClock
) -> None:
    add(orchestrator, overlap="allow")
    with Orchestrator(settings) as other:
        other.runtime.journal.clock = clock
        both = [Ticker(orchestrator.manager), Ticker(other.manager)]
        stored = both[0].journal.read_schedule("s")
        for _ in range(5):
            clock.advance(MINUTE)
            for ticker in both:
                ticker.tick()
        assert stored is not None
        # A beat that was frozen goes on with what it read then.
        assert not both[1]._store(stored, stored.progress, [])
    assert outcomes(orchestrator) == [(at(minute), "started") for minute in range(1, 6)]
    assert len(list(orchestrator.list_executions())) == 5


def test_jitter_makes_it_begin_later(
    orchestrator: Orchestrator, clock: FakeClock, tick: Callable[[], int | None]
) -> None:
    add(orchestrator, every="1h", jitter="30m")
    clock.advance(60 * MINUTE)
    clock.now -= clock.now % (60 * MINUTE)
    tick()
    (found,) = orchestrator.list_executions()
    assert found.status == "scheduled"


def test_a_start_that_fails_is_told_and_the_next_one_is_tried(
    orchestrator: Orchestrator, clock: FakeClock, tick: Callable[[], int | None]
) -> None:
    add(orchestrator)
    schema = {"type": "object", "required": ["n"]}
    steps = [{"id": "a", "capability": "nobody"}]
    orchestrator.define_workflow("w", {"name": "w", "input": schema, "steps": steps})
    for _ in range(2):
        clock.advance(MINUTE)
        tick()
    ticks = orchestrator.get_schedule_ticks("s")
    assert [each.outcome for each in ticks] == ["failed", "failed"]
    assert "n is missing" in ticks[0].why


def test_a_schedule_is_paused_resumed_changed_and_removed_while_beats_run(
    orchestrator: Orchestrator, clock: FakeClock, tick: Callable[[], int | None]
) -> None:
    add(orchestrator, overlap="allow")
    assert orchestrator.pause_schedule("s", "holidays").paused
    clock.advance(5 * MINUTE)
    assert tick() is None
    assert orchestrator.get_schedule("s").schedule["note"] == "holidays"
    assert orchestrator.resume_schedule("s").next == at(6)
    tick()
    assert outcomes(orchestrator) == []
    add_again = {"name": "s", "workflow": "w", "every": "2m"}
    with pytest.raises(InputError, match="there is a schedule 's'"):
        orchestrator.add_schedule(add_again)
    assert orchestrator.add_schedule(add_again, replace=True).when == "every 120 s"
    clock.advance(MINUTE)
    tick()
    assert outcomes(orchestrator) == [(at(6), "started")]
    assert orchestrator.remove_schedule("s")
    assert not orchestrator.remove_schedule("s")
    clock.advance(MINUTE)
    assert tick() is None
    with pytest.raises(NotFound, match="there is no schedule 's'"):
        orchestrator.get_schedule("s")


def test_one_is_triggered_by_hand_also_while_it_is_paused(
    orchestrator: Orchestrator, tick: Callable[[], int | None]
) -> None:
    add(orchestrator, paused=True)
    told = orchestrator.trigger_schedule("s", by="ann")
    again = orchestrator.trigger_schedule("s", by="ann")
    assert told.execution != again.execution
    assert (told.outcome, told.why) == ("triggered", "by ann")
    assert orchestrator.get_schedule("s").latest == again.execution


def test_a_backfill_starts_what_was_never_started(
    orchestrator: Orchestrator, clock: FakeClock, tick: Callable[[], int | None]
) -> None:
    add(orchestrator, overlap="allow", catchUp={"limit": 1})
    clock.advance(5 * MINUTE)
    tick()
    planned = orchestrator.backfill_schedule("s", at(2), at(5), dry_run=True)
    assert [each.instant for each in planned] == [at(n) for n in (2, 3, 4, 5)]
    assert len(list(orchestrator.list_executions())) == 1
    for _ in range(2):  # a second one starts nothing more
        orchestrator.backfill_schedule("s", at(2), at(5))
        assert len(list(orchestrator.list_executions())) == 4
    with pytest.raises(InputError, match="in the future"):
        orchestrator.backfill_schedule("s", at(2), at(50))
    with pytest.raises(InputError, match="more than 10000 instants"):
        orchestrator.backfill_schedule("s", iso(BEGAN - 20_000 * MINUTE), at(0))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"every": None, "at": "2020-01-01T00:00:00Z"}, "names no instant to come"),
        ({"end": "2020-01-01T00:00:00Z"}, "`end` 2020-01-01T00:00:00Z has passed"),
    ],
)
def test_one_that_would_never_start_anything_is_refused(
    orchestrator: Orchestrator, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        add(orchestrator, **given)


def test_one_of_a_workflow_that_is_not_there_is_refused(orchestrator: Orchestrator) -> None:
    with pytest.raises(NotFound, match="'ghost'"):
        add(orchestrator, workflow="ghost")


def test_one_leads_until_it_is_silent(orchestrator: Orchestrator, redis: Redis) -> None:
    journal = orchestrator.runtime.journal
    assert journal.lead("a", 5000) == (True, "")
    assert journal.lead("b", 5000) == (False, "a")
    assert journal.lead("a", 5000, ends=True)[0] is False
    assert journal.lead("b", 5000) == (True, "")
    redis.delete(journal.keys.beat())  # as if it had expired
    assert journal.lead("a", 5000) == (True, "")


# By the command, and with real beats


def orch(settings: Settings, *arguments: str, code: int = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
    done = subprocess.run(
        [sys.executable, "-m", "orch", *arguments, "--redis", str(settings.redis_url)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done.stdout or done.stderr


def beat(settings: Settings, **more: str) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
    environment |= {"ORCH_REDIS_URL": str(settings.redis_url), **more}
    return subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "beat", "beat", "--loglevel", "INFO"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_the_command_writes_it_down_and_beat_ticks(
    orchestrator: Orchestrator, settings: Settings, wait_until: Callable[..., object]
) -> None:
    orchestrator.runtime.journal.clock = lambda: int(time.time() * 1000)
    given = ["--every", "1s", "--overlap", "allow", "--input", "n=5", "--json"]
    info = json.loads(orch(settings, "schedule", "add", "s", "w", *given))
    assert (info["when"], info["schedule"]["input"]) == ("every 1 s", {"n": 5})
    process = beat(settings)
    try:
        wait_until(lambda: orchestrator.get_schedule("s").started >= 3, timeout=30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert orchestrator.runtime.journal.read_leader() is None  # another one leads at once
    finally:
        process.kill()
        process.wait()
    shown = orch(settings, "schedule", "show", "s")
    assert "every 1 s" in shown and "started" in shown
    refused = orch(settings, "schedule", "add", "t", "w", "--cron", "61 * * * *", code=2)
    assert "is no cron text" in refused
