"""Workers come and die at random, many at a time: no step is lost, and no dead agent is listed."""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from .conftest import LONG, Measure
from .processes import System, Worker, chain, wait_until
from .test_chaos_load import all_ended

WORKERS, SECONDS, EXECUTIONS = (20, 60.0, 500) if LONG else (3, 8.0, 40)
EVERY = SECONDS / (WORKERS * 2)
"""Seconds between two deaths, at least: each worker is killed twice, as a mean."""

DEATHS = 3
"""At least, however slow the machine is."""

STEPS = 10
LISTED = 5.0
"""Seconds after which a dead agent is listed no more."""


class Watch(threading.Thread):
    """Reads the registry all the while. ``longest``: s for which a dead one was still listed."""

    def __init__(self, system: System) -> None:
        super().__init__(daemon=True)
        self.registry = system.orchestrator.registry
        self.killed: dict[int, float] = {}
        self.over = threading.Event()
        self.longest, self.looks = 0.0, 0
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.wait(0.1):
                self.look()
        except BaseException as error:
            self.failed = error

    def look(self) -> None:
        asked = time.monotonic()
        for agent in self.registry.list():
            died = self.killed.get(int(agent.id.rsplit("-", 2)[1]))
            if died is not None:
                self.longest = max(self.longest, asked - died)
        self.looks += 1


@pytest.mark.timeout(600)
def test_no_step_is_lost_and_no_dead_agent_is_listed_while_workers_come_and_go(
    unstaffed: System, measure: Measure
) -> None:
    system = unstaffed
    seed = int(os.environ.get("ORCH_CHAOS_SEED", time.time_ns()))
    print(f"ORCH_CHAOS_SEED={seed}")
    chance = random.Random(seed)
    name = system.define("chain", *chain(STEPS, "chaos_work"))
    executions = [system.start(name) for _ in range(EXECUTIONS)]
    watch = Watch(system)
    watch.start()
    with ThreadPoolExecutor(WORKERS) as starter:
        kill_and_start(system, chance, watch, starter)
    system.workers = [worker for worker in system.workers if worker.alive]

    wait_until(lambda: all_ended(system, executions), within=400, what="all ended", pause=0.1)
    for execution in executions:
        system.assert_committed_once(execution, [f"s{n}" for n in range(STEPS)])
    alive = {worker.pid for worker in system.workers}
    listed = {int(each.id.rsplit("-", 2)[1]) for each in system.orchestrator.list_agents()}
    assert alive <= listed
    wait_until(lambda: watch.looks > 0 and not watch.failed, what="the registry was read")
    watch.over.set()
    watch.join()
    assert watch.failed is None
    what = f"{len(watch.killed)} deaths, {WORKERS} workers at a time"
    measure(f"{what}: a dead agent was listed for at most", watch.longest)
    repeated = len(system.all_runs()) - EXECUTIONS * STEPS
    print(f"{EXECUTIONS * STEPS} steps committed, {repeated} run again, {len(watch.killed)} deaths")
    assert watch.longest < LISTED


def kill_and_start(
    system: System, chance: random.Random, watch: Watch, starter: ThreadPoolExecutor
) -> None:
    """Keep up to ``WORKERS`` alive or coming, and kill one of those that live now and then."""
    coming: list[Future[Worker]] = []
    begun = due = time.monotonic()
    while time.monotonic() - begun < SECONDS or len(watch.killed) < DEATHS:
        done = [each for each in coming if each.done()]
        system.workers += [each.result() for each in done]
        coming = [each for each in coming if each not in done]
        living = [worker for worker in system.workers if worker.alive]
        while len(living) + len(coming) < WORKERS:
            given = (system.orchestrator, system.pool, system.directory)
            coming.append(starter.submit(Worker, *given, **system.environment))
        if len(living) > 1 and time.monotonic() >= due:
            victim = chance.choice(living)
            watch.killed[victim.pid] = time.monotonic()
            victim.kill()
            due = time.monotonic() + chance.uniform(EVERY, EVERY * 2)
        time.sleep(0.02)
    system.workers += [each.result() for each in coming]
