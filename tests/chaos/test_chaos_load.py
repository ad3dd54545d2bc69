"""Many executions, and workers that are killed at random all the while."""

from __future__ import annotations

import os
import random
import time

import pytest

from orch.orchestrator import Execution

from .conftest import LONG, Measure
from .processes import System, chain, wait_until

EXECUTIONS, STEPS, SECONDS = (500, 10, 60.0) if LONG else (100, 10, 10.0)
EVERY = 2.0
"""Seconds between two kills."""

TAIL = 30.0
"""Seconds within which all must have ended when the killing stops, on a busy machine."""


@pytest.mark.timeout(600)
def test_every_execution_ends_once_while_workers_are_killed_at_random(
    own_server: System, measure: Measure
) -> None:
    system = own_server
    seed = int(os.environ.get("ORCH_CHAOS_SEED", time.time_ns()))
    print(f"ORCH_CHAOS_SEED={seed}")
    chance = random.Random(seed)
    name = system.define("chain", *chain(STEPS))
    system.staff(2)
    executions: list[Execution] = []
    kills = 0
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < SECONDS:
        while len(executions) < EXECUTIONS * min(1.0, passed / SECONDS + 0.1):
            executions.append(system.start(name))
        if passed > kills * EVERY:
            chance.choice(system.workers).kill()
            system.staff(2)
            kills += 1
        else:
            time.sleep(0.02)
    while len(executions) < EXECUTIONS:
        executions.append(system.start(name))
    stopped = time.monotonic()

    wait_until(
        lambda: all(system.orchestrator.manager.ended(e.id) for e in executions),
        within=TAIL,
        what="all executions have ended",
        pause=0.2,
    )

    measure(f"{EXECUTIONS} executions, {kills} kills: tail", time.monotonic() - stopped)
    expected = [f"s{n}" for n in range(STEPS)]
    for execution in executions:
        assert execution.status().status == "completed"
        system.assert_committed_once(execution, expected)
    repeated = len(system.all_runs()) - EXECUTIONS * STEPS
    assert repeated >= 0
    print(f"{EXECUTIONS * STEPS} steps committed, {repeated} run again, {kills} kills")
