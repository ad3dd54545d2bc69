"""What many open executions cost that wait for something far away."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.systems.base import OTHER, SCRATCH, Contestant, cpu_of
from bench.systems.engine import Orch
from bench.workloads.sizes import Figures, Sizes

DAYS = 90
BATCH = 10_000
CHAINS = 50


def waiting(system: Contestant, sizes: Sizes) -> Figures:
    """Executions that wait for three months: their memory, and their warden's CPU."""
    assert isinstance(system, Orch)
    empty = _used(system)
    with _beside(system, SCRATCH, sizes.crowd) as many:
        full = _used(system)
        many.start()
        time.sleep(min(sizes.rest, 3.0))
        cpu, begun = cpu_of(many.processes()), time.perf_counter()
        time.sleep(sizes.rest)
        share = (cpu_of(many.processes()) - cpu) / (time.perf_counter() - begun)
    return {"waiting_memory": (full - empty) / 1e6, "waiting_cpu": 100 * share}


def growth(system: Contestant, sizes: Sizes) -> Figures:
    """The CPU of a step beside many executions to that beside few.

    Of worker, client and Redis together; two databases and two workers, which take turns.
    """
    assert isinstance(system, Orch)
    with _beside(system, SCRATCH, sizes.crowd) as many, _beside(system, OTHER, sizes.few) as few:
        for each in (many, few):
            each.start()
        return {"growth": _growth(many, few, sizes)}


@contextmanager
def _beside(system: Orch, number: int, count: int) -> Iterator[Orch]:
    """A database with so many executions that wait."""
    there = system.elsewhere(number)
    try:
        for begun in range(0, count, BATCH):
            there.submit(DAYS, min(BATCH, count - begun), "wait")
        yield there
    finally:
        there.stop()


def _used(system: Orch) -> int:
    info = system.redis.info("memory")
    assert isinstance(info, dict)
    return int(info["used_memory"])


def _growth(many: Orch, few: Orch, sizes: Sizes) -> float:
    for each in (many, few):
        each.run("chain", sizes.links, CHAINS)
    ratios = []
    for turn in range(sizes.turns):
        costs = {}
        for each in (many, few) if turn % 2 else (few, many):
            cpu = each.cpu()
            each.run("chain", sizes.links, CHAINS)
            costs[each] = each.cpu() - cpu
        ratios.append(costs[many] / costs[few])
    return statistics.median(ratios)
