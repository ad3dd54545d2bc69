"""The ladder: from a failure that nobody takes, rung by rung, to somebody who deals with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from orch.errors import AlreadyDecided, InputError, NotAllowed
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.workflows.outcome import Failed, Failure
from orch.workflows.state import StepStatus
from tests.build import FakeClock, handler, parallel, task
from tests.escalated import HOUR, MINUTE, Played

LADDER: list[Any] = [
    {"retry": {"maxAttempts": 2, "interval": "30s"}},
    {"fallback": {"capability": "senior"}},
    {"human": {"queue": "reviewers", "within": "2h", "remindEvery": "30m"}},
    {"human": {"queue": "leads", "within": "8h"}},
    "fail",
]


def asks(*rungs: Any, **more: Any) -> dict[str, Any]:
    return task("deploy", "after", escalation=list(rungs or LADDER), **more)


def play(journal: Journal, *rungs: Any, **more: Any) -> Played:
    return Played(journal, asks(*rungs, **more), task("after"))


def at_person(journal: Journal, **more: Any) -> Played:
    """Escalated to a person, at once."""
    played = play(journal, {"human": {"queue": "reviewers", **more}})
    played.fail("deploy")
    return played


class TestTheLadder:
    def test_raising_is_part_of_the_settle_of_the_failed_attempt(self, journal: Journal) -> None:
        played = play(journal)
        played.fail("deploy")
        assert played.status("deploy") is StepStatus.ESCALATED
        assert played.record("deploy").error is not None
        assert played.words("deploy")[-2:] == ["failed", "escalated"]
        assert [event for event, _ in played.told] == ["raised"]
        assert played.ended() == "running"

    def test_a_rung_that_helps_gives_the_step_its_output(self, journal: Journal) -> None:
        played = play(journal)
        played.fail("deploy")
        played.look(30_000)
        assert played.worked.sent == ["deploy/~1"]
        played.do("deploy/~1", "done")
        assert played.status("deploy") is StepStatus.COMPLETED
        assert played.status("after") is StepStatus.DISPATCHED
        assert played.record("deploy").decision == "retry"
        assert list(dict.fromkeys(event for event, _ in played.told)) == ["raised", "resolved"]

    def test_a_rung_that_does_not_help_is_followed_by_the_next(self, journal: Journal) -> None:
        played = play(journal)
        played.fail("deploy")
        for attempt in range(2):
            played.look(30_000)
            assert played.status("deploy/~1") is StepStatus.DISPATCHED, attempt
            played.fail("deploy/~1")
        assert played.status("deploy/~1") is StepStatus.FAILED
        assert played.worked.sent[-1] == "deploy/~2#2"
        assert played.worked.plan.node("deploy/~2#2").capability == "senior"
        played.fail("deploy/~2#2", "Stubborn")
        record = played.record("deploy")
        assert (record.rung, record.queue) == (3, "reviewers")
        assert record.error is not None and record.error["name"] == "Stubborn"

    def test_a_rung_that_is_out_of_time_is_followed_by_the_next(self, journal: Journal) -> None:
        played = play(journal, *LADDER[2:])
        played.fail("deploy")
        played.look(HOUR // 2)
        assert played.record("deploy").reminders == 1
        played.look(HOUR + HOUR // 2 + 1)
        assert played.record("deploy").queue == "leads"
        played.look(8 * HOUR)
        assert played.ended() == "failed"
        assert journal.record("x1").error["name"] == "Broken"  # type: ignore[index]
        assert played.record("deploy").decision == "fail"

    def test_a_rung_at_work_that_is_out_of_time_is_cancelled(self, journal: Journal) -> None:
        rungs = [{"fallback": {"capability": "senior", "within": "1m"}}, "human"]
        played = play(journal, *rungs)
        played.fail("deploy")
        claimed = played.worked.take("deploy/~1")
        played.look(MINUTE)
        assert played.status("deploy/~1") is StepStatus.CANCELLED
        assert played.record("deploy").queue == "inbox"
        assert claimed.state.attempt == 1

    def test_the_work_of_the_next_rung_is_not_cancelled_with_that_of_the_one_before(
        self, journal: Journal
    ) -> None:
        slow = {"fallback": {"capability": "senior", "within": "1m"}}
        played = play(journal, slow, {"fallback": {"capability": "chief"}})
        played.fail("deploy")
        played.look(MINUTE)
        assert played.status("deploy/~1") is StepStatus.CANCELLED
        assert played.status("deploy/~2#2") is StepStatus.DISPATCHED
        played.do("deploy/~2#2", 5)
        assert played.status("deploy") is StepStatus.COMPLETED

    def test_on_error_comes_first(self, journal: Journal) -> None:
        played = play(journal, onError="after")
        played.fail("deploy")
        assert played.status("after") is StepStatus.DISPATCHED
        assert "escalated" not in played.words()

    def test_on_error_takes_what_a_rung_comes_to_and_nobody_is_asked_any_more(
        self, journal: Journal
    ) -> None:
        rungs = {"fallback": {"capability": "senior"}}, "human"
        played = play(journal, *rungs, onError=[{"errors": ["Red"], "next": "after"}])
        played.fail("deploy")
        played.fail("deploy/~1", "Red")
        assert played.status("after") is StepStatus.DISPATCHED
        record = played.record("deploy")
        assert (record.decision, record.open) == ("fail", False)

    def test_the_step_s_own_ladder_comes_before_a_handler_of_the_workflow(
        self, journal: Journal
    ) -> None:
        steps = (asks("human", "fail"), task("after"), task("mend"))
        played = Played(journal, *steps, errorHandlers=[handler("mend")])
        played.fail("deploy")
        assert played.status("deploy") is StepStatus.ESCALATED
        with pytest.raises(NotAllowed):
            played.rule("deploy", "answer", value=1)

    def test_a_handler_comes_before_the_workflow_s_ladder(self, journal: Journal) -> None:
        steps = (task("deploy"), task("mend"))
        played = Played(journal, *steps, errorHandlers=[handler("mend")], escalation=["human"])
        played.fail("deploy")
        assert played.status("mend") is StepStatus.DISPATCHED

    def test_behind_the_ladder_the_handler_takes_the_error(self, journal: Journal) -> None:
        steps = (asks({"human": {"within": "1h"}}), task("after"), task("mend"))
        played = Played(journal, *steps, errorHandlers=[handler("mend")])
        played.fail("deploy")
        played.look(HOUR)
        assert played.status("mend") is StepStatus.DISPATCHED

    def test_a_path_is_chosen_by_the_error(self, journal: Journal) -> None:
        paths = {
            "security": {"errors": ["Forbidden"], "ladder": [{"human": {"queue": "guards"}}]},
            "slow": {"when": "$.input.size > 10", "ladder": [{"human": {"queue": "night"}}]},
        }
        played = Played(
            journal,
            parallel("both", [task("a")], [task("b")]),
            input={"size": 11},
            escalationPaths=paths,
        )
        played.fail("both/0/a", "Forbidden")
        played.fail("both/1/b")
        assert played.record("both/0/a").queue == "guards"
        assert played.record("both/1/b").queue == "night"

    def test_an_error_may_name_its_path(self, journal: Journal) -> None:
        played = Played(journal, task("deploy"))
        played.fail("deploy", escalation="security")
        assert played.record("deploy").queue == "security"

    def test_auto_takes_the_built_in_path_of_the_error(self, journal: Journal) -> None:
        played = Played(journal, task("deploy", escalation="auto"))
        played.fail("deploy", "PermissionError")
        assert played.record("deploy").ladder == "security"

    def test_a_ladder_that_only_fails_tells_of_it_and_holds_nothing_up(
        self, journal: Journal
    ) -> None:
        played = Played(journal, task("deploy"), escalation=["fail"])
        played.fail("deploy")
        assert played.ended() == "failed"
        assert [event for event, _ in played.told] == ["raised", "resolved"]
        assert played.record("deploy").decision == "fail"

    def test_an_empty_ladder_asks_nobody(self, journal: Journal) -> None:
        played = Played(journal, task("deploy", escalation=[]), escalation=["human"])
        played.fail("deploy")
        assert played.ended() == "failed"

    def test_it_ends_with_its_branch(self, journal: Journal) -> None:
        deploy = task("deploy", escalation=[{"fallback": {"capability": "senior"}}])
        both = parallel("both", [deploy], [task("b")])
        played = Played(journal, both)
        played.fail("both/0/deploy")
        claimed = played.worked.take("both/0/deploy/~1")
        played.fail("both/1/b")
        assert played.status("both/0/deploy") is StepStatus.CANCELLED
        assert played.status("both/0/deploy/~1") is StepStatus.CANCELLED
        assert claimed and played.journal.open_escalations() == []

    def test_quiet_hours_put_off_the_reminder(self, journal: Journal) -> None:
        # The clock stands at 15:06:40 UTC.
        played = at_person(journal, remindEvery="1h", quietHours="16:00-18:00")
        played.look(HOUR)
        assert played.record("deploy").reminders == 0
        played.look(2 * HOUR)
        assert played.record("deploy").reminders == 1


class TestDecisions:
    def test_skip_gives_an_output(self, journal: Journal) -> None:
        played = at_person(journal)
        record = played.rule("deploy", "skip", value={"url": "u"})
        assert (record.decision, record.by) == ("skip", "ada")
        assert journal.output_of("x1", "deploy") == '{"url":"u"}'
        assert played.status("after") is StepStatus.DISPATCHED

    def test_an_output_that_misses_the_schema_changes_nothing(self, journal: Journal) -> None:
        schema = {"type": "object", "required": ["url"]}
        played = play(journal, "human", outputSchema=schema)
        played.fail("deploy")
        with pytest.raises(InputError, match="url"):
            played.rule("deploy", "skip", value={})
        assert played.status("deploy") is StepStatus.ESCALATED
        assert "ruled" not in played.words()

    def test_retry_takes_an_edited_input_and_comes_back_if_it_fails(self, journal: Journal) -> None:
        played = at_person(journal)
        played.rule("deploy", "retry", value={"host": "b"}, given=True)
        assert played.record("deploy").given == ({"host": "b"},)
        played.fail("deploy/~1", "Again")
        record = played.record("deploy")
        assert (record.queue, record.work, record.decision) == ("reviewers", "", "")
        played.rule("deploy", "retry")
        played.do("deploy/~1#2", 7)
        assert played.status("deploy") is StepStatus.COMPLETED

    def test_reroute_to_a_step_goes_on_there(self, journal: Journal) -> None:
        played = at_person(journal)
        played.rule("deploy", "reroute", target="after")
        assert played.status("deploy") is StepStatus.FAILED
        assert played.status("after") is StepStatus.DISPATCHED

    def test_reroute_to_a_capability_lets_it_do_the_step(self, journal: Journal) -> None:
        played = at_person(journal)
        played.rule("deploy", "reroute", target="senior")
        assert played.worked.plan.node("deploy/~to.senior").queue == "senior"
        played.do("deploy/~to.senior", 1)
        assert played.status("deploy") is StepStatus.COMPLETED

    def test_abort_ends_the_execution_as_cancelled(self, journal: Journal) -> None:
        played = at_person(journal)
        played.rule("deploy", "abort", note="no use")
        assert played.ended() == "cancelled"
        assert "no use" in journal.record("x1").error["message"]  # type: ignore[index]

    def test_the_second_is_told_who_decided(self, journal: Journal) -> None:
        played = at_person(journal)
        played.rule("deploy", "skip", by="ada")
        with pytest.raises(AlreadyDecided, match="skip by ada") as caught:
            played.rule("deploy", "retry", by="bob")
        assert (caught.value.by, caught.value.decision) == ("ada", "skip")

    def test_what_is_claimed_is_decided_by_its_holder_alone(self, journal: Journal) -> None:
        played = at_person(journal)
        until = journal.clock() + HOUR
        played.rule("deploy", "claim", by="ada", until=until)
        with pytest.raises(NotAllowed, match="claimed by ada"):
            played.rule("deploy", "skip", by="bob")
        played.look(HOUR)
        assert played.rule("deploy", "skip", by="bob").by == "bob"

    def test_release_delegate_and_comment_are_in_the_audit_trail(self, journal: Journal) -> None:
        played = at_person(journal)
        played.rule("deploy", "claim", until=journal.clock() + HOUR)
        played.rule("deploy", "release")
        played.rule("deploy", "comment", note="odd")
        played.rule("deploy", "delegate", target="leads")
        assert played.record("deploy").queue == "leads"
        assert played.record("deploy").comments[0]["text"] == "odd"
        assert played.words("deploy").count("inbox") == 4
        assert [e.path for e in journal.open_escalations("leads")] == ["deploy"]
        assert journal.open_escalations("reviewers") == []

    def test_a_comment_is_not_lost_to_work_that_ends_beside_it(self, journal: Journal) -> None:
        played = play(journal, {"fallback": {"capability": "senior"}}, "human")
        played.fail("deploy")
        claimed = played.worked.take("deploy/~1")
        played.rule("deploy", "comment", note="look at the disk")
        outcome = Failed(Failure("Broken", "again", "deploy", "deploy/~1", 1))
        played.advancer.settle(
            played.worked.plan, claimed.view, "deploy/~1", claimed.state, outcome
        )
        record = played.record("deploy")
        assert record.rung == 2
        assert record.comments[0]["text"] == "look at the disk"

    def test_while_a_rung_works_it_can_be_skipped_and_the_work_is_thrown_away(
        self, journal: Journal
    ) -> None:
        played = play(journal, {"fallback": {"capability": "senior"}})
        played.fail("deploy")
        played.worked.take("deploy/~1")
        played.rule("deploy", "skip", value=1)
        assert played.status("deploy/~1") is StepStatus.CANCELLED
        assert played.status("after") is StepStatus.DISPATCHED


class TestApproval:
    def ask(self, journal: Journal, **input: Any) -> Played:
        step = {"id": "ask", "capability": "human_approval", "input": input, "next": "after"}
        return Played(journal, step, task("after"))

    def test_it_waits_in_the_inbox_and_goes_on_with_the_answer(self, journal: Journal) -> None:
        played = self.ask(journal, prompt="Ship it?", choices=["yes", "no"], queue="leads")
        assert [e.path for e in journal.open_escalations("leads")] == ["ask"]
        with pytest.raises(InputError, match="none of the choices"):
            played.rule("ask", "answer", value="maybe")
        played.rule("ask", "answer", value="yes")
        assert '"choice":"yes"' in (journal.output_of("x1", "ask") or "")
        assert played.status("after") is StepStatus.DISPATCHED

    def test_a_form_is_checked(self, journal: Journal) -> None:
        form = {"type": "object", "required": ["why"]}
        played = self.ask(journal, form=form)
        with pytest.raises(InputError, match="why"):
            played.rule("ask", "answer", value={})
        played.rule("ask", "answer", value={"why": "x"})
        assert played.status("ask") is StepStatus.COMPLETED

    def test_nobody_answers_the_default_does(self, journal: Journal) -> None:
        played = self.ask(journal, choices=["yes", "no"], within="1h", default="no")
        played.look(HOUR)
        assert '"choice":"no"' in (journal.output_of("x1", "ask") or "")

    def test_without_a_default_it_fails(self, journal: Journal) -> None:
        played = self.ask(journal, within="1h")
        played.look(HOUR)
        assert journal.record("x1").error["name"] == "ApprovalExpired"  # type: ignore[index]

    def test_what_cannot_be_asked_fails_with_the_reason(self, journal: Journal) -> None:
        self.ask(journal, choises=["yes"])
        error = journal.record("x1").error
        assert error is not None and "choises" in error["message"]


class TestNotices:
    def test_a_deadline_of_the_whole_is_told_and_ends_it(self, journal: Journal) -> None:
        played = Played(journal, task("deploy"), escalation=["human"])
        due = journal.clock() + 1000
        journal.redis.hset(journal.keys.record("x1"), "deadline", due)
        journal.redis.zadd(journal.keys.watch(journal.keys.partition("x1")), {"x1 ": due})
        played.look(1000)
        assert played.ended() == "failed"
        [(event, notice)] = played.told
        content = journal.read_notice(notice)
        assert content is not None
        assert (event, content["kind"]) == ("raised", "deadline")
        assert content["error"]["name"] == "ExecutionTimeout"

    def test_who_heard_of_it_hears_that_it_ended_with_its_execution(self, journal: Journal) -> None:
        played = at_person(journal)
        [(_, first)] = played.told
        journal.leave_notice(first, None)
        played.verbs.cancel("x1", "no use", by="ada")
        played.look()
        event, notice = played.told[-1]
        content = journal.read_notice(notice)
        assert content is not None and notice != first
        assert (event, content["decision"]) == ("resolved", "cancelled")
        assert (content["workflow"], content["error"]["name"]) == ("w", "Broken")

    def test_a_notice_that_nobody_took_is_sent_again(self, journal: Journal) -> None:
        played = at_person(journal)
        assert len(played.told) == 1
        played.look(10_000)
        assert played.told[0] == played.told[-1] and len(played.told) == 2

    def test_one_takes_it_and_what_is_delivered_is_gone(self, journal: Journal) -> None:
        played = at_person(journal)
        [(_, notice)] = played.told
        assert journal.take_notice(notice, 5000) is not None
        assert journal.take_notice(notice, 5000) is None
        journal.leave_notice(notice, None)
        played.look(HOUR)
        assert len(played.told) == 1
        assert journal.read_notice(notice) is None


class TestReassign:
    @pytest.fixture(autouse=True)
    def _agents(self, journal: Journal) -> None:
        for name, holds in (("one@h", ["x a"]), ("two@h", ["x b", "x c"]), ("three@h", [])):
            queues = ["work"] if name != "three@h" else ["other"]
            said = {"id": name[:-2], "name": name, "queues": queues, "holds": holds, "at": 0}
            journal.renew_worker(name[:-2], json.dumps(said), 60_000)

    def fail_by(self, played: Played, path: str, owner: str) -> None:
        claimed = played.worked.take(path, owner)
        failure = Failure("Broken", "it broke", "deploy", path, 1)
        played.advancer.settle(
            played.worked.plan, claimed.view, path, claimed.state, Failed(failure)
        )

    def test_another_agent_of_the_capability_tries(self, journal: Journal) -> None:
        played = play(journal, {"reassign": {"toAgent": "other"}}, "human")
        self.fail_by(played, "deploy", "one/1/a")
        path = "deploy/~1@two@h"
        assert played.worked.sent == [path]
        assert played.worked.plan.node(path).queue == "agent.two@h"
        played.do(path, 1)
        assert played.status("deploy") is StepStatus.COMPLETED

    def test_where_all_have_failed_the_next_rung_is_due(self, journal: Journal) -> None:
        rung = {"reassign": {"toAgent": "other"}}
        played = play(journal, rung, rung, "human")
        self.fail_by(played, "deploy", "two/1/a")
        self.fail_by(played, "deploy/~1@one@h", "one/1/a")
        assert played.record("deploy").rung == 3

    def test_an_agent_may_be_named(self, journal: Journal) -> None:
        played = play(journal, {"reassign": {"toAgent": "one"}})
        self.fail_by(played, "deploy", "one/1/a")
        assert played.worked.sent == ["deploy/~1@one@h"]

    def test_an_agent_that_dies_before_it_begins_holds_nothing_up(self, journal: Journal) -> None:
        played = play(journal, {"reassign": {}}, "human")
        self.fail_by(played, "deploy", "one/1/a")
        journal.redis.delete(journal.keys.worker("two"))
        played.look(3000)
        assert played.record("deploy").queue == "inbox"
        error = played.record("deploy").error
        assert error is not None and error["name"] == "AgentGone"


class TestLevels:
    def once(self) -> dict[str, Any]:
        return task("deploy", retry={"maxAttempts": 1})

    def test_aggressive_asks_others_without_a_ladder(self, journal: Journal) -> None:
        played = Played(journal, self.once(), errorHandlingLevel="aggressive")
        played.fail("deploy")
        assert played.record("deploy").queue == "inbox"

    def test_minimal_asks_nobody_that_the_settings_name(
        self, redis: Redis, settings: Settings, redis_url: str, clock: FakeClock
    ) -> None:
        given = settings.model_copy(update={"escalation": ["human"]})
        journal = Journal(redis, given, url=redis_url, clock=clock)
        played = Played(journal, self.once(), errorHandlingLevel="minimal")
        played.fail("deploy")
        assert played.ended() == "failed"

    def test_the_settings_name_who_is_asked_of_all_others(
        self, redis: Redis, settings: Settings, redis_url: str, clock: FakeClock
    ) -> None:
        given = settings.model_copy(update={"escalation": ["human"]})
        journal = Journal(redis, given, url=redis_url, clock=clock)
        played = Played(journal, self.once())
        played.fail("deploy")
        assert played.record("deploy").queue == "inbox"


class TestEverywhere:
    def test_an_item_of_a_map_waits_for_its_person_and_the_others_go_on(
        self, journal: Journal
    ) -> None:
        shrink = task("shrink", input="$.item", escalation=["retry", "human"])
        resize = {
            "id": "resize",
            "type": "map",
            "map": {"items": [1, 2, 3], "maxConcurrency": 1, "steps": [shrink]},
        }
        played = Played(journal, resize)
        played.fail("resize[0]/shrink")
        assert played.worked.sent[-1] == "resize[0]/shrink/~1"
        played.fail("resize[0]/shrink/~1")
        assert played.status("resize[1]/shrink") is None
        played.rule("resize[0]/shrink", "skip", value=10)
        for number in (1, 2):
            played.do(f"resize[{number}]/shrink", number)
        assert journal.record("x1").output["results"] == [10, 1, 2]

    def test_a_loop_a_poll_and_an_event_may_ask_too(self, journal: Journal) -> None:
        loop = {"while": "true", "maxIterations": 1, "steps": [task("body")]}
        poll = {"until": "$.state", "poll": {"capability": "work", "maxAttempts": 1}}
        steps: list[dict[str, Any]] = [
            {"id": "loop", "type": "loop", "loop": loop, "escalation": ["human"], "next": "poll"},
            {"id": "poll", "type": "wait", "wait": poll, "escalation": ["human"], "next": "late"},
            {
                "id": "late",
                "type": "event",
                "event": {"name": "done", "timeout": 1000},
                "escalation": ["human"],
            },
        ]
        played = Played(journal, *steps)
        played.do("loop[0]/body")
        for path in ("loop", "poll", "late"):
            if path == "poll":
                played.do("poll", False)
            played.look(4000)
            assert played.status(path) is StepStatus.ESCALATED, path
            played.rule(path, "skip", value=1)
        assert played.ended() == "completed"

    def test_a_step_that_cannot_be_entered_is_escalated_as_well(self, journal: Journal) -> None:
        late = {"id": "late", "type": "wait", "wait": {"until": "$.input.when"}}
        played = Played(journal, late, input={"when": "soon"}, escalation=["human"])
        assert played.status("late") is StepStatus.ESCALATED
        with pytest.raises(NotAllowed, match="wait"):
            played.rule("late", "retry")
        played.rule("late", "skip")
        assert played.ended() == "completed"

    def test_a_lap_of_a_cycle_has_a_ladder_of_its_own(self, journal: Journal) -> None:
        steps = (
            task("draft", "check"),
            {
                "id": "check",
                "type": "decision",
                "decision": {
                    "expression": "$.output",
                    "branches": {"again": "draft", "done": "end"},
                },
            },
            task("end"),
        )
        played = Played(journal, *steps, escalation=["human"])
        played.fail("draft")
        played.rule("draft", "skip", value="again")
        played.fail("draft#2")
        played.rule("draft#2", "retry")
        played.do("draft#2/~1", "done")
        assert played.status("end") is StepStatus.DISPATCHED


def test_what_a_person_lets_be_tried_again_obeys_the_classes_of_the_step_s_retry(
    journal: Journal,
) -> None:
    retry = {"maxAttempts": 5, "interval": 0, "abortOn": ["class:permanent"]}
    played = play(journal, "human", retry=retry)
    played.fail("deploy", "Odd", said_class="permanent")
    played.rule("deploy", "retry")
    played.fail("deploy/~1", "Odd", said_class="permanent")
    assert played.status("deploy/~1") is StepStatus.FAILED
    assert played.record("deploy").queue == "inbox"
