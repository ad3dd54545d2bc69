"""How workflows do, and how the whole does: figures of the journal, and reasons."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.cli.app import run_command
from orch.control.breakers import BreakerInfo
from orch.errors import InputError, NotFound
from orch.journal.counting import Count, Kind, Late, RedisUsage
from orch.journal.journal import Journal
from orch.journal.records import HistoryEntry
from orch.monitoring.facts import Facts
from orch.monitoring.health import reasons, status_of
from orch.monitoring.metrics import Health
from orch.monitoring.performance import utilization
from orch.monitoring.steps import step_metrics
from orch.settings import Settings
from orch.tasks.usage import Usage
from orch.workflows.agents import Tallied
from tests.build import NOW, parallel, start, task

CODE = """
from orch import capability

@capability("half")
def half(number: int):
    if number % 2:
        raise ValueError("odd")
"""


@pytest.fixture
def half(orchestrator: Orchestrator, tmp_path: Path) -> Iterator[str]:
    """A workflow of which every second execution fails, and a worker."""
    (tmp_path / "half_code.py").write_text(CODE)
    step = {
        "id": "try",
        "capability": "half",
        "input": {"number": "$.input.n"},
        "retry": {"maxAttempts": 2, "interval": 1},
    }
    orchestrator.define_workflow("half", {"name": "Half", "steps": [step]})
    with orchestrator.workers(include=[str(tmp_path / "half_code.py")], concurrency=2):
        yield "half"


def test_a_workflow_that_fails_at_every_second_time_says_so(
    orchestrator: Orchestrator, half: str, wait_until: Callable[..., object]
) -> None:
    for number in range(6):
        orchestrator.start_workflow(half, {"n": number}).wait(timeout=30)
    found = orchestrator.get_workflow_metrics(half)
    assert (found.total_executions, found.active_executions) == (6, 0)
    assert found.executions == {"completed": 3, "failed": 3}
    assert (found.success_rate, found.error_rate) == (0.5, 0.5)
    assert found.average_duration is not None and found.p50_duration is not None
    assert found.p95_duration is not None and found.p50_duration <= found.p95_duration
    step = found.step_metrics["try"]
    assert (step.count, step.error_rate, step.retry_rate) == (6, 0.5, 3 / 9)
    assert (found.sample, found.histories) == (6, 6)
    assert len(found.agent_utilization) == 1
    wait_until(lambda: orchestrator.get_system_metrics().error_rate == pytest.approx(6 / 9))
    wait_until(lambda: orchestrator.get_system_metrics().total_tasks_processed == 9)
    whole = orchestrator.get_system_metrics()
    assert whole.tasks_per_second > 0
    assert (whole.active_workflows, whole.active_agents) == (0, 1)
    assert whole.health_status is Health.HEALTHY  # nine calls say little
    wait_until(lambda: orchestrator.get_workflow_metrics(half).resource_usage.memory, timeout=30)


def test_the_sample_is_the_newest_and_since_leaves_older_ones_out(journal: Journal) -> None:
    orchestrator = Orchestrator(journal.settings)
    with orchestrator:
        worked = start(journal, task("a"))
        worked.do("a")
        found = orchestrator.get_workflow_metrics("w", sample=1)
        assert (found.sample, found.histories, found.total_executions) == (1, 1, 1)
        later = orchestrator.get_workflow_metrics("w", since=NOW + 1)
        assert (later.total_executions, later.sample, later.success_rate) == (0, 0, None)
        with pytest.raises(InputError, match="sample of 0"):
            orchestrator.get_workflow_metrics("w", sample=0)
        with pytest.raises(NotFound, match="no workflow 'gone'"):
            orchestrator.get_workflow_metrics("gone")


def test_the_asynchronous_facade_says_the_same(redis: Redis, settings: Settings) -> None:
    async def use() -> None:
        async with AsyncOrchestrator(settings) as made:
            await made.define_workflow("w", {"name": "w", "steps": [task("a")]})
            await made.start_workflow("w")
            assert (await made.get_workflow_metrics("w")).active_executions == 1
            (reason,) = (await made.get_system_metrics()).reasons
            assert reason.rule == "no_workers"

    asyncio.run(use())
    redis.delete("work")


def test_the_command_line_is_right_on_an_empty_redis(
    orchestrator: Orchestrator, capfd: pytest.CaptureFixture[str]
) -> None:
    url = str(orchestrator.settings.redis_url)

    def run(*arguments: str, code: int = 0) -> str:
        assert run_command([*arguments, "--redis", url]) == code
        return capfd.readouterr().out

    said = run("top")
    assert said.startswith("healthy")
    assert "0 active; none" in said
    assert json.loads(run("top", "--json"))["queue_sizes"] == {}
    run("performance", "gone", code=2)
    orchestrator.define_workflow("w", {"name": "w", "steps": [task("a")]})
    assert "failed      ?" in run("performance", "w")
    assert json.loads(run("performance", "w", "--since", "1h", "--json"))["success_rate"] is None
    orchestrator.start_workflow("w")
    said = run("top")
    assert "unhealthy: no worker lives; 1 executions have not ended, and 1 messages wait" in said
    assert "hint: start one" in said
    orchestrator.runtime.journal.redis.delete("work")


def test_the_command_line_reports_and_remembers(
    orchestrator: Orchestrator, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = str(orchestrator.settings.redis_url)

    def run(*arguments: str, code: int = 0) -> str:
        assert run_command([*arguments, "--redis", url]) == code
        return capfd.readouterr().out

    assert "executions: 0 started, 0 failed; health is healthy" in run("report")
    orchestrator.define_workflow("w", {"name": "w", "steps": [task("a")]})
    orchestrator.start_workflow("w")
    orchestrator.store_memory("ORCHESTRATOR", None, "ORCH:PERFORMANCE: w takes longer")
    said = run("report", "--since", "2h", "--remember")
    assert "executions: 1 started" in said and "unhealthy: no worker lives" in said
    assert "PERFORMANCE: w takes longer" in said
    (record,) = orchestrator.search_memory(prefix="ORCH:REPORT:")
    assert record.data["workflows"][0]["active"] == 1
    assert json.loads(run("report", "--json"))["health_status"] == "unhealthy"
    run("report", "--since", "2999-01-01T00:00:00+00:00", code=2)
    for _ in range(2):
        assert run("graph", "w", "--remember").startswith("flowchart")
    (picture,) = orchestrator.search_memory(prefix="ORCH:VISUALIZE:")
    assert picture.data["mermaid"].startswith("flowchart")
    (tmp_path / "f.yaml").write_text("name: f")
    run("graph", str(tmp_path / "f.yaml"), "--remember", code=2)
    orchestrator.runtime.journal.redis.delete("work")


# What histories tell of steps


def test_steps_are_told_from_branches_laps_and_repeats(journal: Journal) -> None:
    worked = start(journal, parallel("both", [task("l")], [task("r")], next="end"), task("end"))
    for path in ("both/0/l", "both/1/r"):
        claimed = worked.take(path)
        journal.clock.advance(100)  # type: ignore[attr-defined]
        worked.settle(path, claimed, _done())
    found = step_metrics([journal.history("x1")])
    assert found["both/0/l"].average_duration == 100
    assert found["both/1/r"].error_rate == 0


def test_what_was_given_back_is_no_attempt() -> None:
    history = [
        HistoryEntry(0, "claimed", "a", 1),
        HistoryEntry(5, "limited", "a", 1),
        HistoryEntry(10, "claimed", "a", 1),
        HistoryEntry(30, "retrying", "a", 1),
        HistoryEntry(40, "claimed", "a", 2),
        HistoryEntry(50, "completed", "a", 2),
        HistoryEntry(60, "claimed", "a#2", 1),
        HistoryEntry(90, "completed", "a#2", 1),
        HistoryEntry(90, "claimed", "m[3]/b", 1),
    ]
    found = step_metrics([history, []])
    assert set(found) == {"a"}
    assert found["a"].count == 2
    assert found["a"].average_duration == 20
    assert found["a"].retry_rate == pytest.approx(1 / 3)


def _done() -> Any:
    from orch.workflows.outcome import Completed

    return Completed(None)


# Health


def worker(name: str = "w@h", *queues: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "name": name, "queues": queues, "tally": {}, "concurrency": 2, **more}


def tally(calls: int, failures: int) -> list[Any]:
    return list(Tallied(calls, failures, 1.0, 0, calls, 1.0, 60.0, failures).as_list())


RUNNING = {Kind("w", "v", "running"): Count(3, 3)}
AB = {"a": 1, "b": 2}
OPEN = BreakerInfo(capability="pay", state="open", since="2025", reason="Timeout")


@pytest.mark.parametrize(
    ("facts", "rule", "status", "told"),
    [
        (Facts(NOW, RUNNING), "no_workers", "unhealthy", "3 executions have not ended"),
        (Facts(NOW, queues={"a": 2}), "no_workers", "unhealthy", "2 messages wait"),
        (Facts(NOW, workers=[worker("w", "a")], queues=AB), "unserved", "degraded", "'b'"),
        (Facts(NOW, workers=[worker()], queues={"agent.x": 2}), "unserved", "degraded", "agent.x"),
        (Facts(NOW, workers=[worker()], late=Late(5, 12_000)), "late", "degraded", "12 s ago"),
        (Facts(NOW, workers=[worker()], late=Late(5, 61_000)), "late", "unhealthy", "5 tokens"),
        (Facts(NOW, breakers=[OPEN]), "breaker", "degraded", "'pay' is open since 2025: Timeout"),
        (Facts(NOW, redis=RedisUsage(85, 100)), "memory", "degraded", "85%"),
        (Facts(NOW, redis=RedisUsage(96, 100)), "memory", "unhealthy", "96%"),
        (Facts(NOW, workers=[worker(tally={"x": tally(20, 6)})]), "errors", "degraded", "30%"),
        (Facts(NOW, silent=[(worker("z"), 4000)]), "silent", "degraded", "worker z"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_what_to_do(
    facts: Facts, rule: str, status: str, told: str
) -> None:
    (reason,) = reasons(facts, 0.25)
    assert (reason.rule, reason.status.value) == (rule, status)
    assert told in reason.message
    assert reason.hint


@pytest.mark.parametrize(
    "facts",
    [
        Facts(NOW),
        Facts(NOW, {Kind("w", "v", "completed"): Count(3, 3)}),
        Facts(NOW, RUNNING, [worker("w", "a")], queues={"a": 100, "b": 0}),
        Facts(NOW, redis=RedisUsage(10**9, 0)),
        Facts(NOW, workers=[worker(tally={"x": tally(19, 19)})]),
        Facts(NOW, workers=[worker(tally={"x": tally(100, 25)})]),
        Facts(NOW, breakers=[BreakerInfo(capability="pay", state="half_open")]),
    ],
)
def test_what_is_as_it_should_be_is_no_reason(facts: Facts) -> None:
    assert reasons(facts, 0.25) == []
    assert status_of([]) is Health.HEALTHY


def test_of_many_reasons_of_one_rule_the_last_stands_for_the_others() -> None:
    queues = {f"q{number:02d}": 1 for number in range(100)}
    found = reasons(Facts(NOW, workers=[worker()], queues=queues), 0.25)
    assert len(found) == 10
    assert found[-1].subject == "others"
    assert "91 others, q09 first" in found[-1].message


# Workers


def test_a_worker_says_which_share_of_its_places_is_at_work() -> None:
    busy = Tallied(busy=1).as_list()
    done = Tallied(calls=30, recent_calls=30, recent_seconds=60.0, window=60.0).as_list()
    assert utilization(worker()) == 0
    assert utilization(worker(tally={"a": busy})) == 0.5
    assert utilization(worker(tally={"a": done, "b": busy})) == 0.5
    assert utilization(worker(concurrency=1, tally={"a": done, "b": done})) == 1


def test_what_a_newer_release_says_of_its_calls_is_left_aside() -> None:
    assert Tallied.of([*Tallied(5).as_list(), "news"]) == Tallied(5)
    assert Tallied.of([5, 1, 2.0]) == Tallied(5, 1, 2.0)


def test_the_kernel_tells_what_processes_use(tmp_path: Path) -> None:
    usage = Usage()
    first = usage.read()
    assert first["memory"] > 1_000_000
    assert "cpu" not in first
    assert usage.read() is first  # not asked again so soon
    usage._at -= 20
    assert usage.read()["cpu"] >= 0
    assert Usage(tmp_path).read() == {}  # where there is no such kernel
