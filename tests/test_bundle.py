"""Branches that one message brings: claimed and committed some at a time, or spread."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.control.runtime import Runtime
from orch.control.workers import WorkerProcesses
from orch.errors import StepError
from orch.settings import Settings
from orch.tasks import bundle, pace
from orch.tasks.bundle import AT_ONCE, KEPT
from orch.workflows.canvas import FEWEST, MOST, compile_canvas
from orch.workflows.state import ExecutionStatus, StepStatus
from tests.build import parallel, plan_of, task
from tests.played import Played

Make = Callable[..., Played]


def branches(count: int, **given: Any) -> list[str]:
    return [f"fork/{n}/b" for n in range(count)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The capability of the steps has been seen to take a moment."""
    monkeypatch.setattr(pace, "_means", {"work": 0.0001})


@pytest.fixture
def play(
    redis: Redis, settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """An execution of so many branches; what is spread is a message for each."""
    made: list[Runtime] = []
    monkeypatch.setattr("orch.tasks.step.others_wait", lambda app, queue, lists: False)
    # On a busy machine a call takes long now and then; here, where a test says so.
    monkeypatch.setattr(bundle, "LONG", 60.0)

    def make(count: int, *steps: dict[str, Any], **more: Any) -> Played:
        steps = steps or (task("b"),)
        fork = parallel("fork", *[list(steps) for _ in range(count)], next="end")
        fork["parallel"] |= more
        made.append(Runtime(settings, redis_url))
        played = Played(made[-1], fork, task("end"))
        spread = lambda plan, execution, paths, priority: played.spread.extend(paths)  # noqa: E731
        monkeypatch.setattr(made[-1], "spread", spread)
        return played

    yield make
    for runtime in made:
        runtime.close()


def bring(played: Played, *others: str) -> str:
    """One message with all the branches; it is taken off the list."""
    first, *rest = played.messages
    played.messages = []
    return played.do(first, [*rest, *others])


class TestWhatIsSent:
    def sent(self, plan: Any, count: int, handoff: str = "auto") -> list[list[str]]:
        """The paths that each message brings."""
        canvases = compile_canvas(plan, "x", branches(count), handoff=handoff)
        found = []
        for canvas in canvases:
            for signature in getattr(canvas, "tasks", [canvas]):
                found.append([signature.args[1], *(signature.args[3:] or [[]])[0]])
        return found

    def plan(self, count: int, **given: Any) -> Any:
        fork = parallel("fork", *[[task("b", **given)] for _ in range(count)])
        return plan_of(fork)

    def test_many_branches_that_begin_alike_are_one_message(self) -> None:
        assert self.sent(self.plan(50), 50) == [branches(50)]

    def test_very_many_are_some(self) -> None:
        found = self.sent(self.plan(MOST + 50), MOST + 50)
        assert [len(each) for each in found] == [MOST, 50]

    @pytest.mark.parametrize(
        ("count", "given", "handoff"),
        [
            (FEWEST - 1, {}, "auto"),
            (20, {}, "off"),
            (20, {"handoff": "off"}, "auto"),
            (20, {"timeout": 1000}, "auto"),
            (20, {"scheduleTimeout": 1000}, "auto"),
            (20, {"delivery": "at_most_once"}, "auto"),
        ],
    )
    def test_few_those_with_a_time_to_keep_and_those_that_run_once_get_one_each(
        self, count: int, given: dict[str, Any], handoff: str
    ) -> None:
        assert self.sent(self.plan(count, **given), count, handoff) == [
            [p] for p in branches(count)
        ]

    def test_those_that_begin_otherwise_go_elsewhere(self) -> None:
        other = {**task("b"), "capability": "other"}
        plan = plan_of(parallel("fork", *[[task("b") if n % 2 else other] for n in range(20)]))
        assert self.sent(plan, 20) == [branches(20)[::2], branches(20)[1::2]]


class TestQuickOnes:
    def test_all_are_done_and_what_is_behind_them(self, play: Make) -> None:
        played = play(30)
        assert bring(played) == "completed (the last of 31 steps)"
        assert played.runs == [*branches(30), "end"]
        assert played.worked.status() is ExecutionStatus.COMPLETED
        assert played.messages == [] and played.worked.watched() == {}

    def test_each_stands_in_the_history_once(self, play: Make) -> None:
        played = play(20)
        bring(played)
        told = Counter(event for event in played.worked.events() if event[1].startswith("fork/"))
        assert told == {(word, p): 1 for word in ("claimed", "completed") for p in branches(20)}

    def test_sixteen_cost_one_script(self, play: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        played, calls = play(2 * AT_ONCE), []
        real = played.journal.run
        monkeypatch.setattr(
            played.journal, "run", lambda script, **g: (calls.append(script), real(script, **g))[1]
        )
        bring(played)
        assert Counter(calls) == {"settle_branches": 3, "settle": 1, "settle_last": 1}

    def test_outputs_come_in_the_order_of_the_branches(self, play: Make) -> None:
        played = play(20)
        played.act = lambda path, _: path
        bring(played)
        output = json.loads(played.journal.steps("x1")["=fork"])
        assert output["results"] == branches(20)

    def test_what_is_too_much_for_one_worker_goes_to_the_next(self, play: Make) -> None:
        many = KEPT + AT_ONCE + 1
        played = play(many)
        bring(played)
        assert len(played.runs) == KEPT and played.messages == branches(many)[KEPT:]
        bring(played)
        assert played.worked.status() is ExecutionStatus.COMPLETED

    def test_what_is_hardly_too_much_is_not_worth_another_message(self, play: Make) -> None:
        played = play(KEPT + AT_ONCE)
        bring(played)
        assert played.messages == []
        assert played.worked.status() is ExecutionStatus.COMPLETED

    def test_the_second_steps_are_sent_together(self, play: Make) -> None:
        played = play(20, task("b", "c"), task("c"))
        bring(played)
        assert sorted(played.messages) == sorted(p.replace("/b", "/c") for p in branches(20))
        bring(played)
        assert played.worked.status() is ExecutionStatus.COMPLETED


class TestSlowOnes:
    def test_what_nobody_has_tried_yet_is_spread(
        self, play: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pace, "_means", {})
        played = play(20)
        bring(played)
        assert played.runs == branches(20)[:1] and played.spread == branches(20)[1:]

    def test_behind_one_that_takes_long_the_others_get_messages(
        self, play: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bundle, "LONG", -1.0)
        played = play(20)
        bring(played)
        assert played.runs == branches(20)[:1]
        assert sorted(played.spread) == sorted(branches(20)[1:])
        states = [played.worked.state(path) for path in branches(20)]
        assert [s.status for s in states[1:]] == [StepStatus.DISPATCHED] * 19
        assert [s.attempt for s in states] == [1] + [2] * (AT_ONCE - 1) + [1] * (20 - AT_ONCE)
        assert sorted(played.worked.watched()) == sorted(["fork", *branches(20)[1:]])
        assert [s.lost for s in states] == [0] * 20, "nobody died of them"
        played.messages = played.spread
        played.run()
        assert played.worked.status() is ExecutionStatus.COMPLETED


class TestWhatGoesWrong:
    def test_a_failure_ends_them_all(self, play: Make) -> None:
        played = play(20)

        def fail(path: str, _: Any) -> None:
            if path == "fork/3/b":
                raise StepError("Broken", "it broke")

        played.act = fail
        bring(played)
        assert played.runs == branches(20)[:4]
        assert played.worked.status() is ExecutionStatus.FAILED and played.worked.watched() == {}

    def test_what_is_tried_again_waits_by_itself(self, play: Make) -> None:
        played = play(20, task("b", retry={"maxAttempts": 2, "interval": 0}))
        failed: list[str] = []

        def fail(path: str, _: Any) -> None:
            if path == "fork/3/b" and not failed:
                failed.append(path)
                raise StepError("Broken", "it broke")

        played.act = fail
        bring(played)
        assert len(played.runs) == 20
        assert sorted(played.worked.watched()) == ["fork", "fork/3/b"]
        state = played.worked.state("fork/3/b")
        assert state.status is StepStatus.RETRYING
        played.runtime.advancer.redispatch("x1", "fork/3/b", state)
        played.run()
        assert played.worked.status() is ExecutionStatus.COMPLETED

    def test_one_success_may_be_enough(self, play: Make) -> None:
        played = play(20, join="any")
        bring(played)
        assert played.runs == [*branches(20)[:AT_ONCE], "end"]
        events = [event for event, path in played.worked.events() if path.startswith("fork/")]
        assert Counter(events) == {"claimed": AT_ONCE, "completed": 1, "cancelled": 19}

    def test_nothing_more_is_claimed_while_paused(self, play: Make) -> None:
        played = play(2 * AT_ONCE)

        def pause(path: str, _: Any) -> None:
            if path == "fork/3/b":
                played.journal.pause("x1", {"by": "me"})

        played.act = pause
        bring(played)
        assert len(played.runs) == AT_ONCE, "what was claimed may end"
        assert len(played.worked.watched()) == 1 + AT_ONCE
        played.messages, played.spread = [], []
        played.messages = list(played.journal.resume("x1", {}, {}).paths)
        bring(played)
        assert played.worked.status() is ExecutionStatus.COMPLETED

    def test_it_ends_with_its_execution(self, play: Make) -> None:
        played = play(2 * AT_ONCE)

        def cancel(path: str, _: Any) -> None:
            if path == "fork/3/b":
                error = {"name": "Cancelled", "message": ""}
                played.journal.end("x1", ExecutionStatus.CANCELLED, error)

        played.act = cancel
        bring(played)
        assert played.runs[-1] != "end" and played.worked.watched() == {}

    def test_what_others_hold_or_did_is_left_alone(self, play: Make) -> None:
        played = play(20)
        played.worked.do("fork/2/b")
        held = played.worked.take("fork/5/b")
        bring(played)
        assert "fork/2/b" not in played.runs and "fork/5/b" not in played.runs
        assert played.worked.state("fork/5/b") == held.state
        assert sorted(played.worked.watched()) == ["fork", "fork/5/b"]
        assert played.worked.state("fork").left == 1

    def test_an_attempt_after_a_lost_one_gets_a_message_of_its_own(self, play: Make) -> None:
        played = play(20)
        claimed = played.worked.take("fork/4/b")
        played.runtime.advancer.lose("x1", "fork/4/b", claimed.state, "gone")
        played.messages.remove("fork/4/b")
        bring(played)
        assert played.spread == ["fork/4/b"] and "fork/4/b" not in played.runs

    def test_what_was_given_up_meanwhile_is_not_counted(self, play: Make) -> None:
        played = play(20)

        def lose(path: str, _: Any) -> None:
            if path == "fork/3/b" and played.worked.state(path).attempt == 1:
                played.runtime.advancer.lose("x1", path, played.worked.state(path), "gone")

        played.act = lose
        bring(played)
        assert played.worked.state("fork").left == 1
        assert played.messages == ["fork/3/b"]
        played.run()
        assert played.worked.status() is ExecutionStatus.COMPLETED

    def test_a_second_message_does_no_harm(self, play: Make) -> None:
        played = play(20)
        first, *rest = list(played.messages)
        bring(played)
        assert played.do(first, rest) == "done"
        assert played.runs == [*branches(20), "end"]


CAPABILITY = """
import os, time
from orch import Context, capability

@capability("work")
def work(context: Context) -> str:
    line = f"{context.path} {context.attempt} {os.getpid()}\\n".encode()
    file = os.open(os.environ["BUNDLE_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)
    if context.path == "fork/30/b30" and os.path.exists(os.environ["BUNDLE_RUNS"] + ".trap"):
        time.sleep(60)
    return context.path
"""


@pytest.mark.usefixtures("redis")
def test_a_process_killed_inside_a_bundle_loses_no_branch_and_repeats_few(
    tmp_path: Path, redis_url: str
) -> None:
    code, runs = tmp_path / "code.py", tmp_path / "runs"
    code.write_text(CAPABILITY)
    trap = tmp_path / "runs.trap"
    orchestrator = Orchestrator(redis_url=redis_url, data_dir=tmp_path / "unused")
    workers = WorkerProcesses(
        orchestrator.settings, redis_url, concurrency=1, include=[str(code)], queues=["work"],
        log=tmp_path / "log", environment={"BUNDLE_RUNS": str(runs)},
    )  # fmt: skip
    workers.start(timeout=60)
    try:
        fork = parallel("fork", *[[task(f"b{n}")] for n in range(40)], next="end")
        orchestrator.define_workflow("w", {"name": "w", "steps": [fork, task("end")]})
        first = orchestrator.start_workflow("w")
        first.wait(timeout=60)
        assert len(set(runs.read_text().split()[2::3])) == 1
        runs.write_text("")
        trap.touch()
        second = orchestrator.start_workflow("w")
        limit = time.monotonic() + 60
        while "fork/30/b30" not in runs.read_text():
            assert time.monotonic() < limit
            time.sleep(0.01)
        trap.unlink()
        os.kill(int(runs.read_text().split()[-1]), signal.SIGKILL)
        assert second.wait(timeout=60).output == "end"
        counts = Counter(runs.read_text().split()[::3])
        assert (
            set(counts) == {*(f"fork/{n}/b{n}" for n in range(40)), "end"}
            and counts["fork/30/b30"] == 2
        )
        again = [path for path, count in counts.items() if count > 1]
        assert len(again) < AT_ONCE and max(counts.values()) == 2
        states = second.history()
        completed = Counter(e.path for e in states if e.event == "completed")
        assert all(count == 1 for count in completed.values())
    finally:
        workers.stop()
        orchestrator.close()
