"""How long an attempt may wait for a worker, work, and be silent; and what it says meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator, StepCancelled, StepError
from orch.agents.context import Context
from orch.cli.app import run_command
from orch.control.runtime import Runtime
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.tasks.pulse import Pulse
from orch.tasks.step import run_step
from orch.workflows.beat import Beat
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.state import StepStatus
from orch.workflows.validation import validate_document
from tests.build import FakeClock, Worked, start, task, workflow
from tests.test_control import Steered

ONCE = {"maxAttempts": 2, "interval": 0}


# --- the wait for a worker ------------------------------------------------------------------------


def test_an_attempt_that_no_worker_takes_in_time_fails_by_name(journal: Journal) -> None:
    steered = Steered(start(journal, task("a", scheduleTimeout=5000, onError="b"), task("b")))
    steered.worked.sent.append("a")
    assert steered.worked.watched()["a"] == journal.clock() + journal.grace
    steered.look(3000)
    assert steered.worked.state("a").status is StepStatus.DISPATCHED
    assert steered.worked.watched()["a"] == journal.clock() + 2000
    steered.look(2000)
    assert steered.context().steps[0].error == {
        "name": "ScheduleTimeout",
        "class": "transient",
        "message": "step 'a' was taken by no worker within its `scheduleTimeout` of 5000 ms",
        "step": "a",
        "path": "a",
        "attempt": 1,
    }
    assert steered.worked.state("b").status is StepStatus.DISPATCHED


def test_one_that_is_shorter_than_the_grace_is_seen_in_time(journal: Journal) -> None:
    steered = Steered(start(journal, task("a", scheduleTimeout=200)))
    steered.look(200)
    assert (journal.record("x1").error or {})["name"] == "ScheduleTimeout"


def test_a_message_that_is_sent_again_does_not_make_the_wait_longer(journal: Journal) -> None:
    steered = Steered(start(journal, task("a", scheduleTimeout=5000)))
    steered.look(3000)  # the queue is empty: its message was lost
    assert steered.worked.sent == ["a"]
    steered.look(1999)
    assert steered.worked.state("a").status is StepStatus.DISPATCHED
    steered.look(1)
    assert steered.worked.state("a").status is StepStatus.FAILED


def test_each_attempt_has_the_whole_time(journal: Journal) -> None:
    retry = {"maxAttempts": 2, "interval": 1000, "retryOn": ["ScheduleTimeout"]}
    steered = Steered(start(journal, task("a", scheduleTimeout=2000, retry=retry)))
    steered.look(2000)
    assert steered.worked.state("a").status is StepStatus.RETRYING
    steered.look(1000)
    assert steered.worked.state("a").due == journal.clock() + 2000
    steered.look(1999)
    assert steered.worked.state("a").status is StepStatus.DISPATCHED
    steered.look(1)
    assert steered.worked.state("a").failures == 2


def test_an_attempt_that_is_lost_begins_the_wait_anew(journal: Journal) -> None:
    steered = Steered(start(journal, task("a", scheduleTimeout=2000)))
    steered.worked.take("a")
    clock = journal.clock
    assert isinstance(clock, FakeClock)
    clock.advance(5000)
    steered.advancer.lose("x1", "a", steered.worked.state("a"), "gone")
    assert steered.worked.state("a").due == journal.clock() + 2000


def test_a_pause_stops_the_wait(journal: Journal) -> None:
    steered = Steered(start(journal, task("a", scheduleTimeout=2000)))
    steered.look(1500)
    steered.verbs.pause("x1")
    steered.look(60_000)
    steered.verbs.resume("x1")
    steered.look(499)
    assert steered.worked.state("a").status is StepStatus.DISPATCHED
    steered.look(1)
    assert steered.worked.state("a").status is StepStatus.FAILED


def test_one_that_was_never_taken_can_be_retried_by_hand(journal: Journal) -> None:
    steered = Steered(start(journal, task("a", scheduleTimeout=2000)))
    steered.look(2000)
    assert steered.verbs.retry("x1")
    assert steered.worked.watched()["a"] == journal.clock() + 2000
    steered.look(1999)
    steered.do("a", 1)
    assert journal.record("x1").output == 1


def test_a_step_that_was_taken_is_not_timed_out_by_its_wait(journal: Journal) -> None:
    steered = Steered(start(journal, task("a", scheduleTimeout=2000)))
    steered.worked.take("a")
    state = steered.worked.state("a")
    steered.advancer.time_out_in_queue("x1", "a", state.__class__(StepStatus.DISPATCHED), 2000)
    assert steered.worked.state("a") == state


# --- heartbeats -----------------------------------------------------------------------------------


def silent(steered: Steered, ms: int, heard: int | None = None) -> None:
    """So much time passes; the worker says at its end that it lives, and the warden looks."""
    clock = steered.journal.clock
    assert isinstance(clock, FakeClock)
    clock.advance(ms)
    at = clock.now if heard is None else heard
    said = f'{{"at": {at}, "holds": ["x1 a"]}}'
    steered.journal.renew_worker("me", said, 3000)
    steered.warden.look()


def test_an_attempt_that_is_silent_for_too_long_fails_by_name(journal: Journal) -> None:
    steered = Steered(start(journal, task("a", heartbeatTimeout=1000, retry=ONCE)))
    state = steered.worked.take("a").state
    silent(steered, 900)
    assert journal.beat("x1", "a", state, Beat(journal.clock(), 1, "half"), journal.clock() + 1000)
    silent(steered, 999)
    assert steered.worked.state("a").status is StepStatus.RUNNING
    silent(steered, 1)
    assert steered.worked.state("a").failures == 1
    error = next(e for e in journal.history("x1") if e.event == "retrying").detail["error"]
    assert error["name"] == "HeartbeatTimeout"
    assert "no heartbeat for 1000 ms; its `heartbeatTimeout` is 1000 ms" in error["message"]


def test_a_worker_that_is_silent_itself_is_waited_for(journal: Journal) -> None:
    steered = Steered(start(journal, task("a", heartbeatTimeout=1000, retry=ONCE)))
    steered.worked.take("a")
    silent(steered, 1200, heard=journal.clock() + 900)
    assert steered.worked.state("a").status is StepStatus.RUNNING
    journal.redis.delete(journal.keys.worker("me"))
    steered.look(1000)
    assert steered.worked.state("a").lost == 1  # its worker is dead: no retry is used
    assert steered.worked.state("a").failures == 0


def test_what_may_run_once_at_most_is_not_tried_again_when_it_falls_silent(
    journal: Journal,
) -> None:
    steered = Steered(
        start(journal, task("a", heartbeatTimeout=500, delivery="at_most_once", retry=ONCE))
    )
    steered.worked.take("a")
    silent(steered, 1000)  # the lease that it was taken with
    assert (journal.record("x1").error or {})["name"] == "Interrupted"


def test_a_heartbeat_of_an_attempt_that_was_given_up_is_refused(journal: Journal) -> None:
    steered = Steered(start(journal, task("a")))
    state = steered.worked.take("a").state
    beat = Beat(journal.clock(), 1, 1)
    assert journal.beat("x1", "a", state, beat, journal.clock() + 500)
    assert steered.worked.watched()["a"] == journal.clock() + 500
    steered.advancer.lose("x1", "a", state, "gone")
    watched = steered.worked.watched()
    assert not journal.beat("x1", "a", state, beat, journal.clock() + 900)
    assert not journal.beat("x2", "a", state, beat, journal.clock() + 900)
    assert steered.worked.watched() == watched


def test_the_next_attempt_knows_what_the_last_one_said_and_then_it_is_gone(
    journal: Journal,
) -> None:
    steered = Steered(start(journal, task("a", "b", retry=ONCE), task("b")))
    state = steered.worked.take("a").state
    journal.beat("x1", "a", state, Beat(journal.clock(), 1, {"row": 7}), journal.clock() + 500)
    steered.advancer.lose("x1", "a", state, "gone")
    claimed = steered.worked.take("a", "me/1/b")
    assert claimed.view.beats["a"].progress == {"row": 7}
    steered.worked.settle("a", claimed, _completed())
    assert journal.read_beats("x1", ["a"]) == {}
    assert steered.worked.take("b").view.beats == {}


@pytest.mark.parametrize("end", ["cancel", "skip", "fail"])
def test_however_a_step_ends_its_progress_goes(journal: Journal, end: str) -> None:
    steered = Steered(start(journal, task("a")))
    state = steered.worked.take("a").state
    journal.beat("x1", "a", state, Beat(journal.clock(), 1, 1), journal.clock() + 500)
    match end:
        case "cancel":
            journal.end("x1", _cancelled(), {"name": "Cancelled"})
        case "skip":
            steered.verbs.skip("x1", "a", 1)
        case _:
            steered.advancer.time_out("x1", "a", state, 1)
    assert journal.read_beats("x1", ["a"]) == {}


def test_why_and_status_tell_how_far_it_is(journal: Journal) -> None:
    steered = Steered(start(journal, task("a")))
    state = steered.worked.take("a").state
    journal.beat("x1", "a", state, Beat(journal.clock(), 1, {"row": 7}), journal.clock() + 500)
    step = steered.context().steps[0]
    assert step.progress == {"row": 7} and step.heartbeat
    assert step.waiting_for == 'running on me for 0.0 s, heartbeat 0.0 s ago: {"row":7}'


# --- from the code to the journal -----------------------------------------------------------------


@pytest.fixture
def runtime(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Runtime]:
    runtime = Runtime(settings, redis_url)
    yield runtime
    runtime.close()


def pulsing(runtime: Runtime, pause: float = 0.0) -> tuple[Worked, Pulse]:
    worked = start(runtime.journal, task("a"))
    state = worked.take("a").state
    pulse = Pulse(
        runtime.journal, "x1", "a", state, pause=pause, look_after=500, limit=None, progress=None
    )
    return worked, pulse


def heard(runtime: Runtime) -> Any:
    beat = runtime.journal.read_beats("x1", ["a"]).get("a")
    return None if beat is None else beat.progress


def test_heartbeats_that_come_too_fast_are_held_back_and_the_latest_is_sent(
    runtime: Runtime, wait_until: Callable[..., object]
) -> None:
    _, pulse = pulsing(runtime, pause=0.2)
    sent: list[float] = []
    beat = runtime.journal.beat

    def counted(*given: Any) -> bool:
        sent.append(time.monotonic())
        return beat(*given)

    runtime.journal.beat = counted  # type: ignore[method-assign]
    for number in range(1000):
        pulse.beat(number)
    wait_until(lambda: heard(runtime) == 999)
    assert len(sent) <= 2


def test_a_heartbeat_without_progress_keeps_what_was_said(runtime: Runtime) -> None:
    _, pulse = pulsing(runtime)
    pulse.beat({"row": 3})
    pulse.beat()
    assert heard(runtime) == {"row": 3}


def test_a_heartbeat_that_nobody_wants_raises_and_tells_the_context(runtime: Runtime) -> None:
    _, pulse = pulsing(runtime)
    told: list[bool] = []
    pulse.on_superseded = lambda: told.append(True)
    runtime.advancer.end("x1", _cancelled(), {"name": "Cancelled"})
    with pytest.raises(StepCancelled, match="wanted no more"):
        pulse.beat(1)
    assert told == [True] and heard(runtime) is None


@pytest.mark.parametrize("progress", [object(), float("nan"), "x" * 2_000_000])
def test_progress_that_cannot_be_kept_is_refused(runtime: Runtime, progress: Any) -> None:
    _, pulse = pulsing(runtime)
    with pytest.raises(StepError) as raised:
        pulse.beat(progress)
    assert raised.value.name == "InvalidProgress"


def test_a_redis_that_is_away_costs_no_more_than_the_heartbeat(runtime: Runtime) -> None:
    _, pulse = pulsing(runtime)
    redis, runtime.journal.redis = runtime.journal.redis, Redis(port=1)
    pulse.beat(1)
    runtime.journal.redis = redis
    pulse.beat(2)
    assert heard(runtime) == 2


def test_threads_and_coroutines_may_beat(
    runtime: Runtime, wait_until: Callable[..., object]
) -> None:
    _, pulse = pulsing(runtime)
    threads = [threading.Thread(target=pulse.beat, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard(runtime) in range(8)

    async def beat() -> None:
        pulse.beat("async")

    asyncio.run(beat())
    wait_until(lambda: heard(runtime) == "async")


def test_nothing_is_held_back_behind_the_end_of_an_attempt(
    runtime: Runtime, wait_until: Callable[..., object]
) -> None:
    worked = start(runtime.journal, task("a", heartbeatTimeout=600_000))
    told: list[Any] = []

    def call(node: Any, seen: Any, context: Context) -> Any:
        told.append(context.last_progress)
        context.heartbeat({"row": 1})
        assert any(isinstance(thread, threading.Timer) for thread in threading.enumerate())

    request: Any = SimpleNamespace(chain=None)
    assert run_step(runtime, request, call, "x1", "a", worked.plan.key) == "completed"
    wait_until(lambda: not any(isinstance(t, threading.Timer) for t in threading.enumerate()))
    assert told == [None] and heard(runtime) is None


# --- what is checked before ----------------------------------------------------------------------


def found(*steps: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    content = {"name": "w", "steps": list(steps), **more}
    return [(f.severity, f.message) for f in validate_document(content)[1]]


def test_other_types_have_no_attempt_that_waits_or_beats() -> None:
    for name in ("scheduleTimeout", "heartbeatTimeout"):
        wrong = {"id": "a", "type": "wait", "wait": {"duration": 1}, name: 5}
        assert any(f"`{name}` is for tasks and polls" in message for _, message in found(wrong))
    poll = {"poll": {"capability": "c"}, "until": "$.state.done"}
    WorkflowDefinition.model_validate(
        {"name": "w", "steps": [{"id": "a", "type": "wait", "wait": poll, "heartbeatTimeout": 5}]}
    )


def test_a_silence_that_is_longer_than_the_whole_is_pointed_out() -> None:
    messages = [m for _, m in found(task("a", timeout=1000, heartbeatTimeout=1000))]
    assert any("1000 ms of silence never come" in message for message in messages)
    assert found(task("a", heartbeatTimeout=1000)) == []


def test_a_definition_without_them_keeps_its_version() -> None:
    assert "Timeout" not in workflow(task("a", timeout=5)).canonical().replace("timeout", "")


# --- real workers --------------------------------------------------------------------------------

CAPABILITIES = """
import os, subprocess, time
from pathlib import Path
from orch import Context, capability

@capability("stick")
def stick(place: str, context: Context):
    Path(place, f"attempt{context.attempt}").write_text(str(os.getpid()))
    context.heartbeat({"attempt": context.attempt})
    if context.attempt == 1:
        time.sleep(600)
    return context.last_progress

@capability("beat")
def beat(seconds: float, context: Context):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
        context.heartbeat(round(end - time.monotonic(), 1))
    return context.attempt

@capability("nap")
async def nap(seconds: float, context: Context):
    import asyncio
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(0.02)
        context.heartbeat("napping")
    return context.attempt

@capability("block")
def block(place: str):
    while not Path(place).exists():
        time.sleep(0.02)

@capability("note")
def note():
    return "noted"
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "beating.py"
    path.write_text(CAPABILITIES)
    return str(path)


@pytest.fixture
def orchestrator(redis: Redis, redis_url: str) -> Iterator[Orchestrator]:
    with Orchestrator(redis_url=redis_url) as made:
        yield made


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def define(orchestrator: Orchestrator, *steps: dict[str, Any]) -> None:
    orchestrator.define_workflow("w", {"name": "w", "steps": list(steps)})


@pytest.mark.parametrize("frozen", [False, True])
def test_a_child_that_hangs_is_killed_and_its_slot_is_free_for_the_next_attempt(
    orchestrator: Orchestrator,
    module: str,
    tmp_path: Path,
    wait_until: Callable[..., Any],
    frozen: bool,
) -> None:
    define(
        orchestrator,
        {
            "id": "a",
            "capability": "stick",
            "input": {"place": str(tmp_path)},
            "heartbeatTimeout": 1000,
            "retry": ONCE,
        },
    )
    with orchestrator.workers(include=[module], concurrency=1):
        execution = orchestrator.start_workflow("w")
        first = tmp_path / "attempt1"
        pid = int(wait_until(lambda: first.exists() and first.read_text()))
        if frozen:
            wait_until(lambda: execution.status().steps[0].progress)
            os.kill(pid, signal.SIGSTOP)
        ended = execution.wait(timeout=30)
        wait_until(lambda: gone(pid))
    assert (ended.status, ended.output) == ("completed", {"attempt": 1})
    assert ended.metrics.duration < 8000
    words = [entry.event for entry in execution.history()]
    assert words.count("retrying") == 1 and "lost" not in words


@pytest.mark.parametrize(("capability", "pool"), [("beat", "prefork"), ("nap", "threads")])
def test_an_attempt_that_beats_runs_longer_than_its_silence_may_last(
    orchestrator: Orchestrator, module: str, capability: str, pool: str
) -> None:
    step = {"id": "a", "capability": capability, "input": {"seconds": 3}, "heartbeatTimeout": 600}
    define(orchestrator, step)
    with orchestrator.workers(include=[module], pool=pool):
        ended = orchestrator.start_workflow("w").wait(timeout=30)
    assert (ended.status, ended.output) == ("completed", 1)


def test_a_worker_that_freezes_has_lost_its_attempt_and_is_no_silent_step(
    orchestrator: Orchestrator, module: str, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    step = {"id": "a", "capability": "stick", "input": {"place": str(tmp_path)}}
    define(orchestrator, {**step, "heartbeatTimeout": 1000})
    with (
        orchestrator.workers(include=[module], pool="solo") as frozen,
    ):
        execution = orchestrator.start_workflow("w")
        pid = int(wait_until(lambda: (p := tmp_path / "attempt1").exists() and p.read_text()))
        os.kill(pid, signal.SIGSTOP)
        try:
            with orchestrator.workers(include=[module], pool="solo"):
                ended = execution.wait(timeout=30)
        finally:
            os.kill(pid, signal.SIGKILL)
            del frozen
    assert ended.status == "completed"
    assert [e.event for e in execution.history()].count("lost") == 1


def test_a_long_queue_is_a_schedule_timeout(
    orchestrator: Orchestrator, module: str, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    free = tmp_path / "free"
    define(orchestrator, {"id": "a", "capability": "block", "input": {"place": str(free)}})
    orchestrator.define_workflow(
        "late",
        {"name": "late", "steps": [{"id": "n", "capability": "note", "scheduleTimeout": 700}]},
    )
    with orchestrator.workers(include=[module], concurrency=1):
        blocking = orchestrator.start_workflow("w")
        wait_until(lambda: blocking.status().steps[0].status == "running")
        ended = orchestrator.start_workflow("late").wait(timeout=30)
        free.touch()
        assert blocking.wait(timeout=30).status == "completed"
    assert (ended.error or {})["name"] == "ScheduleTimeout"
    assert ended.metrics.duration < 5000


def test_run_shows_what_a_step_says(
    orchestrator: Orchestrator,
    module: str,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    define(orchestrator, {"id": "a", "capability": "beat", "input": {"seconds": 2.5}})
    arguments = ["run", "w", "--redis", redis_url, "--workers", "1", "--include", module]
    assert run_command(arguments) == 0
    assert "a  running  1." in capsys.readouterr().err


def _completed() -> Any:
    from orch.workflows.outcome import Completed

    return Completed(None)


def _cancelled() -> Any:
    from orch.workflows.state import ExecutionStatus

    return ExecutionStatus.CANCELLED
