"""How fast the shapes are, and what their steps cost."""

from __future__ import annotations

import math
import statistics
import time

from bench.systems.base import Contestant, OnRedis, resident
from bench.workloads.sizes import Figures, Sizes


def chain(system: Contestant, sizes: Sizes) -> Figures:
    """Chains started together, one worker serving them all."""
    return _throughput("chain", system, "chain", sizes.links, sizes.chains, sizes.links)


def fan_out(system: Contestant, sizes: Sizes) -> Figures:
    """Fan-outs started together: a chord in Celery, a parallel step in orch."""
    return _throughput("fan_out", system, "fan_out", sizes.width, sizes.fan_outs, sizes.width + 1)


def spread(system: Contestant, sizes: Sizes) -> Figures:
    """Each step of a chain has a queue of its own, and a worker of one slot that serves it."""
    assert isinstance(system, OnRedis)
    queues = [f"noop{n}" for n in range(sizes.workers)]
    with system.elsewhere(count=len(queues), slots=1, queues=queues) as there:
        there.run("spread", len(queues))
        return _throughput("spread", there, "spread", len(queues), sizes.spread, len(queues))


def _throughput(
    name: str, system: Contestant, shape: str, size: int, times: int, steps: int
) -> Figures:
    times = max(1, math.ceil(times * system.share))
    cpu = system.cpu()
    elapsed = system.run(shape, size, times).wall
    cpu = system.cpu() - cpu
    return {
        f"{name}_throughput": times * steps / elapsed,
        f"{name}_cpu": 1000 * cpu / (times * steps),
    }


def latency(system: Contestant, sizes: Sizes) -> Figures:
    """From the start of one chain to its end, with nothing else to do."""
    walls = [system.run("chain", sizes.links).wall for _ in range(sizes.latencies)]
    return {"chain_latency": 1000 * statistics.median(walls)}


def map_(system: Contestant, sizes: Sizes) -> Figures:
    """A map of many items, one at a time; a chord in Celery. For orch also of ten times as many.

    What a system has no other word for than a fan-out is measured once in a round: it is slow.
    """
    found = {"map_time": system.run("map", sizes.items).wall}
    if system.name != "orch":
        return found
    few = statistics.median([found["map_time"], *(_map_time(system, sizes) for _ in range(2))])
    before = resident(system.processes())
    many = system.run("map", sizes.many_items).wall
    after = resident(system.processes())
    times = sizes.many_items / sizes.items
    return {
        "map_time": few,
        "map_linear": many / (times * few),
        "map_memory": 100 * (after - before) / before if before else 0.0,
    }


def _map_time(system: Contestant, sizes: Sizes) -> float:
    return system.run("map", sizes.items).wall


def start(system: Contestant, sizes: Sizes) -> Figures:
    """What the client pays to build and start a chain, one by one."""
    cpu = time.process_time()
    starts = system.run("chain", sizes.links, sizes.starts).starts
    cpu = time.process_time() - cpu
    found = {"start_time": statistics.median(starts)}
    if isinstance(system, OnRedis):  # of the others, this process is not the client
        found["start_cpu"] = 1000 * cpu / sizes.starts
    return found


def bulk(system: Contestant, sizes: Sizes) -> Figures:
    """Many starts where no worker takes anything: of the client and of Redis alone.

    orch starts them in one call; canvases are applied one by one, fewer of them, and the time
    is multiplied.
    """
    assert isinstance(system, OnRedis)
    times = sizes.bulk if system.name == "orch" else sizes.bulk_canvases
    there = system.elsewhere()
    try:
        took = there.submit(sizes.links, times)
    finally:
        there.stop()
    return {"bulk_time": took * sizes.bulk / times}


def fairness(system: Contestant, sizes: Sizes) -> Figures:
    """Of chains that start together, how long the last one takes against the mean."""
    return {"fairness": _last_to_mean(system, "chain", sizes)}


def turns(system: Contestant, sizes: Sizes) -> Figures:
    """As `fairness`, of steps that take 10 ms each."""
    return {"fairness_work": _last_to_mean(system, "work", sizes)}


def _last_to_mean(system: Contestant, shape: str, sizes: Sizes) -> float:
    assert isinstance(system, OnRedis)
    system.prepare(shape, sizes.links)
    begun = time.time()
    handles = [system.begin(shape, sizes.links) for _ in range(sizes.together)]
    system.wait(handles, 0.01)
    ends = [system.ended(handle) - begun for handle in handles]
    return max(ends) / statistics.mean(ends)
