"""Workers and their children die inside steps, between steps, or only seem to be dead."""

from __future__ import annotations

import os
import signal
import time

import pytest

from .conftest import Measure
from .processes import System, step, wait_until

DEADLINE = 90.0
TRIES = 3
"""Times are claimed for an idle machine: on a busy one, the best of so many tries counts."""


def hold_then_note(system: System, **more: object) -> str:
    return system.define(
        "hold_then_note", step("work", "chaos_hold", next="after", **more), step("after")
    )


def test_a_step_whose_prefork_child_is_killed_is_claimed_anew_within_a_second(
    prefork: System, measure: Measure
) -> None:
    taken = []
    for _ in range(TRIES):
        execution = prefork.start(hold_then_note(prefork))
        prefork.claimed(execution, "work")
        child = prefork.all_runs()[-1]["pid"]
        killed = time.time()
        os.kill(child, signal.SIGKILL)
        assert execution.wait(DEADLINE).status == "completed"
        taken.append(prefork.claimed(execution, "work", 2).at / 1000 - killed)
        prefork.assert_committed_once(execution, ["work", "after"])
        assert prefork.runs(execution, "work") == [1, 2]
        if taken[-1] < 1:
            break
    measure("prefork child killed inside a step -> claimed anew", min(taken))
    assert min(taken) < 1
    assert all(worker.alive for worker in prefork.workers), "only a child died"


@pytest.mark.kernel
def test_a_step_whose_worker_is_killed_ends_within_two_seconds_on_another(
    any_pool: System, measure: Measure
) -> None:
    taken = []
    for _ in range(TRIES):
        any_pool.staff(2)
        execution = any_pool.start(hold_then_note(any_pool))
        victim = any_pool.worker_of(any_pool.claimed(execution, "work").detail["worker"])
        killed = time.time()
        victim.kill()
        assert execution.wait(DEADLINE).status == "completed"
        taken.append(execution.history()[-1].at / 1000 - killed)
        any_pool.assert_committed_once(execution, ["work", "after"])
        if taken[-1] < 2:
            break
    measure(f"{any_pool.pool} worker killed inside a step -> execution ended", min(taken))
    assert min(taken) < 2


@pytest.mark.parametrize("ended", [False, True], ids=["still_running", "already_ended"])
def test_the_late_outcome_of_a_worker_that_froze_is_refused_and_the_history_says_so(
    any_pool: System, ended: bool
) -> None:
    name = any_pool.define(
        "freeze", step("work", "chaos_hold", next="after"), step("after", "chaos_hold")
    )
    execution = any_pool.start(name)
    owner = any_pool.claimed(execution, "work").detail["worker"]
    frozen = any_pool.worker_of(owner)
    frozen.freeze()
    any_pool.claimed(execution, "after")  # the other worker took over, and went on
    if ended:
        any_pool.release(execution, "after")
        execution.wait(DEADLINE)
    frozen.thaw()
    any_pool.release(execution, "work")

    refused = wait_until(lambda: [e for e in execution.history() if e.event == "refused"])

    assert [(e.path, e.attempt, e.detail["worker"]) for e in refused] == [("work", 1, owner)]
    any_pool.release(execution, "after")
    assert execution.wait(DEADLINE).status == "completed"
    assert any_pool.runs(execution, "work") == [1, 2]
    any_pool.assert_committed_once(execution, ["work", "after"])
    assert frozen.alive, "a worker outlives being frozen"


# How often the code of the step at which the process dies is run: 0 means that it died before.
@pytest.mark.kernel
@pytest.mark.parametrize("point", ["claimed", "called", "settled"])
def test_a_process_that_dies_between_two_moves_of_a_step_costs_no_step_and_doubles_none(
    any_pool: System, measure: Measure, point: str
) -> None:
    name = any_pool.define("three", step("a", next="b"), step("b", next="c"), step("c"))
    any_pool.arm(point)
    begun = time.monotonic()
    execution = any_pool.start(name)

    assert execution.wait(DEADLINE).status == "completed"

    measure(f"{any_pool.pool} process dies when it has {point} -> ended", time.monotonic() - begun)
    assert any_pool.struck(point), "nobody died"
    any_pool.assert_committed_once(execution, ["a", "b", "c"])
    again = {"claimed": [2], "called": [1, 2], "settled": [1]}
    assert any_pool.runs(execution, "a") == again[point]
    alive = sum(worker.alive for worker in any_pool.workers)
    assert alive == (2 if any_pool.pool == "prefork" else 1), "only prefork has children to lose"


def test_a_parallel_step_joins_although_the_worker_of_a_branch_dies(any_pool: System) -> None:
    branches = [{"steps": [step("held", "chaos_hold")]}, {"steps": [step("quick")]}]
    parallel = {"id": "fork", "type": "parallel", "parallel": {"branches": branches}}
    name = any_pool.define("fork", {**parallel, "next": "after"}, step("after"))
    execution = any_pool.start(name)
    any_pool.worker_of(any_pool.claimed(execution, "fork/0/held").detail["worker"]).kill()

    assert execution.wait(DEADLINE).status == "completed"

    assert any_pool.commits(execution)["fork/0/held"] == 1
    assert any_pool.commits(execution)["fork/1/quick"] == 1
    assert any_pool.commits(execution)["after"] == 1


def test_a_step_that_kills_its_worker_three_times_in_a_row_fails_as_poison(
    prefork: System,
) -> None:
    execution = prefork.start(prefork.define("poison", step("work", "chaos_die")))

    status = execution.wait(DEADLINE)

    assert status.status == "failed"
    assert status.error is not None and status.error["name"] == "WorkerLost"
    assert prefork.runs(execution, "work") == [1, 2, 3]
    lost = [e for e in execution.history() if e.event == "lost"]
    assert [e.attempt for e in lost] == [1, 2, 3]
    assert [e.detail.get("poison", False) for e in lost] == [False, False, True]


def test_poison_is_taken_by_the_handler_of_its_step(prefork: System) -> None:
    name = prefork.define(
        "poison_handled", step("work", "chaos_die", onError="instead"), step("instead")
    )
    execution = prefork.start(name)

    assert execution.wait(DEADLINE).status == "completed"

    assert prefork.runs(execution, "work") == [1, 2, 3]
    assert prefork.runs(execution, "instead") == [1]
