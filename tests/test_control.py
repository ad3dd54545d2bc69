"""Pause, resume, cancel, retry, skip: each verb, what it refuses, and what it races with."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.control import steering as steering_module
from orch.control.advance import Advancer
from orch.control.manager import WorkflowManager
from orch.control.plans import Plans
from orch.control.status import ExecutionContext, execution_context
from orch.control.steering import Steering, current_user
from orch.errors import InputError, NotAllowed, NotFound, Unreachable
from orch.journal.journal import Claimed, Journal, Refused
from orch.settings import Settings
from orch.workflows.outcome import Completed, Failed, Failure
from orch.workflows.plan import Plan
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus
from tests.build import (
    FakeClock,
    Worked,
    decision,
    handler,
    parallel,
    runtime_of,
    start,
    task,
    wait,
)
from tests.conftest import LONG, keys_for_ever
from tests.escalated import PlayedWarden

RECHECK = 60_000


class Steered:
    """An execution, what steers it, and a warden that looks after it."""

    def __init__(self, worked: Worked) -> None:
        self.worked = worked
        self.journal = worked.journal
        plans = Plans(self.journal)
        self.advancer = Advancer(self.journal, plans, worked.dispatch)
        runtime = runtime_of(self.advancer)
        self.verbs = Steering(runtime)
        self.warden = PlayedWarden(worked, self.advancer, plans)
        self.plans = plans

    def look(self, ms: int) -> None:
        """So much time passes; then the warden looks."""
        clock = self.journal.clock
        assert isinstance(clock, FakeClock)
        clock.advance(ms)
        self.warden.look()

    def fail(self, path: str, name: str = "Broken") -> None:
        """As in production, a failure names its step."""
        claimed = self.worked.take(path)
        step = path.rpartition("/")[2].partition("#")[0]
        failure = Failure(name, "it broke", step, path, claimed.state.attempt)
        self.advancer.settle(self.worked.plan, claimed.view, path, claimed.state, Failed(failure))

    def do(self, path: str, output: object = None) -> None:
        claimed = self.worked.take(path)
        self.advancer.settle(self.worked.plan, claimed.view, path, claimed.state, Completed(output))

    def context(self) -> ExecutionContext:
        return execution_context(self.journal, self.plans, "x1")

    def told(self, event: str) -> dict[str, Any]:
        """The detail of the last event of this word."""
        return dict([e for e in self.journal.history("x1") if e.event == event][-1].detail)


def steer(journal: Journal, *steps: dict[str, Any], **more: Any) -> Steered:
    return Steered(start(journal, *steps, **more))


@pytest.fixture
def chain(journal: Journal) -> Steered:
    return steer(journal, task("a", "b"), task("b"))


class TestPause:
    def test_nothing_starts_and_who_and_why_is_told(self, chain: Steered) -> None:
        assert chain.verbs.pause("x1", "lunch", by="ada")
        assert chain.worked.claim("a") == Refused("PAUSED")
        assert chain.worked.status() is ExecutionStatus.PAUSED
        assert chain.told("paused") == {"by": "ada", "reason": "lunch"}
        assert list(chain.worked.watched()) == ["a"]

    def test_a_second_one_changes_nothing(self, chain: Steered) -> None:
        chain.verbs.pause("x1")
        before = chain.journal.history("x1")
        assert chain.verbs.pause("x1", "again") is False
        assert chain.journal.history("x1") == before
        assert before[-1].detail == {"by": current_user()}

    def test_what_runs_may_end_and_what_it_opens_waits(self, chain: Steered) -> None:
        claimed = chain.worked.take("a")
        chain.verbs.pause("x1")
        chain.advancer.settle(
            chain.worked.plan, claimed.view, "a", claimed.state, Completed(), late="me"
        )
        assert chain.worked.state("b").status is StepStatus.DISPATCHED
        assert chain.worked.claim("b") == Refused("PAUSED")
        assert list(chain.worked.watched()) == ["b"]

    def test_what_comes_due_is_put_off_for_long(self, journal: Journal) -> None:
        steered = steer(
            journal,
            parallel(
                "p", [task("a")], [wait("w")], [task("r", retry={"maxAttempts": 2})], timeout=90
            ),
        )
        steered.fail("p/2/r")
        steered.verbs.pause("x1")
        steered.worked.sent.clear()
        steered.look(10_000)
        later = journal.clock() + RECHECK
        assert steered.worked.watched() == dict.fromkeys(["p", "p/0/a", "p/1/w", "p/2/r"], later)
        assert steered.worked.state("p/1/w").status is StepStatus.WAITING
        assert steered.worked.sent == []

    def test_an_attempt_whose_worker_died_is_lost_and_the_next_one_waits(
        self, chain: Steered
    ) -> None:
        chain.worked.take("a", "gone/1/a")
        chain.verbs.pause("x1")
        chain.look(5000)
        state = chain.worked.state("a")
        assert (state.status, state.attempt) == (StepStatus.DISPATCHED, 2)
        assert chain.worked.claim("a") == Refused("PAUSED")
        chain.worked.sent.clear()
        assert chain.verbs.resume("x1")
        assert chain.worked.sent == ["a"]
        chain.do("a")

    def test_a_join_that_closes_goes_on_to_a_step_that_waits(self, journal: Journal) -> None:
        steered = steer(journal, parallel("p", [task("a")], next="z"), task("z"))
        claimed = steered.worked.take("p/0/a")
        steered.verbs.pause("x1")
        steered.worked.settle("p/0/a", claimed, Completed())
        assert steered.worked.state("p").status is StepStatus.JOINED
        steered.look(journal.grace)
        assert steered.worked.state("z").status is StepStatus.DISPATCHED
        assert steered.worked.claim("z") == Refused("PAUSED")

    def test_what_has_ended_or_is_not_there_is_refused(self, chain: Steered) -> None:
        chain.do("a")
        chain.do("b")
        with pytest.raises(NotAllowed, match="x1 has completed and cannot be paused"):
            chain.verbs.pause("x1")
        with pytest.raises(NotFound, match="no execution 'never'"):
            chain.verbs.pause("never")

    def test_the_deadline_stands_still(self, journal: Journal) -> None:
        steered = Steered(start(journal, task("a"), deadline=journal.clock() + 9000))
        steered.look(1000)
        steered.verbs.pause("x1")
        assert list(steered.worked.watched()) == ["a"]
        steered.look(3_600_000)
        steered.verbs.resume("x1")
        assert steered.worked.watched()[""] == journal.clock() + 8000
        steered.look(8000)
        assert steered.worked.status() is ExecutionStatus.FAILED


class TestResume:
    def test_it_sends_what_waits_at_once(self, chain: Steered) -> None:
        chain.verbs.pause("x1")
        chain.look(100_000)
        chain.worked.sent.clear()
        assert chain.verbs.resume("x1", reason="back", by="ada")
        assert chain.worked.sent == ["a"]
        assert chain.worked.watched() == {"a": chain.journal.clock() + chain.journal.grace}
        assert chain.told("resumed") == {"by": "ada", "reason": "back"}
        chain.do("a")
        chain.do("b")
        assert chain.worked.status() is ExecutionStatus.COMPLETED

    def test_a_second_one_changes_nothing(self, chain: Steered) -> None:
        chain.verbs.pause("x1")
        assert [chain.verbs.resume("x1"), chain.verbs.resume("x1")] == [True, False]
        assert [event for event, _ in chain.worked.events()].count("resumed") == 1

    def test_every_token_is_looked_at_when_it_should_be(self, journal: Journal) -> None:
        steered = steer(
            journal,
            parallel(
                "p",
                [wait("over", 1000)],
                [wait("soon", 99_000)],
                [task("runs")],
                [task("r", retry={"maxAttempts": 2, "interval": 50_000})],
                [task("sent")],
            ),
        )
        begun = journal.clock()
        steered.worked.take("p/2/runs")
        steered.fail("p/3/r")
        steered.verbs.pause("x1")
        steered.journal.clock.advance(10_000)  # type: ignore[attr-defined]
        steered.verbs.resume("x1")
        now = journal.clock()
        back_off = steered.worked.state("p/3/r").due
        assert steered.worked.watched() == {
            "p": now,
            "p/0/over": begun + 1000,
            "p/1/soon": begun + 99_000,
            "p/2/runs": now,
            "p/3/r": back_off,
            "p/4/sent": now + journal.grace,
        }
        steered.warden.look()
        assert steered.worked.state("p/0/over").status is StepStatus.COMPLETED

    def test_the_timeout_of_a_parallel_step_stands_still(self, journal: Journal) -> None:
        steered = steer(journal, parallel("p", [task("a")], timeout=5000))
        steered.look(1000)
        steered.verbs.pause("x1")
        steered.look(60_000)
        steered.verbs.resume("x1")
        steered.look(3900)
        assert steered.worked.state("p").status is StepStatus.JOINING
        steered.look(3000)
        assert steered.worked.state("p").status is StepStatus.FAILED

    def test_input_becomes_variables(self, journal: Journal) -> None:
        steered = steer(journal, task("a", "b", output="v"), task("b", input="$.variables"))
        steered.do("a", 1)
        steered.verbs.pause("x1")
        assert steered.verbs.resume("x1", {"v": [2], "ü": None})
        assert steered.worked.take("b").view.variables == {"v": [2], "ü": None}
        assert steered.told("resumed")["input"] == ["v", "ü"]

    def test_input_is_refused_unless_it_is_paused(self, chain: Steered) -> None:
        with pytest.raises(NotAllowed, match="only one that is paused takes input"):
            chain.verbs.resume("x1", {"v": 1})
        assert chain.journal.record("x1").variables == {}

    @pytest.mark.parametrize(
        "given", [{"a": {1}}, {"a": float("nan")}, {1: 2}, {"a": "x" * 2_000_000}]
    )
    def test_input_that_cannot_be_kept_is_refused(self, chain: Steered, given: Any) -> None:
        chain.verbs.pause("x1")
        with pytest.raises(InputError):
            chain.verbs.resume("x1", given)
        assert chain.worked.status() is ExecutionStatus.PAUSED

    def test_what_has_ended_or_is_not_there_is_refused(self, chain: Steered) -> None:
        chain.verbs.cancel("x1")
        with pytest.raises(NotAllowed, match="x1 has been cancelled and cannot be resumed"):
            chain.verbs.resume("x1")
        with pytest.raises(NotFound):
            chain.verbs.resume("never")

    def test_a_broker_that_is_away_leaves_it_to_the_watch(
        self, chain: Steered, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(plan: Plan, execution: str, paths: Sequence[str]) -> None:
            raise Unreachable("the broker is away")

        chain.verbs.pause("x1")
        monkeypatch.setattr(chain.advancer, "dispatch", away)
        assert chain.verbs.resume("x1")
        monkeypatch.undo()
        chain.look(chain.journal.grace)
        assert chain.worked.sent == ["a"]


class TestCancel:
    def test_it_ends_what_is_paused_and_says_who(self, chain: Steered) -> None:
        chain.verbs.pause("x1")
        assert chain.verbs.cancel("x1", "enough", by="ada")
        assert chain.journal.record("x1").error == {"name": "Cancelled", "message": "enough"}
        assert chain.told("ended")["by"] == "ada"
        assert chain.verbs.cancel("x1") is False
        assert chain.worked.watched() == {}
        with pytest.raises(NotFound):
            chain.verbs.cancel("never")

    def test_it_races_a_join_and_one_of_them_wins(self, journal: Journal) -> None:
        steered = steer(journal, parallel("p", [task("a")], next="z"), task("z"))
        steered.worked.do("p/0/a")
        assert steered.worked.state("p").status is StepStatus.JOINED
        assert steered.verbs.cancel("x1")
        steered.advancer.join("x1", "p")
        assert steered.worked.state("p").status is StepStatus.CANCELLED
        assert journal.read_state("x1", "z") is None


class TestRetry:
    def test_it_goes_on_from_the_step_that_failed(self, journal: Journal) -> None:
        steered = steer(
            journal,
            task("a", "b", output="v"),
            task("b", input="$.variables.v", retry={"maxAttempts": 1}),
            result="$.output",
        )
        steered.do("a", 7)
        steered.fail("b")
        assert journal.record("x1").error is not None
        steered.worked.sent.clear()
        assert steered.verbs.retry("x1", "fixed", by="ada")
        record = journal.record("x1")
        assert (record.status, record.error, record.ended) == (ExecutionStatus.RUNNING, None, 0)
        state = steered.worked.state("b")
        assert (state.status, state.attempt, state.failures) == (StepStatus.DISPATCHED, 2, 0)
        assert steered.worked.sent == ["b"]
        assert steered.worked.watched() == {"b": journal.clock() + journal.grace}
        assert "!b" not in journal.steps("x1")
        for key in (journal.keys.record, journal.keys.steps, journal.keys.history):
            assert journal.redis.pttl(key("x1")) == -1
        assert steered.told("ended")["error"]["name"] == "Broken"
        assert [e for e in steered.worked.events() if e[0] == "retried"] == [
            ("retried", ""),
            ("retried", "b"),
        ]
        steered.do("b", "fine")
        assert journal.record("x1").output == "fine"
        assert Counter(steered.worked.events())[("completed", "a")] == 1

    def test_a_second_one_changes_nothing(self, chain: Steered) -> None:
        chain.fail("a")
        assert [chain.verbs.retry("x1"), chain.verbs.retry("x1")] == [True, False]
        chain.verbs.pause("x1")
        assert chain.verbs.retry("x1") is False
        assert chain.worked.state("a").attempt == 2

    def test_it_may_fail_and_be_retried_again(self, chain: Steered) -> None:
        for attempt in (2, 3):
            chain.fail("a")
            assert chain.verbs.retry("x1")
            assert chain.worked.state("a").attempt == attempt
        chain.do("a")
        chain.do("b")
        assert chain.worked.status() is ExecutionStatus.COMPLETED

    def test_branches_that_ended_well_are_kept_and_the_others_live_again(
        self, journal: Journal
    ) -> None:
        inner = parallel("q", [task("d")], [task("e")])
        steered = steer(
            journal,
            parallel("p", [task("a")], [task("b", "b2"), task("b2")], [wait("c", 9000)], [inner]),
        )
        steered.do("p/0/a", "kept")
        steered.do("p/3/q/0/d")
        late = steered.worked.take("p/3/q/1/e")
        steered.do("p/1/b")
        steered.fail("p/1/b2")
        assert steered.worked.status() is ExecutionStatus.FAILED
        steered.worked.sent.clear()
        assert steered.verbs.retry("x1")
        assert sorted(steered.worked.sent) == ["p/1/b2", "p/3/q/1/e"]
        live = {
            path: steered.worked.state(path).status
            for path in ("p", "p/1/b2", "p/2/c", "p/3/q", "p/3/q/1/e")
        }
        assert live == {
            "p": StepStatus.JOINING,
            "p/1/b2": StepStatus.DISPATCHED,
            "p/2/c": StepStatus.WAITING,
            "p/3/q": StepStatus.JOINING,
            "p/3/q/1/e": StepStatus.DISPATCHED,
        }
        assert set(steered.worked.watched()) == set(live)
        assert (steered.worked.state("p").left, steered.worked.state("p/3/q").left) == (3, 1)
        refused = steered.worked.settle("p/3/q/1/e", late, Completed("late"))
        assert refused == Refused("SUPERSEDED", ("dispatched", 2))
        steered.do("p/1/b2")
        steered.do("p/3/q/1/e", "new")
        steered.look(9000)
        assert steered.worked.status() is ExecutionStatus.COMPLETED
        assert journal.record("x1").output["results"][0] == "kept"
        assert Counter(steered.worked.events())[("completed", "p/0/a")] == 1

    def test_a_failure_deep_inside_is_found(self, journal: Journal) -> None:
        inner = parallel("q", [task("a")], [task("b")])
        steered = steer(journal, parallel("p", [inner], [task("c")]))
        for _ in range(3):
            steered.fail("p/0/q/0/a")
            assert steered.worked.status() is ExecutionStatus.FAILED
            fences = [steered.worked.state(path).attempt for path in ("p", "p/0/q")]
            assert steered.verbs.retry("x1")
            now = [steered.worked.state(path).attempt for path in ("p", "p/0/q")]
            assert all(after > before for before, after in zip(fences, now, strict=True))
        for path in ("p/0/q/0/a", "p/0/q/1/b", "p/1/c"):
            steered.do(path)
        assert steered.worked.status() is ExecutionStatus.COMPLETED

    def test_a_parallel_step_that_took_too_long_begins_its_time_anew(
        self, journal: Journal
    ) -> None:
        steered = steer(journal, parallel("p", [task("a")], [task("b")], timeout=5000))
        steered.do("p/0/a")
        steered.look(5000)
        assert steered.worked.status() is ExecutionStatus.FAILED
        assert steered.verbs.retry("x1")
        assert steered.worked.state("p").started == journal.clock()
        steered.do("p/1/b")
        assert steered.worked.status() is ExecutionStatus.COMPLETED

    def test_a_join_that_was_decided_when_it_was_cancelled_is_joined_again(
        self, journal: Journal
    ) -> None:
        steered = steer(journal, parallel("p", [parallel("q", [task("a")])], [task("b")]))
        steered.worked.do("p/0/q/0/a")  # q has joined, and nobody went on behind it yet
        steered.fail("p/1/b")
        assert steered.worked.state("p/0/q").status is StepStatus.CANCELLED
        assert steered.verbs.retry("x1")
        assert steered.worked.state("p/0/q").status is StepStatus.JOINED
        steered.look(0)
        steered.do("p/1/b")
        assert steered.worked.status() is ExecutionStatus.COMPLETED

    def test_an_error_that_was_taken_by_another_step_stays_taken(self, journal: Journal) -> None:
        steered = steer(journal, task("a", "c", onError="b"), task("b"), task("c"))
        steered.fail("a")
        steered.fail("b")
        assert steered.verbs.retry("x1")
        assert steered.worked.state("a").status is StepStatus.FAILED
        steered.do("b")

    def test_a_failure_while_it_was_paused_is_retried_into_running(self, chain: Steered) -> None:
        claimed = chain.worked.take("a")
        chain.verbs.pause("x1")
        failure = Failure("Broken", "it broke", "a", "a", 1)
        chain.worked.settle("a", claimed, Failed(failure))
        assert chain.worked.status() is ExecutionStatus.FAILED
        assert chain.verbs.retry("x1")
        assert chain.worked.status() is ExecutionStatus.RUNNING
        chain.do("a")

    def test_the_deadline_begins_anew(self, journal: Journal) -> None:
        steered = steer(journal, task("a"), timeoutMs=7000)
        steered.fail("a")
        journal.clock.advance(50_000)  # type: ignore[attr-defined]
        steered.verbs.retry("x1")
        assert steered.worked.watched()[""] == journal.clock() + 7000

    @pytest.mark.parametrize(
        ("steps", "more", "fails", "reason"),
        [
            ([task("a")], {"result": "$.output - 1"}, False, "none of its steps failed"),
            ([task("a")], {"errorHandlers": [handler("tell")]}, True, "its error handler has been"),
            (
                [task("a", "b"), task("b", condition="$.input - 1")],
                {},
                False,
                "before it was tried",
            ),
            (
                [task("a", "d"), decision("d", "$.input", {"1": "e"}), task("e")],
                {},
                False,
                "before it was tried",
            ),
            (
                [task("a", "w"), wait("w", "$.input.none")],
                {},
                False,
                "before it was tried",
            ),
        ],
        ids=["result", "handler", "condition", "decision", "wait"],
    )
    def test_what_would_not_be_exact_is_refused(
        self, journal: Journal, steps: Any, more: Any, fails: bool, reason: str
    ) -> None:
        steered = steer(journal, *steps, input="text", **more)
        steered.fail("a") if fails else steered.do("a", "out")
        if fails:
            steered.do("errorHandlers/0/tell")
        assert steered.worked.status() is ExecutionStatus.FAILED
        before = journal.steps("x1"), journal.redis.hgetall(journal.keys.record("x1"))
        with pytest.raises(NotAllowed, match=reason):
            steered.verbs.retry("x1")
        assert (journal.steps("x1"), journal.redis.hgetall(journal.keys.record("x1"))) == before

    def test_a_failure_that_is_tolerated_stays(self, journal: Journal) -> None:
        inner = parallel("q", [task("a")], [task("b")])
        inner["parallel"]["tolerate"] = {"count": 1}
        steered = steer(journal, parallel("p", [inner], [task("c")]))
        steered.fail("p/0/q/0/a")
        steered.fail("p/1/c")
        assert steered.worked.status() is ExecutionStatus.FAILED
        assert steered.verbs.retry("x1")
        state = steered.worked.state("p/0/q")
        assert (state.status, state.left, state.failed) == (StepStatus.JOINING, 1, 1)
        assert steered.worked.state("p/0/q/0/a").status is StepStatus.FAILED
        steered.do("p/1/c")
        steered.do("p/0/q/1/b")
        assert steered.worked.status() is ExecutionStatus.COMPLETED

    def test_of_a_quorum_that_was_missed_the_failures_are_tried_again(
        self, journal: Journal
    ) -> None:
        quorum = parallel("p", [task("a")], [task("b")], [task("c")])
        quorum["parallel"]["join"] = {"atLeast": 2}
        steered = steer(journal, quorum)
        steered.do("p/0/a")
        steered.fail("p/1/b")
        steered.fail("p/2/c")
        assert steered.worked.status() is ExecutionStatus.FAILED
        assert steered.verbs.retry("x1")
        state = steered.worked.state("p")
        assert (state.left, state.failed, state.need) == (2, 0, 2)
        steered.do("p/2/c")
        assert steered.worked.status() is ExecutionStatus.COMPLETED
        assert steered.worked.state("p/1/b").status is StepStatus.CANCELLED

    def test_a_quorum_that_was_missed_and_then_cancelled_is_tried_again(
        self, journal: Journal
    ) -> None:
        quorum = parallel("q", [task("a")], [task("b")], [task("c")])
        quorum["parallel"]["join"] = {"atLeast": 3}
        steered = steer(journal, parallel("p", [quorum], [task("d")]))
        for path in ("p/0/q/0/a", "p/0/q/1/b"):  # q has joined, and nobody went on behind it yet
            step = path[-1]
            failure = Failure("Broken", "it broke", step, path, 1)
            claimed = steered.worked.claim(path)
            if isinstance(claimed, Claimed):
                steered.worked.settle(path, claimed, Failed(failure))
        assert steered.worked.state("p/0/q").status is StepStatus.JOINED
        steered.fail("p/1/d")
        assert steered.verbs.retry("x1")
        for path in ("p/0/q/0/a", "p/0/q/1/b", "p/0/q/2/c", "p/1/d"):
            steered.do(path)
        assert steered.worked.status() is ExecutionStatus.COMPLETED

    def test_a_parallel_step_that_failed_after_its_branches_is_refused(
        self, journal: Journal
    ) -> None:
        steered = steer(journal, parallel("p", [task("a")], output={"v": "$.output - 1"}))
        steered.do("p/0/a")
        assert steered.worked.status() is ExecutionStatus.FAILED
        with pytest.raises(NotAllowed, match="the branches of step 'p' ended well"):
            steered.verbs.retry("x1")

    def test_one_that_ran_out_of_time_as_a_whole_is_refused(self, chain: Steered) -> None:
        error = {"name": "ExecutionTimeout", "message": "too long"}
        chain.journal.end("x1", ExecutionStatus.FAILED, error)
        with pytest.raises(NotAllowed, match=r"none of its steps failed.*ExecutionTimeout"):
            chain.verbs.retry("x1")

    def test_what_did_not_fail_or_is_not_there_is_refused(self, chain: Steered) -> None:
        assert chain.verbs.retry("x1") is False
        chain.verbs.cancel("x1")
        with pytest.raises(NotAllowed, match="has been cancelled and cannot be retried"):
            chain.verbs.retry("x1")
        with pytest.raises(NotFound):
            chain.verbs.retry("never")

    def test_one_that_somebody_else_retries_meanwhile_is_left_alone(
        self, chain: Steered, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chain.fail("a")
        steps = chain.journal.steps

        def retry_first(execution: str) -> dict[str, str]:
            monkeypatch.undo()
            assert chain.verbs.retry(execution)
            return steps(execution)

        monkeypatch.setattr(chain.journal, "steps", retry_first)
        assert chain.verbs.retry("x1") is False
        assert chain.worked.state("a").attempt == 2

    def test_one_that_expires_meanwhile_is_not_found(
        self, chain: Steered, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chain.fail("a")
        keys = chain.journal.keys
        steps = chain.journal.steps

        def expire(execution: str) -> dict[str, str]:
            found = steps(execution)
            names = keys.record("x1"), keys.steps("x1"), keys.history("x1")
            chain.journal.redis.delete(*names)
            return found

        monkeypatch.setattr(chain.journal, "steps", expire)
        with pytest.raises(NotFound):
            chain.verbs.retry("x1")
        assert not chain.journal.redis.exists(keys.steps("x1"), keys.history("x1"))


class TestSkip:
    @pytest.mark.parametrize("status", ["dispatched", "running", "retrying"])
    def test_a_task_counts_as_completed_with_the_output(
        self, journal: Journal, status: str
    ) -> None:
        steered = steer(
            journal,
            task("a", "b", output="v", retry={"maxAttempts": 3}),
            task("b", input="$.variables.v"),
        )
        held = None
        if status == "retrying":
            steered.fail("a")
        if status == "running":
            held = steered.worked.take("a")
        assert steered.worked.state("a").status == status
        assert steered.verbs.skip("x1", "a", {"n": 1}, reason="known", by="ada")
        assert steered.worked.sent[-1] == "b"
        assert steered.told("skipped_by") == {"by": "ada", "reason": "known"}
        assert list(steered.worked.watched()) == ["b"]
        assert steered.worked.take("b").view.variables == {"v": {"n": 1}}
        if held is not None:
            late = steered.worked.settle("a", held, Completed("late"))
            assert late == Refused("SUPERSEDED", ("completed", 1))
        assert Counter(steered.worked.events())[("completed", "a")] == 1

    def test_a_timer_is_over_at_once(self, journal: Journal) -> None:
        steered = steer(journal, wait("w", 99_000, "a"), task("a"))
        assert steered.verbs.skip("x1", "w")
        assert steered.worked.sent == ["a"]
        assert steered.verbs.skip("x1", "w") is False

    def test_the_last_branch_closes_its_join(self, journal: Journal) -> None:
        steered = steer(journal, parallel("p", [task("a")], [task("b")], next="z"), task("z"))
        steered.do("p/0/a", 1)
        assert steered.verbs.skip("x1", "p/1/b", 2)
        assert steered.worked.sent == ["z"]
        assert json.loads(journal.steps("x1")["=p"])["results"] == [1, 2]

    def test_while_paused_what_follows_waits(self, chain: Steered) -> None:
        chain.verbs.pause("x1")
        assert chain.verbs.skip("x1", "a")
        assert chain.worked.claim("b") == Refused("PAUSED")

    def test_what_moves_on_meanwhile_is_looked_at_again(
        self, chain: Steered, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read_view = chain.journal.read_view

        def claim_first(execution: str, reads: Sequence[str]) -> Any:
            monkeypatch.undo()
            chain.worked.take("a")
            return read_view(execution, reads)

        monkeypatch.setattr(chain.journal, "read_view", claim_first)
        assert chain.verbs.skip("x1", "a")
        assert chain.worked.state("a").status is StepStatus.COMPLETED

    def test_what_never_rests_is_refused_in_the_end(
        self, chain: Steered, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(steering_module, "MOST_TRIES", 2)
        monkeypatch.setattr(chain.journal, "settle", lambda *_, **__: Refused("SUPERSEDED"))
        with pytest.raises(NotAllowed, match="moves on faster"):
            chain.verbs.skip("x1", "a")

    def test_what_cannot_be_skipped_is_named(self, journal: Journal) -> None:
        steered = steer(journal, parallel("p", [task("a")]), errorHandlers=[])
        with pytest.raises(NotAllowed, match="'p' of execution x1 holds other steps"):
            steered.verbs.skip("x1", "p")
        for path in ("never", "", "=p/0/a"):
            with pytest.raises(NotFound, match="it is at: p, p/0/a"):
                steered.verbs.skip("x1", path)
        with pytest.raises(NotFound, match="no execution 'never'"):
            steered.verbs.skip("never", "a")
        with pytest.raises(InputError, match="is not JSON"):
            steered.verbs.skip("x1", "p/0/a", {1})
        steered.fail("p/0/a")
        with pytest.raises(NotAllowed, match="is failed and cannot be skipped"):
            steered.verbs.skip("x1", "p/0/a")

    def test_an_output_that_the_step_cannot_use_is_refused(self, journal: Journal) -> None:
        steered = steer(journal, task("a", output={"v": "$.output - 1"}))
        with pytest.raises(NotAllowed, match="would fail with this output"):
            steered.verbs.skip("x1", "a", "text")
        assert steered.worked.state("a").status is StepStatus.DISPATCHED
        assert steered.verbs.skip("x1", "a", 3)


def test_of_many_at_once_one_does_it(journal: Journal) -> None:
    steered = steer(journal, task("a", "b"), task("b"))
    verbs = steered.verbs

    def all_at_once(call: Callable[[], bool]) -> int:
        with ThreadPoolExecutor(8) as pool:
            return sum(pool.map(lambda _: call(), range(8)))

    assert all_at_once(lambda: verbs.pause("x1")) == 1
    assert all_at_once(lambda: verbs.resume("x1")) == 1
    assert steered.worked.sent == ["a"]
    steered.fail("a")
    assert all_at_once(lambda: verbs.retry("x1")) == 1
    assert all_at_once(lambda: verbs.skip("x1", "a")) == 1
    assert all_at_once(lambda: verbs.cancel("x1")) == 1


def test_a_look_that_was_begun_in_a_pause_puts_nothing_off_after_it(journal: Journal) -> None:
    steered = steer(journal, wait("w", 1000))
    steered.verbs.pause("x1")
    text, _ = journal.read_state("x1", "w") or ("", None)
    steered.verbs.resume("x1")
    watched = steered.worked.watched()
    assert not journal.postpone("x1", "w", text, 99, while_paused=True)
    assert steered.worked.watched() == watched


class TestWhy:
    def test_a_pause_says_who_when_and_why(self, journal: Journal) -> None:
        steered = steer(journal, parallel("p", [task("a")], [wait("w")], [task("r")]))
        steered.worked.take("p/2/r", "host-1-1/1/a")
        steered.verbs.pause("x1", "lunch", by="ada")
        context = steered.context()
        assert context.paused is not None and context.paused.by == "ada"
        paused = f"paused by ada at {context.paused.at}: lunch"
        waiting = context.waiting_for
        assert waiting["p/0/a"] == paused
        assert waiting["p/1/w"].startswith("timer until ") and waiting["p/1/w"].endswith(paused)
        assert waiting["p/2/r"].startswith("running on ")
        assert waiting["p"] == f"3 of 3 branches; {paused}"
        steered.verbs.resume("x1")
        assert steered.context().paused is None

    def test_a_pause_that_the_history_does_not_tell_of_is_one_nevertheless(
        self, chain: Steered
    ) -> None:
        chain.journal.redis.hset(chain.journal.keys.record("x1"), "status", "paused")
        assert chain.context().status == "paused"

    def test_a_queue_is_as_long_as_the_broker_says(self, chain: Steered) -> None:
        sign = json.dumps({"id": "w1", "queues": ["work"]})
        chain.journal.renew_worker("w1", sign, 60_000)

        def why(depth: int | None) -> str:
            plans = chain.plans
            context = execution_context(chain.journal, plans, "x1", lambda queue: depth)
            return context.waiting_for["a"]

        assert why(None) == "in queue 'work' for 0.0 s"
        assert why(4) == "in queue 'work' for 0.0 s, at most 3 messages before it"

    def test_a_broker_that_is_away_is_left_out(self, redis: Redis, settings: Settings) -> None:
        with Orchestrator(settings) as orchestrator:
            steps = [{"id": "a", "capability": "work"}]
            orchestrator.define_workflow("w", {"name": "w", "steps": steps})
            execution = orchestrator.start_workflow("w")
            sign = json.dumps({"id": "w1", "queues": ["work"]})
            orchestrator.runtime.journal.renew_worker("w1", sign, 60_000)
            assert "at most 0 messages" in orchestrator.manager.why(execution.id).waiting_for["a"]
            app = SimpleNamespace(connection_for_read=_away)
            runtime: Any = SimpleNamespace(**{**vars(orchestrator.runtime), "app": app})
            manager = WorkflowManager(runtime)
            assert "messages" not in manager.why(execution.id).waiting_for["a"]
            execution.cancel()


def _away() -> None:
    raise ConnectionError("away")


def test_the_facades_offer_all_of_it(redis: Redis, settings: Settings) -> None:
    steps = [
        {"id": "a", "capability": "work", "next": "b"},
        {"id": "b", "capability": "work"},
    ]

    async def use() -> None:
        async with AsyncOrchestrator(settings) as orchestrator:
            execution = await orchestrator.start_workflow("w")
            assert await execution.pause("why", by="ada") is True
            assert await orchestrator.pause_workflow(execution.id) is False
            assert await orchestrator.resume_workflow(execution.id, {"v": 1}) is True
            assert await execution.resume() is False
            assert await execution.skip("a") is True
            assert await orchestrator.skip_step(execution.id, "a") is False
            assert await execution.retry() is False
            assert await orchestrator.retry_workflow(execution.id) is False
            assert await orchestrator.stop_workflow(execution.id) is True
            assert await execution.cancel() is False

    with Orchestrator(settings) as orchestrator:
        orchestrator.define_workflow("w", {"name": "w", "steps": steps})
        execution = orchestrator.start_workflow("w")
        assert execution.pause("why", by="ada") and not orchestrator.pause_workflow(execution.id)
        assert orchestrator.resume_workflow(execution.id, {"v": 1}) and not execution.resume()
        assert execution.skip("a") and not orchestrator.skip_step(execution.id, "a")
        assert not execution.retry() and not orchestrator.retry_workflow(execution.id)
        assert orchestrator.stop_workflow(execution.id, "enough") and not execution.cancel()
        assert execution.status().variables == {"v": 1}
        asyncio.run(use())


def test_somebody_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise OSError("no name")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert current_user() == f"uid {os.getuid()}"


# --- any order of everything -------------------------------------------------------------------

UNDO = {"capability": "undo", "input": "$.output", "retry": {"maxAttempts": 2, "interval": 500}}

DEFINITIONS: list[list[dict[str, Any]]] = [
    [
        task("a", "p", compensate=UNDO),
        parallel(
            "p",
            [task("b", "c", compensate=UNDO), task("c")],
            [task("d", compensate=UNDO)],
            next="z",
        ),
        task("z", compensate=UNDO),
    ],
    [task("a", "w", retry={"maxAttempts": 2, "interval": 500}), wait("w", 2000, "b"), task("b")],
    [
        parallel(
            "p",
            [task("a", "a2"), task("a2")],
            [wait("w", 1500, "b"), task("b", retry={"maxAttempts": 2})],
            [parallel("q", [task("c")], [task("d")], timeout=60_000)],
            next="z",
        ),
        task("z"),
    ],
    [task("a", "c", onError="b"), task("b"), parallel("c", [task("d")], [wait("w", 900)])],
]


STEERED = ("paused", "resumed", "retried", "cancelling", "compensating")


class Life(RuleBasedStateMachine):
    """One execution, steered while workers, messages and time do as they like."""

    journal: ClassVar[Journal]

    @initialize(steps=st.sampled_from(DEFINITIONS))
    def begin(self, steps: list[dict[str, Any]]) -> None:
        self.journal.redis.flushall()
        self.steered = steer(self.journal, *steps)
        self.worked = self.steered.worked
        self.steered.advancer.apply(self.worked.plan, "x1", sorted(self.worked.watched()))
        self.worked.sent[:] = [p for p in self.worked.sent if self.worked.plan.node(p).queue]
        self.held: list[tuple[str, Claimed]] = []
        self.past: list[tuple[str, Claimed]] = []
        self.claims = 0

    # --- workers, messages, time

    @precondition(lambda self: self.worked.sent)
    @rule(pick=st.integers(0, 9), keep=st.booleans())
    def deliver(self, pick: int, keep: bool) -> None:
        path = self.worked.sent[pick % len(self.worked.sent)]
        if not keep:
            self.worked.sent.remove(path)
        self.claims += 1
        claimed = self.worked.claim(path, f"w{self.claims}/1/a")
        if isinstance(claimed, Claimed):
            self.held.append((path, claimed))

    @precondition(lambda self: self.worked.sent)
    @rule()
    def drop(self) -> None:
        self.worked.sent.pop()

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 9), ok=st.booleans(), keep=st.booleans())
    def finish(self, pick: int, ok: bool, keep: bool) -> None:
        path, claimed = self.held.pop(pick % len(self.held))
        if keep:
            self.past.append((path, claimed))
        self.settle(path, claimed, ok)

    @precondition(lambda self: self.past)
    @rule(pick=st.integers(0, 9), ok=st.booleans())
    def come_late(self, pick: int, ok: bool) -> None:
        self.settle(*self.past[pick % len(self.past)], ok)

    def settle(self, path: str, claimed: Claimed, ok: bool) -> None:
        failure = Failure("Broken", "it broke", path, path, claimed.state.attempt)
        outcome = Completed(path) if ok else Failed(failure)
        self.steered.advancer.settle(
            self.worked.plan, claimed.view, path, claimed.state, outcome, late="late"
        )

    @rule(ms=st.sampled_from([0, 100, 1000, 5000, 61_000]))
    def look(self, ms: int) -> None:
        self.steered.look(ms)

    # --- people

    @rule()
    def pause(self) -> None:
        with suppress(NotAllowed):
            self.steered.verbs.pause("x1")

    @rule(given=st.sampled_from([None, {"v": 1}]))
    def resume(self, given: Any) -> None:
        with suppress(NotAllowed):
            self.steered.verbs.resume("x1", given)

    @rule()
    def retry(self) -> None:
        with suppress(NotAllowed):
            self.steered.verbs.retry("x1")
        status = self.worked.status()
        cause = (self.journal.record("x1").error or {}).get("name")
        refused = status is ExecutionStatus.FAILED
        assert not refused or self.is_refused_for_good(), f"none of these is refused: {cause}"

    @precondition(lambda self: self.claims > 8)
    @rule()
    def cancel(self) -> None:
        self.steered.verbs.cancel("x1", grace=2.0)

    @precondition(lambda self: self.claims > 10)
    @rule()
    def abort(self) -> None:
        self.steered.advancer.fail("x1", {"name": "Aborted", "message": "enough"}, by="ada")

    @precondition(lambda self: self.claims > 15)
    @rule()
    def terminate(self) -> None:
        self.steered.verbs.terminate("x1")

    @rule(pick=st.integers(0, 9))
    def skip(self, pick: int) -> None:
        live = sorted(set(self.worked.watched()) - {""})
        if live:
            with suppress(NotAllowed):
                self.steered.verbs.skip("x1", live[pick % len(live)])

    # --- what holds always

    def states(self) -> dict[str, StepState]:
        fields = self.journal.steps("x1")
        return {p: StepState.loads(text) for p, text in fields.items() if p[0] not in "=!?"}

    @invariant()
    def every_live_token_is_watched_and_no_other(self) -> None:
        live = {path for path, state in self.states().items() if state.status in LIVE}
        status = self.worked.status()
        whole = {""} if status is not None and status.unwinds else set()
        assert set(self.worked.watched()) == live | whole
        assert status is not None and status.ended == (not live and not whole)

    @invariant()
    def branches_are_counted(self) -> None:
        fields = self.journal.steps("x1")
        for path, state in self.states().items():
            if state.status is StepStatus.JOINING:
                branches = [f"{path}/{n}" for n in range(state.total)]
                ended = sum(f"={b}" in fields or f"!{b}" in fields for b in branches)
                assert state.left == state.total - ended > 0

    @invariant()
    def nothing_is_committed_twice_or_claimed_in_a_pause(self) -> None:
        paused = False
        completed: Counter[str] = Counter()
        claimed: Counter[tuple[str, int]] = Counter()
        for entry in self.journal.history("x1"):
            completed[entry.path] += entry.event == "completed"
            if entry.event == "claimed":
                assert not paused
                claimed[entry.path, entry.attempt] += 1
            elif entry.event in STEERED:
                paused = entry.event == "paused"
        assert max(completed.values(), default=0) <= 1, completed
        assert max(claimed.values(), default=0) <= 1, claimed

    @invariant()
    def what_is_undone_had_completed_and_the_last_one_comes_first(self) -> None:
        completed = [e.path for e in self.journal.history("x1") if e.event == "completed"]
        opened = [
            e.path.removeprefix("compensations/")
            for e in self.journal.history("x1")
            if e.event == "compensating" and e.path
        ]
        own = [path for path in completed if path in opened]
        assert own[::-1] == opened
        states = self.states()
        assert all(states[path].status is StepStatus.COMPLETED for path in opened)
        status, error = self.worked.status(), self.journal.record("x1").error or {}
        if status is ExecutionStatus.FAILED:
            assert error["name"] != "Cancelled" and ("compensated" in error) == bool(opened)
        if status is not None and status.ended and opened and "compensated" in error:
            failed = [each["path"] for each in error["failedCompensations"]]
            assert sorted(error["compensated"] + failed) == sorted(opened)

    @invariant()
    def only_what_has_ended_expires(self) -> None:
        status = self.worked.status()
        for key in (self.journal.keys.record, self.journal.keys.steps, self.journal.keys.history):
            assert (self.journal.redis.pttl(key("x1")) > 0) == (status is None or status.ended)

    def is_refused_for_good(self) -> bool:
        """Whether it failed as a whole, or what it did was undone: no retry takes that up."""
        if self.worked.status() is not ExecutionStatus.FAILED:
            return False
        error = self.journal.record("x1").error or {}
        return error["name"] == "Aborted" or "compensated" in error

    def all_is_done(self) -> None:
        """What those outside do for it, in a good world."""

    def teardown(self) -> None:
        """In a good world, it ends."""
        if not hasattr(self, "worked"):
            return
        with suppress(NotAllowed):
            self.steered.verbs.resume("x1")
        for _ in range(200):
            if self.worked.status() in (ExecutionStatus.COMPLETED, ExecutionStatus.CANCELLED):
                break
            if self.is_refused_for_good():
                break
            with suppress(NotAllowed):
                self.steered.verbs.retry("x1")
            while self.worked.sent:
                self.deliver(0, False)
            while self.held:
                self.finish(0, True, False)
            self.all_is_done()
            self.look(5000)
        else:
            raise AssertionError("the execution does not end")
        self.every_live_token_is_watched_and_no_other()
        self.nothing_is_committed_twice_or_claimed_in_a_pause()
        assert keys_for_ever(self.journal.redis) == []


@pytest.mark.timeout(3600 if LONG else 120)
def test_any_order_of_everything_keeps_what_holds_always(redis: Redis, settings: Settings) -> None:
    Life.journal = Journal(redis, settings, clock=FakeClock())
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Life,
        settings=hypothesis_settings(),
    )


def hypothesis_settings() -> examples:
    return examples(
        max_examples=1000 if LONG else 40,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# --- real workers ------------------------------------------------------------------------------

CAPABILITIES = """
import time
from pathlib import Path
from orch import Context, capability

@capability("hold")
def hold(context: Context, file: str) -> int:
    while context.attempt == 1 and not Path(file).exists():
        time.sleep(0.02)
    return context.attempt
"""


@pytest.mark.slow
def test_a_worker_may_die_in_a_pause(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    module = tmp_path / "holding.py"
    module.write_text(CAPABILITIES)
    go = tmp_path / "go"
    held = {"capability": "hold", "input": {"file": str(go)}}
    free = {"capability": "hold", "input": {"file": str(module)}}
    steps = [
        {"id": "a", **free, "next": "b"},
        {"id": "b", **held, "next": "w"},
        {"id": "w", "type": "wait", "wait": {"duration": 200}, "next": "c"},
        {"id": "c", **free},
    ]
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})

    def told(event: str, path: str) -> bool:
        return any((e.event, e.path) == (event, path) for e in execution.history())

    with orchestrator.workers(include=[str(module)], concurrency=1) as first:
        execution = orchestrator.start_workflow("w")
        wait_until(lambda: told("claimed", "b"))
        assert execution.pause("to kill its worker", by="a test")
        os.killpg(first.processes[0].pid, signal.SIGKILL)
        with orchestrator.workers(include=[str(module)], concurrency=1):
            wait_until(lambda: told("lost", "b"))
            context = execution.status()
            assert context.status == "paused"
            assert "paused by a test" in context.waiting_for["b"]
            assert execution.resume()
            assert execution.wait(30).status == "completed"
    events = [(e.event, e.path) for e in execution.history()]
    assert [path for event, path in events if event == "completed"] == ["a", "b", "w", "c"]
    words = [event for event, _ in events]
    between = events[words.index("paused") : words.index("resumed")]
    assert not any(event == "claimed" for event, _ in between)
