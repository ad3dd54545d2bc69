"""``python -m bench.brokers amqp://USER:PASSWORD@HOST:PORT/VHOST``: RabbitMQ beside Redis.

The same workflows, the same workers, the same journal; only the messages go another way. Both
systems are up all the while and take turns, so that a busy machine is busy for both.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from orch import Orchestrator
from orch.embedded import ephemeral

ROUNDS = 5
CODE = """
from orch import capability

@capability("nothing")
def nothing():
    return None
"""
CHAIN, BRANCHES, EXECUTIONS = 10, 100, 100


def main(broker: str) -> None:
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (place / "nothing.py").write_text(CODE)
        systems = {
            name: _start(stack, place, url) for name, url in (("redis", None), ("rabbitmq", broker))
        }
        for what, run in WORK.items():
            times: dict[str, list[float]] = {name: [] for name in systems}
            for round in range(ROUNDS + 1):
                for name, system in systems.items():
                    taken = run(system)
                    if round:
                        times[name].append(taken)
            pairs = zip(times["rabbitmq"], times["redis"], strict=True)
            ratio = statistics.median(mine / other for mine, other in pairs)
            shown = "  ".join(f"{n} {statistics.median(t) * 1000:.0f} ms" for n, t in times.items())
            print(f"{what}: {shown}  ratio {ratio:.2f}", flush=True)


def _start(stack: ExitStack, place: Path, broker: str | None) -> Orchestrator:
    server = stack.enter_context(ephemeral(timeout=30))
    system = stack.enter_context(Orchestrator(redis_url=server.url, broker_url=broker))
    for name, handoff in (("chain", "auto"), ("messages", "off")):
        steps = [{"id": f"s{n}", "capability": "nothing"} for n in range(CHAIN)]
        for one, other in itertools.pairwise(steps):
            one["next"] = other["id"]
        definition = {"name": name, "handoff": handoff, "steps": steps}
        system.define_workflow(name, definition)
    branches = [{"steps": [{"id": f"b{n}", "capability": "nothing"}]} for n in range(BRANCHES)]
    fan = {"id": "fan", "type": "parallel", "parallel": {"branches": branches}}
    system.define_workflow("fan", {"name": "fan", "handoff": "off", "steps": [fan]})
    stack.enter_context(
        system.workers(include=[str(place / "nothing.py")], queues=["nothing"], concurrency=2)
    )
    return system


def _one(name: str) -> Callable[[Orchestrator], float]:
    """Seconds from the first entry of the history to the last."""

    def run(system: Orchestrator) -> float:
        execution = system.start_workflow(name)
        execution.wait(120)
        entries = execution.history()
        return (entries[-1].at - entries[0].at) / 1000

    return run


def _many(system: Orchestrator) -> float:
    """Seconds from the first start until all have ended."""
    begun = time.perf_counter()
    for each in [system.start_workflow("chain") for _ in range(EXECUTIONS)]:
        each.wait(120)
    return time.perf_counter() - begun


WORK = {
    f"a chain of {CHAIN} steps": _one("chain"),
    f"a chain of {CHAIN} steps, each by a message": _one("messages"),
    f"{BRANCHES} branches, each by a message": _one("fan"),
    f"{EXECUTIONS} chains of {CHAIN} steps": _many,
}

if __name__ == "__main__":
    main(sys.argv[1])
