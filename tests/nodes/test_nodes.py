"""Workflows on worker nodes that are killed, and a broker node that is restarted."""

from __future__ import annotations

import time
from collections import Counter

from pytest_celery import CeleryTestSetup

from orch import Orchestrator
from orch.embedded import find_local
from tests.chaos.processes import wait_until

DEADLINE = 60.0

DOUBLE_TWICE = {
    "name": "double_twice",
    "steps": [
        {
            "id": "first",
            "capability": "nodes_double",
            "input": {"x": "$.input.x"},
            "output": {"x": "$.output"},
            "next": "second",
        },
        {"id": "second", "capability": "nodes_double", "input": {"x": "$.variables.x"}},
    ],
}
STICK = {"name": "stick", "steps": [{"id": "work", "capability": "nodes_stick"}]}


def test_two_nodes_answer_and_run_a_workflow(
    celery_setup: CeleryTestSetup, orchestrator: Orchestrator
) -> None:
    assert celery_setup.ready(control=True)
    names = {name.partition("@")[0] for reply in celery_setup.app.control.ping() for name in reply}
    assert names == {"first", "second"}
    orchestrator.define_workflow("double_twice", DOUBLE_TWICE)

    ended = orchestrator.start_workflow("double_twice", {"x": 5}).wait(DEADLINE)

    assert (ended.status, ended.output) == ("completed", 20)


def test_the_step_of_a_node_that_is_killed_ends_on_the_other(
    celery_setup: CeleryTestSetup, orchestrator: Orchestrator
) -> None:
    orchestrator.define_workflow("stick", STICK)
    execution = orchestrator.start_workflow("stick")
    claimed = wait_until(lambda: [e for e in execution.history() if e.event == "claimed"])
    incarnation = claimed[0].detail["worker"].split("/")[0]
    names = {w["id"]: w["name"] for w in orchestrator.runtime.journal.live_workers()}
    victim = ["first", "second"].index(names[incarnation].partition("@")[0])
    killed = time.time()
    celery_setup.worker_cluster[victim].kill()

    ended = execution.wait(DEADLINE)

    assert (ended.status, ended.output) == ("completed", 2)
    events = Counter(entry.event for entry in execution.history())
    assert (events["claimed"], events["lost"], events["completed"]) == (2, 1, 1)
    assert execution.history()[-1].at / 1000 - killed < 15


def test_nodes_go_on_when_the_broker_node_was_restarted(celery_setup: CeleryTestSetup) -> None:
    redis = celery_setup.broker.container
    with Orchestrator(redis_url=redis.host_url) as before:
        before.define_workflow("double_twice", DOUBLE_TWICE)

    celery_setup.broker.restart()

    # A container has another port on the host now; the definition is still there.
    wait_until(lambda: find_local(redis.host_url), what="the broker answers")
    with Orchestrator(redis_url=redis.host_url) as after:
        ended = after.start_workflow("double_twice", {"x": 3}).wait(DEADLINE)
    assert (ended.status, ended.output) == ("completed", 12)
