"""Retry of what failed inside of a map, a bounded parallel or a loop."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from redis import Redis

from orch import Orchestrator
from orch.control.advance import Advancer
from orch.control.plans import Plans
from orch.control.status import ExecutionContext, execution_context
from orch.control.steering import Steering
from orch.control.workers import WorkerProcesses
from orch.errors import NotAllowed
from orch.journal.journal import Claimed, Journal, Refused, open_redis
from orch.settings import Settings
from orch.workflows.migrating import fit
from orch.workflows.outcome import Completed, Failed, Failure
from orch.workflows.paths import split
from orch.workflows.reopening import Turn
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus
from orch.workflows.transition import scopes_to_join
from tests.build import FakeClock, parallel, runtime_of, start, task, wait
from tests.conftest import LONG

Step = dict[str, Any]


def mapped(*steps: Step, id: str = "m", next: str | None = None, **given: Any) -> Step:
    of: dict[str, Any] = {"items": "$.input", **given}
    of |= {"steps": list(steps)} if steps else {"capability": "work", "input": "$.item"}
    return {"id": id, "type": "map", "map": of, **({"next": next} if next else {})}


def loop(*steps: Step, id: str = "l", times: int = 3, **more: Any) -> Step:
    of = {"steps": list(steps), "until": f"$.index >= {times}"}
    return {"id": id, "type": "loop", "loop": of, **more}


class Run:
    """An execution whose messages are a list; each is done as the test says."""

    def __init__(self, journal: Journal, *steps: Step, input: Any = None, **more: Any) -> None:
        self.journal = journal
        self.worked = start(journal, *steps, input=input, **more)
        self.plan = self.worked.plan
        self.plans = Plans(journal)
        self.sent = self.worked.sent
        self.advancer = Advancer(journal, self.plans, self.worked.dispatch)
        runtime = runtime_of(self.advancer)
        self.verbs = Steering(runtime)
        self.sent += [p for p, s in self.states().items() if s.status is StepStatus.DISPATCHED]
        self.done: list[str] = []
        self.check()

    def states(self) -> dict[str, StepState]:
        fields = self.journal.steps("x1")
        return {p: StepState.loads(text) for p, text in fields.items() if p[0] not in "=!?"}

    def live(self) -> list[str]:
        return sorted(path for path, state in self.states().items() if state.status in LIVE)

    def status(self) -> ExecutionStatus | None:
        return self.journal.status("x1")

    def take(self, path: str) -> Claimed:
        if path in self.sent:
            self.sent.remove(path)
        return self.worked.take(path)

    def do(self, path: str, output: Any = None) -> Any:
        claimed = self.take(path)
        output = path if output is None else output
        reply = self.settle(path, claimed, Completed(output))
        self.done.append(path)
        return reply

    def fail(self, path: str, name: str = "Broken") -> Any:
        claimed = self.take(path)
        step = split(path)[1].partition("#")[0]
        failure = Failure(name, "it broke", step, path, claimed.state.attempt)
        return self.settle(path, claimed, Failed(failure))

    def deliver(self, path: str, *, well: bool) -> bool:
        """A message comes; it may be one that is late, or there twice."""
        self.sent.remove(path)
        state = self.states().get(path)
        if state is None or state.status is not StepStatus.DISPATCHED:
            return False
        (self.do if well else self.fail)(path)
        return True

    def settle(self, path: str, claimed: Claimed, outcome: Any) -> Any:
        reply = self.advancer.settle(self.plan, claimed.view, path, claimed.state, outcome)
        self.check()
        return reply

    def look(self) -> None:
        """What a warden would do for what is due and takes no message."""
        for path, state in self.states().items():
            if state.status in (StepStatus.ENTERING, StepStatus.JOINED):
                self.advancer.join("x1", path)
            elif state.status is StepStatus.WAITING:
                self.advancer.fire("x1", path, state)
        self.check()

    def retry(self) -> None:
        assert self.verbs.retry("x1")
        self.check()

    def finish(self) -> None:
        """Everything that is left goes well."""
        for _ in range(1000):
            if self.status() is not ExecutionStatus.RUNNING:
                return
            self.look()
            if self.sent:
                self.deliver(self.sent[0], well=True)
        raise AssertionError(f"it does not end: {self.live()}")

    def context(self) -> ExecutionContext:
        return execution_context(self.journal, self.plans, "x1")

    def check(self) -> None:
        """What holds always."""
        states, fields = self.states(), self.journal.steps("x1")
        ends = self.journal.read_ends("x1")
        live = [path for path, state in states.items() if state.status in LIVE]
        assert sorted(self.worked.watched()) == sorted(live)
        for path in live:
            state, node = states[path], self.plan.node(path)
            if state.status is not StepStatus.JOINING:
                continue
            scopes = scopes_to_join(self.plan, path, state)
            kept = fields if node.mapped is None else ends
            assert state.left == sum(f"={s}" not in kept and f"!{s}" not in kept for s in scopes)
            lanes = node.mapped.lanes if node.mapped else node.policy.lanes if node.policy else 0
            if not lanes:
                assert state.waits == 0
                continue
            begun = {s for s in scopes if any(p.startswith(f"{s}/") for p in live)}
            ended = state.total - state.left
            assert len(begun) == state.opened - ended - state.waits <= lanes
            waiting, following = [], state.again
            while following:
                waiting.append(scopes[following - 1])
                following = Turn.loads(ends[f"@{waiting[-1]}"]).next
            assert len(set(waiting)) == len(waiting) == state.waits
            assert not begun & set(waiting)


def output(run: Run) -> Any:
    assert run.status() is ExecutionStatus.COMPLETED, run.journal.record("x1").error
    return run.journal.record("x1").output


class TestMap:
    def test_those_that_failed_are_tried_again_and_the_others_kept(self, journal: Journal) -> None:
        run = Run(journal, mapped(maxConcurrency=2), input=list("abcde"))
        run.do("m[0]/m")
        running = run.take("m[2]/m")
        run.fail("m[1]/m")
        assert run.status() is ExecutionStatus.FAILED
        run.sent.clear()
        run.retry()
        assert run.live() == ["m", "m[1]/m", "m[2]/m"] and sorted(run.sent) == ["m[1]/m", "m[2]/m"]
        state = run.worked.state("m")
        assert (state.left, state.failed, state.opened, state.waits) == (4, 0, 3, 0)
        assert [run.worked.state(f"m[{n}]/m").attempt for n in (1, 2)] == [2, 2]
        late = run.worked.settle("m[2]/m", running, Completed("late"))
        assert late == Refused("SUPERSEDED", ("dispatched", 2))
        run.finish()
        assert output(run)["results"] == [f"m[{n}]/m" for n in range(5)]
        assert max(Counter(run.done).values()) == 1
        assert journal.read_ends("x1") == {}

    def test_no_more_at_once_than_lanes_and_before_those_that_never_began(
        self, journal: Journal
    ) -> None:
        run = Run(journal, mapped(maxConcurrency=2, tolerate={"count": 3}), input=list(range(9)))
        for number in (0, 2, 3, 4):
            run.fail(f"m[{number}]/m")
        assert run.status() is ExecutionStatus.FAILED
        run.sent.clear()
        run.retry()
        assert sorted(run.sent) == ["m[0]/m", "m[1]/m"]
        assert run.worked.state("m").waits == 3
        lines = {s.path: s.waiting_for for s in run.context().steps}
        assert lines["m"] == "9 of 9 items, 2 of them at work"
        assert run.do("m[1]/m").again == ("m[2]/m",)
        run.fail("m[2]/m")
        run.finish()
        assert run.done == [f"m[{n}]/m" for n in (1, 0, 3, 4, 5, 6, 7, 8)]
        assert output(run)["counts"] == {"total": 9, "succeeded": 8, "failed": 1, "cancelled": 0}

    def test_those_that_waited_wait_again_when_another_branch_fails(self, journal: Journal) -> None:
        of = mapped(maxConcurrency=1, tolerate={"count": 2})
        run = Run(journal, parallel("p", [of], [task("z")]), input=list(range(6)))
        for number in range(3):
            run.fail(f"p/0/m[{number}]/m")
        for attempt in (2, 3):
            run.retry()
            assert run.live() == ["p", "p/0/m", "p/0/m[0]/m", "p/1/z"]
            assert run.worked.state("p/0/m").waits == 2
            attempts = [run.worked.state(f"p/0/m[{number}]/m").attempt for number in range(3)]
            assert attempts == [attempt, 1, 1]
            run.fail("p/1/z")
            assert run.status() is ExecutionStatus.FAILED
        run.retry()
        run.do("p/0/m[0]/m")
        claimed = run.take("p/0/m[1]/m")
        journal.pause("x1", {})
        run.settle("p/0/m[1]/m", claimed, Completed(1))
        assert run.worked.claim("p/0/m[2]/m") == Refused("PAUSED")
        journal.resume("x1", {}, {})
        run.finish()
        assert output(run)["results"][0]["counts"]["succeeded"] == 6
        assert max(Counter(run.done).values()) == 1

    def test_an_item_goes_on_at_its_step_and_sees_what_it_saw(self, journal: Journal) -> None:
        run = Run(
            journal,
            mapped(task("a", "b"), task("b", "c", input="$.output"), task("c")),
            input=[1, 2],
        )
        run.do("m[0]/a", "seen")
        run.do("m[1]/a")
        run.fail("m[0]/b")
        run.retry()
        claimed = run.take("m[0]/b")
        assert claimed.view.outputs["m[0]"] == "seen"
        run.settle("m[0]/b", claimed, Completed("b"))
        run.finish()
        assert output(run)["results"] == ["m[0]/c", "m[1]/c"]
        assert run.done.count("m[0]/a") == run.done.count("m[1]/a") == 1
        assert not [f for f in journal.redis.hkeys(journal.keys.record("x1")) if f[:2] == "o:"]

    def test_a_failure_that_names_its_item_is_found(self, journal: Journal) -> None:
        run = Run(journal, mapped(name="$.item"), input=["x", "y"])
        run.fail("m[1]/m")
        error = journal.record("x1").error
        assert error is not None and error["item"] == "y"
        run.retry()
        run.finish()
        assert output(run)["counts"]["succeeded"] == 2

    def test_what_is_tolerated_stays_when_another_branch_failed(self, journal: Journal) -> None:
        of = mapped(maxConcurrency=1, tolerate={"count": 1})
        run = Run(journal, parallel("p", [of], [task("z")]), input=[1, 2, 3])
        run.fail("p/0/m[0]/m")
        run.fail("p/1/z")
        run.retry()
        assert run.worked.state("p/0/m").failed == 1
        run.finish()
        assert output(run)["results"][0]["counts"]["failed"] == 1

    def test_one_that_took_too_long_goes_on(self, journal: Journal, clock: FakeClock) -> None:
        run = Run(journal, {**mapped(maxConcurrency=2), "timeout": 5000}, input=[1, 2, 3])
        run.do("m[0]/m")
        state = run.worked.state("m")
        clock.advance(5000)
        timeout = Failure("StepTimeout", "too long", "m", "m")
        view = journal.read_view("x1", ["workflow"])
        run.advancer.settle(run.plan, view, "m", state, Failed(timeout, retryable=False))
        assert run.status() is ExecutionStatus.FAILED
        run.retry()
        assert run.live() == ["m", "m[1]/m", "m[2]/m"]
        run.finish()
        assert output(run)["counts"]["succeeded"] == 3

    @pytest.mark.parametrize(
        ("step", "reason"),
        [
            (mapped(collect="$.output - 1"), "'m\\[0\\]' ended between two of its steps"),
            (mapped(items="$.none - 1"), "before it was tried"),
            ({**mapped(), "output": {"v": "$.output - 1"}}, "the items of step 'm' ended well"),
            (
                {
                    "id": "l",
                    "type": "loop",
                    "loop": {"steps": [task("a")], "until": "$.output - 1"},
                },
                "the iterations of step 'l' ended well",
            ),
        ],
        ids=["collect", "items", "output", "until"],
    )
    def test_what_would_fail_again_is_refused(
        self, journal: Journal, step: Step, reason: str
    ) -> None:
        run = Run(journal, step, input=[1])
        if run.sent:
            run.do(run.sent[0], "text")
        assert run.status() is ExecutionStatus.FAILED
        before = journal.steps("x1"), journal.read_ends("x1")
        with pytest.raises(NotAllowed, match=reason):
            run.verbs.retry("x1")
        assert (journal.steps("x1"), journal.read_ends("x1")) == before

    def test_no_other_version_while_some_wait_to_be_tried_again(self, journal: Journal) -> None:
        run = Run(journal, mapped(maxConcurrency=1, tolerate={"count": 1}), input=[1, 2, 3])
        run.fail("m[0]/m")
        run.fail("m[1]/m")
        run.retry()
        found = fit(run.plan, run.plan, journal.steps("x1"))
        assert [(m.path, m.reason) for m in found.misfits] == [
            ("m", "holds branches or items that wait to be tried again")
        ]


class TestLoop:
    def test_the_iteration_that_failed_goes_on(self, journal: Journal) -> None:
        run = Run(journal, loop(task("a", "b"), task("b")))
        for path in ("l[0]/a", "l[0]/b", "l[1]/a"):
            run.do(path)
        run.fail("l[1]/b")
        run.retry()
        state = run.worked.state("l")
        assert (state.iteration, state.attempt, state.left) == (2, 3, 1)
        assert run.live() == ["l", "l[1]/b"]
        run.fail("l[1]/b")
        run.retry()
        assert (run.worked.state("l").iteration, run.worked.state("l").attempt) == (2, 4)
        run.finish()
        assert run.done == ["l[0]/a", "l[0]/b", "l[1]/a", "l[1]/b", "l[2]/a", "l[2]/b"]
        assert output(run) == "l[2]/b"
        assert run.worked.state("l").total == 3

    def test_a_join_from_before_the_retry_comes_too_late(self, journal: Journal) -> None:
        run = Run(journal, loop(task("a")))
        run.do("l[0]/a")
        claimed = run.take("l[1]/a")
        failure = Failure("Broken", "it broke", "a", "l[1]/a", 1)
        run.worked.settle("l[1]/a", claimed, Failed(failure))  # nobody goes on behind it
        joined = run.worked.state("l")
        assert (joined.status, joined.attempt) == (StepStatus.JOINED, 2)
        run.advancer.join("x1", "l")
        run.retry()
        claimed = run.take("l[1]/a")
        run.worked.settle("l[1]/a", claimed, Completed("well"))
        again = run.worked.state("l")
        assert (again.status, again.attempt) == (StepStatus.JOINED, 3)
        view = journal.read_view("x1", ["workflow"])
        late = run.advancer.settle(run.plan, view, "l", joined, Failed(failure, retryable=False))
        assert isinstance(late, Refused) and late.word == "SUPERSEDED"
        run.look()
        run.finish()
        assert output(run) == "l[2]/a"

    def test_one_that_was_cancelled_goes_on_where_it_was(self, journal: Journal) -> None:
        run = Run(journal, parallel("p", [loop(task("a", "b"), task("b"))], [task("z")]))
        for path in ("p/0/l[0]/a", "p/0/l[0]/b", "p/0/l[1]/a"):
            run.do(path)
        run.fail("p/1/z")
        run.retry()
        assert run.live() == ["p", "p/0/l", "p/0/l[1]/b", "p/1/z"]
        run.finish()
        assert output(run)["results"] == ["p/0/l[2]/b", "p/1/z"]
        assert max(Counter(run.done).values()) == 1

    def test_one_whose_iteration_had_ended_is_joined_again(self, journal: Journal) -> None:
        run = Run(journal, parallel("p", [loop(task("a"))], [task("z")]))
        claimed = run.take("p/0/l[0]/a")
        run.worked.settle("p/0/l[0]/a", claimed, Completed(1))  # nobody goes on behind it
        run.fail("p/1/z")
        assert run.worked.state("p/0/l").status is StepStatus.CANCELLED
        run.retry()
        assert run.worked.state("p/0/l").status is StepStatus.JOINED
        run.finish()
        assert output(run)["results"] == ["p/0/l[2]/a", "p/1/z"]


class TestNested:
    def test_a_turn_may_hold_many_tokens(self, journal: Journal) -> None:
        inner = parallel("p", [task("a")], [task("b", "c"), task("c")], [wait("w", 100)])
        inner["parallel"]["tolerate"] = {"count": 1}
        of = mapped(inner, maxConcurrency=1, tolerate={"count": 1})
        run = Run(journal, of, input=[1, 2, 3])
        for number in (0, 1):
            run.look()
            run.do(f"m[{number}]/p/1/b")
            run.fail(f"m[{number}]/p/0/a")
            run.fail(f"m[{number}]/p/1/c")
        assert run.status() is ExecutionStatus.FAILED
        run.retry()
        assert run.worked.state("m").waits == 1
        run.do("m[0]/p/0/a")
        run.do("m[0]/p/1/c")
        run.look()
        assert {"m[1]/p", "m[1]/p/0/a", "m[1]/p/1/c"} <= set(run.live())
        assert sorted(run.sent) == ["m[1]/p/0/a", "m[1]/p/1/c"]
        run.finish()
        assert output(run)["counts"]["succeeded"] == 3
        assert max(Counter(run.done).values()) == 1

    def test_maps_in_maps_wait_for_their_turns(self, journal: Journal) -> None:
        inner = mapped(task("t"), id="q", items=[1, 2, 3], maxConcurrency=1, tolerate={"count": 1})
        run = Run(journal, mapped(inner, maxConcurrency=1, tolerate={"count": 1}), input=[1, 2])
        for number in (0, 1):
            run.look()
            run.fail(f"m[{number}]/q[0]/t")
            run.fail(f"m[{number}]/q[1]/t")
        assert run.status() is ExecutionStatus.FAILED
        for _ in range(2):
            run.retry()
            waiting = {name for name in journal.read_ends("x1") if name[0] == "@"}
            assert waiting == {"@m[1]", "@m[0]/q[1]", "@m[1]/q[1]"}
            for number in (0, 1):
                run.look()
                run.fail(f"m[{number}]/q[0]/t")
                run.fail(f"m[{number}]/q[1]/t")
            assert run.status() is ExecutionStatus.FAILED
        run.retry()
        run.finish()
        assert output(run)["counts"]["succeeded"] == 2
        assert journal.read_ends("x1") == {}


def test_one_that_was_retried_and_failed_again_meanwhile_is_looked_at_anew(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal, mapped(maxConcurrency=1), input=[1, 2])
    run.fail("m[0]/m")
    retry = journal.retry

    def come_late(*given: Any) -> Any:
        monkeypatch.undo()
        run.retry()
        assert isinstance(journal.clock, FakeClock)
        journal.clock.advance(10)
        run.do("m[0]/m")
        run.fail("m[1]/m")
        return retry(*given)

    monkeypatch.setattr(journal, "retry", come_late)
    assert run.verbs.retry("x1")
    assert run.live() == ["m", "m[1]/m"]
    run.finish()
    assert output(run)["counts"]["succeeded"] == 2
    assert max(Counter(run.done).values()) == 1


# --- any tree ----------------------------------------------------------------------------------


@st.composite
def trees(draw: st.DrawFn, depth: int = 3, prefix: str = "s") -> list[Step]:
    steps = []
    count = draw(st.integers(1, 2))
    for number in range(count):
        name = f"{prefix}{number}"
        kinds = ["task", "task", *(["parallel", "map", "loop"] if depth else [])]
        kind = draw(st.sampled_from(kinds))
        below = trees(depth - 1, name)
        more = {"next": f"{prefix}{number + 1}"} if number + 1 < count else {}
        if kind == "task":
            step = task(name)
        elif kind == "loop":
            step = loop(*draw(below), id=name, times=draw(st.integers(1, 3)))
        elif kind == "map":
            items = list(range(draw(st.integers(1, 4))))
            step = mapped(*draw(below), id=name, items=items)
            step["map"]["maxConcurrency"] = draw(st.integers(1, 3))
        else:
            branches = [
                draw(trees(depth - 1, f"{name}{b}")) for b in "abc"[: draw(st.integers(1, 3))]
            ]
            step = parallel(name, *branches)
            if draw(st.booleans()):
                step["parallel"]["maxConcurrency"] = draw(st.integers(1, 2))
        of = step.get("map") or step.get("parallel")
        if of is not None and draw(st.integers(0, 2)) == 0:
            of["tolerate"] = {"count": draw(st.integers(0, 2))}
        steps.append({**step, **more})
    return steps


@pytest.fixture(scope="module")
def server(redis_url: str) -> Iterator[Redis]:
    client = open_redis(redis_url)
    yield client
    client.close()


def play(redis: Redis, steps: list[Step], choose: Callable[[int], int], most: int) -> Run:
    """Run it; ``most`` attempts fail, and who is next is open."""
    redis.flushall()
    run = Run(Journal(redis, Settings(partitions=2), clock=FakeClock()), *steps)
    failures = 0
    for _ in range(2000):
        status = run.status()
        if status is ExecutionStatus.COMPLETED:
            return run
        if status is ExecutionStatus.FAILED:
            run.sent.clear()
            run.retry()
        if choose(3) == 0 or not run.sent:
            run.look()
        if run.sent:
            path = run.sent[choose(len(run.sent))]
            well = failures >= most or choose(3) > 0
            failures += run.deliver(path, well=well) and not well
    raise AssertionError(f"it does not end: {run.live()}")


@examples(
    max_examples=300 if LONG else 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(steps=trees(), random=st.randoms(use_true_random=False), most=st.integers(1, 8))
def test_after_retries_it_is_as_if_nothing_had_failed(
    server: Redis, steps: list[Step], random: Any, most: int
) -> None:
    good = play(server, steps, lambda count: 1 % count, 0)
    expected = good.journal.record("x1").output
    ran = set(good.done)
    bad = play(server, steps, random.randrange, most)
    assert max(Counter(bad.done).values(), default=1) == 1, "what had ended well is not run again"
    failures = [name for name in bad.journal.steps("x1") if name[0] == "!"]
    if "tolerate" not in json.dumps(steps):
        assert not failures
    if not failures:
        assert output(bad) == expected
        assert set(bad.done) == ran


def test_of_ten_thousand_items_three_are_tried_again_in_no_time(journal: Journal) -> None:
    count = 10_000
    run = Run(journal, mapped(maxConcurrency=4, tolerate={"count": 2}), input=list(range(count)))
    run.fail("m[0]/m")
    run.fail("m[1]/m")
    pipe = journal.redis.pipeline()
    for number in range(6, count):  # as if all but those at work had ended
        pipe.hset(journal.keys.items("x1"), f"=m[{number}]", number)
    state = replace(run.worked.state("m"), left=4, opened=count)
    pipe.hset(journal.keys.steps("x1"), "m", state.dumps())
    pipe.execute()
    run.fail("m[2]/m")
    assert run.status() is ExecutionStatus.FAILED
    begun = time.monotonic()
    assert run.verbs.retry("x1")
    assert time.monotonic() - begun < 1
    assert len(run.live()) == 1 + 4 and run.worked.state("m").waits == 2
    run.finish()
    assert output(run)["counts"] == {
        "total": count,
        "succeeded": count,
        "failed": 0,
        "cancelled": 0,
    }
    assert sorted(run.done) == [f"m[{number}]/m" for number in range(6)]


# --- real workers ------------------------------------------------------------------------------

CAPABILITY = """
import os, time
from orch import Context, StepError, capability

@capability("work")
def work(context: Context) -> str:
    for word in ("begin", "end"):
        line = f"{word} {context.path} {context.attempt}\\n"
        file = os.open(os.environ["RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)
        time.sleep(0.02)
    number = int(context.path[2:-len("]/m")])
    if number % 9 == 4 and not os.path.exists(os.environ["RUNS"] + ".mended"):
        raise StepError("Broken", "not mended")
    return context.path
"""


@pytest.mark.timeout(180)
def test_a_worker_is_killed_while_items_are_tried_again(
    tmp_path: Path, redis_url: str, redis: Redis, wait_until: Callable[..., object]
) -> None:
    code, runs = tmp_path / "mending.py", tmp_path / "runs"
    code.write_text(CAPABILITY)
    runs.touch()
    count, most, fails = 200, 4, 15

    def lines() -> list[list[str]]:
        return [line.split() for line in runs.read_text().splitlines()]

    step = {"id": "m", "type": "map", "map": {
        "items": "$.input.list", "capability": "work",
        "maxConcurrency": most, "tolerate": {"count": fails - 1},
    }}  # fmt: skip
    with Orchestrator(redis_url=redis_url, data_dir=tmp_path / "unused") as orchestrator:
        orchestrator.define_workflow("w", {"name": "w", "steps": [step]})
        workers = [
            WorkerProcesses(
                orchestrator.settings,
                redis_url,
                concurrency=3,
                include=[str(code)],
                queues=["work"],
                log=tmp_path / f"log{number}",
                environment={"RUNS": str(runs)},
            ).start(timeout=60)
            for number in range(2)
        ]
        try:
            execution = orchestrator.start_workflow("w", {"list": list(range(count))})
            wait_until(lambda: execution.status().status == "failed", timeout=60)
            wait_until(lambda: _rests(lines()), timeout=30)
            before = lines()
            Path(f"{runs}.mended").touch()
            assert execution.retry()
            wait_until(lambda: len(lines()) > len(before) + 12, timeout=60)
            os.killpg(workers[0].processes[0].pid, signal.SIGKILL)
            ended = execution.wait(90)
        finally:
            for worker in workers:
                worker.stop(grace=2)
    assert ended.output["results"] == [f"m[{n}]/m" for n in range(count)]
    running: set[str] = set()
    for word, path, _ in lines()[len(before) :]:
        (running.add if word == "begin" else running.discard)(path)
        assert len(running) <= most
    tried = Counter(path for word, path, _ in lines() if word == "begin")
    failed = {f"m[{number}]/m" for number in range(4, count, 9)}
    again = {path for path, times in tried.items() if times > 1} - failed
    assert len(again) <= 2 * most, "those that were cancelled, and those of the worker that died"


def _rests(lines: list[list[str]]) -> bool:
    """Whether every attempt that began has ended."""
    words = Counter(word for word, _, _ in lines)
    return words["begin"] == words["end"]
