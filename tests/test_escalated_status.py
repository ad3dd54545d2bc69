"""What one sees of an escalated step: who is asked, since when, and what came of it."""

from __future__ import annotations

import pytest

from orch.cli.executions import _print_status
from orch.cli.progress import Steps, describe
from orch.control.status import ExecutionContext, StepExecution, execution_context
from orch.journal.journal import Journal
from tests.build import FakeClock, parallel, task
from tests.escalated import HOUR, MINUTE, Played
from tests.test_escalation import at_person, play


def context_of(played: Played) -> ExecutionContext:
    return execution_context(played.journal, played.plans, "x1")


def step_at(played: Played, path: str) -> StepExecution:
    return next(step for step in context_of(played).steps if step.path == path)


class TestWhy:
    def test_a_person_is_asked(self, journal: Journal) -> None:
        played = at_person(journal, within="2h", remindEvery="30m")
        played.look(31 * MINUTE)
        why = context_of(played).waiting_for["deploy"]
        assert why.startswith("rung 1/1: a person decides in inbox queue 'reviewers', until 20")
        assert "in 5340.0 s; reminded 1 time; after Broken" in why
        assert why.endswith(": it broke; `orch inbox show x1:deploy`")

    def test_who_has_claimed_it(self, journal: Journal) -> None:
        played = at_person(journal)
        played.rule("deploy", "claim", until=journal.clock() + HOUR)
        assert "; claimed by ada until 20" in context_of(played).waiting_for["deploy"]
        played.look(HOUR)
        assert "claimed" not in context_of(played).waiting_for["deploy"]

    def test_a_rung_is_at_work(self, journal: Journal) -> None:
        fallback = {"fallback": {"capability": "senior", "within": "1m"}}
        played = play(journal, fallback, "human")
        played.fail("deploy")
        why = context_of(played).waiting_for["deploy"]
        assert why.startswith(
            "rung 1/2: deploy/~1 (rung 1: fallback senior): no live worker serves 'senior'"
        )
        assert "until 20" in why and "in 60.0 s; after Broken" in why
        played.worked.take("deploy/~1")
        assert "running on me" in context_of(played).waiting_for["deploy"]

    def test_the_fallback_of_a_step_is_named(self, journal: Journal) -> None:
        played = Played(journal, task("deploy", fallback={"capability": "senior"}))
        played.fail("deploy")
        found = context_of(played)
        assert [s.rung for s in found.steps] == [None, "fallback senior"]
        assert found.waiting_for["deploy"].startswith("the step's `fallback`, before its ladder: ")

    def test_an_approval_says_what_is_asked(self, journal: Journal) -> None:
        asked = {"prompt": "Ship it?", "choices": ["yes", "no"], "queue": "leads"}
        step = {"id": "ask", "capability": "human_approval", "input": asked}
        played = Played(journal, step)
        assert context_of(played).waiting_for["ask"] == (
            "approval 'Ship it?' (yes, no): a person answers in inbox queue 'leads'; "
            "`orch inbox show x1:ask`"
        )

    def test_a_pause_is_told_too(self, journal: Journal) -> None:
        played = at_person(journal)
        played.verbs.pause("x1", "lunch", by="bob")
        assert "; paused by bob at " in context_of(played).waiting_for["deploy"]

    def test_a_decision_to_abort_that_is_still_to_be_done(self, journal: Journal) -> None:
        played = at_person(journal)
        played.advancer._end_by_ruling = lambda call: ()  # type: ignore[method-assign]
        played.rule("deploy", "abort")
        assert context_of(played).waiting_for["deploy"] == (
            "ada decided to abort; a worker ends the execution"
        )


class TestSteps:
    def test_the_works_of_rungs_stand_below_their_step_with_a_name(self, journal: Journal) -> None:
        deploy = task(
            "deploy", escalation=["retry", {"fallback": {"capability": "senior"}}, "human"]
        )
        played = Played(journal, parallel("both", [deploy], [task("b")]))
        played.worked.take("both/1/b")
        played.fail("both/0/deploy")
        played.fail("both/0/deploy/~1")
        played.fail("both/0/deploy/~2#2")
        played.rule("both/0/deploy", "reroute", target="lint")
        found = context_of(played)
        assert [(s.path, s.rung) for s in found.steps] == [
            ("both", None),
            ("both/1/b", None),
            ("both/0/deploy", None),
            ("both/0/deploy/~1", "rung 1: retry"),
            ("both/0/deploy/~2#2", "rung 2: fallback senior"),
            ("both/0/deploy/~to.lint#3", "rerouted to lint"),
        ]
        assert {s.step for s in found.steps[2:]} == {"deploy"}
        assert found.metrics.step_count == 3

    def test_the_escalation_is_there_as_json(self, journal: Journal) -> None:
        played = at_person(journal, within="2h")
        played.rule("deploy", "comment", note="odd")
        found = step_at(played, "deploy").escalation
        assert found is not None
        told = found.model_dump(mode="json")
        assert (told["id"], told["kind"], told["rung"], told["rungs"], told["queue"]) == (
            "x1:deploy",
            "human",
            1,
            1,
            "reviewers",
        )
        assert told["error"]["name"] == "Broken" and told["resolved"] is None
        assert told["comments"][0]["text"] == "odd" and told["until"].startswith("20")

    def test_one_that_is_resolved_says_how_and_by_whom(self, journal: Journal) -> None:
        played = at_person(journal)
        played.rule("deploy", "skip", note="done by hand")
        step = step_at(played, "deploy")
        assert step.error is None and step.waiting_for is None
        assert str(step.escalation) == "skip by ada at rung 1: done by hand"

    def test_an_item_of_a_map_and_its_works_are_shown(self, journal: Journal) -> None:
        mapped = {"items": [1], "as": "x", "steps": [task("a", escalation=["retry"])]}
        played = Played(journal, {"id": "m", "type": "map", "map": mapped})
        played.look()
        if played.status("m[0]/a") is None:
            played.advancer.join("x1", "m[0]/a")
        played.fail("m[0]/a")
        paths = [step.path for step in context_of(played).steps]
        assert paths == ["m", "m[0]/a", "m[0]/a/~1"]


class TestOnTheTerminal:
    def test_status_prints_rungs_and_resolutions(
        self, journal: Journal, capsys: pytest.CaptureFixture[str]
    ) -> None:
        played = play(journal, "retry", "human")
        played.fail("deploy")
        played.fail("deploy/~1")
        _print_status(context_of(played))
        lines = capsys.readouterr().out
        assert "rung 1: retry; Broken" in lines and "orch inbox show x1:deploy" in lines
        played.rule("deploy", "skip")
        _print_status(context_of(played))
        assert "escalation: skip by ada at rung 2" in capsys.readouterr().out

    def test_progress_follows_the_rungs(self, journal: Journal, clock: FakeClock) -> None:
        played = play(journal, {"fallback": {"capability": "senior"}}, {"human": {"within": "1h"}})
        played.fail("deploy")
        steps = Steps()
        seen = journal.follower()
        for entry in journal.news("x1", seen):
            steps.take(entry)
        row = steps.rows["deploy"]
        assert (row.state, row.note) == ("escalated", "rung 1: fallback, → senior")
        played.fail("deploy/~1")
        news = journal.news("x1", seen)
        for entry in news:
            steps.take(entry)
        assert row.note == "rung 2: human, queue inbox, for 1 h 0 min"
        assert [r.path for r in steps.shown()] == ["deploy", "deploy/~1"]
        played.look(HOUR)
        for entry in journal.news("x1", seen):
            steps.take(entry)
        assert row.state == "failed" and "rung 2" in describe(news[-1])
