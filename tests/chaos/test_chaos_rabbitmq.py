"""RabbitMQ carries the messages, and dies, or says nothing, in the midst of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orch.execution import Execution
from tests.rabbit import Rabbit

from .conftest import LONG, Measure, Valkey
from .processes import System, chain, step, wait_until
from .test_chaos_server import DEADLINE, keep_starting

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(300)]

EXECUTIONS = 400 if LONG else 60
STEPS = 3
FROZEN = 16.0
"""Seconds for which it says nothing: longer than a worker may be silent itself."""


@pytest.fixture
def system(server: Valkey, rabbit: Rabbit, tmp_path: Path, _database: int) -> Iterator[System]:
    """Two workers at the times that are the default."""
    system = System(server, _database, tmp_path, broker=rabbit.vhost())
    system.staff(2)
    yield system
    try:
        system.assert_nothing_is_left()
    finally:
        system.close()


def test_executions_end_once_although_rabbitmq_is_killed_in_the_midst_of_them(
    system: System, rabbit: Rabbit, measure: Measure
) -> None:
    name = system.define("chain", *chain(STEPS, "chaos_work"))
    executions: list[Execution] = []
    submitter = threading.Thread(
        target=keep_starting, args=(system, name, EXECUTIONS, executions), daemon=True
    )
    submitter.start()
    wait_until(lambda: len(system.all_runs()) > EXECUTIONS * STEPS * 0.3)
    rabbit.kill()
    rabbit.start()
    up = time.monotonic()
    submitter.join(DEADLINE)
    assert len({execution.id for execution in executions}) == EXECUTIONS

    for execution in executions:
        assert execution.wait(DEADLINE).status == "completed"

    measure(f"RabbitMQ restarted amid {EXECUTIONS} executions -> all ended", time.monotonic() - up)
    for execution in executions:
        system.assert_committed_once(execution, [f"s{n}" for n in range(STEPS)])
    assert all(worker.alive for worker in system.workers), "a worker ended with its broker"


@pytest.mark.long
def test_a_step_that_runs_while_rabbitmq_says_nothing_is_nobody_elses_then(
    system: System, rabbit: Rabbit
) -> None:
    name = system.define("held", step("work", "chaos_hold", next="after"), step("after"))
    execution = system.start(name)
    system.claimed(execution, "work")
    rabbit.freeze()
    begun = time.monotonic()
    try:
        waiting = system.start(name)
        wait_until(lambda: time.monotonic() - begun > FROZEN, pause=0.1)
    finally:
        rabbit.thaw()
    system.release(execution, "work")
    assert execution.wait(DEADLINE).status == "completed"
    system.claimed(waiting, "work")
    system.release(waiting, "work")
    assert waiting.wait(DEADLINE).status == "completed"
    assert system.runs(execution, "work") == [1]
    for each in (execution, waiting):
        system.assert_committed_once(each, ["work", "after"])
