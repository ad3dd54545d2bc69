"""One worker at a time observes the whole; what has changed is in the memory once, whoever dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.control.runtime import Runtime
from orch.journal.journal import Journal
from orch.memory.memory import Memory
from orch.memory.noting import remember_note
from orch.memory.record import MemoryRecord
from orch.monitoring.observer import Observer
from orch.monitoring.report import make_report
from orch.settings import Settings
from orch.workflows.note import Note
from orch.workflows.outcome import Completed
from tests.build import FakeClock, Worked, start, starting, task

DAY = 86_400_000
ALONE = {"name": "w", "steps": [{"id": "a", "capability": "nobody_serves_this"}]}


@pytest.fixture
def observer(
    redis: Redis, settings: Settings, redis_url: str, clock: FakeClock
) -> Iterator[Observer]:
    runtime = Runtime(settings, redis_url)
    runtime.journal.clock = clock
    yield Observer(runtime)
    runtime.close()


def told(observer: Observer, area: str) -> list[MemoryRecord]:
    """The oldest first."""
    return Memory(observer.journal).search(prefix=f"ORCH:{area}:")[::-1]


def run(observer: Observer, count: int = 1, ms: int = 60_000) -> None:
    for _ in range(count):
        observer.journal.clock.advance(ms)  # type: ignore[attr-defined]
        assert observer.observe()


def test_an_empty_redis_is_worth_no_word(observer: Observer, redis: Redis) -> None:
    run(observer, 3)
    assert Memory(observer.journal).search() == []
    assert redis.pttl("orch:{monitor}:observed") > DAY
    assert observer.journal.read_observed().number == 3


def test_what_is_wrong_is_remembered_when_it_begins_and_ends(
    observer: Observer, journal: Journal
) -> None:
    worked = start(journal, task("a"))
    run(observer, 4)
    begins, degraded = told(observer, "MONITOR")
    assert begins.content.startswith("ORCH:MONITOR: unhealthy: no worker lives; 1 executions have")
    assert begins.agent_role == "ORCHESTRATOR"
    assert begins.source == "health:no_workers"
    assert degraded.related == [begins.id]
    worked.do("a")
    run(observer, 2)
    *_, ends, healthy = told(observer, "MONITOR")
    assert ends.related == [begins.id]
    assert healthy.related == [degraded.id]
    assert healthy.tags == ["event:health", "status:healthy"]


def test_of_two_who_observe_at_once_one_commits(observer: Observer, journal: Journal) -> None:
    run(observer)
    assert journal.commit_observed(1, {"a": 1}, [Note("x", "MONITOR", "", 1)])
    assert not journal.commit_observed(1, {"a": 2}, [Note("y", "MONITOR", "", 1)])
    found = journal.read_observed()
    assert (found.number, found.state, [*found.notes]) == (2, {"a": 1}, ["x"])
    journal.drop_note(journal.keys.observed(), "x")


def test_the_next_one_remembers_what_a_dead_one_has_left(
    observer: Observer, journal: Journal
) -> None:
    note = Note("n1", "MONITOR", "it was so", journal.clock(), ["t"], "health")
    long = replace(note, id="n2", text="x" * 20_000)
    assert journal.commit_observed(0, {}, [note, long])
    remember_note(journal, note)  # and died before it was taken out
    run(observer, 2)
    assert [each.id for each in told(observer, "MONITOR")] == ["n1", "n2"]
    assert journal.read_observed().notes == {}


def test_what_the_memory_refuses_holds_nothing_up(
    observer: Observer, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.commit_observed(0, {}, [Note("n", "WEATHER", "sunny", 1)])
    run(observer)
    assert "is not remembered" in caplog.text
    assert journal.read_observed().notes == {}


def test_a_workflow_that_takes_longer_is_seen_in_the_journal(
    observer: Observer, journal: Journal
) -> None:
    run(observer)
    worked = start(journal, task("a"))  # goes on, so that there is something to look at
    number = 0
    for took in [100] * 10 + [60_000] * 4:
        for _ in range(10):
            number += 1
            one = Worked(journal, worked.plan, f"y{number}")
            assert journal.start(starting(one))
            claimed = one.take("a")
            journal.clock.advance(took)  # type: ignore[attr-defined]
            one.settle("a", claimed, Completed(None))
        run(observer, ms=1000)
    (left,) = told(observer, "PERFORMANCE")
    assert left.content.startswith("ORCH:PERFORMANCE: w takes longer than usual: p95 60.0 s")
    assert left.data["windows"] >= 8


def test_a_report_is_remembered_when_a_day_is_over(observer: Observer, journal: Journal) -> None:
    worked = start(journal, task("a"))
    run(observer, 3)
    worked.do("a")
    run(observer, 3, ms=DAY // 2)
    first, *_ = told(observer, "REPORT")
    assert "executions: 1 started, 0 failed" in first.content
    (workflow,) = first.data["workflows"]
    assert (workflow["workflow"], workflow["started"]) == ("w", 1)
    assert set(first.related) >= {each.id for each in told(observer, "MONITOR")[:2]}


def test_a_report_of_an_empty_redis_is_empty(observer: Observer) -> None:
    report = make_report(observer.runtime)
    assert (report.workflows, report.observed, report.others) == ([], [], 0)
    assert report.health_status.value == "healthy"
    assert "executions: 0 started" in report.headline()


def commands(redis: Redis) -> int:
    stats: Any = redis.info("commandstats")
    return sum(int(each["calls"]) for each in stats.values())


def test_where_nothing_moves_an_observation_is_some_forty_commands(
    observer: Observer, redis: Redis
) -> None:
    run(observer, 2)
    before = commands(redis)
    run(observer, 5)
    assert (commands(redis) - before) / 5 < 40


@pytest.mark.parametrize(
    "point", ["observed", pytest.param("observation_remembered", marks=pytest.mark.slow)]
)
def test_a_worker_that_dies_while_it_observes_leaves_each_record_once(
    redis: Redis,
    settings: Settings,
    tmp_path: Path,
    wait_until: Callable[..., Any],
    point: str,
) -> None:
    armed = tmp_path / "armed"
    environment = {"ORCH_FAULT_POINT": f"{point}:{armed}", "ORCH_MONITOR_INTERVAL": "0.3"}
    if point == "observed":
        armed.touch()  # until there is something to tell
    with Orchestrator(settings) as orchestrator:
        orchestrator.define_workflow("w", ALONE)
        with orchestrator.workers(
            count=2, concurrency=1, pool="solo", environment=environment
        ) as workers:
            journal = orchestrator.runtime.journal
            wait_until(lambda: journal.read_observed().number >= 2, timeout=60)
            execution = orchestrator.start_workflow("w")
            armed.unlink(missing_ok=True)
            wait_until(armed.exists, timeout=60)
            wait_until(lambda: any(each.poll() is not None for each in workers.processes))
            found = lambda: orchestrator.search_memory(tag="rule:unserved")  # noqa: E731
            wait_until(found, timeout=60)
            seen = journal.read_observed().number
            wait_until(lambda: journal.read_observed().number > seen + 3, timeout=60)
            records = orchestrator.search_memory(prefix="ORCH:MONITOR:", tag="event:begins")
            assert len(found()) == 1
            assert len({each.content for each in records}) == len(records)
            orchestrator.terminate_workflow(execution.id)
    redis.delete("nobody_serves_this")


@pytest.mark.slow
def test_one_of_many_workers_observes_and_hands_it_on_when_it_ends(
    redis: Redis, settings: Settings, wait_until: Callable[..., Any]
) -> None:
    environment = {"ORCH_MONITOR_INTERVAL": "0.3"}
    with Orchestrator(settings) as orchestrator:
        given = {"count": 2, "concurrency": 1, "pool": "solo", "environment": environment}
        with orchestrator.workers(**given) as workers:
            journal = orchestrator.runtime.journal
            first = wait_until(lambda: redis.get("orch:{monitor}:observer"), timeout=60)
            number = journal.read_observed().number
            wait_until(lambda: journal.read_observed().number > number + 3)
            assert redis.get("orch:{monitor}:observer") == first
            (leader,) = [w for w in journal.live_workers() if w["id"] == first]
            for process in workers.processes:
                if process.pid == leader["pid"]:
                    process.terminate()
            wait_until(lambda: redis.get("orch:{monitor}:observer") not in (None, first))
