"""What is measured. Each workload runs one system once and gives its figures."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.systems import System, cpu_of
from orch.journal.journal import open_redis

Figures = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """How much is run. A chain has ``links`` steps; a fan-out ``width`` and one behind."""

    chains: int = 200
    links: int = 10
    fan_outs: int = 20
    width: int = 100
    latencies: int = 30
    starts: int = 100
    kept: int = 100
    watched: int = 20


QUICK = Sizes(chains=10, links=10, fan_outs=2, width=10, latencies=3, starts=5, kept=5, watched=2)


@dataclass(frozen=True)
class Metric:
    """One figure. ``bar``: what orch must reach: of the ratio to stock, or of the figure.

    ``higher``: whether more is better. Ratios are always orch / other.
    """

    unit: str
    higher: bool
    bar: str = ""


METRICS: dict[str, Metric] = {
    "chain_throughput": Metric("steps/s", True, "ratio to stock >= 0.9"),
    "chain_cpu": Metric("ms CPU/step", False),
    "fan_out_throughput": Metric("steps/s", True, "ratio to stock >= 1.0"),
    "fan_out_cpu": Metric("ms CPU/step", False),
    "chain_latency": Metric("ms, p50", False),
    "start_time": Metric("ms/start, p50", False),
    "start_cpu": Metric("ms CPU/start", False),
    "kept_bytes": Metric("bytes/chain", False, "<= 4700"),
    "round_trips": Metric("commands/step", False),
    "scripted": Metric("commands in scripts/step", False),
    "scripts": Metric("scripts/step", False),
}


def meets(name: str, value: float, ratio: float | None) -> bool | None:
    """Whether a bar is reached; None when there is none."""
    match name:
        case "chain_throughput":
            return ratio is not None and ratio >= 0.9
        case "fan_out_throughput":
            return ratio is not None and ratio >= 1.0
        case "kept_bytes":
            return value <= 4700
    return None


def chain(system: System, sizes: Sizes) -> Figures:
    """Chains started together, one worker serving them all."""
    return _throughput(
        "chain", system, lambda: system.chain(sizes.links), sizes.chains, sizes.links
    )


def fan_out(system: System, sizes: Sizes) -> Figures:
    """Fan-outs started together; a chord in Celery, a parallel step in orch."""
    return _throughput(
        "fan_out", system, lambda: system.fan_out(sizes.width), sizes.fan_outs, sizes.width + 1
    )


def _throughput(
    name: str, system: System, start: Callable[[], Any], times: int, steps: int
) -> Figures:
    cpu, begun = _cpu(system), time.perf_counter()
    system.wait([start() for _ in range(times)], 0.005)
    elapsed, cpu = time.perf_counter() - begun, _cpu(system) - cpu
    return {
        f"{name}_throughput": times * steps / elapsed,
        f"{name}_cpu": 1000 * cpu / (times * steps),
    }


def _cpu(system: System) -> float:
    """CPU seconds of worker, client and Redis together."""
    server: Any = system.redis.info("cpu")
    own = os.times()
    redis = server["used_cpu_user"] + server["used_cpu_sys"]
    return float(cpu_of(system.worker_pid()) + own.user + own.system + redis)


def latency(system: System, sizes: Sizes) -> Figures:
    """From the start of one chain to its end, with nothing else to do."""
    found = []
    for _ in range(sizes.latencies):
        begun = time.perf_counter()
        system.wait([system.chain(sizes.links)], 0.0005)
        found.append(1000 * (time.perf_counter() - begun))
    return {"chain_latency": statistics.median(found)}


def start(system: System, sizes: Sizes) -> Figures:
    """What the client pays to build and start a chain."""
    handles, walls = [], []
    cpu = time.process_time()
    for _ in range(sizes.starts):
        begun = time.perf_counter()
        handles.append(system.chain(sizes.links))
        walls.append(1000 * (time.perf_counter() - begun))
    cpu = time.process_time() - cpu
    system.wait(handles, 0.005)
    return {"start_time": statistics.median(walls), "start_cpu": 1000 * cpu / sizes.starts}


def memory(system: System, sizes: Sizes) -> Figures:
    """What Redis keeps of a finished chain: all its keys, and its share of the indexes."""
    before = system.shared_bytes()
    handles = [system.chain(sizes.links) for _ in range(sizes.kept)]
    system.wait(handles, 0.005)
    kept = sum(system.bytes_of(system.keys_of(handle)) for handle in handles)
    return {"kept_bytes": (kept + system.shared_bytes() - before) / sizes.kept}


def commands(system: System, sizes: Sizes) -> Figures:
    """Redis commands for each step, as MONITOR shows them: by clients, and inside scripts."""
    handles = [system.chain(sizes.links)]  # scripts are loaded, routes are made
    system.wait(handles, 0.005)
    with _Monitor(system) as monitor:
        handles = [system.chain(sizes.links) for _ in range(sizes.watched)]
        # Looks at the end are commands too: few of them.
        system.wait(handles, 0.1)
    steps = sizes.watched * sizes.links
    return {
        "round_trips": sum(monitor.by_clients.values()) / steps,
        "scripted": sum(monitor.in_scripts.values()) / steps,
        "scripts": monitor.by_clients["EVALSHA"] / steps,
    }


class _Monitor:
    """Counts the commands in a system's database for the time of a ``with`` block."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.by_clients: Counter[str] = Counter()
        self.in_scripts: Counter[str] = Counter()
        self._ready, self._end = threading.Event(), f"bench:{os.urandom(4).hex()}"
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> _Monitor:
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


WORKLOADS: dict[str, Callable[[System, Sizes], Figures]] = {
    "chain": chain,
    "fan_out": fan_out,
    "latency": latency,
    "start": start,
    "memory": memory,
    "commands": commands,
}
