"""Steps that call another workflow: its output, its failure, its end, and what is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.control.manager import WorkflowManager
from orch.control.runtime import Runtime
from orch.control.simulation import Simulation, simulate
from orch.execution import Execution
from orch.journal.journal import Claimed, Start
from orch.settings import Settings
from orch.workflows.calls import Call
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.outcome import Completed
from orch.workflows.state import ExecutionStatus, StepStatus
from orch.workflows.view import fields_for

Step = dict[str, Any]
CAPABILITIES = """
import pathlib, time
from orch import capability

@capability("work")
def work(text: str = ""):
    return text.upper()

@capability("hold")
def hold(until: str):
    while not pathlib.Path(until).exists():
        time.sleep(0.02)
"""


def made(*steps: Step, **given: Any) -> WorkflowDefinition:
    return WorkflowDefinition.model_validate({"name": "flow", "steps": list(steps), **given})


def task(id: str, **given: Any) -> Step:
    return {"id": id, "capability": "work", **given}


def call(id: str = "call", workflow: Any = "child", **given: Any) -> Step:
    return {"id": id, "type": "subworkflow", "subworkflow": workflow, **given}


def run(
    parent: WorkflowDefinition,
    child: WorkflowDefinition | None = None,
    input: Any = None,
    workflows: dict[str, WorkflowDefinition] | None = None,
    **mocks: Any,
) -> Simulation:
    known = {"child": child} if child is not None else {}
    workflows = {**known, **(workflows or {})}
    return simulate(parent, key="flow", workflows=workflows, input=input, mocks=mocks)


def listed(simulation: Simulation) -> list[tuple[str, int, str]]:
    return [(step.path, step.at_ms, step.outcome) for step in simulation.steps]


class TestSimulated:
    def test_the_output_of_the_child_is_that_of_the_step(self) -> None:
        child = made(
            task("c1", next="c2"), task("c2"), result={"got": "$.input.n", "it": "$.output"}
        )
        parent = made(
            call(input={"n": "$.input.number"}, output="answer", next="after"), task("after")
        )
        ended = run(parent, child, {"number": 7}, outputs={"c2": "two"}, durations={"c1": 100})
        assert ended.variables["answer"] == {"got": 7, "it": "two"}
        assert listed(ended) == [
            ("call", 100, "completed"),
            ("call/c1", 100, "completed"),
            ("call/c2", 100, "completed"),
            ("after", 100, "completed"),
        ]

    def test_the_failure_of_the_child_is_that_of_the_step_under_the_same_name(self) -> None:
        parent = made(call(onError=[{"errors": ["Special"], "next": "rescue"}]), task("rescue"))
        ended = run(parent, made(task("c1")), errors={"c1": "Special"})
        assert ended.status == "completed"
        assert [(p, o) for p, _, o in listed(ended)] == [
            ("call", "failed"),
            ("call/c1", "failed"),
            ("rescue", "completed"),
        ]

    def test_an_error_that_nobody_takes_names_the_child(self) -> None:
        ended = run(made(call()), made(task("c1")), errors={"c1": "Special"})
        assert ended.error is not None
        assert (ended.error["name"], ended.error["step"]) == ("Special", "call")
        assert ended.error["child"] == Call("simulated", "call", 1).child

    def test_error_handlers_take_it_too(self) -> None:
        parent = made(
            call(), task("rescue"), errorHandlers=[{"error": "Special", "handler": "rescue"}]
        )
        ended = run(parent, made(task("c1")), errors={"c1": "Special"})
        assert (ended.status, listed(ended)[-1][0]) == ("completed", "rescue")

    def test_each_attempt_has_a_child_of_its_own(self) -> None:
        parent = made(call(retry={"maxAttempts": 3, "interval": 100}))
        ended = run(parent, made(task("c1")), errors={"c1": "Special"}, durations={"c1": 10})
        assert [(p, at) for p, at, _ in listed(ended)] == [
            ("call", 10),
            ("call/c1", 10),
            ("call", 120),
            ("call/c1", 120),
            ("call", 230),
            ("call/c1", 230),
        ]

    def test_a_child_may_have_children(self) -> None:
        ended = run(
            made(call(workflow="middle")),
            workflows={"middle": made(call("inner", input="$.input")), "child": made(task("deep"))},
            outputs={"call/inner/deep": "reached"},
        )
        assert ended.output == "reached"
        assert [path for path, _, _ in listed(ended)] == ["call", "call/inner", "call/inner/deep"]

    def test_a_child_in_which_nothing_happens_ends_at_once(self) -> None:
        child = made(task("c1", condition="false"), result="nothing")
        assert run(made(call()), child).output == "nothing"

    def test_children_of_branches_and_iterations_are_their_own(self) -> None:
        branches = [{"steps": [call(f"c{n}", input=n)]} for n in range(3)]
        parent = made(
            {"id": "p", "type": "parallel", "parallel": {"branches": branches}, "next": "l"},
            {
                "id": "l",
                "type": "loop",
                "loop": {"until": "$.index >= 2", "steps": [call("again", input="$.index")]},
            },
            result={"last": "$.output"},
        )
        ended = run(parent, made(task("c"), result="$.input"))
        assert ended.output == {"last": 1}
        assert [path for path, _, _ in listed(ended) if path.endswith("/c")] == [
            "p/0/c0/c",
            "p/1/c1/c",
            "p/2/c2/c",
            "l[0]/again/c",
            "l[1]/again/c",
        ]

    @pytest.mark.parametrize(
        ("step", "name"),
        [
            (call(workflow="nowhere"), "WorkflowNotFound"),
            (call(workflow={"name": "child", "version": "0123456789ab"}), "WorkflowNotFound"),
            (call(input={"n": "text"}), "InvalidInput"),
            (call(), "InvalidInput"),
        ],
    )
    def test_a_child_that_cannot_be_started_fails_the_step_by_name(
        self, step: Step, name: str
    ) -> None:
        schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
        ended = run(made(step), made(task("c1"), input=schema))
        assert ended.error is not None
        assert (ended.error["name"], ended.error["step"]) == (name, "call")

    def test_the_version_that_is_asked_for_runs(self) -> None:
        child = made(task("c1"), result="this one")
        step = call(workflow={"name": "child", "version": child.content_hash()})
        assert run(made(step), child).output == "this one"

    def test_a_workflow_that_calls_itself_for_ever_ends_by_name(self) -> None:
        endless = made(call(workflow="child"))
        ended = run(endless, endless)
        assert ended.error is not None and ended.error["name"] == "DepthExceeded"
        assert len(ended.steps) == 21

    def test_the_deadline_of_the_parent_bounds_the_child(self) -> None:
        parent = made(call(), timeoutMs=500)
        ended = run(parent, made(task("c1"), timeoutMs=900), durations={"c1": 1000})
        assert ended.error is not None and ended.error["name"] == "ExecutionTimeout"
        assert listed(ended) == [("call", 500, "cancelled"), ("call/c1", 500, "cancelled")]

    def test_a_child_out_of_its_own_time_fails_the_step(self) -> None:
        parent = made(call(onError="after"), task("after"), timeoutMs=5000)
        ended = run(parent, made(task("c1"), timeoutMs=300), durations={"c1": 1000})
        assert listed(ended)[-1] == ("after", 300, "completed")

    def test_a_step_out_of_time_cancels_its_child(self) -> None:
        parent = made(
            call(timeout=200, onError=[{"errors": ["StepTimeout"], "next": "after"}]),
            task("after"),
        )
        ended = run(parent, made(task("c1")), durations={"c1": 1000})
        assert listed(ended) == [
            ("call", 200, "failed"),
            ("call/c1", 200, "cancelled"),
            ("after", 200, "completed"),
        ]

    def test_the_child_of_a_branch_that_lost_is_cancelled(self) -> None:
        branches = [{"steps": [call()]}, {"steps": [task("quick")]}]
        parent = made(
            {"id": "p", "type": "parallel", "parallel": {"branches": branches, "join": "any"}}
        )
        ended = run(parent, made(task("c1")), durations={"c1": 1000, "quick": 10})
        assert ("p/0/call/c1", 10, "cancelled") in listed(ended)


# --- on the journal, worker and warden played by the test ---------------------------------------


@pytest.fixture
def manager(redis: Redis, settings: Settings, redis_url: str) -> Iterator[WorkflowManager]:
    runtime = Runtime(settings, redis_url)
    runtime.advancer.dispatch = lambda plan, execution, paths: None
    manager = WorkflowManager(runtime)
    manager.define("child", made(task("c1")))
    manager.define("parent", made(call(next="after"), task("after")))
    yield manager
    runtime.close()


def child_of(execution: str, path: str = "call", attempt: int = 1) -> str:
    return Call(execution, path, attempt).child


def complete(manager: WorkflowManager, execution: str, path: str, output: Any = None) -> None:
    journal = manager.journal
    plan = manager.plans.get(journal.plan_of(execution) or "")
    claimed = journal.claim(
        execution,
        path,
        owner="me/1/a",
        plan=plan.key,
        queue="work",
        reads=fields_for(plan, path),
        lease=1000,
    )
    assert isinstance(claimed, Claimed)
    manager.runtime.advancer.settle(plan, claimed.view, path, claimed.state, Completed(output))


def status_of(manager: WorkflowManager, execution: str, path: str) -> StepStatus:
    found = manager.journal.read_state(execution, path)
    assert found is not None
    return found[1].status


def watched(manager: WorkflowManager, execution: str) -> set[str]:
    keys = manager.journal.keys
    members = manager.journal.redis.zrange(keys.watch(keys.partition(execution)), 0, -1)
    return {path for own, _, path in (m.partition(" ") for m in members) if own == execution}


def test_the_child_names_its_parent_and_the_step_its_child(manager: WorkflowManager) -> None:
    parent = manager.start("parent").id
    context = manager.status(parent)
    child = child_of(parent)
    assert context.steps[0].child == child
    assert context.waiting_for == {"call": f"child execution {child}"}
    assert manager.status(child).parent == parent
    assert watched(manager, parent) == {"call"}
    assert watched(manager, child) == {"", "c1"}


def test_a_child_that_is_started_twice_is_started_once(manager: WorkflowManager) -> None:
    parent = manager.start("parent").id
    for _ in range(3):
        manager.runtime.advancer.call(parent, "call")
    started = [e for e in manager.history(child_of(parent)) if e.event == "started"]
    assert len(started) == 1


def test_the_end_of_a_child_that_is_told_twice_counts_once(manager: WorkflowManager) -> None:
    parent = manager.start("parent").id
    complete(manager, child_of(parent), "c1", "done")
    manager.runtime.advancer.call(parent, "call")
    assert [e.path for e in manager.history(parent) if e.event == "completed"] == ["call"]
    assert status_of(manager, parent, "after") is StepStatus.DISPATCHED


def test_cancelling_the_parent_cancels_children_and_their_children(
    manager: WorkflowManager,
) -> None:
    manager.define("grandparent", made(call(workflow="parent")))
    top = manager.start("grandparent").id
    middle = child_of(top)
    assert manager.cancel(top)
    for execution in (top, middle, child_of(middle)):
        assert manager.journal.status(execution) is ExecutionStatus.CANCELLED
        assert watched(manager, execution) == set()


def test_cancelling_the_child_fails_the_step_by_name(manager: WorkflowManager) -> None:
    parent = manager.start("parent").id
    assert manager.cancel(child_of(parent), "not wanted")
    error = manager.journal.record(parent).error or {}
    assert (error["name"], error["child"]) == ("ChildCancelled", child_of(parent))
    assert "not wanted" in error["message"]


def test_a_child_that_nobody_waits_for_is_cancelled_by_its_own_look(
    manager: WorkflowManager,
) -> None:
    parent = manager.start("parent").id
    child = child_of(parent)
    manager.runtime.advancer.look_at_whole(child)
    assert manager.journal.status(child) is ExecutionStatus.RUNNING
    assert watched(manager, child) == {"", "c1"}
    # The parent's worker died before it could tell the child.
    manager.journal.end(parent, ExecutionStatus.CANCELLED, {"name": "Cancelled", "message": ""})
    manager.runtime.advancer.look_at_whole(child)
    assert manager.journal.status(child) is ExecutionStatus.CANCELLED


def test_a_parent_that_ends_while_its_child_is_started_takes_the_child_along(
    manager: WorkflowManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = manager.runtime.journal
    begin = journal.start

    def slowly(start: Start, *behind: Any) -> bool:
        if start.parent is not None:
            error = {"name": "Cancelled", "message": ""}
            journal.end(start.parent.execution, ExecutionStatus.CANCELLED, error)
        return begin(start)

    monkeypatch.setattr(journal, "start", slowly)
    parent = manager.start("parent").id
    assert journal.status(child_of(parent)) is ExecutionStatus.CANCELLED


def test_the_version_of_the_child_is_that_of_its_start(manager: WorkflowManager) -> None:
    first = manager.start("parent").id
    newer = manager.define("child", made(task("c2")))
    second = manager.start("parent").id
    versions = [manager.journal.record(child_of(parent)).version for parent in (first, second)]
    assert versions[1] == newer.version != versions[0]
    pinned = call(workflow={"name": "child", "version": versions[0]})
    manager.define("pinned", made(pinned))
    assert manager.journal.record(child_of(manager.start("pinned").id)).version == versions[0]
    assert manager.journal.latest_version("child") == newer.version


def test_a_file_brings_the_workflows_beside_it_that_it_calls(
    manager: WorkflowManager, tmp_path: Path
) -> None:
    manager.save(manager.define("x", made(call(workflow="beside"))), tmp_path / "above.yaml")
    manager.save(manager.get("child"), tmp_path / "beside.yaml")
    manager.load(tmp_path / "above.yaml")
    parent = manager.start("above").id
    assert manager.journal.record(child_of(parent)).workflow == "beside"


# --- real processes -----------------------------------------------------------------------------


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as orchestrator:
        yield orchestrator
    redis.flushall()  # queues and bindings of the workers


def include(tmp_path: Path) -> list[str]:
    (tmp_path / "capabilities.py").write_text(CAPABILITIES)
    return [str(tmp_path / "capabilities.py")]


def define_family(orchestrator: Orchestrator) -> None:
    orchestrator.define_workflow("child", made(task("c1", input={"text": "$.input.text"})))
    orchestrator.define_workflow(
        "parent",
        made(
            task("first", next="call"),
            call(input={"text": "$.input.text"}, output="answer", next="after"),
            task("after", input={"text": "$.variables.answer"}),
        ),
    )


def assert_once(execution: Execution) -> None:
    completed = [e.path for e in execution.history() if e.event == "completed"]
    assert completed == ["first", "call", "after"]


def test_parents_and_children_run_on_real_workers(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    define_family(orchestrator)
    with orchestrator.workers(include=include(tmp_path), pool="threads"):
        execution = orchestrator.start_workflow("parent", {"text": "x"})
        ended = execution.wait(timeout=30)
    assert (ended.status, ended.variables, ended.output) == ("completed", {"answer": "X"}, "X")
    assert ended.metrics.duration < 3000, "nobody waited for a re-check"
    assert_once(execution)


@pytest.mark.parametrize("point", ["settled", "child_started", "child_ended"])
def test_a_worker_that_is_killed_between_parent_and_child_costs_a_look(
    orchestrator: Orchestrator, tmp_path: Path, point: str
) -> None:
    define_family(orchestrator)
    struck = tmp_path / point
    environment = {"ORCH_FAULT_POINT": f"{point}:{struck}"}
    with orchestrator.workers(
        count=2, concurrency=1, pool="solo", include=include(tmp_path), environment=environment
    ):
        execution = orchestrator.start_workflow("parent", {"text": "x"})
        ended = execution.wait(timeout=40)
    assert struck.exists()
    assert (ended.status, ended.output) == ("completed", "X")
    assert_once(execution)
    child = orchestrator.execution(child_of(execution.id))
    assert [e.event for e in child.history()].count("started") == 1
    assert [e.event for e in child.history()].count("completed") == 1


def test_a_parent_that_is_cancelled_takes_running_children_along(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., object]
) -> None:
    hold = {"id": "c1", "capability": "hold", "input": {"until": str(tmp_path / "go")}}
    orchestrator.define_workflow("child", made(hold))
    orchestrator.define_workflow("parent", made(call()))
    with orchestrator.workers(include=include(tmp_path), pool="threads"):
        execution = orchestrator.start_workflow("parent")
        child = orchestrator.execution(child_of(execution.id))
        wait_until(lambda: child.status().steps[0].status == "running")
        orchestrator.manager.cancel(execution.id)
        assert child.status().status == "cancelling"
        (tmp_path / "go").touch()
        assert execution.wait(30).status == child.status().status == "cancelled"
