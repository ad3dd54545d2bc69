"""What a worker costs that has nothing to do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.settings import Settings
from tests.conftest import LONG

SECONDS = 30.0 if LONG else 12.0
COMMANDS = 10
"""Redis commands of a worker in a second, those inside of scripts included."""
CPU = 0.02
"""Of a core; it is less than half of one hundredth on an idle machine."""


def processes(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def cpu(pids: list[int]) -> float:
    """Seconds that they have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def calls(redis: Redis) -> dict[str, int]:
    stats: Any = redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(of["calls"]) for name, of in stats.items()}


def waiting_for_messages(redis: Redis) -> int:
    """Workers that have done all that they do at first. Blocked: others have waited once, too."""
    clients = redis.client_list()
    return sum(each["cmd"] == "brpop" and "b" in each["flags"] for each in clients)


def wait_until_nothing_is_due(redis: Redis, wait_until: Any, looks: int = 1) -> None:
    """Until wardens no longer ask what is due next, which is a command for each partition, but
    whether there is anything."""
    before = calls(redis).get("exists", 0)
    wait_until(lambda: calls(redis).get("exists", 0) >= before + looks)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"] if LONG else ["prefork"])
@pytest.mark.parametrize("count", [1, 2] if LONG else [2])
def test_an_idle_worker_costs_next_to_nothing(
    redis: Redis, settings: Settings, wait_until: Any, pool: str, count: int
) -> None:
    with Orchestrator(settings) as orchestrator:
        orchestrator.define_workflow("w", {"name": "w", "steps": [{"id": "a", "type": "wait",
            "wait": {"duration": 1}}]})  # fmt: skip
        with orchestrator.workers(count=count, pool=pool) as workers:
            assert orchestrator.start_workflow("w").wait(timeout=30).status == "completed"
            wait_until(lambda: waiting_for_messages(redis) == count)
            wait_until_nothing_is_due(redis, wait_until, 2 * count)
            pids = [pid for worker in workers.processes for pid in processes(worker.pid)]
            before, used, begun = calls(redis), cpu(pids), time.monotonic()
            wait_until(lambda: time.monotonic() - begun > SECONDS, timeout=2 * SECONDS)
            after, used = calls(redis), cpu(pids) - used
            passed = time.monotonic() - begun
    redis.flushall()  # the workers' queues
    made = {name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)}
    a_second = (sum(made.values()) - 1) / passed / count  # but for our own question
    print(f"{count} idle {pool}: {a_second:.1f} commands/s, {used / passed / count:.2%} of a core")
    assert a_second <= COMMANDS, made
    assert used / passed / count <= CPU


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["threads", "solo"] if LONG else ["threads"])
def test_an_idle_worker_ends_at_once(
    redis: Redis, settings: Settings, wait_until: Any, pool: str
) -> None:
    """Not when the command is over by which it waits for a message. The best of three counts."""
    taken = []
    for _ in range(3):
        with Orchestrator(settings) as orchestrator, orchestrator.workers(pool=pool) as workers:
            wait_until(lambda: waiting_for_messages(redis) == 1)
            begun = time.monotonic()
            workers.processes[0].terminate()
            assert workers.processes[0].wait(timeout=30) == 0
            taken.append(time.monotonic() - begun)
        if taken[-1] < 1:
            break
    redis.flushall()  # the worker's queues
    assert min(taken) < 1, taken
