"""Votes in the journal, with people and with real workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.cli.progress import describe
from orch.control.forking import Forking
from orch.control.status import Resolved
from orch.errors import InputError, NotAllowed
from orch.journal.journal import Journal, Refused, Start
from orch.settings import Settings
from orch.workflows.outcome import Completed
from orch.workflows.state import StepState, StepStatus
from tests.build import task
from tests.escalated import Played as Escalated
from tests.test_resolving import asked
from tests.undone import Played, played

# --- in the journal -------------------------------------------------------------------------------


def voting(journal: Journal, *outputs: Any, **more: Any) -> Played:
    found = played(journal, asked(len(outputs) or 3, next="z", **more), task("z"))
    for number, output in enumerate(outputs):
        path = f"review/{number}/review"
        if isinstance(output, Exception):
            found.fail(path)
        else:
            found.do(path, output)
    return found


def fork(found: Played, path: str) -> Start:
    start = Forking(found.runtime, None).fork("x1", path).start  # type: ignore[arg-type]
    assert found.journal.start(start)
    return start


class TestJournal:
    def test_status_and_history_say_who_said_what(self, journal: Journal) -> None:
        found = voting(journal, "a", "b", "a")
        step = next(each for each in found.context().steps if each.path == "review")
        assert step.status == "completed" and step.resolution is not None
        assert step.resolution.winner == "review/0"
        assert step.resolution.dissenters == ["review/1"]
        said = '"a" by review/0, review/2; "b" by review/1'
        assert str(step.resolution) == f"vote: {said}"
        (chosen,) = (entry for entry in journal.history("x1") if entry.event == "chosen")
        assert describe(chosen) == f"winner review/0, {said}"

    def test_a_conflict_is_told_by_the_status_too(self, journal: Journal) -> None:
        found = voting(journal, 1, 2, 3)
        step = next(each for each in found.context().steps if each.path == "review")
        assert step.error is not None and step.error["name"] == "Conflict"
        assert step.resolution is not None and step.resolution.winner is None
        assert isinstance(step.resolution, Resolved) and len(step.resolution.votes) == 3

    def test_a_voter_that_failed_is_a_hole(self, journal: Journal) -> None:
        found = voting(journal, "a", RuntimeError(), "a")
        found.do("z")
        context = found.context()
        assert context.degraded
        assert [(hole.path, hole.why) for hole in context.holes] == [
            ("review/1/review", "tolerated")
        ]

    def test_voters_have_idempotency_keys_of_their_own(self, journal: Journal) -> None:
        found = played(journal, asked(3))
        states = [path for path in journal.steps("x1") if path.endswith("/review")]
        assert len({f"x1/{path}" for path in states}) == 3
        assert found.context().status == "running"

    def test_a_step_of_twenty_voters_is_decided_where_its_branches_come_as_a_bundle(
        self, journal: Journal
    ) -> None:
        found = played(journal, asked(20, next="z"), task("z"))
        for number in range(11):
            found.do(f"review/{number}/review", "a")
        assert found.worked.state("review").status is StepStatus.COMPLETED
        assert found.worked.state("review/19/review").status is StepStatus.CANCELLED

    def test_a_voter_that_comes_too_late_is_refused(self, journal: Journal) -> None:
        found = played(journal, asked(3))
        late = found.worked.take("review/2/review")
        for number in range(2):
            found.do(f"review/{number}/review", "a")
        reply = found.settle("review/2/review", late, Completed("b"))
        assert isinstance(reply, Refused) and reply.word == "SUPERSEDED"
        assert journal.record("x1").variables == {"won": "a"}

    def test_a_retry_lets_only_those_vote_again_that_failed(self, journal: Journal) -> None:
        found = voting(journal, "a", "b", RuntimeError())
        assert found.error["name"] == "Conflict"
        assert found.verbs.retry("x1")
        assert sorted(found.live()) == ["review", "review/2/review"]
        found.do("review/2/review", "b")
        assert journal.record("x1").variables == {"won": "b"}
        step = next(each for each in found.context().steps if each.path == "review")
        assert step.resolution is not None and step.resolution.dissenters == ["review/0"]

    def test_a_retry_is_refused_where_all_have_voted(self, journal: Journal) -> None:
        found = voting(journal, 1, 2, 3)
        with pytest.raises(NotAllowed, match="ended well and do not agree"):
            found.verbs.retry("x1")

    def test_what_the_voters_did_is_undone_each_by_itself(self, journal: Journal) -> None:
        found = voting(journal, 1, 2, 3, compensate={"capability": "undo"})
        assert sorted(found.live()) == ["compensations/review/2/review"]

    def test_a_person_decides_a_conflict_in_the_inbox(self, journal: Journal) -> None:
        schema = {"type": "integer"}
        step = asked(3, escalation=["human"], outputSchema=schema, next="z")
        found = Escalated(journal, step, task("z"))
        for number in range(3):
            found.do(f"review/{number}/review", number)
        assert found.status("review") is StepStatus.ESCALATED
        error = found.record("review").error or {}
        assert [each["output"] for each in error["data"]["outputs"]] == [0, 1, 2]
        with pytest.raises(InputError):
            found.rule("review", "skip", value="two", given=True)
        found.rule("review", "skip", value=2, given=True)
        assert journal.record("x1").variables == {"won": 2}
        assert found.status("z") is StepStatus.DISPATCHED

    def test_a_fork_behind_a_voter_counts_the_votes_that_it_keeps(self, journal: Journal) -> None:
        found = voting(journal, "a", "b", RuntimeError())
        start = fork(found, "review/2/review")
        state = StepState.loads(journal.steps(start.id)["review"])
        assert sorted((state.votes or {}).values()) == [1, 1] and state.left == 1

    def test_a_fork_behind_the_step_has_the_votes_too(self, journal: Journal) -> None:
        found = voting(journal, "a", "b", "a")
        start = fork(found, "z")
        assert journal.record(start.id).resolutions["review"]["dissenters"] == ["review/1"]


# --- with real workers ----------------------------------------------------------------------------

JUDGES = """
import os, time
from orch import Context, capability

@capability("judge")
def judge(context: Context, slow):
    number = int(context.path.split("/")[1])
    while number == slow and not os.path.exists(os.environ["VOTED"]):
        time.sleep(0.02)
    verdict = "no" if number == 1 else "yes"
    return {"verdict": verdict, "key": context.idempotency_key, "pid": os.getpid()}
"""


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        yield made
    redis.flushall()  # queues and bindings of the workers


def test_agents_vote_by_themselves_and_the_slow_one_is_not_waited_for(
    orchestrator: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "judges_of_votes.py").write_text(JUDGES)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("VOTED", str(tmp_path / "voted"))
    step = {"id": "review", "capability": "judge", "input": {"slow": "$.input.slow"}}
    by = {**step, "vote": {"of": 5, "by": "$.output.verdict"}}
    whole = {**step, "vote": {"of": 3}}
    orchestrator.define_workflow("by", {"name": "by", "steps": [by]})
    orchestrator.define_workflow("whole", {"name": "whole", "steps": [whole]})
    with orchestrator.workers(pool="prefork", concurrency=3, include=["judges_of_votes"]):
        won = orchestrator.start_workflow("by", {"slow": 2}).wait(timeout=60)
        (tmp_path / "voted").touch()
        torn = orchestrator.start_workflow("whole", {"slow": -1}).wait(timeout=60)
    assert won.status == "completed" and won.output["verdict"] == "yes"
    voted = next(step for step in won.steps if step.path == "review")
    assert voted.resolution is not None
    assert (voted.resolution.votes[0].value, len(voted.resolution.votes[0].by)) == ("yes", 3)
    assert "review/2" not in str(voted.resolution)
    assert torn.error is not None and torn.error["name"] == "Conflict"
    keys = [each["output"]["key"] for each in torn.error["data"]["outputs"]]
    assert keys == [f"{torn.id}/review/{number}/review" for number in range(3)]
