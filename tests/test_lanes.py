"""`batch` of a map: how far a worker goes on by itself, and what it does when it cannot."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.control.advance import Advancer
from orch.control.plans import Plans
from orch.control.runtime import Runtime
from orch.control.workers import WorkerProcesses
from orch.errors import StepError
from orch.journal.journal import Claimed, Journal, Settled
from orch.settings import Settings
from orch.tasks.incarnation import message_of, owner_of, parse_owner
from orch.tasks.turn import MOST_ITEMS, MOST_SECONDS, WITHIN_LIMIT, Turn
from orch.workflows.canvas import kill_after
from orch.workflows.commit import Transition
from orch.workflows.handoff import Handoff, make_handoff
from orch.workflows.node import Node
from orch.workflows.outcome import Completed
from orch.workflows.plan import Plan
from orch.workflows.state import ExecutionStatus, StepStatus
from orch.workflows.view import View
from tests.build import Worked, decided, plan_of, start, task, view
from tests.played import Played

Step = dict[str, Any]


def mapped(*steps: Step, **given: Any) -> Step:
    of: dict[str, Any] = {"items": "$.input", "maxConcurrency": 1}
    of |= {"steps": list(steps)} if steps else {"capability": "work", "input": "$.item"}
    return {"id": "m", "type": "map", "map": {**of, **given}}


@pytest.fixture
def runtime(
    redis: Redis, settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runtime]:
    """With a time slice that no load of the machine uses up, and messages for all but items."""
    monkeypatch.setattr("orch.tasks.step.others_wait", lambda app, queue, lists: True)
    runtime = Runtime(
        settings.model_copy(update={"lane_slice": 60.0, "handoff_steps": 1}), redis_url
    )
    yield runtime
    runtime.close()


class TestHowFar:
    @pytest.mark.parametrize(("batch", "messages"), [(1, 10), (3, 4), (4, 3), (10, 1), (99, 1)])
    def test_a_message_does_as_many_items_as_its_batch(
        self, runtime: Runtime, batch: int, messages: int
    ) -> None:
        played = Played(runtime, mapped(batch=batch), input=list(range(10)))
        assert played.run() == messages
        assert played.runs == [f"m[{number}]/m" for number in range(10)]
        assert played.output()["results"] == list(range(10))

    def test_each_lane_takes_its_own_items(self, runtime: Runtime) -> None:
        played = Played(runtime, mapped(batch=2, maxConcurrency=2), input=list(range(6)))
        assert played.messages == ["m[0]/m", "m[1]/m"]
        played.run_next()
        assert (played.runs, played.messages) == (["m[0]/m", "m[2]/m"], ["m[1]/m", "m[3]/m"])
        assert played.run() == 3
        assert played.runs[2:] == ["m[1]/m", "m[4]/m", "m[3]/m", "m[5]/m"]
        assert played.output()["results"] == list(range(6))

    def test_auto_goes_on_for_a_time_slice(self, runtime: Runtime) -> None:
        played = Played(runtime, mapped(), input=list(range(30)))
        assert played.run_next() == "completed (the last of 30 steps)"
        assert played.output()["counts"]["succeeded"] == 30

    def test_auto_gives_way_when_its_slice_is_over(
        self, redis: Redis, settings: Settings, redis_url: str
    ) -> None:
        runtime = Runtime(settings.model_copy(update={"lane_slice": 0.0}), redis_url)
        try:
            assert Played(runtime, mapped(), input=list(range(5))).run() == 5
        finally:
            runtime.close()

    def test_the_state_of_an_item_is_gone_when_the_next_one_is_claimed(
        self, runtime: Runtime
    ) -> None:
        played = Played(runtime, mapped(), input=list(range(5)))
        seen = []

        def act(path: str, item: Any) -> None:
            live = [p for p, s in played.states().items() if s.status is StepStatus.RUNNING]
            seen.append((live, sorted(played.worked.watched())))

        played.act = act
        played.run()
        assert seen == [([f"m[{n}]/m"], ["m", f"m[{n}]/m"]) for n in range(5)]
        assert [e for e, path in played.worked.events() if path.startswith("m[")] == []

    def turn(self, settings: Settings, node: Node, passed: float, items: int = 1) -> Turn:
        turn = Turn(
            settings, node, time.monotonic() - passed, serves=lambda node: True,
            owner=lambda: "me/1/b", lease=lambda node: 3000, waits=lambda: True,
        )  # fmt: skip
        turn.items = items
        return turn

    @pytest.mark.parametrize(
        ("given", "step", "passed", "count", "goes_on"),
        [
            ({"batch": 9}, {}, MOST_SECONDS - 1, 8, True),
            ({"batch": 9}, {}, 0, 9, False),
            ({"batch": 9}, {}, MOST_SECONDS, 1, False),
            ({}, {}, 0.0, MOST_ITEMS - 1, True),
            ({}, {}, 0.0, MOST_ITEMS, False),
            ({}, {}, 0.3, 1, False),
            ({"batch": 9}, {"timeout": 100}, WITHIN_LIMIT - 0.2, 1, True),
            ({"batch": 9}, {"timeout": 100}, WITHIN_LIMIT, 1, False),
            ({}, {"condition": "true"}, 0.0, 1, False),
        ],
    )
    def test_its_bounds(
        self,
        settings: Settings,
        given: dict[str, Any],
        step: dict[str, Any],
        passed: float,
        count: int,
        goes_on: bool,
    ) -> None:
        plan = plan_of(mapped(task("a", **step), **given))
        turn = self.turn(settings, plan.node("m[0]/a"), passed, count)
        found = turn.offer(plan, view(), decided(plan, "m[0]/a", Completed(1)))
        assert (found is not None) == goes_on

    def test_the_last_item_of_a_message_keeps_its_whole_timeout(self) -> None:
        assert kill_after(1) - 0.001 > WITHIN_LIMIT + 0.1

    def test_a_step_with_another_timeout_than_that_of_the_message_gets_one_of_its_own(
        self, settings: Settings
    ) -> None:
        plan = plan_of(mapped(task("a", "b", timeout=9000), task("b")))
        ended = decided(plan, "m[0]/b", Completed(1))
        assert self.turn(settings, plan.node("m[0]/b"), 0).offer(plan, view(), ended) is None


class TestSeveralSteps:
    steps = (task("a", "b"), {**task("b", input="$.item"), "capability": "other"})

    @pytest.mark.parametrize(("serves", "messages"), [("work", 4), ("", 6)])
    def test_the_last_step_of_an_item_is_followed_by_the_first_of_the_next(
        self, runtime: Runtime, serves: str, messages: int
    ) -> None:
        played = Played(runtime, mapped(*self.steps), input=[1, 2, 3], serves=serves)
        assert played.run() == messages
        assert played.runs == [f"m[{n}]/{step}" for n in range(3) for step in "ab"]
        assert played.output()["results"] == [1, 2, 3]

    def test_what_begins_with_more_than_a_task_gets_a_message(self, runtime: Runtime) -> None:
        steps = (task("a", condition="$.item > 1", input="$.item"),)
        played = Played(runtime, mapped(*steps), input=[1, 2, 3, 1])
        runtime.advancer.join("x1", "m[0]/a")
        assert played.run() == 2
        assert played.output()["results"] == [None, 2, 3, None]

    def test_the_claim_stands_in_the_history_with_its_owner(self, runtime: Runtime) -> None:
        played = Played(runtime, mapped(task("a", "b"), task("b")), input=[1, 2])
        played.run()
        history = runtime.journal.history("x1")
        told = [e.event for e in history if e.path == "m[1]/a"]
        assert told == ["claimed", "completed"]
        owners = {e.path: e.detail["worker"] for e in history if e.event == "claimed"}
        assert message_of(owners["m[0]/b"]) == "" and message_of(owners["m[1]/a"]) == "01234567"
        assert parse_owner(owners["m[1]/a"])[1] == os.getpid()


class TestWhatItSees:
    def test_a_claim_along_with_a_settle_gives_what_a_claim_gives(self, runtime: Runtime) -> None:
        inner = {
            "id": "n",
            "type": "map",
            "map": {
                "items": "$.row.cells",
                "as": "cell",
                "maxConcurrency": 1,
                "steps": [task("a", input={"of": ["$.row.name", "$.cell", "$.variables.v"]})],
            },
        }
        rows = [{"name": "r", "cells": list(range(40))}]
        played = Played(runtime, mapped(inner, **{"as": "row"}), input=rows)
        runtime.advancer.join("x1", "m[0]/n")
        seen: list[Any] = []

        def call(node: Node, context: Mapping[str, Any], about: Any) -> Any:
            seen.append((node.input.evaluate(context)["of"], context["index"]))

        played.call = call  # type: ignore[method-assign]
        assert played.run() == 1
        assert seen == [(["r", number, None], number) for number in range(40)]

    def test_variables_are_those_of_this_moment(self, runtime: Runtime) -> None:
        step = task("a", input="$.variables", output={"last": "$.output"})
        played = Played(runtime, mapped(step), input=[7, 8, 9])
        seen: list[Any] = []

        def call(node: Node, context: Mapping[str, Any], about: Any) -> Any:
            seen.append(dict(node.input.evaluate(context)))
            return context["item"] if "item" in context else context["index"]

        played.call = call  # type: ignore[method-assign]
        played.run()
        assert seen == [{}, {"last": 0}, {"last": 1}]

    def test_what_an_item_left_behind_is_not_seen_by_the_next(self, runtime: Runtime) -> None:
        steps = (task("a", "b", onError="b"), task("b", input="$.error.name || $.output"))
        played = Played(runtime, mapped(*steps), input=[1, 2])
        seen: list[Any] = []

        def call(node: Node, context: Mapping[str, Any], about: Any) -> Any:
            if about.path == "m[0]/a":
                raise StepError("Early", "it broke")
            seen.append((about.path, node.input.evaluate(context)))
            return "fine"

        played.call = call  # type: ignore[method-assign]
        played.run()
        assert seen == [("m[0]/b", "Early"), ("m[1]/a", None), ("m[1]/b", "fine")]


class TestWhereItEnds:
    def test_nothing_is_claimed_while_paused(self, runtime: Runtime) -> None:
        played = Played(runtime, mapped(), input=list(range(5)))

        def pause(path: str, item: int) -> int:
            if item == 2:
                runtime.journal.pause("x1", {"by": "me"})
            return item

        played.act = pause
        played.run_next()
        assert played.runs == [f"m[{n}]/m" for n in range(3)]
        assert played.worked.state("m[3]/m").status is StepStatus.DISPATCHED
        played.run()
        assert len(played.runs) == 3
        played.messages += runtime.journal.resume("x1", {}, {}).paths
        played.run()
        assert played.output()["results"] == list(range(5))

    def test_it_ends_with_its_execution(self, runtime: Runtime) -> None:
        played = Played(runtime, mapped(), input=list(range(5)))

        def cancel(path: str, item: int) -> None:
            if item == 2:
                error = {"name": "Cancelled", "message": ""}
                runtime.journal.end("x1", ExecutionStatus.CANCELLED, error)

        played.act = cancel
        assert played.run_next() == "superseded"
        assert len(played.runs) == 3 and played.worked.watched() == {}

    def test_a_failure_that_is_tolerated_lets_it_go_on_and_one_too_many_does_not(
        self, runtime: Runtime
    ) -> None:
        played = Played(runtime, mapped(tolerate={"count": 1}), input=list(range(9)))

        def fail(path: str, item: int) -> None:
            if item in (1, 4):
                raise StepError("Broken", "it broke")

        played.act = fail
        assert played.run() == 1
        assert len(played.runs) == 5
        error = runtime.journal.record("x1").error or {}
        assert error["name"] == "ToleranceExceeded"
        assert error["data"]["counts"] == {
            "total": 9, "succeeded": 3, "failed": 2, "cancelled": 4,
        }  # fmt: skip

    def test_an_item_that_is_tried_again_keeps_its_lane(self, runtime: Runtime) -> None:
        step = task("a", input="$.item", retry={"maxAttempts": 2, "interval": 0})
        played = Played(runtime, mapped(step), input=list(range(4)))
        fails = ["m[1]/a"]

        def fail(path: str, item: int) -> int:
            if path in fails:
                fails.remove(path)
                raise StepError("Broken", "it broke")
            return item

        played.act = fail
        assert played.run() == 1
        state = played.worked.state("m[1]/a")
        assert (state.status, state.attempt) == (StepStatus.RETRYING, 2)
        assert played.worked.state("m").opened == 2, "nothing else began in its lane"
        runtime.advancer.redispatch("x1", "m[1]/a", state)
        assert played.run() == 1
        assert played.output()["results"] == [0, 1, 2, 3]

    def test_another_version_of_the_plan_gets_a_message(self, journal: Journal) -> None:
        worked = start(journal, mapped(), input=[1, 2, 3])
        claimed = worked.take("m[0]/m")
        reply = settle_and_claim(worked, "m[0]/m", claimed, plan="another")
        assert isinstance(reply, Settled)
        assert (reply.following, reply.handed) == ("m[1]/m", None)
        assert worked.state("m[1]/m").status is StepStatus.DISPATCHED

    def test_a_worker_that_was_given_up_gets_nothing(self, journal: Journal) -> None:
        worked = start(journal, mapped(), input=[1, 2, 3])
        claimed = worked.take("m[0]/m")
        Advancer(journal, Plans(journal), worked.dispatch).lose(
            "x1", "m[0]/m", claimed.state, "gone"
        )
        reply = settle_and_claim(worked, "m[0]/m", claimed)
        assert not isinstance(reply, Settled) and reply.word == "SUPERSEDED"
        assert worked.state("m").opened == 1


def settle_and_claim(
    worked: Worked, path: str, claimed: Claimed, owner: str = "me/1/b", **given: Any
) -> Any:
    transition = worked.decide(path, claimed, Completed(None))
    assert transition.branch is not None
    handoff = make_handoff(worked.plan, transition.branch, owner, 3000)
    return worked.journal.settle(
        "x1",
        transition,
        expect="running",
        attempt=claimed.state.attempt,
        owner=claimed.state.owner,
        handoff=Handoff(**{**vars(handoff), **given}),
    )


class TestRepetition:
    @pytest.mark.parametrize("steps", [(), (task("a"), task("unused"))])
    def test_a_reply_that_was_lost_is_given_again(
        self, journal: Journal, steps: tuple[Step, ...]
    ) -> None:
        worked = start(journal, mapped(*steps, maxConcurrency=3), input=list(range(50)))
        name = "a" if steps else "m"
        paths = [f"m[{number}]/{name}" for number in range(3)]
        held = {}
        for path in paths:
            claimed = worked.claim(path, f"me/1/{path}", quiet=worked.plan.is_quiet(path))
            assert isinstance(claimed, Claimed)
            held[path] = claimed
        first = settle_and_claim(worked, paths[1], held[paths[1]], "me/1/mine")
        others = settle_and_claim(worked, paths[0], held[paths[0]], "me/1/others")
        again = settle_and_claim(worked, paths[1], held[paths[1]], "me/1/mine")
        assert first.following == again.following == f"m[3]/{name}"
        assert others.following == f"m[4]/{name}"
        assert again.repeated and again.handed == first.handed
        assert worked.state("m").opened == 5

    def test_what_was_handed_on_and_then_lost_is_not_given_again(self, journal: Journal) -> None:
        worked = start(journal, mapped(), input=[1, 2, 3])
        claimed = worked.claim("m[0]/m", quiet=True)
        assert isinstance(claimed, Claimed)
        first = settle_and_claim(worked, "m[0]/m", claimed)
        advancer = Advancer(journal, Plans(journal), worked.dispatch)
        advancer.lose("x1", first.following, first.handed.state, "gone")
        again = settle_and_claim(worked, "m[0]/m", claimed)
        assert again.repeated and again.handed is None

    def test_the_last_one_says_that_the_map_has_joined(self, journal: Journal) -> None:
        worked = start(journal, mapped(task("a"), task("unused")), input=[1])
        claimed = worked.take("m[0]/a")
        assert settle_and_claim(worked, "m[0]/a", claimed).joined == "m"
        assert settle_and_claim(worked, "m[0]/a", claimed).joined == "m"


def test_what_is_handed_on_costs_one_script_for_each_item(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(runtime, mapped(), input=list(range(100)))
    calls: list[str] = []
    real = runtime.journal.run
    monkeypatch.setattr(
        runtime.journal,
        "run",
        lambda script, **given: (calls.append(script), real(script, **given))[1],
    )
    played.run()
    counted = Counter(calls)
    assert counted == {"claim": 1, "settle_item": 100, "settle": 1}  # the last: the map itself


@pytest.mark.timeout(300)
def test_ten_thousand_items_are_sixteen_messages_and_never_more_than_sixteen_at_work(
    runtime: Runtime,
) -> None:
    count, most = 10_000, 16
    played = Played(runtime, mapped(batch=count, maxConcurrency=most), input=list(range(count)))
    journal, messages = runtime.journal, list(played.messages)
    assert len(messages) == most
    held = [(path, played.worked.claim(path, f"me/1/{path}", quiet=True)) for path in messages]
    keys = [getattr(journal.keys, name)("x1") for name in ("steps", "history", "items")]
    goes_on, settled = runtime.advancer, 0

    class Unbound:
        """Goes on without end."""

        def offer(self, plan: Plan, view: View, transition: Transition) -> Handoff | None:
            if transition.branch is None:
                return None
            return make_handoff(plan, transition.branch, f"me/1/{settled}", 3000)

        def take(self, plan: Plan, path: str, claimed: Claimed) -> None:
            held.append((path, claimed))

    while held:
        path, claim = held.pop(0)
        assert isinstance(claim, Claimed)
        if settled == count - 1:
            used = sum(journal.redis.memory_usage(key, samples=0) or 0 for key in keys)
            assert used / count <= 200
        if settled % 1000 == 0:
            assert len(played.worked.watched()) == most + 1
        outcome = Completed(claim.view.items[path.partition("/")[0]][1])
        plan = played.worked.plan
        reply = goes_on.settle(plan, claim.view, path, claim.state, outcome, turn=Unbound())
        assert isinstance(reply, Settled)
        settled += 1
        assert len(held) <= most
    assert (settled, played.messages) == (count, messages), "no message but the first sixteen"
    assert played.output()["results"] == list(range(count))


def test_owners_tell_worker_process_and_message() -> None:
    assert parse_owner(owner_of("host-1-a", "12345678-90")) == ("host-1-a", os.getpid())
    assert message_of(owner_of("host-1-a", "12345678-90")) == "12345678"
    assert message_of(owner_of("host-1-a")) == ""
    assert owner_of("h", "m") != owner_of("h", "m")


# --- with processes --------------------------------------------------------------------------

CAPABILITY = """
import os, time
from orch import Context, capability

def note(word, context):
    line = f"{word} {context.path} {context.attempt} {os.getpid()}\\n"
    file = os.open(os.environ["LANE_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)

@capability("pace")
def pace(context: Context, seconds: float) -> float:
    note("begin", context)
    time.sleep(seconds)
    note("end", context)
    return seconds

@capability("stumble")
def stumble(context: Context, seconds: float) -> float:
    note("begin", context)
    if seconds < 0 and context.attempt == 1:
        time.sleep(-seconds)
        os.kill(os.getpid(), 9)
    time.sleep(abs(seconds) if seconds > 0 else 0.01)
    note("end", context)
    return seconds
"""


class Workers:
    """Real workers, and what they noted."""

    def __init__(self, tmp_path: Path, redis_url: str, **given: Any) -> None:
        self.runs = tmp_path / "runs"
        self.runs.touch()
        self.code = tmp_path / "pacing.py"
        self.code.write_text(CAPABILITY)
        self.orchestrator = Orchestrator(redis_url=redis_url, data_dir=tmp_path / "unused", **given)
        self.workers = [
            WorkerProcesses(
                self.orchestrator.settings,
                redis_url,
                concurrency=2,
                include=[str(self.code)],
                queues=["pace", "stumble"],
                log=tmp_path / f"log{number}",
                environment={
                    "LANE_RUNS": str(self.runs),
                    **{f"ORCH_{name.upper()}": str(value) for name, value in given.items()},
                },
            )
            for number in range(2)
        ]

    def start(self, count: int = 1) -> Workers:
        self.workers = self.workers[:count]
        for worker in self.workers:
            worker.start(timeout=60)
        return self

    def begin(self, capability: str, items: list[float], **given: Any) -> Any:
        timeout = given.pop("timeout", None)
        one = {"id": "one", "capability": capability, "input": {"seconds": "$.item"},
               "timeout": timeout}  # fmt: skip
        of = {"items": "$.input", "steps": [one], "maxConcurrency": 1, **given}
        self.orchestrator.define_workflow("w", {"name": "w", "steps": [
            {"id": "m", "type": "map", "map": of}]})  # fmt: skip
        return self.orchestrator.start_workflow("w", items)

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.runs.read_text().splitlines()]

    def begun(self) -> Counter[str]:
        return Counter(path for word, path, *_ in self.lines() if word == "begin")

    def most_at_once(self) -> int:
        running: set[str] = set()
        most = 0
        for word, path, *_ in self.lines():
            (running.add if word == "begin" else running.discard)(path)
            most = max(most, len(running))
        return most

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stop(grace=2)
        self.orchestrator.close()


@pytest.mark.timeout(120)
def test_an_item_behind_the_first_of_its_message_is_held_by_its_worker(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    """It is looked at while it runs, and its worker has told meanwhile what it holds."""
    short = {"liveness_ttl": 0.8, "liveness_interval": 0.2}
    with Workers(tmp_path, redis_url, **short).start() as workers:
        execution = workers.begin("pace", [0.01, 3.5, 0.01], batch=3)
        ended = execution.wait(60)
    assert ended.output["results"] == [0.01, 3.5, 0.01]
    assert workers.begun() == {f"m[{n}]/one": 1 for n in range(3)}
    assert len({pid for _, _, _, pid in workers.lines()}) == 1, "one message for all"


@pytest.mark.timeout(120)
def test_a_process_that_dies_in_the_middle_of_a_lane_is_missed_at_once(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    """Its parent knows the message only; the sign of life would say nothing for a minute."""
    slow = {"liveness_ttl": 60.0, "liveness_interval": 0.2}
    with Workers(tmp_path, redis_url, **slow).start() as workers:
        items = [0.01] * 5 + [-0.01] + [0.01] * 5
        execution = workers.begin("stumble", items, batch=20)
        ended = execution.wait(30)
    assert ended.output["results"] == items
    assert workers.begun() == {f"m[{n}]/one": 2 if n == 5 else 1 for n in range(11)}
    lost = [e.path for e in execution.history() if e.event == "lost"]
    assert lost == ["m[5]/one"]


@pytest.mark.timeout(120)
def test_a_healthy_lane_is_not_killed_by_the_time_limit_of_its_message(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    with Workers(tmp_path, redis_url).start() as workers:
        items = [0.2] * 15
        execution = workers.begin("pace", items, batch=15, timeout=600)
        ended = execution.wait(60)
    assert ended.output["results"] == items
    assert set(workers.begun().values()) == {1}
    assert not [e for e in execution.history() if e.event in ("lost", "failed")]


@pytest.mark.timeout(120)
def test_an_item_that_hangs_in_the_middle_of_a_lane_is_ended_and_its_process_killed(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    with Workers(tmp_path, redis_url).start() as workers:
        items = [0.01, 0.01, 3600.0, 0.01, 0.01]
        limits = {"timeout": 500, "tolerate": {"count": 1}}
        execution = workers.begin("pace", items, batch=9, **limits)
        ended = execution.wait(60)
        assert ended.output["results"] == [0.01, 0.01, None, 0.01, 0.01]
        assert ended.output["failures"][0]["error"]["name"] == "StepTimeout"
        hung = next(int(pid) for word, path, _, pid in workers.lines() if path == "m[2]/one")
        limit = time.monotonic() + 20
        while _lives(hung):
            assert time.monotonic() < limit, "its slot would be taken for an hour"
            time.sleep(0.05)
    assert set(workers.begun().values()) == {1}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True  # the worker reaps its children, so it is no zombie


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "batch",
    ["auto", pytest.param(50, marks=pytest.mark.long), pytest.param(1, marks=pytest.mark.long)],
)
def test_a_worker_that_is_killed_in_its_lanes_loses_no_item(
    tmp_path: Path,
    redis_url: str,
    redis: Redis,
    wait_until: Callable[..., object],
    batch: int | str,
) -> None:
    count, most = 300, 3
    with Workers(tmp_path, redis_url).start(2) as workers:
        execution = workers.begin("pace", [0.01] * count, batch=batch, maxConcurrency=most)
        wait_until(lambda: len(workers.lines()) > 150, timeout=60)
        os.killpg(workers.workers[0].processes[0].pid, signal.SIGKILL)
        ended = execution.wait(120)
    assert ended.status == "completed", ended.error
    assert ended.output["results"] == [0.01] * count
    assert ended.output["counts"]["succeeded"] == count
    begun = workers.begun()
    assert len(begun) == count
    assert sum(runs > 1 for runs in begun.values()) <= 2, "only what the dead worker held"
    assert workers.most_at_once() <= most
    committed = Counter(e.path for e in execution.history() if e.event == "completed")
    assert all(times == 1 for times in committed.values())


@pytest.mark.timeout(120)
def test_a_lane_whose_first_item_is_long_done_is_not_taken_for_one_that_was_given_up(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    """The parent kills a child whose attempt was given up; it knows the first item only."""
    with Workers(tmp_path, redis_url, default_timeout=2.5).start() as workers:
        items = [0.05, 2.0, 1.5, 3600.0, 0.01]
        execution = workers.begin("pace", items, batch=9, tolerate={"count": 1})
        ended = execution.wait(60)
        assert ended.output["results"] == [0.05, 2.0, 1.5, None, 0.01]
        hung = next(int(pid) for word, path, _, pid in workers.lines() if path == "m[3]/one")
        limit = time.monotonic() + 20
        while _lives(hung):
            assert time.monotonic() < limit, "its slot would be taken for an hour"
            time.sleep(0.05)
    assert set(workers.begun().values()) == {1}
    assert len({pid for _, path, _, pid in workers.lines() if path != "m[4]/one"}) == 1
