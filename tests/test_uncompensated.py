"""A compensation that fails: people are asked about it, and the others go on meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch import Orchestrator
from orch.errors import NotAllowed
from orch.journal.journal import Journal
from orch.workflows.outcome import Failed, Failure
from orch.workflows.state import StepStatus
from tests.build import task
from tests.escalated import HOUR, Played

UNDO = {"capability": "undo"}
ASK: list[Any] = [
    {"retry": {"maxAttempts": 1}},
    {"human": {"queue": "ops", "within": "2h", "remindEvery": "1h", "form": {"type": "object"}}},
    {"human": {"queue": "leads", "within": "8h"}},
    "fail",
    "human",
]
B = "compensations/b"


def undone(journal: Journal, ladder: list[Any] | None = None, **more: Any) -> Played:
    """`a` and `b` were done, the step behind them failed, and `b` cannot be undone."""
    given = {} if ladder is None else {"escalation": ladder}
    steps = (
        task("a", "b", compensate=UNDO),
        task("b", "c", compensate=UNDO, **given),
        task("c", escalation=[]),
    )
    played = Played(journal, *steps, **more)
    played.do("a")
    played.do("b", "output of b")
    played.fail("c")
    cannot(played, B)
    return played


def cannot(played: Played, path: str, name: str = "Gone") -> None:
    claimed = played.worked.take(path)
    failure = Failure(name, "no such thing", "b", path, claimed.state.attempt)
    played.advancer.settle(played.worked.plan, claimed.view, path, claimed.state, Failed(failure))


def error(played: Played) -> Any:
    return played.journal.record("x1").error


def test_without_a_ladder_it_is_noted(journal: Journal) -> None:
    played = undone(journal)
    assert played.status(B) is StepStatus.FAILED
    played.do("compensations/a")
    assert played.ended() == "failed"
    assert [each["path"] for each in error(played)["failedCompensations"]] == ["b"]


@pytest.mark.parametrize("ladder", [[], ["fail"], [{"retry": {}}]])
def test_a_ladder_without_people_changes_nothing(journal: Journal, ladder: list[Any]) -> None:
    played = undone(journal, ladder)
    assert played.status(B) is StepStatus.FAILED
    played.do("compensations/a")
    assert played.ended() == "failed"


def test_the_people_of_the_ladder_are_asked_while_the_others_are_undone(journal: Journal) -> None:
    played = undone(journal, ASK)
    record = played.record(B)
    assert (record.kind, record.queue, record.rung) == ("human", "ops", 1)
    assert [open_.path for open_ in journal.open_escalations("ops")] == [B]
    assert [event for event, _ in played.told] == ["raised"]
    played.do("compensations/a")
    assert played.ended() == "compensating"
    played.rule(B, "skip")
    assert played.ended() == "failed"
    assert error(played)["compensated"] == ["b", "a"]
    assert played.words(B)[-4:] == ["ruled", "skipped_by", "completed", "resolved"]
    assert not [field for field in journal.redis.hkeys(journal.keys.record("x1")) if "d:" in field]


def test_it_is_tried_again(journal: Journal) -> None:
    played = undone(journal, ASK)
    played.rule(B, "retry")
    played.do("compensations/a")
    cannot(played, f"{B}/~1", "Still")
    record = played.record(B)
    assert (record.queue, record.error and record.error["name"]) == ("ops", "Still")
    played.rule(B, "retry")
    played.do(f"{B}/~1#2")
    assert played.ended() == "failed"
    assert error(played)["compensated"] == ["b", "a"]


def test_where_nobody_decides_it_is_noted(journal: Journal) -> None:
    played = undone(journal, ASK)
    played.do("compensations/a")
    played.look(HOUR)
    assert played.record(B).reminders == 1
    played.look(HOUR)
    assert played.record(B).queue == "leads"
    played.look(8 * HOUR)
    assert played.ended() == "failed"
    assert (played.record(B).decision, played.record(B).open) == ("fail", False)
    (noted,) = error(played)["failedCompensations"]
    assert (noted["path"], noted["error"]["name"]) == ("b", "Gone")


def test_the_workflow_s_ladder_is_asked_too_also_where_handlers_take_errors(
    journal: Journal,
) -> None:
    handlers = [{"error": "Other", "handler": "a"}]
    played = undone(journal, escalation=["human"], errorHandlers=handlers)
    assert played.record(B).queue == "inbox"


def test_other_decisions_are_refused(journal: Journal) -> None:
    played = undone(journal, ASK)
    for word in ("abort", "compensate", "reroute", "answer"):
        with pytest.raises(NotAllowed, match="undoes what was done"):
            played.rule(B, word, target="a")
    played.rule(B, "comment", note="hm")
    assert played.record(B).comments and played.record(B).open


def test_it_is_looked_at_seldom_and_terminating_ends_it(journal: Journal) -> None:
    played = undone(journal, ASK)
    played.do("compensations/a")
    played.look(journal.grace)
    watch = journal.keys.watch(journal.keys.partition("x1"))
    due = journal.redis.zscore(watch, "x1 ")
    assert due == journal.clock() + journal.settings.recheck_interval * 1000
    assert played.verbs.terminate("x1")
    assert played.ended() == "cancelled" and journal.open_escalations() == []


def test_of_one_that_is_cancelled_too(journal: Journal) -> None:
    played = Played(journal, task("b", "c", compensate=UNDO, escalation=ASK), task("c"))
    played.do("b")
    played.verbs.cancel("x1", grace=0)
    cannot(played, B)
    assert played.record(B).queue == "ops"
    played.rule(B, "skip")
    assert (played.ended(), error(played)["compensated"]) == ("cancelled", ["b"])


CODE = """
from pathlib import Path
from orch import capability

@capability("book")
def book():
    return "a seat"

@capability("unbook")
def unbook(seat, fix):
    if not Path(fix).exists():
        raise ConnectionError("no way to undo " + seat)
    Path(fix).write_text(seat)

@capability("fail")
def fail():
    raise ValueError("no")
"""


def test_workers_undo_it_when_somebody_says_so(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Any
) -> None:
    code, fix = tmp_path / "booking.py", tmp_path / "fix"
    code.write_text(CODE)
    undo = {"capability": "unbook", "input": {"seat": "$.output", "fix": str(fix)}}
    steps = [
        {"id": "a", "capability": "book", "compensate": undo, "next": "b",
         "escalation": [{"human": {"queue": "ops"}}]},
        {"id": "b", "capability": "fail", "escalation": []},
    ]  # fmt: skip
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})
    with orchestrator.workers(include=[str(code)], concurrency=1):
        execution = orchestrator.start_workflow("w")
        (item,) = wait_until(lambda: orchestrator.list_escalations("ops"))
        assert (item.path, item.step) == ("compensations/a", "a")
        assert "ops" in str(execution.status().waiting_for)
        fix.touch()
        orchestrator.decide_escalation(item.id, "retry", by="ada")
        ended = execution.wait(timeout=20)
    assert ended.status == "failed" and ended.error is not None
    assert (ended.error["compensated"], fix.read_text()) == (["a"], "a seat")
