"""The hand-off: what a worker goes on with by itself, and when it gives way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from orch.control.runtime import Runtime
from orch.errors import JournalError, StepError
from orch.journal.journal import Claimed, Journal, Settled
from orch.journal.scripts import load
from orch.journal.wire import _Line, as_sent
from orch.settings import Settings
from orch.tasks.incarnation import message_of
from orch.tasks.turn import MOST_SECONDS, WITHIN_LIMIT, Turn
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.entries import ON
from orch.workflows.handoff import hand_over, is_settled
from orch.workflows.outcome import Completed
from orch.workflows.plan import Plan
from orch.workflows.state import ExecutionStatus, StepState, StepStatus
from orch.workflows.transition import decide
from orch.workflows.view import View
from tests.build import Worked, decided, plan_of, start, task, view
from tests.played import Played

Make = Callable[..., Played]


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether others wait: the last entry. The queue itself is looked at in test_worker.py."""
    found = [False]
    monkeypatch.setattr("orch.tasks.step.others_wait", lambda app, queue, lists: found[-1])
    return found


@pytest.fixture
def play(redis: Redis, settings: Settings, redis_url: str, waiting: list[bool]) -> Iterator[Make]:
    """Starts an execution for one worker; no load of the machine uses up its time slices."""
    made: list[Runtime] = []

    def make(*steps: dict[str, Any], given: dict[str, Any] | None = None, **more: Any) -> Played:
        told = {"handoff_slice": 60.0, "lane_slice": 60.0, **(given or {})}
        made.append(Runtime(settings.model_copy(update=told), redis_url))
        return Played(made[-1], *steps, **more)

    yield make
    for runtime in made:
        runtime.close()


def chain(length: int, **given: Any) -> list[dict[str, Any]]:
    names = [f"s{n}" for n in range(length)]
    return [task(n, *names[i + 1 : i + 2], **given) for i, n in enumerate(names)]


def fork(*branches: list[dict[str, Any]], following: str = "end", **given: Any) -> dict[str, Any]:
    of = {"branches": [{"steps": steps} for steps in branches], **given}
    return {"id": "fork", "type": "parallel", "parallel": of, "next": following}


class TestWhereItGoes:
    def test_along_a_chain(self, play: Make) -> None:
        played = play(*chain(4))
        assert played.run_next() == "completed (the last of 4 steps)"
        assert played.runs == ["s0", "s1", "s2", "s3"] and played.messages == []
        assert played.worked.status() is ExecutionStatus.COMPLETED
        assert played.worked.watched() == {}

    def test_every_step_stands_in_the_history_with_its_claim(self, play: Make) -> None:
        played = play(*chain(3))
        played.run()
        told = [event for event in played.worked.events() if event[1]]
        words = ("claimed", "completed")
        assert told == [(word, path) for path in ("s0", "s1", "s2") for word in words]
        claims = [e for e in played.journal.history("x1") if e.event == "claimed"]
        owners = [e.detail["worker"] for e in claims]
        assert [message_of(owner) for owner in owners] == ["", "01234567", "01234567"]

    def test_a_claim_along_the_way_is_what_any_claim_is(self, play: Make) -> None:
        played = play(*chain(2))
        seen: list[Any] = []
        played.act = lambda path, _: seen.append(
            (played.worked.state(path), played.worked.watched())
        )
        played.run()
        for path, (state, watched) in zip(("s0", "s1"), seen, strict=True):
            assert (state.status, state.attempt) == (StepStatus.RUNNING, 1)
            assert state.started == state.since > 0
            assert list(watched) == [path], "one place in the watch, at its lease"
            lease = int(played.runtime.settings.liveness_ttl * 1000)
            assert watched[path] == state.started + lease

    def test_out_of_a_decision_and_past_what_is_skipped(self, play: Make) -> None:
        choice = {"expression": "$.output", "branches": {"x": "far"}, "default": "s1"}
        played = play(
            task("s0", next=choice),
            task("s1"),
            task("far", "end", condition="false"),
            task("end"),
        )
        played.act = lambda path, _: "x"
        assert played.run() == 1
        assert played.runs == ["s0", "end"]

    def test_into_the_first_branch_and_the_others_get_messages(self, play: Make) -> None:
        played = play(task("s0", "fork"), fork(*[[task(f"b{n}")] for n in range(3)]), task("end"))
        played.run_next()
        assert played.runs == ["s0", "fork/0/b0"]
        assert played.messages == ["fork/1/b1", "fork/2/b2"]

    def test_from_the_last_branch_through_the_join(self, play: Make) -> None:
        played = play(fork([task("a")], [task("b")]), *[task("end", "on"), task("on")])
        played.run_next()
        assert played.messages == ["fork/1/b"]
        assert played.run_next() == "completed (the last of 3 steps)"
        assert played.runs[-3:] == ["fork/1/b", "end", "on"]
        assert played.worked.status() is ExecutionStatus.COMPLETED

    def test_from_the_last_item_through_the_join(self, play: Make) -> None:
        of = {"items": "$.input", "capability": "work", "input": "$.item", "maxConcurrency": 1}
        played = play(
            {"id": "m", "type": "map", "map": of, "next": "end"}, task("end"), input=[1, 2]
        )
        assert played.run() == 1
        assert played.runs == ["m[0]/m", "m[1]/m", "end"]

    def test_to_where_an_error_is_taken(self, play: Make) -> None:
        played = play(task("s0", "s1", onError="help"), task("s1", "help"), task("help"))

        def fail(path: str, _: Any) -> None:
            if path == "s0":
                raise StepError("Broken", "it broke")

        played.act = fail
        assert played.run() == 1
        assert played.runs == ["s0", "help"]

    def test_not_beside_a_join_that_is_decided_at_once(self) -> None:
        """What follows from it may cancel the other branch: nobody should do that in vain."""
        choice = {"expression": "$.input.n", "branches": {"2": "x"}}
        inner = {"branches": [{"steps": [{"id": "d", "type": "decision", "decision": choice},
                                         {"id": "x", "capability": "work"}]}]}  # fmt: skip
        outer = {"branches": [{"steps": [{"id": "i", "type": "parallel", "parallel": inner}]},
                              {"steps": [{"id": "b", "capability": "work"}]}]}  # fmt: skip
        steps = [{"id": "a", "capability": "work", "next": "p"},
                 {"id": "p", "type": "parallel", "parallel": outer}]  # fmt: skip
        plan = Plan(WorkflowDefinition.model_validate({"name": "w", "steps": steps}))
        running = StepState(StepStatus.RUNNING, since=1, owner="w/1/x", started=1)
        done = decide(plan, View("x", "w", input={}), "a", running, Completed(None), 2, 3000)
        assert {o.path: o.state.status for o in done.opens}["p/1/b"] is StepStatus.DISPATCHED
        assert not is_settled(done)

    def test_round_and_round_a_loop(self, play: Make) -> None:
        of = {"steps": [task("body")], "while": "$.index < 4", "maxIterations": 9}
        played = play({"id": "l", "type": "loop", "loop": of})
        assert played.run() == 1
        assert played.runs == [f"l[{n}]/body" for n in range(4)]

    def test_what_a_step_wrote_is_seen_by_the_next(self, play: Make) -> None:
        steps = [
            task("s0", "s1", output={"v": "$.output"}),
            task("s1", "s2", input={"v": "$.variables.v", "o": "$.output", "i": "$.input.n"}),
            task("s2", input={"v": "$.variables.v", "i": "$.input.n"}),
        ]
        played = play(*steps, input={"n": 7})
        seen: list[Any] = []

        def call(node: Any, context: Any, about: Any) -> Any:
            seen.append(node.input.evaluate(context))
            return node.id

        played.call = call  # type: ignore[method-assign]
        assert played.run() == 1
        assert seen[1:] == [{"v": "s0", "o": "s0", "i": 7}, {"v": "s0", "i": 7}]

    def test_not_to_what_waits_is_tried_again_or_is_done_by_others(self, play: Make) -> None:
        wait = {"id": "pause", "type": "wait", "wait": {"duration": "1h"}, "next": "s1"}
        assert play(task("s0", "pause"), wait, task("s1")).run() == 1

    def test_a_retry_gets_a_message_and_its_own_turn(self, play: Make) -> None:
        played = play(task("s0", "s1", retry={"maxAttempts": 2, "interval": 0}), task("s1"))
        fails = [StepError("Broken", "it broke")]

        def fail(path: str, _: Any) -> None:
            if fails:
                raise fails.pop()

        played.act = fail
        played.run()
        assert played.worked.state("s0").status is StepStatus.RETRYING and played.runs == ["s0"]
        played.runtime.advancer.redispatch("x1", "s0", played.worked.state("s0"))
        assert played.run() == 1
        assert played.runs == ["s0", "s0", "s1"]


class TestWhoIsServed:
    def test_a_step_of_another_queue_gets_a_message(self, play: Make) -> None:
        steps = [task("s0", "s1"), {**task("s1", "s2"), "capability": "other"}, task("s2")]
        played = play(*steps)
        played.run_next()
        assert (played.runs, played.messages) == (["s0"], ["s1"])

    def test_a_step_of_another_queue_that_the_worker_serves_is_done_by_it(self, play: Make) -> None:
        steps = [task("s0", "s1"), {**task("s1", "s2"), "capability": "other"}, task("s2")]
        assert play(*steps, serves="other").run() == 1

    @pytest.mark.parametrize(
        ("setting", "workflow", "step", "goes_on"),
        [
            ("auto", None, None, True),
            ("off", None, None, False),
            ("auto", "off", None, False),
            ("off", "auto", None, True),
            ("auto", None, "off", False),
            ("off", "off", "auto", True),
        ],
    )
    def test_the_nearest_word_counts(
        self, play: Make, setting: str, workflow: str | None, step: str | None, goes_on: bool
    ) -> None:
        more = {"handoff": workflow} if workflow else {}
        second = task("s1", **({"handoff": step} if step else {}))
        played = play(task("s0", "s1"), second, given={"handoff": setting}, **more)
        played.run_next()
        assert played.runs == (["s0", "s1"] if goes_on else ["s0"])
        assert played.messages == ([] if goes_on else ["s1"])

    def test_items_that_are_switched_off_get_a_message_each(self, play: Make) -> None:
        one = task("one", handoff="off")
        of = {"items": "$.input", "steps": [one], "maxConcurrency": 1}
        assert play({"id": "m", "type": "map", "map": of}, input=[1, 2, 3]).run() == 3


class TestTheChainOfTheMessage:
    def test_links_of_steps_that_are_done_are_dropped_and_the_rest_goes_on(
        self, play: Make, waiting: list[bool]
    ) -> None:
        waiting.append(True)
        played = play(*chain(6), given={"handoff_steps": 3})
        sent: list[list[str]] = []

        def link(app: Any, request: Any, lists: Any) -> None:
            sent.append([each["args"][1] for each in request.chain])

        played.chain = ["s5", "s4", "s3", "s2", "s1"]  # the next one last, as in Celery
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("orch.tasks.step.dispatch_link", link)
            played.run_next()
        assert played.runs == ["s0", "s1", "s2"]
        assert sent == [["s5", "s4", "s3"]] and played.messages == []

    def test_nothing_is_left_of_it_behind_the_last(self, play: Make) -> None:
        played = play(*chain(3))
        played.chain = ["s2", "s1"]
        played.run_next()
        assert not played.request.chain and played.messages == []


class TestWhenItGivesWay:
    @pytest.mark.parametrize(("steps", "messages"), [(1, 7), (3, 3), (7, 1), (100, 1)])
    def test_after_so_many_steps_where_others_wait(
        self, play: Make, waiting: list[bool], steps: int, messages: int
    ) -> None:
        waiting.append(True)
        assert play(*chain(7), given={"handoff_steps": steps}).run() == messages

    def test_never_while_nobody_waits(self, play: Make) -> None:
        assert play(*chain(20), given={"handoff_steps": 1, "handoff_slice": 0.0}).run() == 1

    def test_as_soon_as_its_slice_is_over_and_others_wait(
        self, play: Make, waiting: list[bool]
    ) -> None:
        waiting.append(True)
        assert play(*chain(4), given={"handoff_steps": 99, "handoff_slice": 0.0}).run() == 4

    def turn(self, settings: Settings, passed: float, **about: Any) -> Turn:
        return Turn(
            settings, plan_of(task("a", **about)).node("a"), time.monotonic() - passed,
            serves=lambda node: True, owner=lambda: "me/1/b", lease=lambda node: 3000,
            waits=lambda: False,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("passed", "goes_on"), [(0.0, True), (MOST_SECONDS - 1, True), (MOST_SECONDS, False)]
    )
    def test_a_worker_that_is_told_to_end_does_so_soon(
        self, settings: Settings, passed: float, goes_on: bool
    ) -> None:
        plan = plan_of(task("a", "b"), task("b"))
        found = self.turn(settings, passed).offer(plan, view(), decided(plan, "a", Completed(1)))
        assert (found is not None) == goes_on

    @pytest.mark.parametrize(
        ("own", "following", "passed", "goes_on"),
        [
            (None, 9000, 0.0, True),  # ended by the journal, and its process by the warden
            (9000, None, 0.0, False),  # the pool would kill its process
            (9000, 9000, 0.0, True),
            (9000, 9000, WITHIN_LIMIT + 0.1, False),
            (9000, 8000, WITHIN_LIMIT + 0.9, True),
            (9000, 9600, 0.0, False),
        ],
    )
    def test_no_step_is_cut_short_by_the_time_limit_of_the_message(
        self,
        settings: Settings,
        own: int | None,
        following: int | None,
        passed: float,
        goes_on: bool,
    ) -> None:
        first, second = ({"timeout": t} if t else {} for t in (own, following))
        plan = plan_of(task("a", "b", **first), task("b", **second))
        turn = self.turn(settings, passed, **first)
        found = turn.offer(plan, view(), decided(plan, "a", Completed(1)))
        assert (found is not None) == goes_on


class TestWhereItEnds:
    def test_nothing_is_claimed_while_paused(self, play: Make) -> None:
        played = play(*chain(3))

        def pause(path: str, _: Any) -> None:
            if path == "s1":
                played.journal.pause("x1", {"by": "me"})

        played.act = pause
        played.run()
        assert played.runs == ["s0", "s1"]
        assert played.worked.state("s2").status is StepStatus.DISPATCHED
        assert list(played.worked.watched()) == ["s2"]
        played.messages = list(played.journal.resume("x1", {}, {}).paths)
        played.run()
        assert played.runs == ["s0", "s1", "s2"]

    def test_nothing_is_claimed_in_a_branch_that_is_paused(self, play: Make) -> None:
        played = play(fork([task("a", "b"), task("b")], [task("c")]), task("end"))

        def pause(path: str, _: Any) -> None:
            if path.endswith("/a"):
                played.journal.pause_branch("x1", "fork/0", {"by": "me"})

        played.act = pause
        played.run()
        assert played.runs == ["fork/0/a", "fork/1/c"]
        assert played.worked.state("fork/0/b").status is StepStatus.DISPATCHED

    def test_it_ends_with_its_execution(self, play: Make) -> None:
        played = play(*chain(3))

        def cancel(path: str, _: Any) -> None:
            if path == "s1":
                error = {"name": "Cancelled", "message": ""}
                played.journal.end("x1", ExecutionStatus.CANCELLED, error)

        played.act = cancel
        assert played.run_next() == "superseded"
        assert played.runs == ["s0", "s1"] and played.worked.watched() == {}

    def test_a_step_that_was_given_up_meanwhile_is_not_gone_on_from(self, play: Make) -> None:
        played = play(*chain(3))

        def lose(path: str, _: Any) -> None:
            if path == "s1" and len(played.runs) == 2:
                played.runtime.advancer.lose("x1", path, played.worked.state(path), "gone")

        played.act = lose
        assert played.run_next() == "superseded"
        assert played.messages == ["s1"]
        played.run()
        assert played.runs == ["s0", "s1", "s1", "s2"]


def going_on(worked: Worked, claimed: Claimed, path: str) -> Callable[[], Any]:
    """Settles the step and claims the one behind it; a call that may be repeated."""
    transition = worked.decide(path, claimed, Completed(None))
    handoff = hand_over(worked.plan, transition.opens[-1], claimed.view, "me/1/b", 3000)
    return lambda: worked.journal.settle(
        "x1", transition, expect="running", attempt=claimed.state.attempt,
        owner=claimed.state.owner, handoff=handoff,
    )  # fmt: skip


class TestRepetition:
    @pytest.mark.parametrize("reads", [None, {"v": "$.variables.v", "i": "$.input"}])
    def test_a_reply_that_was_lost_is_given_again(self, journal: Journal, reads: Any) -> None:
        worked = start(journal, task("a", "b"), task("b", input=reads), input=[1])
        settle = going_on(worked, worked.take("a"), "a")
        first, again = settle(), settle()
        assert isinstance(first, Settled) and first.handed is not None
        assert again == replace(first, repeated=True)
        assert [e for e, path in worked.events() if path == "b"] == ["claimed"]

    def test_what_was_handed_on_and_then_lost_is_not_given_again(
        self, play: Make, journal: Journal
    ) -> None:
        played = play(*chain(2))
        worked = played.worked
        settle = going_on(worked, worked.take("s0"), "s0")
        first = settle()
        assert first.handed is not None
        played.runtime.advancer.lose("x1", "s1", first.handed.state, "gone")
        again = settle()
        assert again.repeated and again.handed is None


def test_a_step_along_the_way_costs_one_script(play: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    played = play(*chain(10))
    calls: list[str] = []
    names = {script.sha: name for name, script in load().items()}
    real = _Line.send

    def send(line: _Line, *commands: Any) -> None:
        for command in commands:
            sent = command if isinstance(command, bytes) else as_sent(command)
            calls.extend(name for sha, name in names.items() if sha.encode() in sent)
        real(line, *commands)

    for script in load().values():
        played.journal.redis.script_load(script.lua)
    monkeypatch.setattr(_Line, "send", send)
    played.run()
    assert calls == ["claim", *["settle_on"] * 9, "settle_last"]


def test_a_step_is_committed_where_redis_has_forgotten_the_script(play: Make) -> None:
    played = play(*chain(4))
    played.act = lambda path, _: played.journal.redis.script_flush()
    played.run()
    assert played.journal.status("x1") is ExecutionStatus.COMPLETED
    assert [e for e, _ in played.worked.events()].count("completed") == 4


def test_the_error_names_the_script_that_failed(play: Make) -> None:
    played = play(*chain(2))
    steps = played.journal.keys.steps("x1")
    played.act = lambda path, _: played.journal.redis.set(steps, "no hash")
    with pytest.raises(JournalError, match=r"^settle_on failed in Redis at .*WRONGTYPE"):
        played.run_next()


def test_a_claim_that_the_worker_shortens_is_stored_as_the_script_would(
    play: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored(played: Played) -> list[bytes]:
        key = played.journal.keys.history("x1")
        found = played.journal.redis.lrange(key, 0, -1)
        return [text.encode("utf-8", "surrogateescape")[:1] for text in found]

    played = play(*chain(3))
    played.run()
    shortened = stored(played)
    events = played.worked.events()
    played.journal.redis.flushdb()
    monkeypatch.setattr("orch.workflows.link.passage", lambda *given: None)
    monkeypatch.setattr("orch.workflows.link.shortened", lambda *given: b"")
    played = play(*chain(3))
    played.run()
    assert stored(played) == shortened
    assert shortened.count(bytes([ON])) == 2
    assert played.worked.events() == events


def test_what_goes_straight_on_is_decided_where_a_branch_is_paused(play: Make) -> None:
    played = play(*chain(2))
    record = played.journal.keys.record("x1")
    played.act = lambda path, _: played.journal.redis.hset(record, "pauses", '{"else": 1}')
    played.run_next()
    assert played.worked.state("s1").status is StepStatus.COMPLETED
    assert [e for e, path in played.worked.events() if path == "s0"] == ["claimed", "completed"]
