"""Steps that wait for events or emit them: who takes one, once, and what is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.cli.app import run_command
from orch.control.manager import WorkflowManager
from orch.control.runtime import Runtime
from orch.control.simulation import Simulation, simulate
from orch.errors import InputError, NotFound
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.events import Occurrence
from orch.workflows.state import StepStatus
from orch.workflows.validation import errors_in, validate_definition

Step = dict[str, Any]
CAPABILITIES = """
from orch import capability

@capability("work")
def work():
    return "done"
"""


def made(*steps: Step, **given: Any) -> WorkflowDefinition:
    return WorkflowDefinition.model_validate({"name": "flow", "steps": list(steps), **given})


def task(id: str, **given: Any) -> Step:
    return {"id": id, "capability": "work", **given}


def listen(id: str = "wait", event: str = "paid", next: Any = None, **given: Any) -> Step:
    step = {k: given.pop(k) for k in ("onError", "output") if k in given}
    return {"id": id, "type": "event", "event": {"name": event, **given}, "next": next, **step}


def emit(id: str = "tell", event: str = "paid", next: Any = None, **given: Any) -> Step:
    asked = {"name": event, "action": "emit", **given}
    return {"id": id, "type": "event", "event": asked, "next": next}


def fork(*branches: list[Step], **given: Any) -> Step:
    of = {"branches": [{"steps": steps} for steps in branches]}
    return {"id": "p", "type": "parallel", "parallel": of, **given}


def run(*steps: Step, **mocks: Any) -> Simulation:
    return simulate(made(*steps), key="flow", mocks=mocks)


def listed(simulation: Simulation) -> list[tuple[str, int, str]]:
    return [(step.path, step.at_ms, step.outcome) for step in simulation.steps]


class TestSimulated:
    def test_what_one_branch_emits_another_takes(self) -> None:
        ended = run(
            fork(
                [listen(output="got")],
                [task("slow", next="tell"), emit(payload={"by": "$.output"})],
            ),
            durations={"slow": 70},
            outputs={"slow": "card"},
        )
        assert ended.variables == {"got": {"by": "card"}}
        assert ("p/0/wait", 70, "completed") in listed(ended)

    def test_an_event_comes_from_outside_as_mocked(self) -> None:
        ended = run(listen(next="after"), task("after"), events={"wait": 5})
        assert listed(ended) == [("wait", 0, "completed"), ("after", 0, "completed")]

    def test_one_that_nobody_emits_is_named(self) -> None:
        with pytest.raises(InputError, match="wait"):
            run(listen())

    def test_out_of_time_it_fails_by_name(self) -> None:
        ended = run(listen(timeout=500))
        assert ended.error is not None and ended.error["name"] == "EventTimeout"
        assert listed(ended) == [("wait", 500, "failed")]

    def test_out_of_time_it_goes_where_on_timeout_says(self) -> None:
        ended = run(
            listen(timeout=500, onTimeout="late", next="after"), task("after"), task("late")
        )
        assert listed(ended)[-1] == ("late", 500, "completed")

    def test_an_event_against_time_is_a_race(self) -> None:
        parts = [listen()], [{"id": "pause", "type": "wait", "wait": {"duration": "P3D"}}]
        race = fork(*parts)
        race["parallel"]["join"] = "any"
        paid, late = run(race, events={"wait": "yes"}), run(race | {"id": "p"}, outputs={})
        assert paid.output["results"] == ["yes", None]
        assert late.output["results"] == [None, None]
        assert ("p/0/wait", 3 * 24 * 3600 * 1000, "cancelled") in listed(late)

    def test_only_what_matches_is_taken(self) -> None:
        ended = run(
            fork(
                [listen(match="$.event.amount > 10", output="got")],
                [
                    task("a", next="small"),
                    emit("small", payload={"amount": 5}, next="b"),
                    task("b", next="big"),
                    emit("big", payload={"amount": 50}),
                ],
            ),
            durations={"a": 10, "b": 10},
        )
        assert ended.variables == {"got": {"amount": 50}}

    def test_a_match_that_cannot_be_evaluated_fails_the_step(self) -> None:
        ended = run(listen(match="$.event - 1 > 0"), events={"wait": "text"})
        assert ended.status == "failed" and ended.error is not None
        assert ended.error["step"] == "wait"

    def test_an_event_of_another_correlation_is_not_taken(self) -> None:
        ended = run(
            fork(
                [listen("one", correlation="order-1", timeout=900)],
                [listen("two", correlation="order-2")],
                [listen("any")],
                [task("a", next="tell"), emit(correlation="order-2")],
            ),
            durations={"a": 10},
        )
        found = {path: outcome for path, _, outcome in listed(ended)}
        assert (found["p/0/one"], found["p/1/two"]) == ("failed", "completed")
        assert found["p/2/any"] == "completed"

    def test_one_that_came_before_the_step_was_kept_and_is_taken_once(self) -> None:
        ended = run(
            emit(correlation="c", payload=1, next="first"),
            listen("first", correlation="c", next="second"),
            listen("second", correlation="c", timeout=100),
        )
        found = [(path, outcome) for path, _, outcome in listed(ended)]
        assert found == [("tell", "completed"), ("first", "completed"), ("second", "failed")]

    def test_one_without_correlation_is_not_kept(self) -> None:
        ended = run(emit(next="wait"), listen(timeout=100))
        assert ended.error is not None and ended.error["name"] == "EventTimeout"


def test_the_payload_may_be_read_in_a_match_and_nowhere_else() -> None:
    assert errors_in(validate_definition(made(listen(match="$.event.ok")))) == []
    other = made(task("a", input="$.event"))
    assert "`$.event` is unknown" in errors_in(validate_definition(other))[0].message


# --- on the journal, workers played by the test -------------------------------------------------


@pytest.fixture
def manager(redis: Redis, settings: Settings, redis_url: str) -> Iterator[WorkflowManager]:
    runtime = Runtime(settings, redis_url)
    runtime.advancer.dispatch = lambda plan, execution, paths: None
    yield WorkflowManager(runtime)
    runtime.close()


def status_of(manager: WorkflowManager, execution: str, path: str = "wait") -> str:
    found = manager.journal.read_state(execution, path)
    return found[1].status.value if found else ""


def registered(journal: Journal) -> list[str]:
    keys = [journal.keys.listening(number) for number in range(journal.keys.partitions)]
    return [str(member) for key in keys for member in journal.redis.zrange(key, 0, -1)]


def test_all_that_wait_take_it_each_once_although_it_is_told_twice(
    manager: WorkflowManager,
) -> None:
    manager.define("w", made(listen(next="wait2"), listen("wait2")))
    executions = [manager.start("w").id for _ in range(5)]
    assert manager.trigger_event("paid", 1, id="e1") == 5
    assert manager.trigger_event("paid", 1, id="e1") == 0
    for execution in executions:
        completed = [e.path for e in manager.history(execution) if e.event == "completed"]
        assert completed == ["wait"]
        assert status_of(manager, execution, "wait2") == "listening"
    assert manager.trigger_event("paid", 1, id="e2") == 5


def test_one_that_many_tell_at_once_is_taken_once(manager: WorkflowManager) -> None:
    again = {"until": "$.index >= 3", "steps": [listen(correlation="c")]}
    manager.define("w", made({"id": "l", "type": "loop", "loop": again}))
    execution = manager.start("w").id

    def tell() -> None:
        manager.trigger_event("paid", correlation="c", id="e1")

    threads = [threading.Thread(target=tell) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    completed = [e.path for e in manager.history(execution) if e.event == "completed"]
    assert completed == ["l[0]/wait"]


def test_a_telling_that_was_cut_short_is_finished_by_the_next(
    manager: WorkflowManager,
) -> None:
    manager.define("w", made(listen()))
    execution = manager.start("w").id
    later = manager.journal.clock() + 1000
    manager.journal.clock = lambda: later
    manager.journal.first_triggered("e1")  # and then its process died
    assert manager.trigger_event("paid", id="e1") == 1
    assert status_of(manager, execution) == "completed"


def test_one_execution_alone_may_be_meant(manager: WorkflowManager) -> None:
    manager.define("w", made(listen()))
    one, other = manager.start("w").id, manager.start("w").id
    assert manager.trigger_event("paid", execution=one) == 1
    assert (status_of(manager, one), status_of(manager, other)) == ("completed", "listening")
    assert manager.trigger_event("paid", execution=one) == 0, "it has ended"
    with pytest.raises(NotFound):
        manager.trigger_event("paid", execution="never")
    with pytest.raises(InputError, match="payload"):
        manager.trigger_event("paid", object())


def test_what_was_sent_to_an_execution_before_its_step_is_kept(
    manager: WorkflowManager, redis: Redis
) -> None:
    pause = {"id": "pause", "type": "wait", "wait": {"duration": "P1D"}, "next": "wait"}
    manager.define("w", made(pause, listen(match="$.event == 2")))
    execution = manager.start("w").id
    for payload in (1, 2, 3):
        manager.trigger_event("paid", payload, execution=execution)
    state = manager.journal.read_state(execution, "pause")
    assert state is not None
    manager.runtime.advancer.fire(execution, "pause", state[1])
    assert manager.journal.record(execution).output == 2
    assert redis.pttl(manager.journal.keys.mailbox(execution)) > 0


def test_no_more_than_the_latest_are_kept(manager: WorkflowManager, redis: Redis) -> None:
    for number in range(manager.settings.events_kept + 5):
        manager.journal.keep_event(Occurrence(f"e{number}", "paid", number, "c"))
    kept = manager.journal.kept_events("x", "paid", "c")
    assert len(kept) == manager.settings.events_kept and kept[0].payload == 5


def test_one_that_came_between_is_found_by_the_warden(manager: WorkflowManager) -> None:
    manager.define("w", made(listen(correlation="c")))
    manager.runtime.advancer.follow = lambda *_, **__: None  # type: ignore[method-assign]
    manager.trigger_event("paid", 7, correlation="c")
    execution = manager.start("w").id  # its process died before it looked at what was kept
    state = manager.journal.read_state(execution, "wait")
    assert state is not None and state[1].status is StepStatus.LISTENING
    manager.runtime.advancer.look_at_listening(execution, "wait", state[1])
    assert manager.journal.record(execution).output == 7


def test_nobody_is_listed_who_does_not_wait_any_more(manager: WorkflowManager) -> None:
    branches = fork([listen("a")], [listen("b", "failed")], [task("c")])
    branches["parallel"]["join"] = "any"
    manager.define("w", made(branches))
    won, cancelled = manager.start("w").id, manager.start("w").id
    assert len(registered(manager.journal)) == 4
    manager.trigger_event("paid", execution=won)
    assert len(registered(manager.journal)) == 2
    manager.cancel(cancelled)
    assert registered(manager.journal) == []


def test_the_status_says_what_it_waits_for(manager: WorkflowManager) -> None:
    manager.define("w", made(listen(correlation="${$.input.order}")))
    execution = manager.start("w", {"order": 7}).id
    assert "event 'paid' of '7'" in manager.status(execution).waiting_for["wait"]


# --- real processes -----------------------------------------------------------------------------


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as orchestrator:
        yield orchestrator
    redis.flushall()  # queues and bindings of the workers


@pytest.mark.parametrize(
    "point", [pytest.param(None, marks=pytest.mark.long), "settled", "emitted"]
)
def test_an_emitted_event_arrives_once_although_its_worker_is_killed(
    orchestrator: Orchestrator,
    tmp_path: Path,
    point: str | None,
    wait_until: Callable[..., object],
) -> None:
    (tmp_path / "capabilities.py").write_text(CAPABILITIES)
    struck = tmp_path / "struck"
    environment = {"ORCH_FAULT_POINT": f"{point}:{struck}"} if point else {}
    orchestrator.define_workflow("taker", made(listen(next="more"), listen("more", "other")))
    orchestrator.define_workflow("giver", made(task("a", next="tell"), emit(payload=[1])))
    taker = orchestrator.start_workflow("taker")
    with orchestrator.workers(
        count=2,
        concurrency=1,
        pool="solo",
        include=[str(tmp_path / "capabilities.py")],
        environment=environment,
    ):
        assert orchestrator.start_workflow("giver").wait(timeout=40).status == "completed"
        wait_until(lambda: taker.status().steps[0].status == "completed")
        assert orchestrator.trigger_event("other", 2) == 1
        assert taker.wait(timeout=40).output == 2
    assert struck.exists() == bool(point)
    assert [e.path for e in taker.history() if e.event == "completed"] == ["wait", "more"]


def test_a_timeout_is_seen_by_a_real_warden(orchestrator: Orchestrator, tmp_path: Path) -> None:
    (tmp_path / "capabilities.py").write_text(CAPABILITIES)
    orchestrator.define_workflow("w", made(listen(timeout=300, onTimeout="late"), task("late")))
    with orchestrator.workers(pool="solo", include=[str(tmp_path / "capabilities.py")]):
        ended = orchestrator.start_workflow("w").wait(timeout=30)
    assert (ended.output, ended.metrics.duration < 3000) == ("done", True)


def test_the_command_tells_and_says_how_many_took_it(
    orchestrator: Orchestrator, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator.define_workflow("w", made(listen(correlation="c")))
    execution = orchestrator.start_workflow("w")
    told = ["emit", "paid", "--payload", '{"n": 1}', "--correlation", "c", "--redis", redis_url]
    assert run_command(told) == 0
    assert capsys.readouterr().out == "event paid was taken by 1 step\n"
    assert execution.status().output == {"n": 1}
    assert run_command([*told[:3], "{", *told[4:]]) == 2
