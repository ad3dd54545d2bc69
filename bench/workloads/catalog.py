"""All workloads, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.systems.base import Contestant, OnRedis
from bench.systems.engine import Orch
from bench.workloads.crowd import breadth, growth, waiting
from bench.workloads.keeping import commands, idle, memory
from bench.workloads.loss import alarms, recovery
from bench.workloads.pace import bulk, chain, fairness, fan_out, latency, map_, spread, start, turns
from bench.workloads.sizes import Figures, Sizes


@dataclass(frozen=True)
class Workload:
    """``run``: how it is done; ``kind`` and ``shape``: who takes part.

    ``once``: run in one round only; its figure stands for itself, or moves little.
    ``seconds``: how long it takes for one system, roughly, for the time left.
    """

    run: Callable[[Contestant, Sizes], Figures]
    seconds: float
    shape: str = "chain"
    kind: type[Contestant] = Contestant
    once: bool = False

    def takes(self, system: Contestant) -> bool:
        return isinstance(system, self.kind) and self.shape in system.shapes


WORKLOADS: dict[str, Workload] = {
    "chain": Workload(chain, 4),
    "latency": Workload(latency, 2),
    "spread": Workload(spread, 14, "spread"),
    "fan_out": Workload(fan_out, 4, "fan_out"),
    "map": Workload(map_, 4, "map"),
    "start": Workload(start, 2),
    "bulk": Workload(bulk, 5, kind=OnRedis),
    "memory": Workload(memory, 2),
    "fairness": Workload(fairness, 2, kind=OnRedis),
    "turns": Workload(turns, 6, "work", OnRedis, once=True),
    "commands": Workload(commands, 2, kind=OnRedis, once=True),
    "idle": Workload(idle, 63, once=True),
    "recovery": Workload(recovery, 25, "hold", once=True),
    "alarms": Workload(alarms, 65, "hold", Orch, once=True),
    "waiting": Workload(waiting, 45, kind=Orch, once=True),
    "growth": Workload(growth, 60, kind=Orch, once=True),
    "breadth": Workload(breadth, 20, kind=Orch, once=True),
}

ALONE = frozenset(name for name, workload in WORKLOADS.items() if workload.once)
"""Those that are run in one round only."""
