"""Priorities: the most urgent message is taken next, and nobody pays who uses none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.app import create_app, queue_depth
from orch.broker import list_of
from orch.errors import InputError
from orch.settings import Settings
from orch.tasks.ageing import Ageing
from orch.workflows.ageing import Rise, rise_of
from orch.workflows.canvas import compile_canvas
from tests.build import FakeClock, parallel, plan_of, task

CAPABILITIES = """
import time
from pathlib import Path
from orch import capability

@capability("work")
def work(name, folder, hold=None):
    while hold and not Path(hold).exists():
        time.sleep(0.01)
    with open(Path(folder) / "done", "a") as file:
        file.write(name + "\\n")
"""
INPUT = {"name": "$.input.name", "folder": "$.input.folder", "hold": "$.input.hold"}


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        yield made
    redis.flushall()  # queues and bindings of the workers


def define(orchestrator: Orchestrator, **more: Any) -> None:
    step = task("a", input=INPUT)
    orchestrator.define_workflow("w", {"name": "w", "steps": [step], **more})


class TestCanvas:
    def test_each_message_carries_that_of_the_execution_or_of_its_step(self) -> None:
        plan = plan_of(task("a", "b"), task("b", "c", priority=9), task("c", priority=0))
        (chain,) = compile_canvas(plan, "x", ["a"], priority=4)
        found = [link.options.get("priority", 0) for link in chain.tasks]
        assert found == [4, 9, 0]

    def test_so_do_the_members_of_a_chord_and_its_body(self) -> None:
        plan = plan_of(parallel("p", [task("a")], [task("b")]))
        (chord,) = compile_canvas(plan, "x", ["p/0/a", "p/1/b"], priority=4)
        found = [member.options["priority"] for member in (*chord.tasks, chord.body)]
        assert found == [4, 4, 4]

    def test_without_one_a_message_says_nothing_of_it(self) -> None:
        (link,) = compile_canvas(plan_of(task("a")), "x", ["a"])
        assert "priority" not in link.options


class TestLists:
    def test_what_has_none_lies_in_the_plain_list_and_all_are_counted(
        self, orchestrator: Orchestrator, redis: Redis, settings: Settings
    ) -> None:
        define(orchestrator, priority=1)
        for priority in (None, 0, 0, 8):
            orchestrator.start_workflow("w", {"name": "x"}, priority=priority)
        assert redis.llen("work") == 2
        assert {redis.llen(f"work\x06\x16{level}") for level in (1, 8)} == {1}
        assert redis.smembers("orch:priorities") == {"1", "8"}
        app = create_app(settings, orchestrator.server.url)
        with app.connection_for_read() as connection:
            assert queue_depth(app, "work", connection) == 4

    def test_nothing_is_noted_where_none_is_used(
        self, orchestrator: Orchestrator, redis: Redis
    ) -> None:
        define(orchestrator)
        execution = orchestrator.start_workflow("w", {"name": "x"})
        assert not redis.exists("orch:priorities")
        key = orchestrator.runtime.journal.keys.record(execution.id)
        assert not redis.hexists(key, "priority")
        assert execution.status().priority == 0

    def test_a_message_that_is_sent_again_is_as_urgent(
        self, orchestrator: Orchestrator, redis: Redis
    ) -> None:
        define(orchestrator)
        execution = orchestrator.start_workflow("w", {"name": "x"}, priority=5)
        redis.delete("work\x06\x165")
        found = orchestrator.runtime.journal.read_state(execution.id, "a")
        assert found is not None
        orchestrator.runtime.advancer.redispatch(execution.id, "a", found[1])
        assert redis.llen("work\x06\x165") == 1
        execution.pause()
        execution.resume()
        assert redis.llen("work\x06\x165") == 2
        message = json.loads(redis.lindex("work\x06\x165", 0))
        assert message["properties"]["priority"] == 5

    def test_a_child_is_as_urgent_as_its_parent_unless_it_says_so_itself(
        self, orchestrator: Orchestrator, redis: Redis
    ) -> None:
        define(orchestrator)
        call = {"id": "call", "type": "subworkflow", "subworkflow": "w"}
        orchestrator.define_workflow("parent", {"name": "parent", "steps": [call]})
        orchestrator.start_workflow("parent", priority=6)
        assert redis.llen("work\x06\x166") == 1
        define(orchestrator, priority=2)
        orchestrator.start_workflow("parent", priority=6)
        assert redis.llen("work\x06\x162") == 1

    @pytest.mark.parametrize("priority", [-1, 10, True, "7", 1.5])
    def test_what_is_none_is_refused(self, orchestrator: Orchestrator, priority: Any) -> None:
        define(orchestrator)
        with pytest.raises(InputError, match="from 0 to 9"):
            orchestrator.start_workflow("w", priority=priority)


class TestAgeing:
    def test_a_level_is_worth_so_much_waiting(self) -> None:
        found = [rise_of(0, age, 30_000, 3, 3000) for age in (0, 29_999, 30_000, 33_000, 61_000)]
        assert [each.level for each in found] == [None, None, 1, None, 2]
        assert [each.next for each in found] == [30_000, 30_000, 60_000, 60_000, 90_000]

    def test_nobody_rises_above_the_most_urgent_nor_where_ageing_is_off(self) -> None:
        assert rise_of(3, 30_000, 30_000, 3, 3000) == Rise(None, 0)
        assert rise_of(2, 30_000, 30_000, 3, 3000) == Rise(3, 0)
        assert rise_of(2, 60_000, 30_000, 3, 3000) == Rise(None, 0)
        assert rise_of(0, 30_000, 0, 9, 3000) == Rise(None, 0)

    def test_what_waits_for_long_is_sent_once_more_a_level_higher(
        self, orchestrator: Orchestrator, redis: Redis
    ) -> None:
        define(orchestrator)
        runtime = orchestrator.runtime
        clock = runtime.journal.clock = FakeClock()
        execution = orchestrator.start_workflow("w", {"name": "x"})
        key = runtime.journal.plan_of(execution.id)
        assert key is not None
        plan, ageing = runtime.plans.get(key), Ageing(runtime)

        def look(later: int) -> int:
            found = runtime.journal.read_state(execution.id, "a")
            assert found is not None
            now = clock.advance(later)
            return ageing.rise(plan, execution.id, "a", found[1], 60_000) - now

        assert look(31_000) == 60_000
        assert redis.llen("work") == 1  # nobody uses a level
        redis.sadd("orch:priorities", 2)
        ageing = Ageing(runtime)
        assert look(0) == 29_000
        assert look(29_000) == 60_000
        assert [redis.llen(list_of("work", level)) for level in range(4)] == [1, 1, 1, 0]


@pytest.mark.parametrize(("kind", "levels"), [("classic", 9), ("quorum", None)])
def test_rabbitmq_is_told_how_many_levels_there_are_where_its_queues_know_any(
    settings: Settings, kind: str, levels: int | None
) -> None:
    given = settings.model_copy(update={"broker_url": "amqp://localhost", "queue_type": kind})
    conf = create_app(given, "redis://localhost").conf
    assert (conf.task_queue_max_priority, conf.broker_transport) == (levels, None)


def test_the_urgent_one_is_run_next_by_a_real_worker(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "capabilities.py").write_text(CAPABILITIES)
    done, go = tmp_path / "done", tmp_path / "go"
    define(orchestrator)

    def start(name: str, **more: Any) -> Any:
        given = {"name": name, "folder": str(tmp_path), "hold": more.pop("hold", None)}
        return orchestrator.start_workflow("w", given, **more)

    with orchestrator.workers(
        count=1, concurrency=1, pool="solo", include=[str(tmp_path / "capabilities.py")]
    ):
        start("first", priority=7).wait(30)  # from now on the worker knows of the level
        start("held", hold=str(go))
        wait_until(lambda: orchestrator.runtime.journal.redis.llen("work") == 0)
        low = [start(f"low{i}") for i in range(50)]
        high = start("high", priority=7)
        go.touch()
        assert high.wait(30).status == "completed"
        assert [each.wait(30).status for each in low] == ["completed"] * 50
    lines = done.read_text().split()
    assert lines == ["first", "held", "high", *(f"low{i}" for i in range(50))]
