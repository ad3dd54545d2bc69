"""What Redis keeps, and what it is asked."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter

from bench.systems.base import Contestant, OnRedis, cpu_of
from bench.workloads.sizes import Figures, Sizes
from orch.journal.journal import open_redis


def memory(system: Contestant, sizes: Sizes) -> Figures:
    """What is kept of a finished chain: in Redis all its keys, and its share of the indexes."""
    return {"kept_bytes": system.kept("chain", sizes.links, sizes.kept)}


def commands(system: Contestant, sizes: Sizes) -> Figures:
    """Redis commands for each step, as MONITOR shows them: by clients, and inside scripts."""
    assert isinstance(system, OnRedis)
    system.run("chain", sizes.links)  # scripts are loaded, routes are made
    with Monitor(system) as monitor:
        handles = [system.begin("chain", sizes.links) for _ in range(sizes.watched)]
        # Looks at the end are commands too: few of them.
        system.wait(handles, 0.1)
    steps = sizes.watched * sizes.links
    return {
        "round_trips": sum(monitor.by_clients.values()) / steps,
        "scripts": monitor.by_clients["EVALSHA"] / steps,
        "scripted": sum(monitor.in_scripts.values()) / steps,
    }


def idle(system: Contestant, sizes: Sizes) -> Figures:
    """A worker that has nothing to do. Its server counts, too, where it has one of its own."""
    time.sleep(min(sizes.idle, 2.0))  # what was done last may have an end still to come
    cpu, begun = cpu_of(system.processes()), time.perf_counter()
    if not isinstance(system, OnRedis):
        time.sleep(sizes.idle)
        return {"idle_cpu": _percent(system, cpu, begun)}
    with Monitor(system) as monitor:
        time.sleep(sizes.idle)
    return {
        "idle_cpu": _percent(system, cpu, begun),
        "idle_commands": sum(monitor.by_clients.values()) / (time.perf_counter() - begun),
    }


def _percent(system: Contestant, cpu: float, begun: float) -> float:
    return 100 * (cpu_of(system.processes()) - cpu) / (time.perf_counter() - begun)


class Monitor:
    """Counts the commands in a system's database for the time of a ``with`` block."""

    def __init__(self, system: OnRedis) -> None:
        self.system = system
        self.by_clients: Counter[str] = Counter()
        self.in_scripts: Counter[str] = Counter()
        self._ready, self._end = threading.Event(), f"bench:{os.urandom(4).hex()}"
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Monitor:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.system.redis.echo(self._end)
        self._thread.join()

    def _listen(self) -> None:
        client = open_redis(self.system.url, timeout=60.0)
        with client, client.monitor() as monitor:
            self._ready.set()
            for seen in monitor.listen():
                if self._end in seen["command"]:
                    return
                if seen["db"] == self.system.number:
                    counts = self.in_scripts if seen["client_type"] == "lua" else self.by_clients
                    counts[seen["command"].split(" ", 1)[0].upper()] += 1
