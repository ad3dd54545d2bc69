"""Many executions, and workers that are killed at random all the while."""

from __future__ import annotations

import os
import random
import time

import pytest

from orch.execution import Execution

from .conftest import LONG, Measure
from .processes import System, chain, wait_until

STEPS = 10
EXECUTIONS, SECONDS = (500, 60.0) if LONG else (70, 8.0)
EVERY = 2.0
"""Seconds between two kills."""

QUEUE = "chaos_work"
TAIL = 20.0
"""Seconds within which all must have ended when the queue is empty and nobody dies any more."""


@pytest.mark.timeout(600)
def test_every_execution_ends_once_while_workers_are_killed_at_random(
    own_server: System, measure: Measure
) -> None:
    system = own_server
    seed = int(os.environ.get("ORCH_CHAOS_SEED", time.time_ns()))
    print(f"ORCH_CHAOS_SEED={seed}")
    chance = random.Random(seed)
    name = system.define("chain", *chain(STEPS, QUEUE))
    system.staff(2)
    executions = [system.start(name) for _ in range(EXECUTIONS)]

    kills = kill_at_random(system, chance, executions)
    stopped = time.monotonic()
    wait_until(lambda: not system.depth(QUEUE), within=400, what="the queue is empty")
    drained = time.monotonic()
    wait_until(lambda: all_ended(system, executions), within=TAIL, what="all have ended", pause=0.1)
    ended = time.monotonic()

    what = f"{EXECUTIONS} executions of {STEPS} steps, {kills} workers killed"
    measure(f"{what}: last kill -> all ended", ended - stopped)
    measure(f"{what}: queue empty -> all ended", ended - drained)
    expected = [f"s{n}" for n in range(STEPS)]
    for execution in executions:
        assert execution.status().status == "completed"
        system.assert_committed_once(execution, expected)
    repeated = len(system.all_runs()) - EXECUTIONS * STEPS
    print(f"{EXECUTIONS * STEPS} steps committed, {repeated} run again, {kills} kills")
    assert repeated > 0, "no worker died inside a step: nothing was tested"


def kill_at_random(system: System, chance: random.Random, executions: list[Execution]) -> int:
    """Kill one of two workers every two seconds, and replace it; how many were killed."""
    begun = time.monotonic()
    kills = 0
    while (passed := time.monotonic() - begun) < SECONDS and not all_ended(system, executions):
        if passed > kills * EVERY:
            chance.choice(system.workers).kill()
            system.staff(2)
            kills += 1
        time.sleep(0.02)
    return kills


def all_ended(system: System, executions: list[Execution]) -> bool:
    return all(system.orchestrator.manager.ended(execution.id) for execution in executions)
