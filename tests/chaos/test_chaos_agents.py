"""Agents that have keys, or backlogs, are killed, drained and told to end in the midst of work."""

from __future__ import annotations

import os
import random
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import LONG, NewBroker, Valkey
from .processes import System, Worker, step, wait_until

DEADLINE = 120.0
ROUNDS = 12 if LONG else 2
KEYS = 6
AT_ONCE = 18


@pytest.fixture
def solo(server: Valkey, tmp_path: Path, _database: int, new_broker: NewBroker) -> Iterator[System]:
    system = System(server, _database, tmp_path, "solo", broker=new_broker())
    yield system
    try:
        system.staff(1)
        system.assert_nothing_is_left()
    finally:
        system.close()


def test_whoever_dies_or_leaves_each_step_is_committed_once_and_a_key_stays_with_who_lives(
    solo: System,
) -> None:
    paths = [f"s{n}" for n in range(4)]
    steps = [step(path, affinity="$.input.key") for path in paths]
    for one, following in zip(steps, paths[1:], strict=False):
        one["next"] = following
    solo.define("keyed", *steps)
    solo.staff(3)
    touched: set[int] = set()
    executions = []
    for round in range(ROUNDS):
        executions += [solo.start("keyed", input={"key": f"k{n % KEYS}"}) for n in range(AT_ONCE)]
        victim = random.choice(solo.workers)
        touched.add(victim.pid)
        half = len(executions) * len(paths) // 2
        wait_until(lambda half=half: len(solo.all_runs()) > half)  # type: ignore[misc]
        _end(solo, victim, ("kill", "drain", "signal")[round % 3])
        solo.staff(3)
    for execution in executions:
        assert execution.wait(DEADLINE).status == "completed"
        solo.assert_committed_once(execution, paths)
    having: dict[str, set[int]] = defaultdict(set)
    keys = {execution.id: execution.status().input["key"] for execution in executions}
    for run in solo.all_runs():
        having[keys[run["execution"]]].add(run["pid"])
    assert all(len(pids - touched) <= 1 for pids in having.values()), (having, touched)


def _end(system: System, worker: Worker, how: str) -> None:
    if how == "kill":
        worker.kill()
        return
    if how == "drain":
        live = system.orchestrator.runtime.journal.live_workers()
        (name,) = [said["name"] for said in live if said["pid"] == worker.pid]
        system.orchestrator.drain_agent(name)
    else:
        os.kill(worker.pid, signal.SIGTERM)
    assert worker.process.wait(30) == 0
