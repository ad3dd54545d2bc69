"""Tasks that somebody outside does: begun, listed, reported once, given up in time."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.cli.app import run_command
from orch.control.external import ExternalTasks
from orch.control.simulation import simulate
from orch.control.status import unserved
from orch.errors import AlreadyReported, InputError, NotAllowed, NotFound
from orch.journal.journal import Journal, Refused
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.external import TaskId
from orch.workflows.state import ExecutionStatus, StepStatus
from orch.workflows.validation import validate_document
from tests.build import FakeClock, parallel, start, task, wait, workflow
from tests.test_control import Steered


def outside(step_id: str, next: Any = None, **more: Any) -> dict[str, Any]:
    return task(step_id, next, external=True, **more)


class Outside(Steered):
    """An execution, and those who do its external tasks."""

    def __init__(self, journal: Journal, *steps: dict[str, Any], **more: Any) -> None:
        super().__init__(start(journal, *steps, **more))
        self.tasks = ExternalTasks(self.verbs.runtime)

    def status(self, path: str) -> StepStatus:
        return self.worked.state(path).status

    def open(self) -> list[str]:
        return [task.id for task in self.tasks.list()]

    def error(self) -> str:
        return str((self.journal.record("x1").error or {}).get("name"))


def test_it_is_held_with_its_input_until_somebody_reports(journal: Journal) -> None:
    found = Outside(
        journal,
        outside("a", "b", input={"n": "$.input.n"}, output={"x": "$.output.x"}, timeout=5000),
        task("b"),
        input={"n": 7},
    )
    (open_task,) = found.tasks.list("work")
    assert (open_task.id, open_task.input, open_task.capability) == ("x1:a:1", {"n": 7}, "work")
    assert open_task.deadline is not None and open_task.heartbeat is None
    assert found.worked.sent == []
    assert found.tasks.list("worker") == []
    assert found.tasks.complete("x1:a:1", {"x": 1}, by="Ada")
    assert (found.status("a"), found.status("b")) == (StepStatus.COMPLETED, StepStatus.DISPATCHED)
    assert found.worked.sent == ["b"] and found.open() == []
    assert journal.record("x1").variables == {"x": 1}
    assert journal.redis.hget(journal.keys.record("x1"), "t:a") is None
    told = next(e for e in journal.history("x1") if e.event == "reported")
    assert (told.path, told.attempt, told.detail) == ("a", 1, {"by": "Ada"})


def test_the_second_report_is_told_who_was_first(journal: Journal) -> None:
    found = Outside(journal, outside("a", "b"), task("b"))
    found.tasks.complete("x1:a:1", 1, by="Ada")
    for again in (lambda: found.tasks.complete("x1:a", 2), lambda: found.tasks.fail("x1:a:1", "E")):
        with pytest.raises(AlreadyReported, match="reported before, by Ada at 2025") as raised:
            again()
        assert (raised.value.by, raised.value.exit_code) == ("Ada", 1)
    assert journal.steps("x1")["=a"] == "1"


def test_of_many_reports_at_once_one_is_first(redis: Redis, journal: Journal) -> None:
    found = Outside(journal, outside("a", "b"), task("b"))
    gate, answers = threading.Barrier(8), []

    def report(number: int) -> None:
        gate.wait()
        try:
            answers.append(found.tasks.complete("x1:a:1", number, by=str(number)))
        except AlreadyReported as error:
            answers.append(error.by)

    threads = [threading.Thread(target=report, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(True) == 1
    winner = journal.steps("x1")["=a"]
    assert [by for by in answers if by is not True] == [winner] * 7
    assert found.worked.sent == ["b"]


def test_a_failure_is_tried_again_with_the_same_input_and_an_id_of_its_own(
    journal: Journal,
) -> None:
    retry = {"maxAttempts": 2, "interval": 1000}
    found = Outside(journal, outside("a", "b", input="$.input", retry=retry), task("b"), input=5)
    assert found.tasks.fail("x1:a:1", "Busy", "no time", by="Ada")
    assert found.status("a") is StepStatus.RETRYING and found.open() == []
    found.look(1000)
    (again,) = found.tasks.list()
    assert (again.id, again.input) == ("x1:a:2", 5)
    with pytest.raises(AlreadyReported, match="by Ada"):
        found.tasks.complete("x1:a:1", 1)
    assert found.tasks.fail("x1:a:2", "Busy", "no time")
    assert journal.record("x1").status is ExecutionStatus.FAILED and found.error() == "Busy"


def test_a_failure_for_good_goes_where_the_step_says(journal: Journal) -> None:
    retry = {"maxAttempts": 5, "interval": 0}
    found = Outside(
        journal,
        outside("a", retry=retry, onError=[{"errors": ["Refused"], "next": "b"}]),
        task("b", input="$.error.message"),
    )
    found.tasks.fail("x1:a", "Refused", "never", retryable=False)
    assert found.worked.sent == ["b"]


def test_an_output_that_does_not_fit_leaves_the_task_open(journal: Journal) -> None:
    found = Outside(journal, outside("a", output={"x": "$.output.x.y"}))
    with pytest.raises(InputError, match="output of task x1:a is not JSON"):
        found.tasks.complete("x1:a", object())
    with pytest.raises(InputError, match="bytes of JSON"):
        found.tasks.complete("x1:a", "x" * journal.settings.output_limit)
    assert found.open() == ["x1:a:1"]
    found.tasks.complete("x1:a", {"x": {"y": 1}})
    assert journal.record("x1").status is ExecutionStatus.COMPLETED


def test_an_output_that_the_mapping_cannot_read_leaves_it_open(journal: Journal) -> None:
    found = Outside(journal, outside("a", output={"x": "$.output * 2"}))
    with pytest.raises(NotAllowed, match="would fail with this output"):
        found.tasks.complete("x1:a", "text")
    assert found.open() == ["x1:a:1"]
    found.tasks.complete("x1:a", 1)
    assert journal.record("x1").variables == {"x": 2}


@pytest.mark.parametrize("kind", ["complete", "fail"])
def test_a_report_that_comes_before_its_task_is_kept_for_it(journal: Journal, kind: str) -> None:
    found = Outside(journal, task("first", "a"), outside("a", "b"), task("b"))
    if kind == "complete":
        assert not found.tasks.complete("x1:a", 1, by="Ada")
    else:
        assert not found.tasks.fail("x1:a", "Early", by="Ada")
    with pytest.raises(AlreadyReported, match="by Ada"):
        found.tasks.complete("x1:a", 2)
    found.do("first")
    assert found.status("a") is (StepStatus.COMPLETED if kind == "complete" else StepStatus.FAILED)
    assert journal.kept_report("x1", "a") is None
    with pytest.raises(AlreadyReported, match="by Ada"):
        found.tasks.complete("x1:a", 3)


def test_one_that_nobody_took_in_time_is_taken_by_the_warden(journal: Journal) -> None:
    found = Outside(journal, task("first", "a"), outside("a"))
    found.tasks.complete("x1:a", 1)
    # The worker dies between its settle and what follows: nobody looks for the report.
    found.worked.do("first")
    assert found.status("a") is StepStatus.EXTERNAL
    found.look(3000)
    assert journal.record("x1").output == 1


def test_a_kept_report_is_first_also_where_another_finds_the_task_open(journal: Journal) -> None:
    found = Outside(journal, task("first", "a"), outside("a"))
    found.tasks.complete("x1:a", 1, by="Ada")
    found.worked.do("first")
    with pytest.raises(AlreadyReported, match="by Ada"):
        found.tasks.complete("x1:a:1", 2)
    assert journal.record("x1").output == 1


def test_what_is_late_or_wrong_is_refused_with_the_reason(journal: Journal) -> None:
    found = Outside(journal, outside("a", timeout=1000, onError="b"), task("b"), wait("c"))
    found.look(1000)
    with pytest.raises(NotAllowed, match="x1:a:1 is not open any more: its step was failed at"):
        found.tasks.complete("x1:a:1", 1)
    with pytest.raises(NotAllowed, match="done by a worker: nobody reports it"):
        found.tasks.complete("x1:b", 1)
    with pytest.raises(NotFound, match="no step 'z'; its external ones: a"):
        found.tasks.complete("x1:z", 1)
    with pytest.raises(NotFound, match="no execution 'y'"):
        found.tasks.complete("y:a", 1)
    for wrong in ("", "x1", "x1:", ":a:1", "x1:a:one"):
        with pytest.raises(InputError, match="EXECUTION:PATH:ATTEMPT"):
            found.tasks.complete(wrong, 1)
    assert str(TaskId.parse("x1:p/0/a[3]#2:4")) == "x1:p/0/a[3]#2:4"


def test_behind_the_end_nothing_is_kept(journal: Journal) -> None:
    found = Outside(journal, task("first", "a"), outside("a"))
    found.verbs.cancel("x1")
    with pytest.raises(NotAllowed, match="its execution has ended as cancelled"):
        found.tasks.complete("x1:a", 1)


def test_cancelling_closes_it(journal: Journal) -> None:
    found = Outside(journal, outside("a"))
    found.tasks.heartbeat("x1:a", 1)
    found.verbs.cancel("x1")
    assert found.open() == []
    with pytest.raises(NotAllowed, match="its step was cancelled"):
        found.tasks.complete("x1:a:1", 1)
    with pytest.raises(NotAllowed, match="cancelled"):
        found.tasks.heartbeat("x1:a:1", 2)
    record = journal.redis.hgetall(journal.keys.record("x1"))
    assert not [name for name in record if name[:2] == "b:"]


def test_heartbeats_keep_it_open_and_silence_ends_it(journal: Journal) -> None:
    found = Outside(journal, outside("a", heartbeatTimeout=1000, retry={"maxAttempts": 2}))
    for number in range(3):
        found.look(900)
        found.tasks.heartbeat("x1:a:1", {"page": number})
    (open_task,) = found.tasks.list()
    assert open_task.progress == {"page": 2} and open_task.heartbeat is not None
    found.look(1000)
    assert found.status("a") is StepStatus.RETRYING
    found.look(1000)
    assert found.tasks.list()[0].progress == {"page": 2}
    found.look(1000)
    assert found.error() == "HeartbeatTimeout"


def test_a_pause_stops_its_times_but_no_report(journal: Journal) -> None:
    found = Outside(journal, outside("a", "b", timeout=2000, heartbeatTimeout=1500), task("b"))
    found.look(1000)
    found.verbs.pause("x1")
    found.look(60_000)
    assert found.tasks.list()[0].paused
    found.verbs.resume("x1")
    found.look(999)
    assert found.status("a") is StepStatus.EXTERNAL
    found.verbs.pause("x1")
    assert found.tasks.complete("x1:a", 1)
    assert (found.status("b"), found.worked.sent) == (StepStatus.DISPATCHED, ["b"])
    assert isinstance(found.worked.claim("b"), Refused)
    found.verbs.resume("x1")
    found.do("b", 2)
    assert journal.record("x1").output == 2


def test_the_rest_of_its_timeout_counts_after_a_pause(journal: Journal) -> None:
    found = Outside(journal, outside("a", timeout=2000))
    found.look(1500)
    found.verbs.pause("x1")
    found.look(60_000)
    found.verbs.resume("x1")
    found.look(500)
    assert found.error() == "StepTimeout"


def test_it_can_be_skipped_and_retried_by_hand(journal: Journal) -> None:
    found = Outside(journal, outside("a", "b", input=3), outside("b"))
    assert found.verbs.skip("x1", "a", {"skipped": True})
    assert found.open() == ["x1:b:1"]
    found.tasks.fail("x1:b", "Broken")
    assert found.verbs.retry("x1")
    assert found.open() == ["x1:b:2"]
    found.tasks.complete("x1:b:2", 1)
    assert journal.record("x1").output == 1


def test_what_failed_keeps_its_input_for_a_retry_by_hand(journal: Journal) -> None:
    found = Outside(journal, outside("a", input={"n": 1}))
    found.tasks.fail("x1:a", "Broken")
    found.verbs.retry("x1")
    assert found.tasks.list()[0].input == {"n": 1}


def test_what_another_branch_ended_keeps_its_input_for_a_retry_by_hand(journal: Journal) -> None:
    found = Outside(journal, parallel("p", [outside("a", input={"n": 1})], [task("b")]))
    found.fail("p/1/b")
    assert found.open() == []
    found.verbs.retry("x1")
    assert [(task.id, task.input) for task in found.tasks.list()] == [("x1:p/0/a:2", {"n": 1})]


def test_an_input_that_cannot_be_evaluated_fails_the_step(journal: Journal) -> None:
    found = Outside(journal, outside("a", input="$.input * 2", onError="b"), task("b"), input="x")
    assert found.status("a") is StepStatus.FAILED and found.worked.sent == []
    assert found.status("b") is StepStatus.DISPATCHED


def test_branches_items_and_iterations_hold_tasks_of_their_own(journal: Journal) -> None:
    mapped = {"items": "$.input", "maxConcurrency": 2, "steps": [outside("do", input="$.item")]}
    loop = {"maxIterations": 3, "until": "$.output", "steps": [outside("ask")]}
    found = Outside(
        journal,
        parallel("p", [outside("a")], [task("x")], next="m"),
        {"id": "m", "type": "map", "map": mapped, "next": "l"},
        {"id": "l", "type": "loop", "loop": loop},
        input=[5, 6, 7],
    )
    found.tasks.complete("x1:p/0/a", 1)
    found.do("p/1/x")
    found.look(3000)
    assert {t.id: t.input for t in found.tasks.list()} == {"x1:m[0]/do:1": 5, "x1:m[1]/do:1": 6}
    for number in range(3):
        found.tasks.complete(f"x1:m[{number}]/do", number)
    assert json.loads(journal.steps("x1")["=m"])["results"] == [0, 1, 2]
    found.tasks.complete("x1:l[0]/ask", False)
    found.tasks.complete("x1:l[1]/ask", True)
    assert journal.record("x1").status is ExecutionStatus.COMPLETED


def test_a_branch_that_loses_closes_its_task(journal: Journal) -> None:
    step = parallel("p", [outside("a")], [outside("b")])
    step["parallel"]["join"] = "any"
    found = Outside(journal, step)
    found.tasks.complete("x1:p/0/a", 1)
    assert found.open() == [] and journal.record("x1").status is ExecutionStatus.COMPLETED


def test_why_says_who_is_waited_for(journal: Journal) -> None:
    found = Outside(journal, outside("a", timeout=60_000))
    found.look(1000)
    step = found.context().steps[0]
    assert (step.task, step.attempts, step.status) == ("x1:a:1", 1, "external")
    assert "an outside agent of capability 'work' to report task x1:a:1, for 1.0 s, until" in (
        step.waiting_for or ""
    )
    found.tasks.heartbeat("x1:a", "half")
    assert 'heartbeat 0.0 s ago: "half"' in (found.context().steps[0].waiting_for or "")
    assert unserved(journal, found.worked.plan) == {}


def test_every_open_task_is_watched(journal: Journal) -> None:
    found = Outside(journal, outside("a"))
    clock = journal.clock
    assert isinstance(clock, FakeClock)
    for _ in range(4):
        found.look(60_000)
        assert found.worked.watched()["a"] > clock.now


def test_a_simulation_plays_those_outside(journal: Journal) -> None:
    definition = workflow(
        outside("a", "b", retry={"maxAttempts": 2, "interval": 100}, output="x"),
        outside("b", timeout=1000, onError="c"),
        task("c", input="$.variables.x"),
    )
    mocks = {"outputs": {"a": 5, "c": 1}, "fail": {"a": 1}, "durations": {"a": 50, "b": 5000}}
    found = simulate(definition, key="w", mocks=mocks)
    assert [(s.path, s.attempt, s.outcome, s.at_ms) for s in found.steps] == [
        ("a", 1, "failed", 50),
        ("a", 2, "completed", 200),
        ("b", 1, "failed", 1200),
        ("c", 1, "completed", 1200),
    ]
    assert found.variables == {"x": 5}


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "a", "task": "t", "external": True},
        {"id": "a", "capability": "c", "external": True, "scheduleTimeout": 5},
        {"id": "a", "type": "wait", "wait": {"duration": 1}, "external": True},
    ],
)
def test_what_cannot_be_external_is_found(wrong: dict[str, Any]) -> None:
    _, found = validate_document({"name": "w", "steps": [wrong]})
    assert any("external" in finding.message for finding in found)


# --- the whole ------------------------------------------------------------------------------------


@pytest.fixture
def orchestrator(redis: Redis, redis_url: str) -> Iterator[Orchestrator]:
    with Orchestrator(redis_url=redis_url) as made:
        made.define_workflow(
            "w", {"name": "w", "steps": [{"id": "a", "capability": "legal", "external": True}]}
        )
        yield made


def test_the_commands_list_and_report(
    orchestrator: Orchestrator, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    execution = orchestrator.start_workflow("w", {"n": 1})
    assert execution.warnings == ()
    where = ["--redis", redis_url]
    assert run_command(["tasks", "--capability", "legal", "--json", *where]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["id"] == f"{execution.id}:a:1"
    assert run_command(["tasks", *where]) == 0
    assert listed["id"] in capsys.readouterr().out
    assert run_command(["heartbeat", listed["id"], "--progress", "1", *where]) == 0
    assert run_command(["complete", listed["id"], "--output", "{", *where]) == 2
    done = ["complete", "--execution", execution.id[:8], "--step", "a", "--output", '{"ok": 1}']
    assert run_command([*done, "--by", "Ada", *where]) == 0
    assert execution.status().output == {"ok": 1}
    capsys.readouterr()
    assert run_command(["fail", listed["id"], "--error", "No", "--message", "m", *where]) == 1
    assert "reported before, by Ada at" in capsys.readouterr().err
    assert run_command(["complete", *where]) == 2
    assert run_command(["tasks", *where]) == 0
    assert "no task is open" in capsys.readouterr().err


def test_coroutines_may_report(orchestrator: Orchestrator, redis_url: str) -> None:
    execution = orchestrator.start_workflow("w")

    async def report() -> Any:
        async with AsyncOrchestrator(redis_url=redis_url) as made:
            (found,) = await made.list_tasks("legal")
            await made.heartbeat_task(found.id, 1)
            with pytest.raises(NotAllowed):
                await made.fail_task(f"{execution.id}:a:7", "No")
            await made.complete_task(found.id, 2)
            return (await made.get_execution_status(execution.id)).output

    assert asyncio.run(report()) == 2


REPORT = """
import sys
from orch import Orchestrator
with Orchestrator() as orchestrator:
    orchestrator.complete_task(sys.argv[1], {"from": "outside"})
"""


def test_a_reporter_that_is_killed_behind_its_report_loses_nothing(
    orchestrator: Orchestrator, redis_url: str, tmp_path: Path
) -> None:
    module = tmp_path / "noting.py"
    module.write_text(
        "from orch import capability\n\n@capability('note')\ndef note(x):\n    return x\n"
    )
    steps = [
        {"id": "a", "capability": "legal", "external": True, "output": "x", "next": "b"},
        {"id": "b", "capability": "note", "input": {"x": "$.variables.x"}},
    ]
    orchestrator.define_workflow("then", {"name": "then", "steps": steps})
    execution = orchestrator.start_workflow("then")
    struck = tmp_path / "struck"
    environment = {
        **os.environ,
        "ORCH_REDIS_URL": redis_url,
        "ORCH_FAULT_POINT": f"reported:{struck}",
    }
    (tmp_path / "report.py").write_text(
        REPORT.replace(
            "import sys\n",
            "import sys\nfrom orch.faults import arm\nfrom orch.settings import load_settings\n"
            "arm(load_settings().fault_point)\n",
        )
    )
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "report.py"), f"{execution.id}:a:1"],
        env=environment,
        timeout=60,
        check=False,
    )
    assert ended.returncode == -9 and struck.exists()
    with orchestrator.workers(include=[str(module)], pool="solo"):
        done = execution.wait(timeout=30)
    assert done.output == {"from": "outside"}


def test_a_real_warden_gives_up_a_task_in_time(orchestrator: Orchestrator) -> None:
    step = {"id": "a", "capability": "legal", "external": True, "heartbeatTimeout": 300}
    orchestrator.define_workflow("soon", {"name": "soon", "steps": [step]})
    with orchestrator.workers(pool="solo"):
        ended = orchestrator.start_workflow("soon").wait(timeout=30)
    assert (ended.error or {})["name"] == "HeartbeatTimeout"


def test_a_definition_without_it_keeps_its_version() -> None:
    assert "external" not in workflow(task("a")).canonical()
    assert (
        WorkflowDefinition.model_validate_json(workflow(outside("a")).canonical()).steps[0].external
    )
