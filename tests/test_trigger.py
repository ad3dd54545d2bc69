"""Workflows that events start: which, with what, once, and what ends a circle."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.cli.app import run_command
from orch.control.manager import WorkflowManager
from orch.control.runtime import Runtime
from orch.control.simulation import simulate
from orch.settings import Settings
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.validation import validate_document

Step = dict[str, Any]
PAUSE = {"id": "pause", "type": "wait", "wait": {"duration": "P1D"}}


def made(*triggers: dict[str, Any], steps: Any = (PAUSE,), **given: Any) -> WorkflowDefinition:
    content = {"name": "flow", "steps": list(steps), "triggers": list(triggers), **given}
    return WorkflowDefinition.model_validate(content)


def on(event: str = "order.created", **given: Any) -> dict[str, Any]:
    return {"event": event, **given}


def emit(event: str, id: str = "tell", **given: Any) -> Step:
    step = {k: given.pop(k) for k in ("next", "onError") if k in given}
    return {"id": id, "type": "event", "event": {"name": event, "action": "emit", **given}, **step}


@pytest.fixture
def manager(redis: Redis, settings: Settings, redis_url: str) -> Iterator[WorkflowManager]:
    runtime = Runtime(settings, redis_url)
    runtime.advancer.dispatch = lambda plan, execution, paths: None
    yield WorkflowManager(runtime)
    runtime.close()


def ids(manager: WorkflowManager) -> set[str]:
    return {info.id for info in manager.executions()}


def index(manager: WorkflowManager) -> dict[str, list[str]]:
    found = manager.journal.redis.scan_iter("orch:triggers:*")
    return {
        str(key).removeprefix("orch:triggers:"): manager.journal.redis.hkeys(key) for key in found
    }


# --- which, and with what -----------------------------------------------------------------------


def test_an_event_starts_the_workflows_that_name_it_with_their_input(
    manager: WorkflowManager,
) -> None:
    manager.define("whole", made(on()))
    manager.define("big", made(on(match="$.event.total > 10", input={"sum": "$.event.total"})))
    manager.define("other", made(on("order.paid")))
    told = manager.trigger_event("order.created", {"total": 50})
    assert (told, told.taken, told.not_triggered) == (0, 0, ())
    found = {each.workflow: manager.journal.record(each.execution) for each in told.triggered}
    assert set(found) == {"whole", "big"}
    assert found["whole"].input == {"total": 50} and found["big"].input == {"sum": 50}
    assert manager.trigger_event("order.created", {"total": 5}).triggered[0].workflow == "whole"
    assert manager.trigger_event("nothing").triggered == ()


def test_the_history_says_what_started_it(manager: WorkflowManager) -> None:
    manager.define("w", made(on()))
    (execution,) = manager.trigger_event("order.created", id="e1").started
    (entry,) = [e for e in manager.history(execution) if e.event == "triggered_by"]
    assert entry.detail == {"event": "order.created", "id": "e1"}


def test_a_correlation_is_asked_for_literally(manager: WorkflowManager) -> None:
    manager.define("w", made(on(correlation="shop-1", input="$.correlation")))
    assert not manager.trigger_event("order.created").started
    assert not manager.trigger_event("order.created", correlation="shop-2").started
    (execution,) = manager.trigger_event("order.created", correlation="shop-1").started
    assert manager.journal.record(execution).input == "shop-1"


def test_an_event_for_one_execution_starts_none(manager: WorkflowManager) -> None:
    manager.define("w", made(on()))
    running = manager.start("w").id
    assert not manager.trigger_event("order.created", execution=running).triggered


def test_of_several_triggers_the_first_that_takes_it_counts(manager: WorkflowManager) -> None:
    first = on(match="$.event.total > 10", input="big")
    manager.define("w", made(first, on(match="$.event.kind == 'b'", input="b")))
    (one,) = manager.trigger_event("order.created", {"total": 50, "kind": "b"}).started
    (two,) = manager.trigger_event("order.created", {"total": "many", "kind": "b"}).started
    assert [manager.journal.record(each).input for each in (one, two)] == ["big", "b"]


# --- once ---------------------------------------------------------------------------------------


def test_the_same_event_starts_each_workflow_once(manager: WorkflowManager) -> None:
    manager.define("w", made(on()))
    first = manager.trigger_event("order.created", 1, id="e1")
    again = manager.trigger_event("order.created", 2, id="e1")
    assert len(first.started) == 1 and again.started == ()
    assert [(e.execution, e.existed) for e in again.triggered] == [(first.started[0], True)]
    assert manager.trigger_event("order.created", 1, id="e2").started != first.started


def test_also_when_many_tell_it_at_once(manager: WorkflowManager) -> None:
    manager.define("w", made(on()))
    told: list[str] = []

    def tell() -> None:
        told.extend(manager.trigger_event("order.created", id="e1").started)

    threads = [threading.Thread(target=tell) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 1 and ids(manager) == set(told)


def test_a_telling_that_was_cut_short_is_finished_by_the_next(manager: WorkflowManager) -> None:
    manager.define("w", made(on()))
    later = manager.journal.clock() + 1000
    manager.journal.clock = lambda: later
    manager.journal.first_triggered("e1")  # and then its process died
    assert len(manager.trigger_event("order.created", id="e1").started) == 1


def test_an_event_starts_nothing_that_was_defined_after_it(manager: WorkflowManager) -> None:
    manager.trigger_event("order.created", id="e1")
    later = manager.journal.clock() + 1000
    manager.journal.clock = lambda: later
    manager.define("w", made(on()))
    assert not manager.trigger_event("order.created", id="e1").triggered
    assert manager.trigger_event("order.created", id="e2").started


# --- what the latest version says ---------------------------------------------------------------


def test_a_version_without_the_trigger_takes_it_back(manager: WorkflowManager) -> None:
    manager.define("w", made(on(), on("order.paid")))
    assert index(manager) == {"order.created": ["w"], "order.paid": ["w"]}
    manager.define("w", made(on("order.paid")))
    assert index(manager) == {"order.paid": ["w"]}
    assert not manager.trigger_event("order.created").triggered
    assert manager.trigger_event("order.paid").started
    manager.define("w", made())
    assert index(manager) == {} and not manager.trigger_event("order.paid").triggered


def test_a_canary_triggers_when_it_is_promoted(manager: WorkflowManager) -> None:
    manager.define("w", made())
    manager.define("w", made(on()), canary=100)
    assert not manager.trigger_event("order.created").triggered
    manager.canaries.promote("w")
    assert manager.trigger_event("order.created").started


def test_an_entry_that_is_too_much_starts_nothing(manager: WorkflowManager) -> None:
    """Whoever defined the version before died before it took the entry back."""
    manager.define("w", made())
    manager.journal.redis.hset(manager.journal.keys.triggers("order.created"), "w", 1)
    manager.journal.redis.hset(manager.journal.keys.triggers("order.created"), "gone", 1)
    assert not manager.trigger_event("order.created").triggered


def test_versions_that_are_defined_at_once_leave_the_index_of_the_latest(
    manager: WorkflowManager, redis_url: str, settings: Settings
) -> None:
    managers = [WorkflowManager(Runtime(settings, redis_url)) for _ in range(4)]

    def define(number: int) -> None:
        for lap in range(20):
            wanted = [on(f"e{number}")] if (lap + number) % 2 else []
            managers[number].define("w", made(*wanted, description=f"{number} {lap % 3}"))

    threads = [threading.Thread(target=define, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latest = manager.get("w").definition
    assert {t.event for t in latest.triggers} <= set(index(manager))
    for each in managers:
        each.runtime.close()


# --- what cannot be -----------------------------------------------------------------------------


def test_one_that_cannot_be_started_is_told_and_stops_no_other(manager: WorkflowManager) -> None:
    schema = {"type": "object", "required": ["sum"]}
    manager.define("a_schema", made(on(), input=schema))
    manager.define("b_match", made(on(match="$.event - 1 > 0")))
    manager.define("c_fine", made(on()))
    told = manager.trigger_event("order.created", "text")
    assert [each.workflow for each in told.triggered] == ["c_fine"]
    missed = {each.workflow: (each.name, each.message) for each in told.not_triggered}
    assert set(missed) == {"a_schema", "b_match"}
    assert missed["a_schema"][0] == "InputError" and "must be an object" in missed["a_schema"][1]
    assert json.dumps(told.as_dict())


def test_a_circle_of_events_ends_with_a_sentence(manager: WorkflowManager) -> None:
    manager.define("circle", made(on("round"), steps=[emit("round")]))
    first = manager.start("circle").id
    found = manager.executions()
    assert len(found) == manager.settings.max_depth + 1
    statuses = [info.status for info in found]
    assert statuses.count("failed") == 1 and statuses.count("completed") == len(found) - 1
    (deepest,) = [info.id for info in found if info.status == "failed"]
    error = manager.journal.record(deepest).error
    assert error is not None and error["name"] == "DepthExceeded" and error["step"] == "tell"
    assert "`max_depth`" in error["message"] and "'circle'" in error["message"]
    assert [e.event for e in manager.history(first)].count("triggered") == 1


def test_a_long_circle_needs_no_stack(manager: WorkflowManager) -> None:
    deep = manager.settings.model_copy(update={"max_depth": 300})
    manager.journal.settings = deep
    manager.define("circle", made(on("round"), steps=[emit("round")]))
    manager.start("circle")
    assert len(manager.executions(limit=1000)) == 301


def test_a_depth_goes_through_children_too(manager: WorkflowManager) -> None:
    call = {"id": "call", "type": "subworkflow", "subworkflow": "teller"}
    manager.define("teller", made(steps=[emit("told")]))
    manager.define("parent", made(on("told"), steps=[call]))
    manager.start("parent")
    found = [info for info in manager.executions(limit=500) if info.status == "failed"]
    assert found and len(manager.executions(limit=500)) <= manager.settings.max_depth + 2


# --- validation and simulation ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "path", "sentence"),
    [
        ({"match": "$.event.a"}, "triggers[0].event", "is missing"),
        ({"event": ""}, "triggers[0].event", "must not be empty"),
        (on(match="$.event.a >"), "triggers[0].match", ""),
        (on(match="$.input.a"), "triggers[0].match", "`$.input` is unknown in a trigger"),
        (on(input={"a": "$.variables.x"}), "triggers[0].input.a", "`$.variables` is unknown"),
        (on(filter="x"), "triggers[0].filter", "unknown field"),
    ],
)
def test_a_trigger_is_checked_with_its_definition(
    trigger: dict[str, Any], path: str, sentence: str
) -> None:
    _, findings = validate_document({"name": "w", "steps": [PAUSE], "triggers": [trigger]})
    assert any(
        f.severity == "error" and f.path == path and sentence in f.message for f in findings
    ), findings


def test_a_workflow_that_starts_itself_is_warned_of() -> None:
    document = {"name": "w", "steps": [emit("round")], "triggers": [on("round")]}
    _, findings = validate_document(document)
    assert [(f.severity, f.path) for f in findings] == [("warning", "triggers[0].event")]


def test_a_simulation_tells_what_would_be_started_and_runs_nothing_of_it() -> None:
    flow = made(
        on("round", match="$.event < 5", input={"n": "$.event"}),
        steps=[emit("round", payload=1, next="more"), emit("round", "more", payload=9)],
    )
    ended = simulate(flow, key="w")
    assert ended.status == "completed"
    assert [start.as_dict() for start in ended.triggered] == [
        {"workflow": "w", "event": "round", "at_ms": 0, "input": {"n": 1}}
    ]
    assert ended.as_dict()["triggered"]


# --- real processes -----------------------------------------------------------------------------


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as orchestrator:
        yield orchestrator
    redis.flushall()  # queues and bindings of the workers


@pytest.mark.parametrize(
    "point", [pytest.param(None, marks=pytest.mark.long), "triggered", "emitted", "settled"]
)
def test_an_emitting_step_starts_each_once_although_its_worker_is_killed(
    orchestrator: Orchestrator, tmp_path: Path, point: str | None, wait_until: Any
) -> None:
    (tmp_path / "capabilities.py").write_text(
        "from orch import capability\n@capability('work')\ndef work(**given):\n    return given\n"
    )
    struck = tmp_path / "struck"
    environment = {"ORCH_FAULT_POINT": f"{point}:{struck}"} if point else {}
    work = {"id": "a", "capability": "work", "input": {"got": "$.input"}}
    for name in ("one", "two"):
        orchestrator.define_workflow(name, made(on("paid"), steps=[work]))
    orchestrator.define_workflow(
        "giver", made(steps=[{**work, "next": "tell"}, emit("paid", payload=[7])])
    )
    with orchestrator.workers(
        count=2,
        concurrency=1,
        pool="solo",
        include=[str(tmp_path / "capabilities.py")],
        environment=environment,
    ):
        giver = orchestrator.start_workflow("giver")
        assert giver.wait(timeout=40).status == "completed"
        started = [i for i in orchestrator.list_executions() if i.workflow != "giver"]
        assert sorted(info.workflow for info in started) == ["one", "two"]
        for info in started:
            assert orchestrator.execution(info.id).wait(timeout=40).output == {"got": [7]}
    assert struck.exists() == bool(point)
    noted = [e.detail["execution"] for e in giver.history() if e.event == "triggered"]
    assert sorted(noted) == sorted(info.id for info in started)


def test_the_command_names_what_it_started_and_what_it_could_not(
    orchestrator: Orchestrator, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator.define_workflow("fine", made(on("paid")))
    orchestrator.define_workflow("strict", made(on("paid"), input={"type": "string"}))
    command = ["emit", "paid", "--payload", '{"n": 1}', "--id", "e1", "--redis", redis_url]
    assert run_command([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["event"], found["taken"]) == ("paid", 0)
    (started,), (missed,) = found["started"], found["not_started"]
    assert (started["workflow"], started["existed"]) == ("fine", False)
    assert (missed["workflow"], missed["error"]["name"]) == ("strict", "InputError")
    assert run_command(command) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "event paid was taken by 0 steps and started 0",
        f"  fine: {started['execution']} (before)",
    ]
    assert "strict was not started: InputError" in said.err
