"""Messages that are lost or doubled, submitters that die, and times without any worker."""

from __future__ import annotations

import multiprocessing
import signal
import time
from pathlib import Path

import pytest

from orch import Orchestrator
from orch.faults import arm

from .conftest import Measure
from .processes import System, chain, step, wait_until

DEADLINE = 90.0
QUEUE = "chaos_note"


@pytest.mark.kernel
def test_a_message_that_the_broker_loses_is_sent_again(unstaffed: System, measure: Measure) -> None:
    execution = unstaffed.start(unstaffed.define("lost", *chain(2)))
    assert unstaffed.lose(QUEUE) == 1
    unstaffed.staff(1)
    begun = time.monotonic()

    assert execution.wait(DEADLINE).status == "completed"

    measure("message lost, worker comes up later -> ended", time.monotonic() - begun)
    unstaffed.assert_committed_once(execution, ["s0", "s1"])
    assert [e.path for e in execution.history() if e.event == "redispatched"] == ["s0"]


@pytest.mark.kernel
def test_a_message_that_comes_five_times_is_committed_once(unstaffed: System) -> None:
    execution = unstaffed.start(unstaffed.define("doubled", *chain(3)))
    unstaffed.repeat(QUEUE, 4)
    unstaffed.staff(2)

    assert execution.wait(DEADLINE).status == "completed"

    wait_until(lambda: not unstaffed.depth(QUEUE), what="all five messages are taken")
    for path in ("s0", "s1", "s2"):
        assert unstaffed.runs(execution, path) == [1]
    unstaffed.assert_committed_once(execution, ["s0", "s1", "s2"])


def test_the_first_worker_up_takes_what_all_the_dead_ones_held_and_what_is_due(
    unstaffed: System, measure: Measure
) -> None:
    unstaffed.staff(1)
    name = unstaffed.define("held", step("work", "chaos_hold", next="after"), step("after"))
    running = unstaffed.start(name)
    unstaffed.claimed(running, "work")
    timer = unstaffed.define(
        "timer",
        {"id": "pause", "type": "wait", "wait": {"duration": 500}, "next": "after"},
        step("after"),
    )
    waiting = unstaffed.start(timer)
    unstaffed.workers[0].kill()
    queued = unstaffed.start(unstaffed.define("queued", *chain(2)))
    unstaffed.staff(1)
    begun = time.monotonic()

    for execution in (running, waiting, queued):
        assert execution.wait(DEADLINE).status == "completed"

    measure("all workers dead, first one up -> all ended", time.monotonic() - begun)
    assert unstaffed.runs(running, "work") == [1, 2]
    unstaffed.assert_committed_once(running, ["work", "after"])
    unstaffed.assert_committed_once(waiting, ["pause", "after"])
    unstaffed.assert_committed_once(queued, ["s0", "s1"])


def _start_and_die(url: str, broker: str | None, name: str, file: str) -> None:
    arm(f"started:{file}")
    Orchestrator(redis_url=url, broker_url=broker).start_workflow(name)


def test_an_execution_runs_although_its_submitter_was_killed_before_it_published(
    prefork: System, tmp_path: Path, measure: Measure
) -> None:
    name = prefork.define("orphan", *chain(2))
    known = {info.id for info in prefork.orchestrator.list_executions(limit=10_000)}
    submitter = multiprocessing.get_context("spawn").Process(
        target=_start_and_die,
        args=(
            prefork.orchestrator.server.url,
            prefork.broker,
            name,
            str(tmp_path / "started"),
        ),
    )
    submitter.start()
    submitter.join(DEADLINE)
    assert submitter.exitcode == -signal.SIGKILL
    begun = time.monotonic()
    (found,) = [
        info for info in prefork.orchestrator.list_executions(limit=10_000) if info.id not in known
    ]
    execution = prefork.orchestrator.execution(found.id)

    assert execution.wait(DEADLINE).status == "completed"

    measure("submitter killed before it published -> ended", time.monotonic() - begun)
    prefork.assert_committed_once(execution, ["s0", "s1"])
