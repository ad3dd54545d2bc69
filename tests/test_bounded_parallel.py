"""`parallel` with `maxConcurrency`: so many branches at once, the others wait for their turn."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from orch import Orchestrator
from orch.control.advance import Advancer
from orch.control.plans import Plans
from orch.control.simulation import Simulation, simulate
from orch.control.status import execution_context
from orch.control.workers import WorkerProcesses
from orch.journal.journal import Journal, Refused
from orch.workflows.canvas import compile_canvas
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.modifying import steps_ahead
from orch.workflows.outcome import Completed, Failed
from orch.workflows.reopening import reopen
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus
from orch.workflows.validation import errors_in, validate_document
from tests.build import (
    Worked,
    begun,
    decision,
    failure,
    parallel,
    plan_of,
    start,
    statuses,
    task,
    wait,
)

Step = dict[str, Any]


def bounded(most: int, *branches: list[Step], id: str = "p", **given: Any) -> Step:
    more = {name: given.pop(name) for name in ("next", "timeout", "onError") if name in given}
    step = parallel(id, *branches, **more)
    step["parallel"] |= {"maxConcurrency": most, **given}
    return step


def tasks(count: int) -> list[list[Step]]:
    return [[task(f"b{number}")] for number in range(count)]


def run(*steps: Step, input: Any = None, **mocks: Any) -> Simulation:
    definition = WorkflowDefinition.model_validate({"name": "flow", "steps": list(steps)})
    return simulate(definition, key="flow", input=input, mocks=mocks)


def outcomes(simulation: Simulation) -> dict[str, str]:
    return {step.path: step.outcome for step in simulation.steps}


def at(simulation: Simulation) -> dict[str, int]:
    return {step.path: step.at_ms for step in simulation.steps}


class TestTurns:
    def test_branches_take_their_turns_in_order_and_results_stand_in_theirs(self) -> None:
        ended = run(
            bounded(2, *tasks(5)),
            durations={"b0": 300, "b1": 100, "b2": 100, "b3": 100, "b4": 100},
            outputs={f"b{n}": n for n in range(5)},
        )
        assert ended.output["results"] == [0, 1, 2, 3, 4]
        assert [at(ended)[f"p/{n}/b{n}"] for n in range(5)] == [300, 100, 200, 300, 400]

    def test_as_many_as_there_are_is_no_bound(self) -> None:
        for most in (3, 99):
            plan = plan_of(bounded(most, *tasks(3)))
            assert (
                begun(plan).opens[0].state
                == begun(plan_of(parallel("p", *tasks(3)))).opens[0].state
            )

    def test_only_the_first_ones_are_opened(self) -> None:
        transition = begun(plan_of(bounded(2, *tasks(4))))
        assert statuses(transition) == {
            "p": "joining", "p/0/b0": "dispatched", "p/1/b1": "dispatched",
        }  # fmt: skip

    def test_branches_that_no_worker_is_needed_for_take_their_turns_at_once(self) -> None:
        branches = [[task(f"b{n}", condition="false")] for n in range(4)]
        ended = run(bounded(1, *branches, [task("z")]), outputs={"z": 1})
        assert ended.output["results"] == [None, None, None, None, 1]
        plan = plan_of(bounded(1, *branches))
        assert statuses(begun(plan))["p"] == "joined"

    def test_the_one_whose_turn_has_come_may_begin_with_anything(self) -> None:
        branches = [
            [task("a")],
            [wait("w", 100)],
            [decision("d", "$.input", {"1": "x"}), task("x")],
            [{"id": "l", "type": "loop", "loop": {"steps": [task("y")], "until": "$.index >= 2"}}],
            [{"id": "m", "type": "map", "map": {"items": [1, 2], "capability": "work"}}],
            [{"id": "e", "type": "event", "event": {"name": "go"}}],
            [task("skipped", condition="false")],
            [bounded(1, [task("i")], [task("j")], id="q")],
        ]
        outputs = {name: name for name in "axymij"}
        ended = run(bounded(1, *branches), input=1, events={"e": "went"}, outputs=outputs)
        assert ended.status == "completed"
        results = ended.output["results"]
        assert results[:4] == ["a", None, "x", "y"] and results[5:7] == ["went", None]
        assert results[4]["results"] == ["m", "m"] and results[7]["results"] == ["i", "j"]

    def test_it_nests_in_itself_in_maps_and_in_loops(self) -> None:
        inner = bounded(1, [task("i", input="$.item")], [task("j")], id="q")
        mapped = {"id": "m", "type": "map", "map": {"items": [1, 2], "steps": [inner]}}
        loop = {"id": "l", "type": "loop", "loop": {"steps": [mapped], "until": "$.index >= 2"}}
        ended = run(bounded(1, [task("a")], [loop]), outputs={"i": "i", "j": "j"})
        assert ended.status == "completed"
        assert sum(path.endswith("/j") for path in outcomes(ended)) == 4

    def test_variables_that_the_first_one_sets_are_seen_by_those_that_wait(self) -> None:
        first = task("a", output={"v": "$.output"})
        ended = run(bounded(1, [first], [task("b", condition="$.variables.v == 7")]),
                    outputs={"a": 7, "b": "ran"})  # fmt: skip
        assert ended.output["results"] == [7, "ran"]


class TestJoins:
    def test_those_that_wait_never_start_once_enough_succeeded(self) -> None:
        ended = run(bounded(2, *tasks(5), join="any"), durations={"b0": 10, "b1": 500})
        assert ended.output["reason"] == "enough succeeded"
        assert ended.output["counts"] == {
            "total": 5, "succeeded": 1, "failed": 0, "cancelled": 4,
        }  # fmt: skip
        assert outcomes(ended) == {
            "p": "completed", "p/0/b0": "completed", "p/1/b1": "cancelled",
        }  # fmt: skip

    def test_any_goes_on_to_the_next_when_one_fails(self) -> None:
        ended = run(bounded(1, *tasks(4), join="any"), errors={"b0": "A", "b1": "B"})
        assert ended.output["reason"] == "enough succeeded"
        assert list(outcomes(ended)) == ["p", "p/0/b0", "p/1/b1", "p/2/b2"]

    def test_at_least_fails_by_name_as_soon_as_it_cannot_be_reached(self) -> None:
        ended = run(bounded(1, *tasks(5), join={"atLeast": 4}), errors={"b1": "A", "b2": "B"})
        assert ended.error is not None and ended.error["name"] == "NotEnoughSucceeded"
        assert ended.error["data"]["reason"] == "cannot succeed any more"
        assert "p/3/b3" not in outcomes(ended)

    def test_a_plain_one_starts_nothing_after_its_first_failure(self) -> None:
        ended = run(bounded(1, *tasks(3)), errors={"b1": "Special"})
        assert ended.error is not None
        assert (ended.error["name"], ended.error["branch"]) == ("Special", 1)
        assert "p/2/b2" not in outcomes(ended)

    def test_a_tolerance_that_is_met_goes_on_and_one_that_is_exceeded_does_not(self) -> None:
        fails = {"b0": "A", "b1": "B"}
        met = run(bounded(1, *tasks(4), tolerate={"count": 2}), errors=fails)
        assert (met.status, met.output["reason"]) == ("completed", "all")
        exceeded = run(bounded(1, *tasks(4), tolerate={"count": 1}), errors=fails)
        assert exceeded.error is not None and exceeded.error["name"] == "ToleranceExceeded"
        assert "p/2/b2" not in outcomes(exceeded)

    def test_a_timeout_ends_those_at_work_and_those_that_wait(self) -> None:
        ended = run(bounded(1, *tasks(4), timeout=250), durations={f"b{n}": 100 for n in range(4)})
        assert ended.error is not None and ended.error["name"] == "StepTimeout"
        assert outcomes(ended)["p/2/b2"] == "cancelled" and "p/3/b3" not in outcomes(ended)

    @given(
        data=st.data(),
        total=st.integers(1, 6),
        most=st.integers(1, 6),
        join=st.sampled_from(["all", "any", "quorum", 2, 3]),
        tolerate=st.none() | st.integers(0, 3),
    )
    def test_every_one_ends_as_its_rules_say(
        self, data: st.DataObject, total: int, most: int, join: str | int, tolerate: int | None
    ) -> None:
        fails = data.draw(st.lists(st.booleans(), min_size=total, max_size=total))
        lengths = data.draw(st.lists(st.integers(1, 20), min_size=total, max_size=total))
        durations = [length * 1000 + number for number, length in enumerate(lengths)]
        conditions = data.draw(st.lists(st.booleans(), min_size=total, max_size=total))
        branches = [
            [task(f"b{n}", condition="true" if conditions[n] else None)] for n in range(total)
        ]
        policy: Any = {"atLeast": min(join, total)} if isinstance(join, int) else join
        more = {"tolerate": {"count": tolerate}} if tolerate is not None else {}
        ended = run(
            bounded(most, *branches, join=policy, **more),
            durations={f"b{n}": duration for n, duration in enumerate(durations)},
            errors={f"b{n}": "E" for n, failing in enumerate(fails) if failing},
        )
        need = {"all": 0, "any": 1, "quorum": total // 2 + 1}.get(join, 0)  # type: ignore[call-overload]
        need = min(join, total) if isinstance(join, int) else need
        allowed = tolerate if tolerate is not None else (0 if join == "all" else total)
        status, opened, now = interpret(fails, durations, most, need, allowed)
        assert ended.status == status
        assert [s.path for s in ended.steps if s.path != "p"] == [f"p/{n}/b{n}" for n in opened]
        assert at(ended)["p"] == now


def interpret(
    fails: list[bool], durations: list[int], most: int, need: int, allowed: int
) -> tuple[str, list[int], int]:
    """Status, the branches that began, and when it ended, ms: branch by branch."""
    total = len(fails)
    opened = list(range(min(most, total)))
    at_work = {number: durations[number] for number in opened}
    good = bad = now = 0
    while at_work:
        now, number = min((end, number) for number, end in at_work.items())
        del at_work[number]
        good, bad = good + (not fails[number]), bad + fails[number]
        if bad > allowed or (need and total - bad < need):
            return "failed", opened, now
        if need and good >= need:
            return "completed", opened, now
        if len(opened) < total:
            following = len(opened)
            opened.append(following)
            at_work[following] = now + durations[following]
    return "completed", opened, now


# --- on a journal ----------------------------------------------------------------------------


def advancer(worked: Worked) -> Advancer:
    return Advancer(worked.journal, Plans(worked.journal), worked.dispatch)


def finish(worked: Worked, path: str, outcome: Any = None) -> Any:
    claimed = worked.take(path)
    outcome = outcome or Completed(None)
    return advancer(worked).settle(worked.plan, claimed.view, path, claimed.state, outcome)


def live(worked: Worked) -> list[str]:
    fields = worked.journal.steps("x1")
    return sorted(
        path
        for path, text in fields.items()
        if path[0] not in "=!?" and StepState.loads(text).status in LIVE
    )


class TestJournal:
    def test_the_settle_that_ends_a_branch_opens_the_next(self, journal: Journal) -> None:
        worked = start(journal, bounded(2, *tasks(4)))
        reply = finish(worked, "p/1/b1")
        assert reply.following == "p/2/b2" and worked.sent == ["p/2/b2"]
        assert live(worked) == ["p", "p/0/b0", "p/2/b2"] == sorted(worked.watched())
        assert finish(worked, "p/2/b2").following == "p/3/b3"
        assert finish(worked, "p/3/b3").following is None
        assert finish(worked, "p/0/b0").joined == "p"
        assert worked.status() is ExecutionStatus.COMPLETED

    def test_a_branch_that_is_to_be_entered_is_not_forgotten(self, journal: Journal) -> None:
        worked = start(journal, bounded(1, [task("a")], [wait("w", 100)], [task("z")]))
        claimed = worked.take("p/0/a")
        worked.settle("p/0/a", claimed, Completed(None))  # the worker dies here
        assert worked.state("p/1/w").status is StepStatus.ENTERING
        assert worked.claim("p/1/w") == Refused("EARLY", ("entering",))
        assert sorted(worked.watched()) == ["p", "p/1/w"]
        for _ in range(2):
            advancer(worked).join("x1", "p/1/w")
        assert worked.state("p/1/w").status is StepStatus.WAITING

    def test_the_same_outcome_told_twice_opens_one(self, journal: Journal) -> None:
        worked = start(journal, bounded(1, *tasks(3)))
        claimed = worked.take("p/0/b0")
        transition = worked.decide("p/0/b0", claimed, Completed(None))
        worked.commit(claimed, transition)
        assert worked.commit(claimed, transition).repeated  # type: ignore[union-attr]
        assert worked.state("p").opened == 2 and live(worked) == ["p", "p/1/b1"]

    def test_the_status_says_how_many_are_at_work(self, journal: Journal) -> None:
        worked = start(journal, bounded(2, *tasks(10)))
        for number in range(7):
            finish(worked, f"p/{number}/b{number}")
        lines = {
            s.path: s.waiting_for for s in execution_context(journal, Plans(journal), "x1").steps
        }
        assert lines["p"] == "3 of 10 branches, 2 at work"

    def test_paused_and_resumed(self, journal: Journal) -> None:
        worked = start(journal, bounded(1, *tasks(3)))
        claimed = worked.take("p/0/b0")
        journal.pause("x1", {"by": "me"})
        advancer(worked).settle(worked.plan, claimed.view, "p/0/b0", claimed.state, Completed(1))
        assert worked.claim("p/1/b1") == Refused("PAUSED")
        assert journal.resume("x1", {}, {}).paths == ("p/1/b1",)
        for path in ("p/1/b1", "p/2/b2"):
            finish(worked, path)
        assert worked.status() is ExecutionStatus.COMPLETED

    def test_branches_are_chains_and_no_chord(self) -> None:
        plan = plan_of(bounded(2, [task("a", "b"), task("b")], *tasks(2)))
        canvases = compile_canvas(plan, "x", ["p/0/a", "p/1/b0"])
        assert [canvas.name for canvas in canvases] != ["celery.chord"]
        assert [link.args[1] for link in canvases[0].tasks] == ["p/0/a", "p/0/b"]


class TestRetry:
    def again(self, worked: Worked) -> dict[str, StepStatus]:
        journal = worked.journal
        error = journal.record("x1").error
        ends = journal.read_ends("x1")
        found = reopen(worked.plan, "x1", journal.steps("x1"), error, ends)
        assert journal.retry("x1", found).done
        return {path: token.status for path, token in found.tokens.items()}

    def test_those_that_never_began_wait_again(self, journal: Journal) -> None:
        worked = start(journal, bounded(2, *tasks(5)))
        finish(worked, "p/0/b0")
        finish(worked, "p/1/b1", Failed(failure()))
        assert worked.status() is ExecutionStatus.FAILED
        assert set(self.again(worked)) == {"p", "p/1/b1", "p/2/b2"}
        assert worked.state("p").left == 4
        for number in (2, 1, 3, 4):
            finish(worked, f"p/{number}/b{number}")
        assert worked.status() is ExecutionStatus.COMPLETED

    def test_no_more_are_tried_again_at_once_than_may_run(self, journal: Journal) -> None:
        worked = start(journal, bounded(2, *tasks(6), tolerate={"count": 2}))
        for number in (0, 2, 3):
            finish(worked, f"p/{number}/b{number}", Failed(failure()))
        assert worked.status() is ExecutionStatus.FAILED
        # b1 was cancelled at its work; of those that failed, one finds a free lane.
        assert set(self.again(worked)) == {"p", "p/1/b1", "p/0/b0"}
        state = worked.state("p")
        assert (state.left, state.failed, state.opened, state.waits) == (6, 0, 4, 2)
        worked.sent.clear()
        for number in (0, 1, 2, 3, 4, 5):
            assert len(live(worked)) == (3 if number < 5 else 2)
            finish(worked, f"p/{number}/b{number}")
        assert worked.sent == [f"p/{number}/b{number}" for number in (2, 3, 4, 5)]
        assert worked.status() is ExecutionStatus.COMPLETED
        output = json.loads(journal.steps("x1")["=p"])
        assert output["counts"] == {"total": 6, "succeeded": 6, "failed": 0, "cancelled": 0}
        assert journal.read_ends("x1") == {}

    def test_one_whose_turn_had_come_and_no_more_is_entered_then(self, journal: Journal) -> None:
        worked = start(journal, bounded(2, [task("a")], [task("b")], [wait("w")], [task("z")]))
        claimed = worked.take("p/0/a")
        worked.settle("p/0/a", claimed, Completed(None))  # nobody enters `w`
        finish(worked, "p/1/b", Failed(failure()))
        assert worked.status() is ExecutionStatus.FAILED
        assert self.again(worked)["p/2/w"] is StepStatus.ENTERING
        advancer(worked).join("x1", "p/2/w")
        assert worked.state("p/2/w").status is StepStatus.WAITING
        finish(worked, "p/1/b")
        advancer(worked).fire("x1", "p/2/w", worked.state("p/2/w"))
        finish(worked, "p/3/z")
        assert worked.status() is ExecutionStatus.COMPLETED


def test_branches_that_wait_are_ahead_of_an_execution_and_those_that_began_are_not() -> None:
    plan = plan_of(bounded(1, *tasks(3), next="z"), task("z"))
    state = StepState(StepStatus.JOINING, total=3, left=2, opened=2)
    assert steps_ahead(plan, {"p": state}) == {"p/2/b2", "z"}


def test_no_concurrency_at_all_and_no_batch_at_all_are_findings() -> None:
    document = {"name": "w", "timeoutMs": 1000, "steps": [
        bounded(0, *tasks(2), next="m"),
        {"id": "m", "type": "map",
         "map": {"items": "$.input", "capability": "c", "maxConcurrency": 0, "batch": 0}},
    ]}  # fmt: skip
    found = {f.path: (f.message, f.hint) for f in errors_in(validate_document(document)[-1])}
    assert found == {
        "steps[0].parallel.maxConcurrency": (
            "must be at least 1; found the number 0", "leave it out for no limit"),
        "steps[1].map.maxConcurrency": (
            "must be at least 1; found the number 0", "leave it out for 16"),
        "steps[1].map.batch": (
            "must be at least 1; found the number 0",
            "1 gives every item a message of its own; leave it out for `auto`"),
    }  # fmt: skip


CAPABILITY = """
import os, time
from orch import Context, capability

@capability("work")
def work(context: Context) -> str:
    for word in ("begin", "end"):
        line = f"{word} {context.path} {context.attempt}\\n"
        file = os.open(os.environ["RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)
        time.sleep(0.05)
    return context.path
"""


@pytest.mark.timeout(120)
def test_a_worker_that_is_killed_loses_no_branch_and_the_bound_holds(
    tmp_path: Path, redis_url: str, redis: Redis, wait_until: Callable[..., object]
) -> None:
    code, runs = tmp_path / "branching.py", tmp_path / "runs"
    code.write_text(CAPABILITY)
    runs.touch()
    count, most = 40, 3

    def lines() -> list[list[str]]:
        return [line.split() for line in runs.read_text().splitlines()]

    with Orchestrator(redis_url=redis_url, data_dir=tmp_path / "unused") as orchestrator:
        orchestrator.define_workflow("w", {"name": "w", "steps": [bounded(most, *tasks(count))]})
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
            execution = orchestrator.start_workflow("w")
            wait_until(lambda: len(lines()) > 20, timeout=60)
            os.killpg(workers[0].processes[0].pid, signal.SIGKILL)
            ended = execution.wait(90)
        finally:
            for worker in workers:
                worker.stop(grace=2)
    assert ended.output["results"] == [f"p/{n}/b{n}" for n in range(count)]
    running: set[str] = set()
    for word, path, _ in lines():
        (running.add if word == "begin" else running.discard)(path)
        assert len(running) <= most
