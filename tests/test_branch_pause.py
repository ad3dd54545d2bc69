"""Pausing one branch: what rests, what goes on, how several pauses meet, and what it costs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.cli.steering import Chosen
from orch.control.runtime import Runtime
from orch.errors import InputError, NotAllowed, NotFound
from orch.journal.journal import Claimed, Journal, Refused
from orch.settings import Settings
from orch.workflows.outcome import Completed
from orch.workflows.pausing import branches_of, pauses_over
from orch.workflows.state import LIVE, ExecutionStatus, StepStatus
from tests.build import FakeClock, parallel, task, wait
from tests.test_control import RECHECK, Life, Steered, hypothesis_settings, steer
from tests.test_lanes import Played, mapped


@pytest.mark.parametrize(
    ("branch", "path", "rests"),
    [
        ("p/1", "p/1/a", True),
        ("p/1", "p/1/q/0/b", True),
        ("p/1", "p/10/a", False),
        ("p/1", "p", False),
        ("p", "p", True),
        ("p", "p/0/a", True),
        ("p", "p2/0/a", False),
        ("p", "p#2/0/a", False),
        ("m", "m[3]/a", True),
        ("m[3]", "m[3]/a", True),
        ("m[3]", "m[30]/a", False),
    ],
)
def test_python_and_lua_agree_what_stands_in_a_branch(
    redis: Redis, branch: str, path: str, rests: bool
) -> None:
    part = Path("orch/journal/lua/parts/pause_over.lua").read_text()
    lua = f"{part}\nreturn pause_over({{[ARGV[1]] = 7}}, ARGV[2])"
    assert redis.eval(lua, 0, branch, path) == (7 if rests else None)
    assert pauses_over({branch: 7}, path) == ([branch] if rests else [])


def test_the_branches_that_live() -> None:
    paths = ["a", "p/0/a", "p/1/q/0/b", "m[3]/l[0]/c#2"]
    found = "m m[3] m[3]/l m[3]/l[0] p p/0 p/1 p/1/q p/1/q/0"
    assert branches_of(paths) == found.split()


@pytest.fixture
def two(journal: Journal) -> Steered:
    """Two branches of two steps, and what follows their join."""
    return steer(
        journal,
        parallel("p", [task("a", "b"), task("b")], [task("c", "d"), task("d")], next="z"),
        task("z"),
    )


@pytest.fixture
def runtime(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Runtime]:
    """With a time slice that no load of the machine uses up."""
    runtime = Runtime(settings.model_copy(update={"lane_slice": 60.0}), redis_url)
    yield runtime
    runtime.close()


class TestPause:
    def test_one_branch_rests_and_the_other_goes_on_to_its_end(self, two: Steered) -> None:
        assert two.verbs.pause("x1", "lunch", branch="p/0", by="ada")
        assert two.worked.claim("p/0/a") == Refused("PAUSED")
        two.do("p/1/c")
        two.do("p/1/d")
        assert two.worked.status() is ExecutionStatus.RUNNING
        assert two.worked.state("p").status is StepStatus.JOINING
        assert two.told("branch_paused") == {"branch": "p/0", "by": "ada", "reason": "lunch"}
        two.worked.sent.clear()
        assert two.verbs.resume("x1", branch="p/0", by="bob")
        assert two.worked.sent == ["p/0/a"]
        assert two.told("branch_resumed") == {"branch": "p/0", "by": "bob"}
        for path in ("p/0/a", "p/0/b", "z"):
            two.do(path)
        assert two.worked.status() is ExecutionStatus.COMPLETED
        assert two.journal.pauses("x1") == {}

    def test_what_runs_ends_and_what_follows_in_the_branch_waits(self, two: Steered) -> None:
        claimed = two.worked.take("p/0/a")
        two.verbs.pause("x1", branch="p/0")
        again = two.worked.take("p/0/a")
        assert again == claimed, "its own claim may be repeated when the reply was lost"
        two.advancer.settle(
            two.worked.plan, claimed.view, "p/0/a", claimed.state, Completed(), late="me"
        )
        assert two.worked.state("p/0/b").status is StepStatus.DISPATCHED
        assert two.worked.claim("p/0/b") == Refused("PAUSED")

    def test_a_second_one_changes_nothing(self, two: Steered) -> None:
        assert [two.verbs.pause("x1", branch="p") for _ in range(2)] == [True, False]
        assert [event for event, _ in two.worked.events()].count("branch_paused") == 1
        assert [two.verbs.resume("x1", branch="p") for _ in range(2)] == [True, False]
        assert [event for event, _ in two.worked.events()].count("branch_resumed") == 1

    def test_what_comes_due_is_put_off_and_fires_after_it(self, journal: Journal) -> None:
        retry = {"maxAttempts": 2, "interval": 500}
        branch = [parallel("q", [task("a")], [wait("w", 1000)], [task("r", retry=retry)])]
        steered = steer(journal, parallel("p", branch, [wait("v", 1000)], [task("s")]))
        steered.fail("p/0/q/2/r")
        steered.verbs.pause("x1", branch="p/0")
        steered.worked.sent.clear()
        for _ in range(3):
            steered.look(10_000)
        later = [path for path, due in steered.worked.watched().items() if due > journal.clock()]
        assert {p for p in later if p.startswith("p/0")} == {
            "p/0/q",
            "p/0/q/0/a",
            "p/0/q/1/w",
            "p/0/q/2/r",
        }
        assert max(steered.worked.watched().values()) <= journal.clock() + RECHECK
        assert set(steered.worked.sent) == {"p/2/s"}, "only what is outside is sent again"
        assert steered.worked.state("p/1/v").status is StepStatus.COMPLETED
        assert steered.worked.state("p/0/q/1/w").status is StepStatus.WAITING
        steered.worked.sent.clear()
        steered.verbs.resume("x1", branch="p/0")
        assert steered.worked.sent == ["p/0/q/0/a"]
        steered.look(0)
        assert steered.worked.state("p/0/q/1/w").status is StepStatus.COMPLETED
        assert steered.worked.sent == ["p/0/q/0/a", "p/0/q/2/r"]

    def test_an_attempt_whose_worker_died_waits_for_the_resumption(self, two: Steered) -> None:
        two.worked.take("p/0/a", "gone/1/a")
        two.verbs.pause("x1", branch="p/0")
        two.look(5000)
        state = two.worked.state("p/0/a")
        assert (state.status, state.attempt) == (StepStatus.DISPATCHED, 2)
        assert two.worked.claim("p/0/a") == Refused("PAUSED")

    def test_no_child_is_started_and_no_event_is_emitted(self, journal: Journal) -> None:
        tell = {"id": "t", "type": "event", "event": {"name": "e", "action": "emit"}}
        call = {"id": "s", "type": "subworkflow", "subworkflow": "other"}
        steered = steer(
            journal,
            parallel("p", [task("a", "s"), call], [task("b", "t"), tell], [task("c")]),
        )
        claims = {path: steered.worked.take(path) for path in ("p/0/a", "p/1/b")}
        for branch in ("p/0", "p/1"):
            steered.verbs.pause("x1", branch=branch)
        for path, claimed in claims.items():
            steered.advancer.settle(
                steered.worked.plan, claimed.view, path, claimed.state, Completed()
            )
        steered.look(5000)
        assert steered.worked.state("p/0/s").status is StepStatus.CALLING
        assert steered.worked.state("p/1/t").status is StepStatus.EMITTING
        steered.verbs.resume("x1", branch="p/1")
        steered.look(0)
        assert steered.worked.state("p/1/t").status is StepStatus.COMPLETED
        steered.verbs.resume("x1", branch="p/0")
        steered.look(0)
        # There is no such workflow: that it was looked for is what shows that it was called.
        assert steered.worked.state("p/0/s").status is StepStatus.FAILED

    def test_items_of_a_paused_map_are_opened_and_do_not_start(self, journal: Journal) -> None:
        of = {"items": "$.input", "steps": [task("a")], "maxConcurrency": 2}
        steered = steer(
            journal, {"id": "m", "type": "map", "map": of, "next": "z"}, task("z"), input=[1, 2, 3]
        )
        _enter(steered)
        steered.verbs.pause("x1", branch="m[1]")
        assert steered.worked.claim("m[1]/a") == Refused("PAUSED")
        steered.do("m[0]/a")
        _enter(steered)
        claimed = steered.worked.take("m[2]/a")
        steered.verbs.pause("x1", branch="m")
        steered.verbs.resume("x1", branch="m[1]")
        assert steered.worked.claim("m[1]/a") == Refused("PAUSED"), "the map is paused as well"
        steered.worked.settle("m[2]/a", claimed, Completed())
        steered.verbs.resume("x1", branch="m")
        steered.do("m[1]/a")
        steered.look(journal.grace)
        steered.do("z")
        assert steered.worked.status() is ExecutionStatus.COMPLETED

    def test_a_worker_goes_on_with_no_item_of_a_paused_map(self, runtime: Runtime) -> None:
        played = Played(runtime, parallel("p", [mapped()], [task("z")]), input=list(range(4)))

        def pause(path: str, item: int | None) -> int | None:
            if item == 1:
                assert runtime.journal.pause_branch("x1", "p/0/m", {"by": "me"})
            return item

        played.act = pause
        played.run()
        assert sorted(played.runs) == ["p/0/m[0]/m", "p/0/m[1]/m", "p/1/z"]
        assert played.worked.state("p/0/m[2]/m").status is StepStatus.DISPATCHED
        played.messages += runtime.journal.resume_branch("x1", "p/0/m", {}, {}).paths
        played.run()
        assert Counter(played.runs).most_common(1)[0][1] == 1 and len(played.runs) == 5
        assert played.worked.status() is ExecutionStatus.COMPLETED

    def test_the_iteration_of_a_loop(self, journal: Journal) -> None:
        of = {"steps": [task("a")], "maxIterations": 2}
        steered = steer(journal, {"id": "l", "type": "loop", "loop": of})
        path = next(path for path in steered.worked.watched() if path.startswith("l["))
        steered.verbs.pause("x1", branch="l[0]")
        assert steered.worked.claim(path) == Refused("PAUSED")
        steered.verbs.resume("x1", branch="l[0]")
        steered.do(path)

    def test_a_join_that_does_not_need_it_cancels_it(self, journal: Journal) -> None:
        step = parallel("p", [task("a")], [task("b")], next="z")
        step["parallel"]["join"] = "any"
        steered = steer(journal, step, task("z"))
        steered.verbs.pause("x1", branch="p/0")
        steered.do("p/1/b")
        assert steered.worked.state("p/0/a").status is StepStatus.CANCELLED
        steered.look(journal.grace)
        assert steered.context().paused_branches == {}
        assert steered.worked.claim("p/0/a").__class__ is Refused
        steered.do("z")
        assert steered.worked.status() is ExecutionStatus.COMPLETED

    def test_it_can_be_skipped_cancelled_and_retried(self, two: Steered) -> None:
        two.verbs.pause("x1", branch="p/0")
        assert two.verbs.skip("x1", "p/0/a")
        assert two.worked.claim("p/0/b") == Refused("PAUSED")
        two.fail("p/1/c")
        assert two.worked.status() is ExecutionStatus.FAILED
        with pytest.raises(NotAllowed, match="x1 has failed: no branch of it can be resumed"):
            two.verbs.resume("x1", branch="p/0")
        assert two.verbs.retry("x1")
        two.do("p/0/b")
        two.verbs.pause("x1", branch="p/1")
        assert two.verbs.cancel("x1")
        with pytest.raises(NotAllowed, match="x1 has been cancelled: no branch"):
            two.verbs.pause("x1", branch="p/1")


def test_who_resumes_may_die_before_the_messages_are_sent(two: Steered) -> None:
    two.verbs.pause("x1", branch="p/0")
    two.look(100_000)
    two.worked.sent.clear()
    assert two.journal.resume_branch("x1", "p/0", {}, {}).paths == ("p/0/a",)
    two.look(two.journal.grace)
    assert "p/0/a" in two.worked.sent
    two.do("p/0/a")


def test_a_cancellation_ends_its_pauses_and_waits_for_what_runs(two: Steered) -> None:
    claimed = two.worked.take("p/0/a")
    two.verbs.pause("x1", branch="p/0")
    assert two.verbs.cancel("x1")
    assert two.worked.status() is ExecutionStatus.CANCELLING
    assert two.journal.pauses("x1") == {} and two.context().paused_branches == {}
    with pytest.raises(NotAllowed, match="x1 is cancelling: no branch of it can be paused"):
        two.verbs.pause("x1", branch="p/0")
    two.advancer.settle(two.worked.plan, claimed.view, "p/0/a", claimed.state, Completed())
    assert two.worked.status() is ExecutionStatus.CANCELLED


class TestSeveral:
    def test_each_pause_ends_by_itself(self, two: Steered) -> None:
        for branch in ("p", "p/0", None):
            assert two.verbs.pause("x1", branch=branch)
        two.worked.sent.clear()
        watched = two.worked.watched()
        two.verbs.resume("x1", branch="p")
        assert two.worked.watched() == watched
        two.verbs.resume("x1")
        assert two.worked.sent == ["p/1/c"]
        assert two.worked.claim("p/0/a") == Refused("PAUSED")
        two.do("p/1/c")
        two.verbs.pause("x1")
        two.verbs.resume("x1", branch="p/0")
        assert two.worked.claim("p/0/a") == Refused("PAUSED")
        two.verbs.resume("x1")
        two.do("p/0/a")

    @pytest.mark.parametrize("order", [("p/0", None), (None, "p/0"), ("p", "p/0"), ("p/0", "p")])
    @pytest.mark.parametrize("last", [0, 1])
    def test_the_times_stand_still_for_as_long_as_any_of_them_lasts(
        self, journal: Journal, order: tuple[str | None, ...], last: int
    ) -> None:
        inner = parallel("q", [task("a", scheduleTimeout=9000)], timeout=5000)
        steered = steer(journal, parallel("p", [inner], [task("b")]))
        begun = steered.worked.state("p/0/q").started
        limit = steered.worked.state("p/0/q/0/a").due

        def past(ms: int) -> None:
            steered.look(ms)

        past(1000)
        steered.verbs.pause("x1", branch=order[0])
        past(10_000)
        steered.verbs.pause("x1", branch=order[1])
        past(10_000)
        steered.verbs.resume("x1", branch=order[1 - last])
        past(10_000)
        assert steered.worked.state("p/0/q").status is StepStatus.JOINING
        steered.verbs.resume("x1", branch=order[last])
        state, sent = steered.worked.state("p/0/q"), steered.worked.state("p/0/q/0/a")
        assert (state.started - begun, sent.due - limit) == (30_000, 30_000)
        past(3900)
        assert steered.worked.state("p/0/q").status is StepStatus.JOINING
        past(3000)
        assert steered.worked.state("p/0/q").status is StepStatus.FAILED

    def test_what_is_around_it_runs_out_of_time(self, journal: Journal) -> None:
        steered = steer(journal, parallel("p", [task("a")], [task("b")], timeout=5000))
        steered.verbs.pause("x1", branch="p/0")
        steered.look(5000)
        assert steered.worked.state("p").status is StepStatus.FAILED
        assert steered.worked.state("p/0/a").status is StepStatus.CANCELLED


class TestRefused:
    def test_what_is_no_branch_that_lives_is_named_with_those_that_do(self, two: Steered) -> None:
        for path in ("p/2", "p/0/a", "z", "nonsense"):
            with pytest.raises(NotFound, match=f"no branch '{path}' that lives; it has: p, p/0, p"):
                two.verbs.pause("x1", branch=path)
            with pytest.raises(NotFound):
                two.verbs.resume("x1", branch=path)
        assert two.verbs.resume("x1", branch="p/0") is False
        with pytest.raises(NotFound, match="no execution 'never'"):
            two.verbs.pause("never", branch="p")
        two.do("p/1/c")
        two.do("p/1/d")
        with pytest.raises(NotFound, match=r"it has: p, p/0$"):
            two.verbs.pause("x1", branch="p/1")

    def test_what_another_pause_holds_is_not_resumed_by_this_path(self, two: Steered) -> None:
        two.verbs.pause("x1", branch="p")
        with pytest.raises(NotAllowed, match=r"'p/0' .* is not paused itself: 'p' is"):
            two.verbs.resume("x1", branch="p/0")

    def test_input_is_for_what_is_paused(self, two: Steered) -> None:
        with pytest.raises(NotAllowed, match="only one that is paused takes input"):
            two.verbs.resume("x1", {"v": 1}, branch="p/0")
        two.verbs.pause("x1", branch="p/0")
        two.verbs.resume("x1", {"v": 1}, branch="p/0")
        assert two.journal.record("x1").variables == {"v": 1}
        assert two.told("branch_resumed")["input"] == ["v"]

    def test_a_branch_of_many_is_refused(self) -> None:
        with pytest.raises(InputError, match="a branch and a filter"):
            Chosen(None, {"workflow": "w"}, True, "p/0")


def test_why_names_the_branch_and_who_and_why(two: Steered) -> None:
    two.verbs.pause("x1", "lunch", branch="p/0", by="ada")
    context = two.context()
    at = context.paused_branches["p/0"].at
    assert context.paused is None and context.status == "running"
    assert context.waiting_for["p/0/a"] == f"branch p/0 paused by ada at {at}: lunch"
    assert "paused" not in context.waiting_for["p/1/c"] + context.waiting_for["p"]
    two.verbs.pause("x1", by="bob")
    assert two.context().waiting_for["p/0/a"].startswith("paused by bob at ")
    assert two.context().waiting_for["p/0/a"].endswith(f"; branch p/0 paused by ada at {at}: lunch")


def test_without_a_pause_a_claim_takes_the_same_commands(two: Steered) -> None:
    def calls() -> Counter[str]:
        stats: Any = two.journal.redis.info("commandstats")
        return Counter({name: value["calls"] for name, value in stats.items()})

    before = calls()
    two.worked.take("p/0/a")
    spent = {name.removeprefix("cmdstat_"): n for name, n in (calls() - before).items()}
    spent.pop("info", None)
    assert (spent["hmget"], spent["hget"]) == (1, 2), spent


class BranchLife(Life):
    """As any life, with branches that are paused and resumed at any time."""

    @rule(pick=st.integers(0, 9))
    def pause_branch(self, pick: int) -> None:
        live = branches_of(self.worked.watched())
        if live:
            with suppress(NotAllowed):
                self.steered.verbs.pause("x1", branch=live[pick % len(live)])

    @rule(pick=st.integers(0, 9))
    def resume_branch(self, pick: int) -> None:
        branches = sorted(self.journal.pauses("x1"))
        if branches:
            with suppress(NotAllowed, NotFound):
                self.steered.verbs.resume("x1", branch=branches[pick % len(branches)])

    @rule(ok=st.booleans())
    def try_all(self, ok: bool) -> None:
        """A message for every step that waits for one; what is claimed runs, or ends at once."""
        self.tried = getattr(self, "tried", 0)
        for path, state in self.states().items():
            if state.status is StepStatus.DISPATCHED:
                self.tried += 1
                claimed = self.worked.claim(path, f"t{self.tried}/1/a")
                if isinstance(claimed, Claimed) and ok:
                    self.settle(path, claimed, True)
                elif isinstance(claimed, Claimed):
                    self.held.append((path, claimed))

    def nothing_is_claimed_in_a_paused_branch(self) -> None:
        paused: set[str] = set()
        for entry in self.journal.history("x1"):
            match entry.event:
                case "branch_paused":
                    paused.add(entry.detail["branch"])
                case "branch_resumed":
                    paused.remove(entry.detail["branch"])
                case "retried" if not entry.path:
                    paused.clear()
                case "claimed":
                    assert not pauses_over(paused, entry.path)
        status = self.worked.status()
        assert status is None or status.ended or set(self.journal.pauses("x1")) == paused

    def teardown(self) -> None:
        if not hasattr(self, "worked"):
            return
        self.nothing_is_claimed_in_a_paused_branch()
        for branch in self.journal.pauses("x1"):
            with suppress(NotAllowed):
                self.steered.verbs.resume("x1", branch=branch)
        super().teardown()
        self.nothing_is_claimed_in_a_paused_branch()


@pytest.mark.timeout(120)
def test_any_order_of_everything_keeps_what_holds_always(redis: Redis, settings: Settings) -> None:
    BranchLife.journal = Journal(redis, settings, clock=FakeClock())
    run_state_machine_as_test(BranchLife, settings=hypothesis_settings())  # type: ignore[no-untyped-call]


def _enter(steered: Steered) -> None:
    """The warden leads the items whose turn has come to their first step."""
    for _ in range(3):
        steered.look(steered.journal.grace)
    assert all(
        state.status in LIVE
        for state in (steered.worked.state(path) for path in steered.worked.watched())
    )


# --- the facades, and real workers -------------------------------------------------------------

CAPABILITIES = """
import os, time
from pathlib import Path
from orch import capability

@capability("mark")
def mark(file: str, until: str = "") -> int:
    with open(file, "a") as lines:
        lines.write(f"{os.getpid()}\\n")
    while until and not Path(until).exists():
        time.sleep(0.02)
    return os.getpid()
"""


def test_the_facades_offer_it(orchestrator: Orchestrator, settings: Settings) -> None:
    async def use() -> None:
        async with AsyncOrchestrator(settings) as found:
            execution = await found.start_workflow("w")
            assert await execution.pause("why", branch="p/0", by="ada") is True
            assert await found.pause_workflow(execution.id, branch="p/0") is False
            assert await found.resume_workflow(execution.id, {"v": 1}, branch="p/0") is True
            assert await execution.resume(branch="p/0") is False
            await execution.cancel()

    orchestrator.define_workflow("w", {"name": "w", "steps": [parallel("p", [task("a")])]})
    execution = orchestrator.start_workflow("w")
    assert execution.pause("why", branch="p", by="ada")
    assert not orchestrator.pause_workflow(execution.id, branch="p")
    assert orchestrator.resume_workflow(execution.id, {"v": 1}, branch="p")
    assert not execution.resume(branch="p")
    execution.cancel()
    asyncio.run(use())


@pytest.mark.slow
def test_one_branch_goes_on_while_the_other_is_paused_and_a_worker_dies(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    module, go = tmp_path / "marking.py", tmp_path / "go"
    module.write_text(CAPABILITIES)

    def mark(id: str, next: str | None = None, **more: str) -> dict[str, Any]:
        given = {"file": str(tmp_path / id), **more}
        return {"id": id, "capability": "mark", "input": given, "next": next}

    steps = [
        parallel(
            "p",
            [mark("a", "b", until=str(go)), mark("b")],
            [mark("c", "w"), wait("w", 100, "d"), mark("d")],
            next="z",
        ),
        mark("z"),
    ]
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})

    def told(event: str, path: str) -> bool:
        return any((e.event, e.path) == (event, path) for e in execution.history())

    with orchestrator.workers(include=[str(module)], concurrency=1) as first:
        execution = orchestrator.start_workflow("w")
        wait_until(lambda: told("claimed", "p/0/a"))
        assert execution.pause("its machine is down", branch="p/0", by="a test")
        os.killpg(first.processes[0].pid, signal.SIGKILL)
        with orchestrator.workers(include=[str(module)], concurrency=1):
            wait_until(lambda: told("lost", "p/0/a") and told("completed", "p/1/d"))
            context = execution.status()
            assert (context.status, list(context.paused_branches)) == ("running", ["p/0"])
            assert context.waiting_for["p/0/a"].startswith("branch p/0 paused by a test at ")
            assert context.waiting_for["p"] == "1 of 2 branches"
            go.touch()
            assert execution.resume(branch="p/0")
            assert execution.wait(30).status == "completed"
    entries = execution.history()
    completed = Counter(e.path for e in entries if e.event == "completed")
    assert set(completed.values()) == {1} and "z" in completed and "p/0/b" in completed
    words = [e.event for e in entries]
    between = entries[words.index("branch_paused") : words.index("branch_resumed")]
    assert not any(e.event == "claimed" and e.path.startswith("p/0/") for e in between)
    assert len((tmp_path / "z").read_text().splitlines()) == 1
