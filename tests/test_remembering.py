"""What becomes of an escalation is in the memory: each notice once, whoever dies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.escalation.delivery import deliver_notice
from orch.escalation.remembering import remember
from orch.journal.journal import Journal
from orch.memory.memory import Memory
from orch.settings import Settings
from tests.build import task
from tests.escalated import HOUR, Played

LADDER: list[Any] = [
    {"retry": {"maxAttempts": 1}},
    {"human": {"queue": "reviewers", "remindEvery": "1h"}},
]


class Remembered(Played):
    """An escalation; ``tell`` delivers all that is told of it so far, in its order."""

    def __init__(self, journal: Journal, ladder: Any = LADDER) -> None:
        super().__init__(journal, task("deploy", escalation=ladder))
        self.runtime: Any = SimpleNamespace(settings=journal.settings, journal=journal)
        self.memory = Memory(journal)
        self.fail("deploy")

    def tell(self) -> None:
        for _, notice in self.told:
            deliver_notice(self.runtime, notice)


def test_what_becomes_of_an_escalation_is_remembered(journal: Journal) -> None:
    played = Remembered(journal)
    played.look(1000)
    played.fail("deploy/~1")
    played.look(HOUR)
    played.rule("deploy", "skip", value=1)
    played.tell()
    records = list(reversed(played.memory.search(prefix="ORCH:ESCALATION:")))
    assert [record.tags[0] for record in records] == [
        "event:raised",
        "event:rung",
        "event:reminder",
        "event:resolved",
    ]
    raised, rung, reminder, resolved = records
    assert raised.content == "ORCH:ESCALATION: w: step deploy failed (Broken): it broke"
    assert raised.agent_role == "ORCHESTRATOR"
    assert {each.source for each in records} == {"x1:deploy"}
    assert {record.id for record in records} == {notice for _, notice in played.told}
    assert raised.related == []
    assert rung.related == reminder.related == resolved.related == [raised.id]
    assert "queue:reviewers" in rung.tags
    assert {"workflow:w", "class:unknown"} <= set(raised.tags)
    assert resolved.data["decision"] == "skip"
    assert "decision:skip" in resolved.tags


def test_a_notice_that_is_delivered_twice_is_remembered_once(journal: Journal) -> None:
    played = Remembered(journal)
    content = journal.read_notice(played.told[0][1])
    assert content is not None
    remember(played.runtime, content)
    remember(played.runtime, content)
    played.tell()
    assert len(played.memory.search()) == 1


def test_an_escalation_after_the_last_is_related_to_its_own_beginning(journal: Journal) -> None:
    played = Remembered(journal, [{"retry": {"maxAttempts": 1}}, "fail"])
    played.look(1000)
    played.fail("deploy/~1")
    assert played.ended() == "failed"
    played.look(1000)
    played.verbs.retry("x1")
    played.fail("deploy")
    played.rule("deploy", "skip", value=1)
    played.tell()
    raised = played.memory.search(tag="event:raised")
    resolved = played.memory.search(tag="event:resolved")
    assert len(raised) == 2
    assert [each.related for each in resolved] == [[each.id] for each in raised]


def test_what_the_memory_refuses_holds_no_notice_up(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    settings = journal.settings.model_copy(update={"output_limit": 64})
    played = Remembered(Journal(journal.redis, settings, clock=journal.clock))
    played.tell()
    assert "is not remembered" in caplog.text
    assert journal.read_notice(played.told[0][1]) is None


@pytest.mark.parametrize("point", ["notice_taken", "notice_remembered"])
def test_a_worker_that_dies_beside_the_memory_leaves_one_record_in_the_project_of_the_execution(
    redis: Redis,
    settings: Settings,
    tmp_path: Path,
    wait_until: Callable[..., Any],
    point: str,
) -> None:
    armed = tmp_path / "armed"
    definition = {
        "name": "w",
        "steps": [{"id": "ask", "capability": "human_approval", "input": {"queue": "leads"}}],
    }
    with Orchestrator(settings) as orchestrator:
        orchestrator.define_workflow("w", definition)
        environment = {"ORCH_FAULT_POINT": f"{point}:{armed}"}
        search = partial(orchestrator.search_memory, project="shop", prefix="ORCH:ESCALATION:")
        with orchestrator.workers(count=2, concurrency=1, pool="solo", environment=environment):
            execution = orchestrator.start_workflow("w", attributes={"project_id": "shop"})
            wait_until(armed.exists)
            journal = orchestrator.runtime.journal
            (notice,) = wait_until(lambda: _left(journal, execution.id))
            before = len(search())
            assert before == (point == "notice_remembered")
            _end_lease(journal, notice)
            wait_until(lambda: journal.read_notice(notice) is None, timeout=30)
            orchestrator.decide_escalation(f"{execution.id}:ask", "answer", "yes", by="ada")
            wait_until(lambda: len(search()) == 2)
        found = search()
        assert orchestrator.search_memory(prefix="ORCH:ESCALATION:") == []
    assert [record.tags[0] for record in found] == ["event:resolved", "event:raised"]
    assert found[0].related == [found[1].id] == [notice]


CODE = """
from orch import Context, capability

@capability("review")
def review(context: Context):
    context.remember("ORCH:AGENT: has no tests", tags=["tests"], data={"files": 2})
    if context.attempt == 1:
        raise ConnectionError("once more")
    context.remember("ORCH:AGENT: was reviewed")
"""


def test_a_step_remembers_once_however_often_it_is_tried(
    redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "review_code.py").write_text(CODE)
    step = {"id": "look", "capability": "review", "retry": {"maxAttempts": 2, "interval": 10}}
    with Orchestrator(settings) as orchestrator:
        orchestrator.define_workflow("w", {"name": "w", "steps": [step]})
        include = [str(tmp_path / "review_code.py")]
        with orchestrator.workers(concurrency=1, pool="solo", include=include):
            execution = orchestrator.start_workflow("w", attributes={"project_id": "shop"})
            assert execution.wait(timeout=30).status == "completed"
        found = orchestrator.search_memory(project="shop", prefix="ORCH:AGENT:")
    assert [record.content for record in found] == [
        "ORCH:AGENT: was reviewed",
        "ORCH:AGENT: has no tests",
    ]
    assert {record.source for record in found} == {f"{execution.id}:look"}
    assert (found[1].agent_role, found[1].tags, found[1].data) == (
        "review",
        ["tests"],
        {"files": 2},
    )


def _left(journal: Journal, execution: str) -> list[str]:
    outbox = journal.keys.outbox(journal.keys.partition(execution))
    return [name for name in journal.redis.hkeys(outbox) if not name.startswith("@")]


def _end_lease(journal: Journal, notice: str) -> None:
    """As if the time were over that the dead worker had it for itself."""
    partition = journal.keys.partition(notice.partition(":")[0])
    journal.redis.hset(journal.keys.outbox(partition), f"@{notice}", "1")
    journal.look_at_notice(notice, 0)
