"""What a worker says of the calls that it has done."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orch import Orchestrator
from orch.tasks.tally import Tally
from orch.workflows.agents import Tallied

CODE = """
import os, pathlib, time
from orch import capability

@capability("count")
def count(bad=False, wait=0.0):
    time.sleep(wait)
    if bad:
        raise ValueError("bad")

@capability("hold")
def hold(pid, go):
    pathlib.Path(pid).write_text(str(os.getpid()))
    while not pathlib.Path(go).exists():
        time.sleep(0.01)
"""


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "tally_code.py"
    path.write_text(CODE)
    return str(path)


def tallied(orchestrator: Orchestrator, capability: str) -> Tallied:
    (said,) = orchestrator.runtime.journal.live_workers()
    return Tallied.of(said["tally"].get(capability, ()))


def start(orchestrator: Orchestrator, capability: str, **input: object) -> None:
    steps = [{"id": "a", "capability": capability, "input": "$.input"}]
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})
    orchestrator.start_workflow("w", input)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_calls_and_failures_of_all_processes_are_counted(
    orchestrator: Orchestrator, code: str, pool: str, wait_until: Callable[..., object]
) -> None:
    with orchestrator.workers(include=[code], concurrency=2, pool=pool):
        for number in range(9):
            start(orchestrator, "count", bad=number % 3 == 0, wait=0.02)
        wait_until(lambda: tallied(orchestrator, "count").calls == 9)
        found = tallied(orchestrator, "count")
    assert (found.failures, found.busy) == (3, 0)
    assert found.duration is not None and 0.02 <= found.duration < 2


def test_a_call_that_runs_is_told_until_its_process_dies(
    orchestrator: Orchestrator, code: str, tmp_path: Path, wait_until: Callable[..., object]
) -> None:
    pid, go = tmp_path / "pid", tmp_path / "go"
    with orchestrator.workers(include=[code], concurrency=1):
        start(orchestrator, "hold", pid=str(pid), go=str(go))
        wait_until(lambda: tallied(orchestrator, "hold").busy == 1)
        killed = int(pid.read_text())
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: int(pid.read_text() or killed) != killed)
        wait_until(lambda: tallied(orchestrator, "hold").busy == 1)
        go.touch()
        wait_until(lambda: tallied(orchestrator, "hold").busy == 0)
        assert tallied(orchestrator, "hold").calls == 1


def test_what_nobody_has_declared_is_not_counted() -> None:
    tally = Tally(["a"])
    tally.begin("b")
    tally.end("b", 1.0, True)
    assert tally.read() == {}


def test_the_pace_is_that_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("orch.tasks.tally.time.monotonic", lambda: now)
    tally = Tally(["a"])
    for second in range(200):
        now = 1000.0 + second
        tally.begin("a")
        tally.end("a", 9.0 if second < 100 else 0.5, True)
        found = tally.read()["a"]
    assert found.calls == 200
    assert found.duration == pytest.approx(0.5)
    assert found.rate == pytest.approx(1.0, rel=0.1)
    assert 60 <= found.window <= 66
