"""Steering over escalated steps: they rest, go on, and are tried anew, moved and forked."""

from __future__ import annotations

from typing import Any

import pytest

from orch.control.catalog import Catalog
from orch.control.forking import Forking
from orch.control.migration import Migrated, Migration
from orch.control.status import execution_context
from orch.errors import AlreadyDecided, InputError, NotAllowed, NotFound
from orch.journal.journal import Journal
from orch.workflows.state import StepState, StepStatus
from tests.build import Worked, parallel, task, workflow
from tests.escalated import HOUR, MINUTE, Played
from tests.test_escalation import asks, at_person, play

FALLBACK: dict[str, Any] = {"fallback": {"capability": "senior"}}


def at_work(journal: Journal, *more: Any) -> Played:
    played = play(journal, FALLBACK, *more)
    played.fail("deploy")
    return played


def in_branch(journal: Journal, *rungs: Any) -> Played:
    deploy = task("deploy", escalation=list(rungs))
    return Played(journal, parallel("both", [deploy], [task("b")]))


def detail(played: Played, word: str) -> dict[str, Any]:
    found = [e.detail for e in played.journal.history("x1") if e.event == word]
    return dict(found[-1])


def looked_at(played: Played, path: str) -> bool:
    return path in played.worked.watched()


class TestSkip:
    def test_it_resolves_the_escalation_and_says_who(self, journal: Journal) -> None:
        played = at_person(journal)
        assert played.verbs.skip("x1", "deploy", {"url": "u"}, by="ada", reason="by hand")
        record = played.record("deploy")
        assert (record.decision, record.by, record.note) == ("skip", "ada", "by hand")
        assert record.resolved and played.status("after") is StepStatus.DISPATCHED
        assert {"ruled", "skipped_by", "completed", "resolved"} <= set(played.words("deploy"))
        assert detail(played, "ruled") == {"decision": "skip", "by": "ada", "note": "by hand"}
        assert played.verbs.skip("x1", "deploy", by="bob") is False
        assert played.journal.record("x1").holes["deploy"][0].by == "ada"

    @pytest.mark.parametrize("path", ["deploy", "deploy/~1"])
    def test_what_a_rung_does_is_thrown_away(self, journal: Journal, path: str) -> None:
        played = at_work(journal)
        played.worked.take("deploy/~1")
        assert played.verbs.skip("x1", path, 1, by="ada")
        assert played.status("deploy/~1") is StepStatus.CANCELLED
        assert played.status("deploy") is StepStatus.COMPLETED
        assert played.record("deploy").by == "ada"

    def test_not_what_another_one_has_claimed(self, journal: Journal) -> None:
        played = at_person(journal)
        played.rule("deploy", "claim", by="bob", until=journal.clock() + HOUR)
        with pytest.raises(NotAllowed, match="claimed by bob"):
            played.verbs.skip("x1", "deploy", by="ada")

    def test_an_output_must_fit(self, journal: Journal) -> None:
        played = play(journal, "human", outputSchema={"type": "object"})
        played.fail("deploy")
        with pytest.raises(InputError):
            played.verbs.skip("x1", "deploy", 5, by="ada")
        assert played.status("deploy") is StepStatus.ESCALATED

    def test_a_step_that_holds_others_can_be_skipped_once_it_is_escalated(
        self, journal: Journal
    ) -> None:
        both = parallel("both", [task("a")], [task("b")], next="after", escalation=["human"])
        played = Played(journal, both, task("after"))
        played.fail("both/0/a")
        assert played.status("both") is StepStatus.ESCALATED
        assert played.verbs.skip("x1", "both", [], by="ada")
        assert played.status("after") is StepStatus.DISPATCHED


class TestPause:
    def test_nobody_is_reminded_and_no_rung_ends_until_it_goes_on(self, journal: Journal) -> None:
        played = at_person(journal, within="2h", remindEvery="1h")
        played.verbs.pause("x1", by="ada")
        played.look(HOUR)
        played.look(2 * HOUR)
        record = played.record("deploy")
        assert (record.reminders, record.open) == (0, True)
        played.verbs.resume("x1", by="ada")
        played.look()
        assert played.record("deploy").decision == "fail"
        assert played.ended() == "failed"

    def test_people_may_decide_and_what_follows_waits(self, journal: Journal) -> None:
        played = at_person(journal)
        played.verbs.pause("x1", by="ada")
        played.worked.sent.clear()
        played.rule("deploy", "skip", value=1)
        assert played.status("after") is StepStatus.DISPATCHED
        assert played.worked.claim("after").word == "PAUSED"  # type: ignore[union-attr]
        played.worked.sent.clear()
        played.verbs.resume("x1", by="ada")
        assert played.worked.sent == ["after"]

    def test_the_work_of_a_rung_rests_and_is_sent_again(self, journal: Journal) -> None:
        played = at_work(journal, "human")
        played.verbs.pause("x1", by="ada")
        assert played.worked.claim("deploy/~1").word == "PAUSED"  # type: ignore[union-attr]
        played.worked.sent.clear()
        played.verbs.resume("x1", by="ada")
        assert played.worked.sent == ["deploy/~1"]
        assert looked_at(played, "deploy") and looked_at(played, "deploy/~1")
        played.do("deploy/~1", 5)
        assert played.status("after") is StepStatus.DISPATCHED

    def test_work_that_ends_while_it_is_paused_is_committed(self, journal: Journal) -> None:
        played = at_work(journal, "human")
        claimed = played.worked.take("deploy/~1")
        played.verbs.pause("x1", by="ada")
        from orch.workflows.outcome import Completed

        played.advancer.settle(
            played.worked.plan, claimed.view, "deploy/~1", claimed.state, Completed(5)
        )
        assert played.status("deploy") is StepStatus.COMPLETED

    @pytest.mark.parametrize("rung", ["human", FALLBACK])
    def test_a_branch_rests_alone(self, journal: Journal, rung: Any) -> None:
        timed = {"human": {"within": "1h"}} if rung == "human" else rung
        played = in_branch(journal, timed)
        played.fail("both/0/deploy")
        played.verbs.pause("x1", branch="both/0", by="ada")
        played.look(2 * HOUR)
        assert played.status("both/0/deploy") is StepStatus.ESCALATED
        if rung != "human":
            found = played.worked.claim("both/0/deploy/~1")
            assert found.word == "PAUSED"  # type: ignore[union-attr]
        played.do("both/1/b")
        played.verbs.resume("x1", branch="both/0", by="ada")
        played.look()
        if rung == "human":
            assert played.ended() == "failed"
        else:
            played.do("both/0/deploy/~1")
            assert played.ended() == "completed"

    def test_a_step_with_work_in_a_rung_is_no_branch(self, journal: Journal) -> None:
        played = at_work(journal)
        with pytest.raises(NotFound):
            played.verbs.pause("x1", branch="deploy", by="ada")


class TestRetry:
    def test_the_ladder_begins_anew_and_its_works_have_paths_of_their_own(
        self, journal: Journal
    ) -> None:
        played = at_work(journal, {"human": {"within": "1h"}})
        played.fail("deploy/~1")
        played.look(HOUR)
        assert played.ended() == "failed"
        assert played.verbs.retry("x1", by="ada")
        played.fail("deploy", "Again")
        record = played.record("deploy")
        assert (record.rung, record.work, record.open) == (1, "deploy/~1#2", True)
        assert record.error is not None and record.error["name"] == "Again"
        played.do("deploy/~1#2", 5)
        assert played.status("after") is StepStatus.DISPATCHED
        assert played.status("deploy/~1") is StepStatus.FAILED

    def test_a_step_begins_anew_and_not_the_work_that_failed_last(self, journal: Journal) -> None:
        played = at_work(journal)
        played.fail("deploy/~1")
        assert played.ended() == "failed"
        played.verbs.retry("x1", by="ada")
        assert played.status("deploy") is StepStatus.DISPATCHED
        assert played.status("deploy/~1") is StepStatus.FAILED

    def test_a_second_try_that_helps_leaves_no_escalation_open(self, journal: Journal) -> None:
        played = at_person(journal, within="1h")
        played.look(HOUR)
        played.verbs.retry("x1", by="ada")
        played.do("deploy", 5)
        assert played.record("deploy").decision == "fail"
        assert played.words("deploy").count("resolved") == 1

    @pytest.mark.parametrize("again", [True, False])
    def test_of_a_branch_that_was_cancelled_while_it_was_escalated(
        self, journal: Journal, again: bool
    ) -> None:
        played = in_branch(journal, FALLBACK, "human")
        played.fail("both/0/deploy")
        played.fail("both/1/b")
        assert played.ended() == "failed"
        shown = next(
            step.escalation
            for step in execution_context(journal, played.plans, "x1").steps
            if step.path == "both/0/deploy"
        )
        assert shown is not None and (shown.decision, shown.queue) == ("cancelled", None)
        played.verbs.retry("x1", by="ada")
        if again:
            played.fail("both/0/deploy")
            record = played.record("both/0/deploy")
            assert (record.rung, record.work) == (1, "both/0/deploy/~1#2")
            played.do("both/0/deploy/~1#2")
        else:
            played.do("both/0/deploy")
            assert "resolved" not in played.words("both/0/deploy")
        played.do("both/1/b")
        assert played.ended() == "completed"

    def test_of_a_cancelled_branch_its_fallback_is_tried_anew_too(self, journal: Journal) -> None:
        deploy = task("deploy", fallback={"capability": "senior"}, escalation=["human"])
        played = Played(journal, parallel("both", [deploy], [task("b")]))
        played.fail("both/0/deploy")
        played.fail("both/0/deploy/~_fallback.1")
        played.fail("both/1/b")
        played.verbs.retry("x1", by="ada")
        played.fail("both/0/deploy")
        assert played.record("both/0/deploy").work == "both/0/deploy/~_fallback.1#2"

    def test_an_approval_that_nobody_answered_is_asked_for_anew(self, journal: Journal) -> None:
        asked = {"choices": ["yes"], "within": "1h"}
        played = Played(journal, {"id": "ask", "capability": "human_approval", "input": asked})
        played.look(HOUR)
        assert played.ended() == "failed"
        played.verbs.retry("x1", by="ada")
        played.look()
        assert [e.path for e in journal.open_escalations()] == ["ask"]
        assert played.record("ask").until == journal.clock() + HOUR
        played.rule("ask", "answer", value="yes")
        assert played.ended() == "completed"


class Moved(Played):
    """One that may be moved to another version, or forked."""

    def __init__(self, journal: Journal, *steps: dict[str, Any], **more: Any) -> None:
        super().__init__(journal, *steps, **more)
        self.catalog = Catalog(journal.settings, self.plans)
        self.moves = Migration(self.verbs.runtime, self.catalog)
        self.forking = Forking(self.verbs.runtime, self.catalog)

    def to(self, *steps: dict[str, Any], **more: Any) -> Migrated:
        self.catalog.define("w", workflow(*steps, **more))
        found = self.moves.migrate("x1", by="ada")
        self.worked.plan = self.plans.get(self.journal.record("x1").plan)
        return found


class TestMigration:
    LADDER: tuple[Any, ...] = (FALLBACK, {"human": {"queue": "leads", "within": "1h"}})

    def begun(self, journal: Journal) -> Moved:
        moved = Moved(journal, asks(*self.LADDER), task("after"))
        moved.fail("deploy")
        return moved

    def test_it_goes_on_where_its_ladder_is_the_same(self, journal: Journal) -> None:
        moved = self.begun(journal)
        deploy = asks(*self.LADDER) | {"next": "more"}
        assert moved.to(deploy, task("more", "after"), task("after")).done
        moved.do("deploy/~1", 1)
        assert moved.status("more") is StepStatus.DISPATCHED

    @pytest.mark.parametrize("handlers", [[], [{"error": "Red", "handler": "after"}]])
    @pytest.mark.parametrize(
        "ladder",
        [(), ("human",), (*LADDER, "fail"), ({"fallback": {"capability": "x"}}, LADDER[1])],
    )
    def test_it_is_refused_where_the_ladder_is_another_one(
        self, journal: Journal, ladder: tuple[Any, ...], handlers: list[Any]
    ) -> None:
        moved = self.begun(journal)
        with pytest.raises(NotAllowed, match="is escalated, at rung 1, and its ladder"):
            moved.to(asks() | {"escalation": list(ladder)}, task("after"), errorHandlers=handlers)
        moved.do("deploy/~1")
        assert moved.status("after") is StepStatus.DISPATCHED

    def test_a_named_ladder_is_compared_by_what_it_says(self, journal: Journal) -> None:
        paths = {"ops": {"ladder": ["human"]}}
        steps = task("deploy", "after", escalation="ops"), task("after")
        moved = Moved(journal, *steps, escalationPaths=paths)
        moved.fail("deploy")
        with pytest.raises(NotAllowed, match="its ladder 'ops' is another one"):
            moved.to(*steps, escalationPaths={"ops": {"ladder": ["human", "fail"]}})
        changed = task("deploy", "after", escalation="ops", timeout=9), task("after")
        assert moved.to(*changed, escalationPaths=paths | {"more": {"ladder": []}}).done
        moved.rule("deploy", "skip")
        assert moved.status("after") is StepStatus.DISPATCHED

    def test_it_keeps_its_name(self, journal: Journal) -> None:
        moved = self.begun(journal)
        moved.catalog.define("w", workflow(asks(*self.LADDER) | {"id": "ship"}, task("after")))
        with pytest.raises(NotAllowed, match="deploy: is escalated, and cannot take another name"):
            moved.moves.migrate("x1", None, {"deploy": "ship"}, by="ada")

    def test_a_work_is_sent_to_where_the_capability_is_now(self, journal: Journal) -> None:
        moved = Moved(journal, asks("retry", "human"), task("after"))
        moved.fail("deploy")
        moved.worked.sent.clear()
        assert moved.to(asks("retry", "human", capability="other"), task("after")).done
        assert moved.worked.sent == ["deploy/~1"]

    def test_steps_ahead_of_an_escalated_one_can_be_changed(self, journal: Journal) -> None:
        moved = self.begun(journal)
        insert = {"insert": task("more"), "after": "after"}
        assert moved.moves.modify("x1", [insert], by="ada").done
        moved.worked.plan = moved.plans.get(journal.record("x1").plan)
        moved.do("deploy/~1")
        moved.do("after")
        assert moved.status("more") is StepStatus.DISPATCHED
        with pytest.raises(Exception, match="deploy"):
            moved.moves.modify("x1", [{"replace": asks("human")}], by="ada")


class TestFork:
    def test_behind_a_resolved_one_its_output_is_kept_and_its_works_are_not(
        self, journal: Journal
    ) -> None:
        moved = Moved(journal, asks(FALLBACK, output={"url": "$.output"}), task("after"))
        moved.fail("deploy")
        moved.do("deploy/~1", "u")
        again = moved.forking.fork("x1", "after", by="ada")
        assert journal.start(again.start)
        fork = again.start.id
        steps = journal.steps(fork)
        assert steps["=deploy"] == '"u"' and "deploy/~1" not in steps
        assert journal.record(fork).variables == {"url": "u"}
        shown = execution_context(journal, moved.plans, fork).steps[0]
        assert shown.escalation is not None and shown.escalation.decision == "fallback"

    def test_from_the_step_itself_all_begins_anew(self, journal: Journal) -> None:
        moved = Moved(journal, asks(FALLBACK, "human"), task("after"))
        moved.fail("deploy")
        moved.fail("deploy/~1")
        again = moved.forking.fork("x1", "deploy", by="ada")
        assert journal.start(again.start)
        worked = Worked(journal, moved.worked.plan, again.start.id)
        worked.fail("deploy")
        text = journal.steps(again.start.id)["deploy/~1"]
        assert StepState.loads(text).status is StepStatus.DISPATCHED
        assert moved.status("deploy") is StepStatus.ESCALATED

    def test_a_rerun_knows_nothing_of_it(self, journal: Journal) -> None:
        moved = Moved(journal, asks("human"), task("after"))
        moved.fail("deploy")
        again = moved.forking.rerun("x1", by="ada")
        assert journal.start(again.start)
        assert journal.record(again.start.id).escalations == {}

    def test_it_is_not_copied_while_it_is_open(self, journal: Journal) -> None:
        played = in_branch(journal, "human")
        played.fail("both/0/deploy")
        moves = Forking(played.verbs.runtime, Catalog(journal.settings, played.plans))
        again = moves.fork("x1", "both/1/b", by="ada")
        assert journal.start(again.start)
        assert journal.record(again.start.id).escalations == {}
        state = StepState.loads(journal.steps(again.start.id)["both/0/deploy"])
        assert state.status is StepStatus.DISPATCHED


class TestCancel:
    @pytest.mark.parametrize("verb", ["cancel", "terminate"])
    def test_nobody_is_asked_any_more(self, journal: Journal, verb: str) -> None:
        played = at_work(journal)
        played.worked.take("deploy/~1")
        if verb == "cancel":
            played.verbs.cancel("x1", by="ada", grace=0)
            played.look(MINUTE)
        else:
            played.verbs.terminate("x1", by="ada")
        assert played.ended() == "cancelled"
        assert journal.open_escalations() == []
        with pytest.raises(AlreadyDecided, match="cancelled"):
            played.rule("deploy", "skip")
