"""Workers that take nothing new: they finish, hand on what waits for them, and leave."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Execution, Orchestrator
from orch.app import create_app
from orch.control.handing_on import HandedOn, HandingOn
from orch.control.workers import WorkerProcesses
from orch.errors import InputError, NotFound
from orch.settings import Settings
from orch.workflows.agents import Drain, agent_queue
from tests.conftest import LONG

CODE = """
import os, time
from pathlib import Path
from orch import capability

@capability("held")
def held(gate=None):
    while gate and not Path(gate).exists():
        time.sleep(0.01)
    return os.getpid()

@capability("quick")
def quick():
    time.sleep(0.002)
    return os.getpid()
"""

WaitUntil = Callable[..., Any]


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        yield made
    redis.flushall()  # queues and bindings of the workers


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "drained_code.py"
    path.write_text(CODE)
    return str(path)


def staff(orchestrator: Orchestrator, code: str, **given: Any) -> WorkerProcesses:
    given = {"count": 1, "concurrency": 2, "pool": "threads"} | given
    return orchestrator.workers(include=[code], **given)


def names(orchestrator: Orchestrator) -> dict[int, str]:
    """Of the live workers, by their process."""
    live = orchestrator.runtime.journal.live_workers()
    return {worker["pid"]: worker["name"] for worker in live}


def start(orchestrator: Orchestrator, **step: Any) -> Execution:
    steps = [{"id": "a", "capability": "held", "output": {"pid": "$.output"}} | step]
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})
    return orchestrator.start_workflow("w")


def is_running(execution: Execution) -> bool:
    return any(step.status == "running" for step in execution.status().steps)


def words(execution: Execution) -> set[str]:
    return {entry.event for entry in execution.history()}


def test_it_takes_nothing_new_and_leaves_when_it_has_finished(
    orchestrator: Orchestrator, code: str, tmp_path: Path, wait_until: WaitUntil
) -> None:
    gate = tmp_path / "open"
    with staff(orchestrator, code) as drained:
        (process,) = drained.processes
        name = names(orchestrator)[process.pid]
        held = start(orchestrator, input={"gate": str(gate)})
        wait_until(lambda: is_running(held))
        orchestrator.drain_agent(name.partition("@")[0])
        wait_until(lambda: orchestrator.drained_agents()[0].status == "draining")
        (told,) = orchestrator.drained_agents()
        assert (told.agent, told.running) == (name, [f"{held.id} a"])
        later = start(orchestrator)
        with staff(orchestrator, code) as other:
            pid = later.wait(timeout=30).variables["pid"]
            assert pid == other.processes[0].pid
        assert process.poll() is None
        gate.touch()
        assert held.wait(timeout=30).variables["pid"] == process.pid
        assert process.wait(timeout=30) == 0
    assert words(held) == {"started", "claimed", "completed", "ended"}
    assert orchestrator.drained_agents() == []


@pytest.mark.slow
def test_one_that_stays_is_drained_until_it_is_resumed_over_restarts_too(
    orchestrator: Orchestrator, code: str, wait_until: WaitUntil
) -> None:
    with staff(orchestrator, code, pool="solo", concurrency=1) as workers:
        (process,) = workers.processes
        name = names(orchestrator)[process.pid]
        told = orchestrator.drain_agent(name, stay=True, timeout=30)
        assert (told.status, told.stay) == ("drained", True)
        command, environment = workers.command(name), workers._environment()
        process.terminate()
        assert process.wait(timeout=30) == 0
        again = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: name in names(orchestrator).values(), timeout=30)
            execution = start(orchestrator)
            wait_until(lambda: orchestrator.drained_agents()[0].status == "drained")
            assert "no live worker serves" in execution.status().waiting_for["a"]
            assert orchestrator.resume_agent(name)
            assert execution.wait(timeout=30).variables["pid"] == again.pid
            assert not orchestrator.resume_agent(name)
        finally:
            again.terminate()
            again.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"] if LONG else ["prefork"])
def test_a_worker_that_is_told_to_end_in_the_midst_of_work_loses_nothing(
    orchestrator: Orchestrator, code: str, pool: str, wait_until: WaitUntil
) -> None:
    """No message is sent again, no attempt is lost, and it ends soon."""
    step = {"capability": "quick", "handoff": "off"}
    steps = [{"id": f"s{n}", "next": f"s{n + 1}", **step} for n in range(3)]
    orchestrator.define_workflow("w", {"name": "w", "steps": [*steps, {"id": "s3", **step}]})
    with staff(orchestrator, code), staff(orchestrator, code, pool=pool) as ending:
        (process,) = ending.processes
        found = [orchestrator.start_workflow("w") for _ in range(150)]
        process.send_signal(signal.SIGTERM)
        for execution in found:
            assert execution.wait(timeout=60).status == "completed"
        assert process.wait(timeout=10) == 0
    assert set.union(*map(words, found)) == {"started", "claimed", "completed", "ended"}


@pytest.mark.slow
def test_what_a_worker_does_not_finish_in_its_grace_is_begun_anew_at_once_and_not_counted_as_lost(
    orchestrator: Orchestrator, code: str, tmp_path: Path, wait_until: WaitUntil
) -> None:
    gate = tmp_path / "open"
    soft = {"REMAP_SIGTERM": "SIGQUIT", "ORCH_SHUTDOWN_GRACE": "0.3"}
    with staff(orchestrator, code, pool="prefork", environment=soft) as ending:
        (process,) = ending.processes
        execution = start(orchestrator, input={"gate": str(gate)})
        wait_until(lambda: is_running(execution))
        with staff(orchestrator, code) as other:
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: "released" in words(execution))
            wait_until(lambda: execution.status().steps[0].status == "running")
            assert time.monotonic() - begun < 3
            gate.touch()
            assert execution.wait(timeout=30).variables["pid"] == other.processes[0].pid
        assert process.wait(timeout=30) == 0
    assert "lost" not in words(execution)


def test_steps_that_name_it_wait_for_it_unless_others_are_to_do_them(
    orchestrator: Orchestrator, code: str, wait_until: WaitUntil
) -> None:
    with staff(orchestrator, code, count=2, pool="solo", concurrency=1) as workers:
        first, second = workers.processes
        name = names(orchestrator)[first.pid]
        orchestrator.drain_agent(name, stay=True, timeout=30)
        execution = start(orchestrator, agent=name)
        wait_until(lambda: orchestrator.drained_agents()[0].waiting == 1)
        orchestrator.drain_agent(name, stay=True, reassign=True)
        assert execution.wait(timeout=30).variables["pid"] == second.pid


def test_what_is_no_step_stays_in_the_queue_of_an_agent(
    orchestrator: Orchestrator, settings: Settings, redis: Redis
) -> None:
    app = create_app(settings, settings.redis_url or "")
    app.send_task("somebody.elses", args=[1, 2], queue=agent_queue("a@h"))
    (before,) = redis.lrange(agent_queue("a@h"), 0, -1)
    with app.connection_for_write() as connection:
        backlog = HandingOn(orchestrator.runtime, connection)
        assert backlog.hand_on("a@h") == HandedOn(moved=0, kept=1)
        assert backlog.depth("a@h") == 1
    (after,) = redis.lrange(agent_queue("a@h"), 0, -1)
    assert json.loads(after)["body"] == json.loads(before)["body"]
    assert json.loads(after)["headers"]["id"] == json.loads(before)["headers"]["id"]


def test_a_message_that_comes_when_its_queue_was_let_go_of_goes_back_to_its_head(
    orchestrator: Orchestrator, settings: Settings, redis: Redis
) -> None:
    app = create_app(settings, settings.redis_url or "")
    for number in range(2):
        app.send_task("some.task", args=[number], queue="q", priority=number * 4)
    with app.connection_for_write() as connection, connection.channel() as channel:
        raw = json.loads(redis.rpop("q") or "")
        connection.transport._reject_inbound_message(raw)
        assert json.loads(redis.lrange("q", -1, -1)[0]) == raw
        assert channel.basic_get("q").payload[0] == [1]


def test_an_agent_that_nobody_is_and_one_that_several_may_be_are_refused(
    orchestrator: Orchestrator,
) -> None:
    with pytest.raises(NotFound, match="no live agent is called 'nobody'"):
        orchestrator.drain_agent("nobody")
    journal = orchestrator.runtime.journal
    for host in ("h1", "h2"):
        said = {"id": host, "name": f"lint@{host}", "queues": [], "holds": []}
        journal.renew_worker(host, json.dumps(said), 10_000)
        journal.ask_to_drain(f"lint@{host}", Drain(at=1, by="x"))
    for act in (orchestrator.drain_agent, orchestrator.resume_agent):
        with pytest.raises(InputError, match="lint@h1, lint@h2"):
            act("lint")
    for host in ("h1", "h2"):
        journal.remove_worker(host)
        assert journal.forget_drain(f"lint@{host}")
