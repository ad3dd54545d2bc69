"""What many open executions cost that wait for something far away."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.systems.base import OTHER, SCRATCH, Contestant, cpu_of
from bench.systems.engine import Orch
from bench.workloads.sizes import Figures, Sizes

DAYS = 90
BATCH = 10_000
CHAINS = 50
SINGLES = 200


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


def breadth(system: Contestant, sizes: Sizes) -> Figures:
    """The CPU of a step of a worker that serves many capabilities to that of one that serves few.

    Executions of one step, so that each costs a message; of worker, client and Redis together,
    on two databases which take turns.
    """
    assert isinstance(system, Orch)
    with (
        closing(system.elsewhere(SCRATCH, width=sizes.broad)) as broad,
        closing(system.elsewhere(OTHER, width=sizes.narrow)) as narrow,
    ):
        for each in (broad, narrow):
            each.start()
        return {"breadth": _dearer(broad, narrow, sizes.turns, _singles(sizes.narrow))}


def _singles(width: int) -> Callable[[Orch], None]:
    def run(system: Orch) -> None:
        for number in range(width):
            system.run("narrow", number, SINGLES // width)

    return run


@contextmanager
def closing(system: Orch) -> Iterator[Orch]:
    try:
        yield system
    finally:
        system.stop()


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
    return _dearer(many, few, sizes.turns, lambda each: each.run("chain", sizes.links, CHAINS))


def _dearer(first: Orch, second: Orch, turns: int, run: Callable[[Orch], object]) -> float:
    """CPU that the first takes for the same to that of the second: the median of some turns."""
    for each in (first, second):
        run(each)
    ratios = []
    for turn in range(turns):
        costs = {}
        for each in (first, second) if turn % 2 else (second, first):
            cpu = each.cpu()
            run(each)
            costs[each] = each.cpu() - cpu
        ratios.append(costs[first] / costs[second])
    return statistics.median(ratios)
