"""orch, with its default settings."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.plain import URL_VARIABLE
from bench.systems.base import PATIENCE, OnRedis
from bench.wide import WIDTH_VARIABLE
from orch import Orchestrator
from orch.control.workers import WorkerProcesses

ENVIRONMENT = {"ORCH_BUILTINS": "0"}


class Orch(OnRedis):
    """Durable workflows. A handle is the id of an execution.

    ``width``: how many capabilities its workers serve instead of the usual ones.
    """

    name, title, number = "orch", "orch", 0
    shapes = frozenset({"chain", "fan_out", "map", "spread", "hold", "work"})

    def __init__(self, url: str, width: int = 0, **given: Any) -> None:
        super().__init__(url, **given)
        self.width = width
        self.orchestrator = Orchestrator(redis_url=self.url, builtins=False)
        self.journal = self.orchestrator.runtime.journal
        self.workers: list[WorkerProcesses] = []
        self.defined: set[str] = set()

    def start(self) -> None:
        queues: list[list[str]] = [[queue] for queue in self.queues] or [[]] * self.count
        module = "bench.spread" if self.queues else "bench.capabilities"
        module = "bench.wide" if self.width else module
        own = {URL_VARIABLE: self.url, WIDTH_VARIABLE: str(self.width)}
        self.workers = [
            self.orchestrator.workers(
                concurrency=self.slots,
                queues=served,
                include=[module],
                environment={**ENVIRONMENT, **own},
            )
            for served in queues
        ]
        # All at once: each takes a second to come up.
        with ThreadPoolExecutor(len(self.workers)) as pool:
            for _ in pool.map(lambda each: each.start(60.0), self.workers):
                pass

    def stop_workers(self) -> None:
        for process in (process for each in self.workers for process in each.processes):
            process.terminate()
        for each in self.workers:
            each.stop()
        self.workers = []
        self.orchestrator.close()

    def processes(self) -> list[int]:
        return [process.pid for each in self.workers for process in each.processes]

    def prepare(self, shape: str, size: int) -> None:
        name = f"{shape}{size}"
        if name not in self.defined:
            steps = SHAPES[shape](size)
            self.orchestrator.define_workflow(name, {"name": name, "steps": steps})
            self.defined.add(name)

    def begin(self, shape: str, size: int) -> str:
        return self.orchestrator.start_workflow(
            f"{shape}{size}", {"items": list(range(size))} if shape == "map" else None
        ).id

    def submit(self, size: int, times: int, shape: str = "chain") -> float:
        """Start so many of one shape in one call; the seconds that took."""
        self.prepare(shape, size)
        begun = time.perf_counter()
        started = self.orchestrator.start_workflows([(f"{shape}{size}",)] * times)
        took = time.perf_counter() - begun
        for each in started:
            if isinstance(each, Exception):
                raise each
        return took

    def is_done(self, handle: str) -> bool:
        return self.redis.hget(self.journal.keys.record(handle), "status") == "completed"

    def wait_for(self, handle: str) -> None:
        self.orchestrator.execution(handle).result(PATIENCE)

    def ended(self, handle: str) -> float:
        return float(self.journal.record(handle).ended) / 1000

    def keys_of(self, handle: str) -> list[str]:
        keys = self.journal.keys
        return [keys.record(handle), keys.steps(handle), keys.items(handle), keys.history(handle)]

    def shared_bytes(self) -> int:
        keys = self.journal.keys
        shared = [make(n) for n in range(keys.partitions) for make in (keys.index, keys.watch)]
        return self.bytes_of(shared)


def _chain(capability: Callable[[int], str]) -> Callable[[int], list[dict[str, Any]]]:
    def steps(size: int) -> list[dict[str, Any]]:
        made = [
            {"id": f"s{n}", "capability": capability(n), "next": f"s{n + 1}"} for n in range(size)
        ]
        del made[-1]["next"]
        return made

    return steps


def _fan_out(size: int) -> list[dict[str, Any]]:
    branches = [{"steps": [{"id": f"b{n}", "capability": "noop"}]} for n in range(size)]
    fork = {"id": "fork", "type": "parallel", "parallel": {"branches": branches}, "next": "s1"}
    return [fork, {"id": "s1", "capability": "noop"}]


def _map(size: int) -> list[dict[str, Any]]:
    # 16 is the default of `maxConcurrency`; it is named since a bar is.
    each = {"items": "$.input.items", "capability": "noop", "maxConcurrency": 16}
    last = {"id": "s1", "capability": "noop"}
    return [{"id": "each", "type": "map", "map": each, "next": "s1"}, last]


def _wait(size: int) -> list[dict[str, Any]]:
    return [{"id": "months", "type": "wait", "wait": {"duration": f"P{size}D"}}]


SHAPES: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "chain": _chain(lambda n: "noop"),
    "hold": _chain(lambda n: "hold"),
    "work": _chain(lambda n: "work"),
    "spread": _chain(lambda n: f"noop{n}"),
    "fan_out": _fan_out,
    "map": _map,
    "wait": _wait,
    "narrow": lambda number: [{"id": "s", "capability": f"wide{number}"}],
}
