"""Every transition on the real server: what it writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from orch.errors import JournalError, NotFound, PartitionMismatch, Unreachable
from orch.journal.finding import Query
from orch.journal.journal import (
    Claimed,
    Ended,
    Journal,
    Refused,
    Settled,
    open_redis,
    without_password,
)
from orch.settings import Settings
from orch.workflows.outcome import Branched, Completed, Failed, Lost
from orch.workflows.state import ExecutionStatus, StepStatus
from orch.workflows.view import ALL_VARIABLES
from tests.build import (
    FakeClock,
    Worked,
    decision,
    failure,
    parallel,
    start,
    starting,
    task,
    wait,
)

ODD = ["a b", "v:x", "*", "", "ü", "a.b", "o:", "\x00", "status", "#2", "😀"]
VALUES = [[], {}, "", 0, False, 2**70, 1.5, "ü\u2028\x00", "\ud800", [[], {}], {"": None}, "null"]
ERROR = {"name": "Cancelled", "message": "enough"}


@pytest.fixture
def one(journal: Journal) -> Worked:
    return start(journal, task("a", "b"), task("b"))


@pytest.fixture
def forked(journal: Journal) -> Worked:
    return start(journal, parallel("p", [task("a")], [task("b")], next="z"), task("z"))


class TestStart:
    def test_an_execution_begins_with_its_first_token_in_the_watch(self, one: Worked) -> None:
        assert one.status() is ExecutionStatus.RUNNING
        assert one.state("a").status is StepStatus.DISPATCHED
        assert one.watched() == {"a": one.journal.clock() + one.journal.grace}

    def test_it_is_started_once(self, one: Worked, clock: FakeClock) -> None:
        one.do("a")
        assert one.journal.start(starting(one)) is False
        assert one.state("a").status is StepStatus.COMPLETED

    def test_a_deadline_is_in_the_watch(self, journal: Journal) -> None:
        due = journal.clock() + 9000
        assert start(journal, task("a"), deadline=due).watched()[""] == due

    def test_one_that_ends_in_its_start_is_kept_and_expires(self, journal: Journal) -> None:
        worked = start(journal, task("a", condition="false"))
        record = journal.record("x1")
        assert record.status is ExecutionStatus.COMPLETED and record.ended == journal.clock()
        assert worked.watched() == {}
        assert journal.redis.pttl(journal.keys.record("x1")) > 0

    @pytest.mark.parametrize("value", VALUES)
    def test_inputs_are_kept_exactly(self, journal: Journal, value: object) -> None:
        worked = start(journal, task("a", input="$.input"), input=value)
        assert json.dumps(worked.take("a").view.input) == json.dumps(value)
        assert json.dumps(journal.record("x1").input) == json.dumps(value)


class TestClaim:
    def test_a_claimed_attempt_is_ours(self, one: Worked) -> None:
        claimed = one.take("a", "me/1/a")
        assert claimed.state.status is StepStatus.RUNNING
        assert (claimed.state.owner, claimed.state.started) == ("me/1/a", one.journal.clock())
        assert one.watched() == {"a": one.journal.clock() + 1000}

    def test_of_two_messages_one_is_dropped(self, one: Worked) -> None:
        one.take("a", "first/1/a")
        assert one.claim("a", "second/1/a") == Refused("OWNED", ("running",))

    def test_the_same_call_again_gives_the_same_answer(self, one: Worked) -> None:
        assert one.take("a") == one.take("a")
        assert [event for event, _ in one.events()].count("claimed") == 1

    def test_a_late_message_of_a_done_step_is_dropped(self, one: Worked) -> None:
        one.do("a")
        assert one.claim("a") == Refused("DONE", ("completed",))

    def test_a_message_that_comes_before_its_time_is_dropped(self, journal: Journal) -> None:
        worked = start(journal, wait("w"))
        assert worked.claim("w") == Refused("EARLY", ("waiting",))
        one = Refused("MISSING")
        assert (
            journal.claim(
                "x1",
                "never",
                owner="me/1/a",
                plan=worked.plan.key,
                queue="q",
                reads=["v:a"],
                lease=1,
            )
            == one
        )

    def test_nothing_starts_while_paused_or_after_the_end(self, one: Worked) -> None:
        record = one.journal.keys.record("x1")
        one.journal.redis.hset(record, "status", "paused")
        assert one.claim("a") == Refused("PAUSED")
        assert one.state("a").status is StepStatus.DISPATCHED
        one.journal.end("x1", ExecutionStatus.CANCELLED, ERROR)
        assert one.claim("a") == Refused("ENDED", ("cancelled",))
        one.execution = "never"
        assert one.claim("a") == Refused("MISSING")

    def test_another_plan_is_named(self, one: Worked) -> None:
        assert one.claim("a", plan="old") == Refused("REPLANNED", (one.plan.key,))

    def test_the_instant_of_the_latest_claimed_message_is_marked(self, one: Worked) -> None:
        assert one.journal.mark("x1", "work") == 0
        one.take("a")
        assert one.journal.mark("x1", "work") == one.journal.clock()

    def test_fields_that_are_not_there_are_nothing(self, journal: Journal) -> None:
        worked = start(journal, task("a", input="$.variables.none || $.error || $.output"))
        view = worked.take("a").view
        assert (view.variables, view.errors, view.outputs, view.input) == ({}, {}, {}, None)


class TestVariables:
    @pytest.mark.parametrize("value", VALUES)
    def test_values_are_kept_exactly(self, journal: Journal, value: object) -> None:
        worked = start(
            journal,
            task("a", "b", output="v"),
            task("b", input="$.variables"),
            result="$.variables",
        )
        worked.do("a", value)
        claimed = worked.take("b")
        assert json.dumps(claimed.view.variables) == json.dumps({"v": value})
        worked.settle("b", claimed, Completed())
        assert json.dumps(journal.record("x1").output) == json.dumps({"v": value})

    @pytest.mark.parametrize("name", ODD)
    def test_names_may_be_odd(self, journal: Journal, name: str) -> None:
        worked = start(
            journal, task("a", "b", output={name: "$.output"}), task("b", input="$.variables")
        )
        worked.do("a", [name])
        assert worked.take("b").view.variables == {name: [name]}
        assert journal.read_view("x1", [ALL_VARIABLES]).variables == {name: [name]}
        assert journal.record("x1").variables == {name: [name]}


class TestSettle:
    def test_everything_is_written_together(self, one: Worked, clock: FakeClock) -> None:
        claimed = one.take("a")
        clock.advance(10)
        assert one.settle("a", claimed, Completed([1])) == Settled()
        assert one.state("a").status is StepStatus.COMPLETED
        assert one.watched() == {"b": clock() + one.journal.grace}
        assert one.journal.steps("x1")["=a"] == "[1]"
        assert one.events() == [("started", ""), ("claimed", "a"), ("completed", "a")]

    def test_the_same_call_again_is_recognized(self, one: Worked, clock: FakeClock) -> None:
        claimed = one.take("a")
        transition = one.decide("a", claimed, Completed())
        assert one.commit(claimed, transition) == Settled()
        clock.advance(5)
        assert one.commit(claimed, transition) == Settled(repeated=True)
        assert one.events().count(("completed", "a")) == 1

    def test_another_outcome_of_the_same_millisecond_is_no_repetition(self, one: Worked) -> None:
        """A worker is done with a step that somebody skips at the same time."""
        claimed = one.take("a")
        theirs = one.decide("a", claimed, Completed("skipped"))
        assert one.settle("a", claimed, Completed("done")) == Settled()
        assert one.commit(claimed, theirs) == Refused("SUPERSEDED", ("completed", 1))
        assert one.journal.steps("x1")["=a"] == '"done"'

    def test_a_repeated_end_of_a_branch_says_again_that_it_joined(self, forked: Worked) -> None:
        forked.do("p/0/a")
        claimed = forked.take("p/1/b")
        transition = forked.decide("p/1/b", claimed, Completed())
        assert forked.commit(claimed, transition) == Settled(joined="p")
        assert forked.commit(claimed, transition) == Settled(joined="p", repeated=True)
        assert forked.state("p").left == 0

    def test_a_late_outcome_is_refused_and_the_refusal_is_told(self, one: Worked) -> None:
        late = one.take("a", "late/1/a")
        one.settle("a", late, Lost("its worker is gone"))
        current = one.take("a", "new/1/a")
        refused = one.settle("a", late, Completed("late"))
        assert refused == Refused("SUPERSEDED", ("running", 2))
        told = one.journal.history("x1")[-1]
        assert (told.event, told.attempt) == ("refused", 1)
        assert told.detail == {"worker": "late/1/a", "status": "running", "current": 2}
        assert one.settle("a", current, Completed("new")) == Settled()
        assert one.journal.steps("x1")["=a"] == '"new"'

    def test_another_owner_of_the_same_attempt_is_refused(self, one: Worked) -> None:
        claimed = one.take("a", "me/1/a")
        transition = one.decide("a", claimed, Completed())
        answer = one.journal.settle("x1", transition, expect="running", attempt=1, owner="you/1/a")
        assert answer == Refused("SUPERSEDED", ("running", 1))

    def test_an_attempt_that_is_not_current_is_refused(self, journal: Journal) -> None:
        worked = start(journal, wait("w"))
        claimed = Claimed(worked.state("w"), journal.read_view("x1", ["workflow"]))
        transition = worked.decide("w", claimed, Completed())
        for expect, attempt in (("waiting", 2), ("running", 1)):
            answer = journal.settle("x1", transition, expect=expect, attempt=attempt)
            assert answer == Refused("SUPERSEDED", ("waiting", 1))
        assert worked.state("w").status is StepStatus.WAITING

    def test_what_runs_while_paused_may_end(self, one: Worked) -> None:
        claimed = one.take("a")
        one.journal.redis.hset(one.journal.keys.record("x1"), "status", "paused")
        assert one.settle("a", claimed, Completed()) == Settled()
        assert "b" in one.watched()

    def test_an_outcome_after_the_end_is_refused_and_writes_nothing_for_ever(
        self, one: Worked
    ) -> None:
        claimed = one.take("a")
        one.journal.end("x1", ExecutionStatus.CANCELLED, ERROR)
        refused = one.settle("a", claimed, Completed())
        assert refused == Refused("SUPERSEDED", ("cancelled", 1))
        for key in (one.journal.keys.record, one.journal.keys.steps, one.journal.keys.history):
            assert one.journal.redis.pttl(key("x1")) > 0

    def test_an_outcome_of_an_expired_execution_creates_no_key(self, one: Worked) -> None:
        claimed = one.take("a")
        keys = one.journal.keys
        one.journal.redis.delete(keys.record("x1"), keys.steps("x1"), keys.history("x1"))
        assert one.settle("a", claimed, Completed()) == Refused("MISSING")
        assert not one.journal.redis.exists(keys.history("x1"), keys.steps("x1"))

    def test_the_end_is_kept_for_the_retention_and_leaves_the_watch(
        self, journal: Journal, clock: FakeClock
    ) -> None:
        worked = start(journal, task("a"), deadline=clock() + 99_000)
        claimed = worked.take("a")
        transition = worked.decide("a", claimed, Completed("out"))
        assert worked.commit(claimed, transition) == Settled()
        record = journal.record("x1")
        assert (record.status, record.output) == (ExecutionStatus.COMPLETED, "out")
        assert worked.watched() == {}
        week = 7 * 86_400_000
        assert week - 60_000 < journal.redis.pttl(journal.keys.record("x1")) <= week
        assert worked.commit(claimed, transition) == Settled(repeated=True)


class TestJoin:
    def test_it_fires_with_the_last_branch(self, forked: Worked) -> None:
        assert forked.do("p/1/b", "second") == Settled()
        assert forked.state("p").left == 1
        assert forked.do("p/0/a", "first") == Settled(joined="p")
        assert forked.state("p").status is StepStatus.JOINED
        assert forked.watched() == {"p": forked.journal.clock() + forked.journal.grace}
        branches = forked.journal.read_branches("x1", ["p/0", "p/1"])
        assert branches == (("first", None), ("second", None))

    def test_the_first_failure_fires_it_and_ends_the_siblings(self, forked: Worked) -> None:
        sibling = forked.take("p/0/a")
        assert forked.fail("p/1/b") == Settled(joined="p")
        assert forked.state("p/0/a").status is StepStatus.CANCELLED
        assert list(forked.watched()) == ["p"]
        refused = forked.settle("p/0/a", sibling, Completed())
        assert refused == Refused("SUPERSEDED", ("cancelled", 1))
        assert forked.state("p").status is StepStatus.JOINED

    def test_it_is_settled_once(self, forked: Worked) -> None:
        forked.do("p/0/a")
        forked.do("p/1/b")
        state = forked.state("p")
        claimed = Claimed(state, forked.journal.read_view("x1", ["workflow"]))
        both = Branched(forked.journal.read_branches("x1", ["p/0", "p/1"]))
        assert forked.settle("p", claimed, both) == Settled()
        assert forked.settle("p", claimed, both) == Refused("SUPERSEDED", ("completed", 1))
        assert forked.state("z").status is StepStatus.DISPATCHED

    def test_an_outer_failure_ends_what_is_nested_and_nothing_else(self, journal: Journal) -> None:
        inner = parallel("q", [task("b")], [wait("c")])
        worked = start(journal, parallel("p", [task("a")], [inner]), parallel("pp", [task("d")]))
        worked.fail("p/0/a")
        cancelled = [path for event, path in worked.events() if event == "cancelled"]
        assert sorted(cancelled) == ["p/1/q", "p/1/q/0/b", "p/1/q/1/c"]
        assert list(worked.watched()) == ["p"]

    def test_a_branch_of_a_later_lap_is_not_touched_by_an_earlier_one(
        self, journal: Journal
    ) -> None:
        again = {"expression": "$.output.results", "branches": {"x": "p"}, "default": "z"}
        worked = start(journal, parallel("p", [task("a")], next=again), task("z"))
        assert worked.plan.follow("p", "p") == "p#2"
        assert worked.do("p/0/a") == Settled(joined="p")


class TestRedispatch:
    def test_a_back_off_that_is_over_is_dispatched(self, journal: Journal) -> None:
        worked = start(journal, task("a", retry={"maxAttempts": 2}))
        worked.fail("a")
        assert worked.state("a").status is StepStatus.RETRYING
        assert journal.redispatch("x1", "a", worked.state("a"))
        state = worked.state("a")
        assert (state.status, state.attempt) == (StepStatus.DISPATCHED, 2)
        assert worked.events()[-1] == ("retried", "a")

    def test_it_is_refused_for_a_token_that_moved_on(self, one: Worked) -> None:
        before = one.state("a")
        one.take("a")
        assert not one.journal.redispatch("x1", "a", before)
        assert one.state("a").status is StepStatus.RUNNING

    def test_a_paused_execution_keeps_its_place_in_the_watch(self, one: Worked) -> None:
        one.journal.redis.hset(one.journal.keys.record("x1"), "status", "paused")
        assert not one.journal.redispatch("x1", "a", one.state("a"))
        assert "a" in one.watched()

    def test_what_is_gone_leaves_the_watch(self, one: Worked) -> None:
        state = one.state("a")
        one.journal.redis.delete(one.journal.keys.record("x1"))
        assert not one.journal.redispatch("x1", "a", state)
        assert one.watched() == {}
        one.journal.redis.delete(one.journal.keys.steps("x1"), one.journal.keys.history("x1"))


class TestWatch:
    def test_what_is_due_is_given_out_once_and_again_after_the_hold(
        self, one: Worked, clock: FakeClock
    ) -> None:
        assert one.journal.take_due() == (one.watched()["a"], [])
        clock.advance(one.journal.grace)
        soonest, tokens = one.journal.take_due(hold=500)
        assert (soonest, tokens) == (clock() + 500, [("x1", "a")])
        assert one.journal.take_due()[1] == []
        clock.advance(500)
        assert one.journal.take_due()[1] == [("x1", "a")]

    def test_no_more_are_taken_than_were_asked_for(
        self, journal: Journal, clock: FakeClock
    ) -> None:
        start(journal, parallel("p", *([task("a")] for _ in range(10))))
        clock.advance(journal.grace)
        taken = [len(journal.take_due(most=4)[1]) for _ in range(4)]
        assert taken == [4, 4, 3, 0]

    def test_only_the_partitions_asked_for_are_looked_at(
        self, one: Worked, clock: FakeClock
    ) -> None:
        clock.advance(one.journal.grace)
        own = one.journal.keys.partition("x1")
        assert one.journal.take_due(partitions=[(own + 1) % 64])[1] == []
        assert one.journal.take_due(partitions=[own])[1] == [("x1", "a")]

    def test_a_look_is_put_off_unless_the_token_moved_on(self, one: Worked) -> None:
        text, _ = one.journal.read_state("x1", "a") or ("", None)
        assert one.journal.postpone("x1", "a", text, 42)
        assert one.watched() == {"a": 42}
        one.take("a")
        assert not one.journal.postpone("x1", "a", text, 43)
        assert 43 not in one.watched().values()

    def test_what_is_not_there_leaves_the_watch(self, one: Worked) -> None:
        one.journal.redis.hdel(one.journal.keys.steps("x1"), "a")
        assert not one.journal.postpone("x1", "a", "", 0)
        assert one.watched() == {}


class TestEnd:
    def test_every_live_token_is_cancelled(self, forked: Worked) -> None:
        forked.do("p/0/a")
        assert forked.journal.end("x1", ExecutionStatus.CANCELLED, ERROR) == Ended()
        assert forked.state("p").status is StepStatus.CANCELLED
        assert forked.state("p/1/b").status is StepStatus.CANCELLED
        assert forked.state("p/0/a").status is StepStatus.COMPLETED
        assert forked.watched() == {}
        assert forked.journal.record("x1").error == ERROR

    def test_it_ends_once(self, one: Worked) -> None:
        one.journal.end("x1", ExecutionStatus.CANCELLED, ERROR)
        again = one.journal.end("x1", ExecutionStatus.FAILED, ERROR)
        assert again == Refused("DONE", ("cancelled",))
        assert one.journal.end("never", ExecutionStatus.FAILED, ERROR) == Refused("MISSING")

    def test_out_of_memory_it_changes_nothing_and_the_deadline_stays(
        self, journal: Journal, redis: Redis, clock: FakeClock
    ) -> None:
        worked = start(journal, task("a"), deadline=clock() + 1000)
        before = worked.watched()
        redis.config_set("maxmemory", "1mb")
        redis.config_set("maxmemory-policy", "noeviction")
        try:
            with pytest.raises(Unreachable, match="memory is full"):
                journal.end("x1", ExecutionStatus.FAILED, ERROR)
        finally:
            redis.config_set("maxmemory", "0")
        assert worked.watched() == before
        assert worked.status() is ExecutionStatus.RUNNING


class TestReading:
    def test_states_outlive_the_encoder_of_the_scripts(self, one: Worked) -> None:
        """Lua's numbers are doubles, and its encoder keeps 14 digits: enough for an instant."""
        state = one.take("a").state
        assert state.since == state.started == one.journal.clock()
        assert [entry.at for entry in one.journal.history("x1")] == [one.journal.clock()] * 2

    def test_an_execution_that_is_not_there_is_not_found(self, journal: Journal) -> None:
        with pytest.raises(NotFound, match="no execution 'never'"):
            journal.record("never")
        assert journal.status("never") is None
        assert journal.history("never") == []

    def test_the_newest_executions_come_first(self, journal: Journal, clock: FakeClock) -> None:
        one = start(journal, task("a"))
        for name in ("x2", "x3"):
            clock.advance(1)
            one.execution = name
            assert journal.start(starting(one))
        found, cursor = journal.find(Query(), 2)
        assert [one.id for one in found] == ["x3", "x2"]
        assert [one.id for one in journal.find(Query(), 2, cursor)[0]] == ["x1"]

    def test_expired_executions_leave_the_index(self, one: Worked, clock: FakeClock) -> None:
        keys = one.journal.keys
        one.journal.redis.delete(keys.record("x1"), keys.steps("x1"), keys.history("x1"))
        assert one.journal.forget_expired() == 0
        clock.advance(8 * 86_400_000)
        assert one.journal.forget_expired() == 2  # by its status, and by its workflow
        assert not one.journal.redis.exists(keys.index(keys.partition("x1")))

    def test_a_live_worker_is_listed_until_it_is_silent(
        self, journal: Journal, wait_until: Callable[..., object]
    ) -> None:
        journal.renew_worker("w1", '{"id":"w1"}', 60_000)
        assert journal.live_workers() == [{"id": "w1"}]
        said, ttl = journal.read_worker("w1") or ({}, 0)
        assert said == {"id": "w1"} and 0 < ttl <= 60_000
        journal.renew_worker("w1", '{"id":"w1","kept":60000}', 50, 60_000)
        wait_until(lambda: journal.live_workers() == [])
        said, ttl = journal.read_worker("w1") or ({}, 1)
        assert said["id"] == "w1" and ttl <= 0, "kept for those who see its connection"
        journal.remove_worker("w1")
        assert journal.read_worker("w1") is None

    def test_what_a_dead_worker_held_is_due_at_once_and_nothing_else(self, one: Worked) -> None:
        journal = one.journal
        one.take("a", owner="dead/1/a")
        due = one.watched()["a"]
        within = due - journal.clock()
        assert journal.bring_forward("dea", [], within) == 0
        assert journal.bring_forward("dead", [], within - 1) == 0
        assert one.watched()["a"] == due
        assert journal.bring_forward("dead", [], within) == 1
        assert one.watched()["a"] == journal.clock()

    def test_a_message_that_a_dead_worker_may_have_had_is_looked_for_at_once(
        self, one: Worked
    ) -> None:
        assert one.journal.bring_forward("dead", ["x2 a"], 60_000) == 0
        assert one.journal.bring_forward("dead", ["x1 a"], 60_000) == 1

    def test_a_worker_that_was_heard_in_the_meantime_is_not_buried(self, journal: Journal) -> None:
        journal.renew_worker("w1", '{"id":"w1","at":2}', 60_000)
        assert not journal.bury_worker("w1", '{"id":"w1","at":1}')
        assert journal.bury_worker("w1", '{"id":"w1","at":2}')
        assert journal.live_workers() == []
        assert not journal.bury_worker("w1", '{"id":"w1","at":2}'), "it is gone already"


class TestReach:
    def test_another_partition_count_is_refused(self, journal: Journal, redis: Redis) -> None:
        journal.check()
        journal.check()
        other = Journal(redis, Settings(partitions=8))
        with pytest.raises(PartitionMismatch, match="64 partitions"):
            other.check()

    @pytest.fixture
    def nowhere(self, settings: Settings) -> Iterator[Journal]:
        url = "redis://:secret@127.0.0.1:1/0"
        client = open_redis(url, timeout=0.2)
        yield Journal(client, settings, url=url)
        client.close()

    def test_a_server_that_is_away_is_named_without_its_password(self, nowhere: Journal) -> None:
        for call in (nowhere.check, nowhere.take_due, lambda: nowhere.record("x")):
            with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1") as caught:
                call()
            assert "secret" not in str(caught.value)

    def test_patience_repeats_until_there_is_an_answer(self, nowhere: Journal) -> None:
        calls = []

        def call() -> str:
            calls.append(1)
            if len(calls) < 3:
                nowhere.take_due()
            return "answer"

        assert nowhere.patiently(call, 10) == "answer"
        with pytest.raises(Unreachable):
            nowhere.patiently(nowhere.take_due, 0)

    def test_a_script_that_breaks_says_which(self, journal: Journal, redis: Redis) -> None:
        redis.set(journal.keys.record("x1"), "no hash", ex=60)
        with pytest.raises(JournalError, match="end_execution failed"):
            journal.end("x1", ExecutionStatus.FAILED, ERROR)

    def test_passwords_are_not_shown(self) -> None:
        assert without_password("redis://u:p@h:1/0") == "redis://u:***@h:1/0"
        assert without_password("redis://h:1/0") == "redis://h:1/0"


def test_a_failure_and_its_retry_are_told_in_the_history(journal: Journal) -> None:
    worked = start(journal, task("a", retry={"maxAttempts": 2, "interval": 0}))
    worked.settle("a", worked.take("a"), Failed(failure("E", "\ud800 broke")))
    told = journal.history("x1")[-1]
    assert told.event == "retrying" and told.detail["error"]["message"] == "\ud800 broke"


def test_decisions_at_the_start_are_part_of_it(journal: Journal) -> None:
    worked = start(journal, decision("d", "$.input", {"1": "a"}, output="v"), task("a"), input=1)
    assert journal.record("x1").variables == {"v": 1}
    assert worked.state("d").status is StepStatus.COMPLETED
