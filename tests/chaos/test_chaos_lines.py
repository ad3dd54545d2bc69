"""A worker is seen to live by its connection: who is slow, cut off or frozen is not dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orch.execution import Execution

from .conftest import LONG, RABBITMQ, Measure
from .processes import System, Worker, step, wait_until

DEADLINE = 90.0
TTL = 3.0
"""The default of `liveness_ttl`, s."""
LOADED = 60.0 if LONG else 7.0
"""Seconds under a load of four times the cores."""


def held(system: System) -> Execution:
    """An execution whose only step is in the middle of its first attempt."""
    execution = system.start(system.define("held", step("work", "chaos_hold")))
    system.claimed(execution, "work")
    return execution


def owner_of(system: System, execution: Execution) -> Worker:
    return system.worker_of(system.claimed(execution, "work").detail["worker"])


def signs(system: System) -> list[dict[str, Any]]:
    return system.orchestrator.runtime.journal.live_workers()


def all_seen(system: System, count: int = 2) -> list[dict[str, Any]]:
    """Wait until so many workers have told by which connection they are seen."""
    return wait_until(lambda: (s := [w for w in signs(system) if w["line"]])[count - 1 :] and s)


def passed(begun: float, seconds: float) -> None:
    wait_until(lambda: time.monotonic() - begun > seconds, within=seconds + 5)


def assert_never_lost(system: System, *executions: Execution) -> None:
    for execution in executions:
        assert [e.event for e in execution.history() if e.event == "lost"] == []
        system.release(execution, "work")
    for execution in executions:
        assert execution.wait(DEADLINE).status == "completed"
        assert system.runs(execution, "work") == [1]


@contextmanager
def load(times: int) -> Iterator[None]:
    """Busy processes, so many for each core."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(times * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.timeout(180)
def test_nobody_is_taken_for_dead_under_a_load_of_four_times_the_cores(own_server: System) -> None:
    system = own_server
    system.staff(2)
    executions = [held(system) for _ in range(4)]
    all_seen(system)
    begun = time.monotonic()
    with load(4):
        passed(begun, LOADED)
        assert_never_lost(system, *executions)
    assert "is gone" not in (system.directory / "workers.log").read_text()


def test_a_worker_whose_connection_breaks_is_back_by_another_before_it_is_missed(
    own_server: System,
) -> None:
    system = own_server
    system.staff(2)
    execution = held(system)
    owner = owner_of(system, execution)
    for _ in range(3):
        sign = next(w for w in all_seen(system) if w["pid"] == owner.pid)
        assert system.redis.client_kill_filter(_id=sign["line"])
        wait_until(
            lambda line=sign["line"]: any(
                w["pid"] == owner.pid and w["line"] > line for w in signs(system)
            )
        )
    passed(time.monotonic(), 1.5)
    assert_never_lost(system, execution)


def test_a_redis_that_was_away_for_longer_than_a_lease_comes_back_to_living_workers(
    own_server: System,
) -> None:
    system = own_server
    system.staff(2)
    executions = [held(system) for _ in range(4)]
    all_seen(system)
    passed(time.monotonic(), 1.5)  # the claims are on the disk
    system.server.kill()
    passed(time.monotonic(), TTL + 1)
    system.server.start()
    all_seen(system)
    passed(time.monotonic(), TTL + 2)
    assert_never_lost(system, *executions)


@pytest.mark.parametrize("limit", [6.0])
def test_a_frozen_worker_that_is_connected_is_given_up_later_than_its_lease(
    own_server: System, limit: float, measure: Measure
) -> None:
    system = own_server
    system.environment["ORCH_LIVENESS_LIMIT"] = str(limit)
    system.staff(2)
    execution = held(system)
    all_seen(system)
    frozen = owner_of(system, execution)
    frozen.freeze()
    begun = time.monotonic()
    assert execution.wait(DEADLINE).status == "completed"
    taken = time.monotonic() - begun
    measure("worker frozen, connected, `liveness_limit` 6 s -> execution ended", taken)
    # RabbitMQ may send the frozen worker, too, the message of the next attempt: a grace later.
    assert limit - 1.5 < taken < limit + (6 if RABBITMQ else 3)
    frozen.kill()
    system.staff(2)


def test_a_main_process_that_dies_alone_is_missed_although_its_children_live(
    own_server: System, measure: Measure
) -> None:
    """They were forked while it was connected, and do not hold its connection open."""
    system = own_server
    system.staff(2)
    all_seen(system)
    for worker in system.workers:
        before = children(worker.pid)
        for child in before:
            os.kill(child, signal.SIGKILL)
        wait_until(lambda w=worker, b=before: len(children(w.pid) - b) == len(b))
    execution = held(system)
    victim = owner_of(system, execution)
    try:
        killed = time.time()
        os.kill(victim.pid, signal.SIGKILL)
        assert execution.wait(DEADLINE).status == "completed"
        taken = execution.history()[-1].at / 1000 - killed
    finally:
        victim.kill()
    measure("main process of a prefork worker killed alone -> execution ended", taken)
    assert taken < TTL


def children(pid: int) -> set[int]:
    return {int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_where_nobody_may_list_connections_the_lease_decides(
    own_server: System, measure: Measure
) -> None:
    system = own_server
    system.redis.acl_setuser(
        "plain", enabled=True, passwords=["+pw"], keys=["*"], channels=["*"], categories=["+@all"]
    )
    system.redis.execute_command("ACL", "SETUSER", "plain", "-client|list", "-info")
    system.environment["ORCH_REDIS_URL"] = system.server.url().replace("//", "//plain:pw@")
    system.staff(2)
    execution = held(system)
    assert [worker["line"] for worker in signs(system)] == [0, 0]
    killed = time.time()
    owner_of(system, execution).kill()
    assert execution.wait(DEADLINE).status == "completed"
    taken = execution.history()[-1].at / 1000 - killed
    measure("worker killed where CLIENT LIST is forbidden -> execution ended", taken)
    assert TTL - 1.2 < taken < TTL + 3
