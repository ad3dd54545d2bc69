"""What happens to executions, and what managers change, is in the memory once, whoever dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.journal.journal import Journal
from orch.journal.line import Line
from orch.memory.memory import Memory
from orch.memory.noting import SETTLED, deliver_left
from orch.settings import Settings
from orch.tasks.lookout import Lookout, Seen
from orch.tasks.remembering import Remembering
from orch.workflows.note import Note

CODE = """
from orch import capability

@capability("work")
def work():
    return 1

@capability("break")
def break_():
    raise ValueError("no space")
"""


def single(capability: str) -> dict[str, Any]:
    return {"name": "w", "steps": [{"id": "a", "capability": capability}]}


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "abilities.py"
    path.write_text(CODE)
    return str(path)


def told(orchestrator: Orchestrator, prefix: str, **filters: Any) -> list[str]:
    """What records say, the oldest first."""
    found = orchestrator.search_memory(prefix=prefix, **filters)
    return [record.content.removeprefix(prefix).strip() for record in reversed(found)]


def test_an_execution_that_fails_and_is_tried_again_is_remembered_with_all_that_belongs_to_it(
    orchestrator: Orchestrator, module: str, wait_until: Callable[..., Any]
) -> None:
    orchestrator.define_workflow("w", single("break"))
    with orchestrator.workers(include=[module], concurrency=1, pool="solo"):
        execution = orchestrator.start_workflow("w", attributes={"project_id": "shop"})
        execution.wait()
        wait_until(lambda: orchestrator.search_memory(project="shop"))
        orchestrator.retry_workflow(execution.id, reason="again", by="ada")
        found = wait_until(
            lambda: orchestrator.search_memory(project="shop", tag="event:retried", limit=9)
        )
    (failed,) = orchestrator.search_memory(
        project="shop", tag="event:failed", until=found[0].created
    )
    assert failed.content.startswith("ORCH:WORKFLOW: w failed after ")
    assert failed.source == execution.id
    assert failed.agent_role == "ORCHESTRATOR"
    assert {"workflow:w", "event:failed"} <= set(failed.tags)
    assert failed.data["error"]["path"] == "a"
    assert found[0].content == "ORCH:WORKFLOW: w is tried again by ada: again"
    assert failed.id in found[0].related
    assert orchestrator.search_memory(prefix="ORCH:WORKFLOW: w failed") == []  # another project


def test_starts_and_completions_are_remembered_where_all_is(
    redis: Redis, settings: Settings, module: str, wait_until: Callable[..., Any]
) -> None:
    chosen = settings.model_copy(update={"remember": "all"})
    with (
        Orchestrator(chosen) as orchestrator,
        orchestrator.workers(include=[module], concurrency=1, pool="solo"),
    ):
        orchestrator.define_workflow("w", single("work"))
        execution = orchestrator.start_workflow("w")
        wait_until(lambda: len(orchestrator.search_memory(source=execution.id)) == 2)
        events = [r.tags[0] for r in orchestrator.search_memory(source=execution.id)]
    assert sorted(events) == ["event:completed", "event:started"]


def test_a_completion_is_not_notable_and_off_remembers_nothing(
    redis: Redis, settings: Settings, module: str, journal: Journal
) -> None:
    for remember in ("notable", "off"):
        chosen = settings.model_copy(update={"remember": remember})
        with Orchestrator(chosen) as orchestrator:
            orchestrator.define_workflow(remember, single("work"))
            with orchestrator.workers(include=[module], concurrency=1, pool="solo"):
                orchestrator.start_workflow(remember).wait()
            assert bool(told(orchestrator, f"ORCH:WORKFLOW: {remember}")) == (remember != "off")
            assert not orchestrator.search_memory(tag="event:completed")
    keys = [journal.keys.outbox(partition) for partition in range(journal.keys.partitions)]
    assert not redis.exists(*keys)


@pytest.mark.parametrize("point", ["settled", "notice_taken", "notice_remembered"])
def test_a_worker_that_dies_in_the_end_of_an_execution_leaves_one_record_of_it(
    orchestrator: Orchestrator,
    module: str,
    tmp_path: Path,
    wait_until: Callable[..., Any],
    point: str,
) -> None:
    armed = tmp_path / "armed"
    orchestrator.define_workflow("w", single("break"))
    environment = {"ORCH_FAULT_POINT": f"{point}:{armed}"}
    journal = orchestrator.runtime.journal
    with orchestrator.workers(
        count=2, include=[module], concurrency=1, pool="solo", environment=environment
    ):
        execution = orchestrator.start_workflow("w")
        wait_until(armed.exists)
        wait_until(lambda: orchestrator.search_memory(source=execution.id), timeout=30)
        outbox = journal.keys.outbox(journal.keys.partition(execution.id))
        wait_until(lambda: not journal.redis.exists(outbox), timeout=30)
    assert len(orchestrator.search_memory(source=execution.id)) == 1


def test_what_managers_change_is_remembered_each_in_its_area(orchestrator: Orchestrator) -> None:
    orchestrator.define_workflow("w", single("work"))
    orchestrator.define_workflow("w", single("work"))  # the same version: nothing is new
    orchestrator.add_schedule({"name": "s", "workflow": "w", "every": "1h"})
    orchestrator.pause_schedule("s", note="holidays", by="ada")
    orchestrator.remove_schedule("s")
    assert not orchestrator.remove_schedule("s")
    workflows = told(orchestrator, "ORCH:WORKFLOW:")
    assert workflows[0].startswith("w has a new version ")
    assert [line.partition(" by ")[0] for line in workflows[1:]] == [
        "schedule s of w was added",
        "schedule s of w was paused",
        "schedule s of w was removed",
    ]
    assert workflows[2] == "schedule s of w was paused by ada: holidays"

    orchestrator.define_resource("gpus", 2)
    orchestrator.remove_resource("gpus")
    resources = told(orchestrator, "ORCH:RESOURCE:")
    assert resources[0].startswith("there are 2 of resource gpus")
    assert resources[1].startswith("resource gpus was removed")

    orchestrator.register_external_service(
        {"name": "wx", "url": "http://localhost:9", "operations": {"ping": {"path": "/ping"}}}
    )
    orchestrator.remove_external_service("wx")
    hook = orchestrator.register_webhook("execution.failed", "http://localhost:9/hook")
    orchestrator.remove_webhook(hook)
    outside = [line.rpartition(" by ")[0] for line in told(orchestrator, "ORCH:RESOURCE:")[2:]]
    assert outside == [
        "service wx was registered",
        "service wx was removed",
        f"webhook {hook} of execution.failed was registered",
        f"webhook {hook} of execution.failed was removed",
    ]

    orchestrator.register_agent("linter", ["lint"])
    orchestrator.unregister_agent("linter")
    agents = told(orchestrator, "ORCH:AGENT:")
    assert agents[0].endswith("; it offers lint")
    assert agents[1].startswith("agent linter was unregistered")
    assert orchestrator.list_agents() == []
    assert orchestrator.list_resources() == []


def test_a_task_that_is_assigned_is_remembered_as_delegated(
    orchestrator: Orchestrator, module: str, wait_until: Callable[..., Any]
) -> None:
    orchestrator.register_agent("linter", ["lint"])
    with orchestrator.workers(include=[module], concurrency=1, pool="solo"):
        task = orchestrator.assign_task("linter", {"capability": "lint", "input": 1})
        (record,) = wait_until(lambda: orchestrator.search_memory(prefix="ORCH:DELEG:"))
    assert record.content.startswith("ORCH:DELEG: task lint of agent linter was assigned")
    assert record.source == task.id


def test_workers_that_come_and_go_are_remembered(orchestrator: Orchestrator, module: str) -> None:
    remembering = Remembering(orchestrator.runtime.journal)
    with orchestrator.workers(include=[module], concurrency=1, pool="solo") as workers:
        remembering.note_agents()
        remembering.note_agents()
        (came,) = orchestrator.search_memory(prefix="ORCH:AGENT:")
        assert "event:agent-came" in came.tags
        workers.stop()
        remembering.note_agents()
        remembering.note_agents()
    tags = [record.tags[0] for record in orchestrator.search_memory(prefix="ORCH:AGENT:")]
    assert tags == ["event:agent-left", "event:agent-came"]


def test_a_breaker_that_is_switched_is_remembered(orchestrator: Orchestrator) -> None:
    journal = orchestrator.runtime.journal
    journal.switch_breaker("pay", opens=True, by="ada", why="maintenance")
    journal.switch_breaker("pay", opens=False, by="ada")
    assert told(orchestrator, "ORCH:MONITOR:") == [
        "the breaker of pay is opened by ada: maintenance",
        "the breaker of pay is closed by ada",
    ]


def test_who_dies_between_the_change_and_its_record_leaves_a_note_that_a_worker_delivers(
    orchestrator: Orchestrator, settings: Settings, tmp_path: Path
) -> None:
    armed = tmp_path / "armed"
    for point in ("noted", "note_remembered"):
        armed.unlink(missing_ok=True)
        code = f"from orch import Orchestrator, faults\nfaults.arm({f'{point}:{armed}'!r})\n"
        code += f"Orchestrator().define_resource({point!r}, 2)\n"
        environment = {**os.environ, "ORCH_REDIS_URL": str(settings.redis_url)}
        ended = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60)
        assert ended.returncode == -9
    assert len(orchestrator.list_resources()) == 2
    journal = orchestrator.runtime.journal
    assert len(told(orchestrator, "ORCH:RESOURCE:")) == 1
    assert deliver_left(journal) == 0  # its writer may be at it yet
    late = Journal(journal.redis, settings, clock=lambda: journal.clock() + SETTLED + 1)
    assert deliver_left(late) == 2
    assert deliver_left(late) == 0
    assert len(told(orchestrator, "ORCH:RESOURCE:")) == 2
    assert late.noted(late.clock()) == {}


def test_what_changes_nothing_is_not_noted(journal: Journal) -> None:
    note = Note("n", "AGENT", "it changed", journal.clock())
    key = journal.keys.drains()
    assert not journal.amend(key, drops=["nobody"], note=note)
    assert not journal.amend(key, {"a": "1"}, expect={"a": "0"}, note=note)
    assert journal.read_notes(key) == []
    assert journal.amend(key, {"a": "1"}, expect={"a": ""}, note=note)
    assert [each.id for each in journal.read_notes(key)] == ["n"]
    assert Memory(journal).search() == []
    journal.redis.delete(key)


@pytest.mark.parametrize("remember", ["notable", "off"])
def test_the_name_of_a_worker_that_died_is_kept_only_where_somebody_remembers_it(
    redis: Redis, settings: Settings, remember: str
) -> None:
    journal = Journal(redis, settings.model_copy(update={"remember": remember}))
    sign = json.dumps({"id": "dead", "name": "agent-7", "holds": [], "line": 1, "at": 1})
    journal.renew_worker("dead", sign, 1000, 60_000)
    lookout = Lookout(journal, Line("orch", "me", 1.0), "me")
    lookout._bury("dead", Seen(1, sign))
    assert journal.read_sign("dead") is None
    assert list(journal.seen_agents()) == {"notable": ["agent-7"], "off": []}[remember]
