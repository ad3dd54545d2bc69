"""Steps whose messages rules have sent elsewhere: at work, tried again, lost, and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.app import queue_depth
from orch.cli.progress import describe
from orch.control.plans import Plans
from orch.control.runtime import Runtime
from orch.errors import SettingsError
from orch.journal.journal import Journal
from orch.memory.step import recall_for_step
from orch.settings import Settings
from orch.tasks.step import run_step
from orch.workflows.node import Node
from orch.workflows.state import StepStatus
from tests.build import Worked, start, task

EU = {"name": "eu", "when": "$.message.input.region == 'eu'", "route": {"capability": "work_eu"}}
STEP = task("a", input={"region": "$.input.region"})

CAPABILITIES = """
from orch import Context, StepError, capability

@capability("work")
def work(context: Context, region: str, **more):
    return {"by": "work", "region": region, "attempt": context.attempt, **more}

@capability("work_eu")
def work_eu(context: Context, region: str, **more):
    if context.attempt == 1 and more.get("fails"):
        raise StepError("Flaky", "as it should")
    return {"by": "work_eu", "region": region, "attempt": context.attempt, **more}
"""


@pytest.fixture
def runtime(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Runtime]:
    found = Runtime(settings, redis_url)
    yield found
    found.close()


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        yield made
    redis.flushall()  # queues and bindings of the workers


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "routed.py"
    path.write_text(CAPABILITIES)
    return path


def begun(runtime: Runtime, **more: Any) -> Worked:
    return start(runtime.journal, STEP, input={"region": "eu"}, messageRules=[EU], **more)


def waiting(runtime: Runtime, queue: str) -> int:
    with runtime.app.connection_for_read() as connection:
        return queue_depth(runtime.app, queue, connection)


class Called:
    """Code of a capability, in a worker that serves ``serves``."""

    def __init__(self, runtime: Runtime, serves: str) -> None:
        self.runtime, self.serves = runtime, serves
        self.inputs: list[Any] = []
        self.about: list[str] = []

    def __call__(self, node: Node, seen: Any, context: Any) -> Any:
        self.inputs.append(node.input.evaluate(seen))
        self.about.append(node.capability)

    def message(self, worked: Worked, path: str = "a") -> str:
        request = SimpleNamespace(chain=None, id="1", task=f"orch.{self.serves}")
        return run_step(self.runtime, request, self, "x1", path, worked.plan.key, self.find)

    def find(self, node: Node) -> Called | None:
        return self if node.capability == self.serves else None


class TestMessages:
    def test_it_is_sent_to_the_queue_that_was_chosen(self, redis: Redis, runtime: Runtime) -> None:
        worked = begun(runtime)
        runtime.dispatch(worked.plan, "x1", ["a"])
        assert (waiting(runtime, "work_eu"), waiting(runtime, "work")) == (1, 0)
        redis.flushall()

    def test_one_that_was_lost_is_sent_there_again(self, redis: Redis, runtime: Runtime) -> None:
        worked = begun(runtime)
        runtime.advancer.redispatch("x1", "a", worked.state("a"))
        assert (waiting(runtime, "work_eu"), waiting(runtime, "work")) == (1, 0)
        redis.flushall()

    def test_a_late_one_to_another_capability_is_sent_on(
        self, redis: Redis, runtime: Runtime
    ) -> None:
        worked, wrong = begun(runtime), Called(runtime, "work")
        assert wrong.message(worked) == "moved"
        assert wrong.inputs == [] and worked.state("a").status is StepStatus.DISPATCHED
        assert waiting(runtime, "work_eu") == 1
        right = Called(runtime, "work_eu")
        assert right.message(worked) == "completed"
        assert right.about == ["work_eu"]
        redis.flushall()

    def test_a_worker_goes_on_with_a_step_that_is_routed_to_what_it_serves(
        self, runtime: Runtime
    ) -> None:
        steps = [task("first", "a", capability="work_eu"), STEP, task("b")]
        worked = start(runtime.journal, *steps, input={"region": "eu"}, messageRules=[EU])
        called = Called(runtime, "work_eu")
        called.message(worked, "first")
        assert called.about == ["work_eu", "work_eu"]
        (queued,) = [e for e in runtime.journal.history("x1") if e.event == "addressed"]
        assert queued.detail == {"rules": ["eu"], "capability": "work_eu"}

    def test_an_item_leaves_no_address_behind(self, redis: Redis, runtime: Runtime) -> None:
        items = {"items": ["eu", "eu"], "capability": "work", "input": {"region": "$.item"}}
        of_items = {"id": "m", "type": "map", "map": items}
        worked = start(runtime.journal, of_items, messageRules=[EU])
        for number in range(2):
            path = f"m[{number}]/m"
            runtime.advancer.join("x1", path)
            assert Called(runtime, "work_eu").message(worked, path) == "completed"
        assert runtime.journal.record("x1").addresses == {}
        assert runtime.journal.record("x1").status == "completed"
        redis.flushall()


OF_SETTINGS = {"work": [EU], "work_eu": [{"name": "on", "transform": {"for": "eu"}}]}


class TestSettings:
    def test_rules_of_capabilities_come_from_the_settings(
        self, redis: Redis, settings: Settings, redis_url: str
    ) -> None:
        runtime = Runtime(settings.model_copy(update={"message_rules": OF_SETTINGS}), redis_url)
        worked = start(runtime.journal, STEP, input={"region": "eu"})
        called = Called(runtime, "work_eu")
        called.message(worked)
        assert called.inputs == [{"for": "eu"}]
        runtime.close()

    def test_what_runs_keeps_those_that_it_began_with(
        self, journal: Journal, settings: Settings
    ) -> None:
        journal.settings = settings.model_copy(update={"message_rules": OF_SETTINGS})
        worked = start(journal, STEP, input={"region": "eu"})
        journal.settings = settings
        later = Plans(journal)
        assert later.get(worked.plan.key).node("a").routes
        assert not later.make(worked.plan.definition, {}).node("a").routes
        assert later.make(worked.plan.definition, {}, worked.plan.key).key == worked.plan.key

    def test_what_is_no_rule_is_refused_when_a_process_begins(
        self, journal: Journal, settings: Settings
    ) -> None:
        wrong = {"work": [{"name": "x", "when": "$.message.inputs == 1", "stop": True}]}
        journal.settings = settings.model_copy(update={"message_rules": wrong})
        with pytest.raises(SettingsError) as raised:
            Plans(journal)
        assert "`message_rules.work[0].when` is wrong" in raised.value.message
        assert raised.value.hint == "did you mean 'input'?"


class TestMemory:
    def test_records_are_those_of_the_project_of_the_execution(
        self, orchestrator: Orchestrator
    ) -> None:
        journal = orchestrator.runtime.journal
        for project, text in (("p", "slow"), ("p", "fast"), ("q", "slow")):
            orchestrator.store_memory("me", project, f"ORCH:WORKFLOW: {text}", tags=["eu"])
        orchestrator.define_workflow(
            "w", {"name": "w", "steps": [STEP], "attributes": {"project_id": "p"}}
        )
        execution = orchestrator.start_workflow("w", {"region": "eu"}).id
        sought = {"text": "slow", "tags": ["eu"], "area": "WORKFLOW", "limit": 5}
        (found,) = recall_for_step(journal, execution, "r.f", sought)
        assert (found["content"], found["tags"]) == ("ORCH:WORKFLOW: slow", ["eu"])
        assert len(recall_for_step(journal, execution, "r.f", {"limit": 1})) == 1
        assert recall_for_step(journal, execution, "r.f", {"agent": "you", "limit": 1}) == []


RULES = [
    EU,
    {
        "name": "hints",
        "capabilities": ["work_eu"],
        "enrich": {
            "known": {"memory": {"tags": ["$.message.input.region"], "limit": 1}},
            "fails": {"value": "$.input.fails"},
        },
        "transform": {
            "region": "$.message.input.region",
            "fails": "$.message.input.fails || false",
            "hint": "$.message.input.known[0].content",
        },
    },
]


def define(orchestrator: Orchestrator) -> None:
    step = task("a", input={"region": "$.input.region"}, retry={"maxAttempts": 3, "interval": 10})
    orchestrator.define_workflow("w", {"name": "w", "steps": [step], "messageRules": RULES})
    orchestrator.store_memory("me", None, "ORCH:WORKFLOW: mind the gap", tags=["eu"])


def test_real_workers_do_what_the_rules_say(orchestrator: Orchestrator, module: Path) -> None:
    define(orchestrator)
    waits = orchestrator.start_workflow("w", {"region": "eu"})
    (step,) = waits.status().steps
    assert step.capability == "work_eu" and step.routed == "routed by rule 'eu' to work_eu"
    assert (step.waiting_for or "").startswith("no live worker serves 'work_eu'")
    asked = [{"name": "w", "input": {"region": r, "fails": True}} for r in ("eu", "us")]
    many = orchestrator.start_workflows(asked)
    with orchestrator.workers(include=[str(module)], concurrency=2):
        first = waits.wait(30).output
        eu, us = (each.wait(30).output for each in many)
    hint = "ORCH:WORKFLOW: mind the gap"
    assert first == {
        "by": "work_eu", "region": "eu", "attempt": 1, "fails": False, "hint": hint,
    }  # fmt: skip
    assert eu == {"by": "work_eu", "region": "eu", "attempt": 2, "fails": True, "hint": hint}
    assert us == {"by": "work", "region": "us", "attempt": 1}
    told = [describe(e) for e in waits.history() if e.event == "addressed"]
    assert told == ["routed by rule 'eu' to work_eu"]


@pytest.mark.parametrize("point", ["claimed", "settled"])
def test_a_routed_step_whose_worker_is_killed_goes_the_same_way_again(
    orchestrator: Orchestrator,
    module: Path,
    tmp_path: Path,
    wait_until: Callable[..., Any],
    point: str,
) -> None:
    define(orchestrator)
    struck = tmp_path / "struck"
    environment = {"ORCH_FAULT_POINT": f"{point}:{struck}"}
    with orchestrator.workers(
        count=2, concurrency=1, pool="solo", include=[str(module)], environment=environment
    ):
        execution = orchestrator.start_workflow("w", {"region": "eu"})
        output = execution.wait(40).output
        wait_until(struck.exists)  # who waits may learn of the end before that worker goes on
    assert output["by"] == "work_eu"
    events = [(e.event, e.path) for e in execution.history()]
    assert events.count(("addressed", "a")) == events.count(("completed", "a")) == 1
