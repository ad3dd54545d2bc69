"""What a failed execution undoes before it ends as failed; and what dies on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from orch import Orchestrator
from orch.control.simulation import simulate
from orch.errors import NotAllowed
from orch.journal.journal import Journal, Refused
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.outcome import Completed, Failed, Failure
from orch.workflows.state import ExecutionStatus, StepStatus
from orch.workflows.view import context_of, with_output
from tests.build import parallel, task, wait
from tests.escalated import Played as Escalated
from tests.undone import Family, Played, Shop, played, undoable

COMPENSATING = ExecutionStatus.COMPENSATING
ABORTED = {"name": "Aborted", "message": "enough"}


def failed(journal: Journal, *undone: str) -> Played:
    """Steps ``undone`` completed, one after the other, and the one behind them failed."""
    names = [*undone, "last"]
    steps = [undoable(a, b) for a, b in pairwise(names)]
    found = played(journal, *steps, task("last"), input={"x": 1})
    for path in undone:
        found.do(path, f"output of {path}")
    found.fail("last")
    return found


class TestFailure:
    def test_what_was_done_is_undone_before_it_ends_as_failed(self, journal: Journal) -> None:
        found = failed(journal, "a", "b")
        assert found.worked.status() is COMPENSATING
        assert found.error["name"] == "Broken" and "compensated" not in found.error
        assert found.context().undoing == [
            "it failed; what it did is undone, and then it ends as failed"
        ]
        found.do("compensations/b")
        found.do("compensations/a")
        assert found.worked.status() is ExecutionStatus.FAILED
        assert found.error == {
            "name": "Broken",
            "class": "unknown",
            "message": "no",
            "step": "last",
            "path": "last",
            "attempt": 1,
            "compensated": ["b", "a"],
            "failedCompensations": [],
        }
        assert found.worked.watched() == {}
        assert found.context().undoing == ["undone: b, a"]
        told = [(e.event, e.path) for e in journal.history("x1") if e.event != "claimed"]
        assert told[-7:] == [
            ("failed", "last"),
            ("compensating", ""),
            ("compensating", "compensations/b"),
            ("completed", "compensations/b"),
            ("compensating", "compensations/a"),
            ("completed", "compensations/a"),
            ("ended", ""),
        ]

    def test_its_error_is_as_it_was_where_nothing_was_to_be_undone(self, journal: Journal) -> None:
        found = played(journal, task("a", "b"), undoable("b"))
        found.fail("a")
        assert found.worked.status() is ExecutionStatus.FAILED
        assert found.error["name"] == "Broken" and "compensated" not in found.error

    @pytest.mark.parametrize("name", ["Broken", "Cancelled"])
    def test_a_compensation_sees_the_error_beside_the_output(
        self, journal: Journal, name: str
    ) -> None:
        undo = {"capability": "undo", "input": {"of": "$.output", "why": "$.error.name"}}
        found = played(journal, task("a", "b", compensate=undo), task("b"))
        found.do("a", 5)
        found.fail("b") if name == "Broken" else found.verbs.cancel("x1")
        path = "compensations/a"
        claimed = found.worked.take(path)
        seen = context_of(with_output(claimed.view, path, 5), path)
        input = found.worked.plan.node(path).input.evaluate(seen)
        assert input == {"of": 5, "why": name}

    def test_a_compensation_that_fails_is_noted_and_the_rest_goes_on(
        self, journal: Journal
    ) -> None:
        found = failed(journal, "a", "b")
        found.fail("compensations/b", "Odd")
        found.do("compensations/a")
        assert found.error["compensated"] == ["a"]
        (note,) = found.error["failedCompensations"]
        assert note["path"] == "b" and note["error"]["name"] == "Odd"
        assert found.context().undoing == ["undone: a", "not undone: b: Odd: no"]

    def test_one_that_fails_as_it_begins_undoes_what_was_done_at_once(
        self, journal: Journal
    ) -> None:
        loop = {"while": "$.input.x > 5", "steps": [task("s")]}
        first = {"id": "l", "type": "loop", "loop": loop, "next": "m"}
        mapped = {"id": "m", "type": "map", "map": {"items": "$.input.x", "steps": [task("i")]}}
        undo = {"compensate": {"capability": "undo"}}
        found = played(journal, {**first, **undo}, mapped, input={"x": 1})
        assert found.worked.status() is COMPENSATING
        assert set(found.worked.watched()) == {""}
        found.look(journal.grace)
        found.do("compensations/l")
        assert found.worked.status() is ExecutionStatus.FAILED
        assert (found.error["name"], found.error["compensated"]) == ("InvalidItems", ["l"])

    @pytest.mark.parametrize("handler", ["b", "tell"])
    def test_a_handler_that_takes_over_undoes_nothing_and_one_that_only_tells_does(
        self, journal: Journal, handler: str
    ) -> None:
        handlers = [{"error": "*", "handler": handler}]
        steps = [undoable("a", "f"), task("f", "z"), task("z"), task("b")]
        found = played(journal, *steps, errorHandlers=handlers)
        found.do("a")
        found.fail("f")
        if handler == "b":
            found.do("b")
            assert found.worked.status() is ExecutionStatus.COMPLETED
            return
        found.do("errorHandlers/0/tell")
        assert found.worked.status() is COMPENSATING
        found.do("compensations/a")
        assert found.error["compensated"] == ["a"]


class TestFromOutside:
    def test_what_runs_may_end_and_is_undone_too(self, journal: Journal) -> None:
        found = played(
            journal, undoable("a", "p"), parallel("p", [undoable("b")], [wait("w", 99_000)])
        )
        found.do("a")
        held = found.worked.take("p/0/b")
        assert found.advancer.fail("x1", ABORTED, by="ada")
        assert not found.advancer.fail("x1", {"name": "Other", "message": ""})
        assert found.live() == {"p/0/b": "running"}
        found.settle("p/0/b", held, Completed(1))
        for path in ("p/0/b", "a"):
            found.do(f"compensations/{path}")
        assert found.worked.status() is ExecutionStatus.FAILED
        assert found.error == {
            **ABORTED,
            "compensated": ["p/0/b", "a"],
            "failedCompensations": [],
        }
        ended = journal.history("x1")[-1]
        assert ended.event == "ended" and ended.detail["by"] == "ada"

    def test_what_does_not_end_in_time_counts_no_more(self, journal: Journal) -> None:
        found = played(journal, undoable("a", "b"), undoable("b"))
        found.do("a")
        held = found.worked.take("b")
        found.advancer.fail("x1", ABORTED)
        found.look(int(journal.settings.cancel_grace * 1000))
        found.look(journal.grace)
        assert found.live() == {"compensations/a": "dispatched"}
        assert found.settle("b", held, Completed(1)).word == "SUPERSEDED"
        found.do("compensations/a")
        assert found.error["compensated"] == ["a"]

    def test_the_deadline_of_an_execution_undoes_what_it_did(self, journal: Journal) -> None:
        found = played(
            journal, undoable("a", "w"), wait("w", 99_000), deadline=journal.clock() + 5000
        )
        found.do("a")
        found.look(5000)
        assert found.worked.status() is COMPENSATING
        found.look(10_000)
        assert found.worked.status() is COMPENSATING
        found.do("compensations/a")
        assert found.error["name"] == "ExecutionTimeout"
        assert found.error["compensated"] == ["a"]

    def test_without_a_compensation_it_ends_at_once(self, journal: Journal) -> None:
        found = played(journal, task("a", "b"), task("b"))
        assert found.advancer.fail("x1", ABORTED, by="ada")
        assert found.worked.status() is ExecutionStatus.FAILED
        assert found.error == ABORTED


class TestBranches:
    """A branch fails while a step of another one runs, which the failure cancels."""

    def begin(self, journal: Journal) -> tuple[Played, Any]:
        found = played(
            journal, undoable("a", "p"), parallel("p", [undoable("b", "c"), task("c")], [task("d")])
        )
        found.do("a")
        held = found.worked.take("p/0/b")
        found.fail("p/1/d")
        assert found.worked.status() is COMPENSATING
        return found, held

    def test_what_runs_may_say_what_it_did_and_that_is_undone(self, journal: Journal) -> None:
        found, held = self.begin(journal)
        assert found.live() == {}
        assert found.settle("p/0/b", held, Completed("did it")) == Refused(
            "KEPT", ("compensating",)
        )
        assert found.live() == {"compensations/p/0/b": "dispatched"}
        claimed = found.worked.take("compensations/p/0/b")
        assert journal.read_output("x1", "p/0/b") == "did it"
        assert found.worked.state("p/0/b").status is StepStatus.CANCELLED
        found.settle("compensations/p/0/b", claimed, Completed())
        found.do("compensations/a")
        assert found.error["compensated"] == ["p/0/b", "a"]

    def test_one_that_did_not_do_it_is_waited_for_no_more(self, journal: Journal) -> None:
        found, held = self.begin(journal)
        failure = Failure("Broken", "no", "b", "p/0/b", 1)
        assert found.settle("p/0/b", held, Failed(failure)).word == "SUPERSEDED"
        found.look(journal.grace)
        found.do("compensations/a")
        assert found.error["compensated"] == ["a"]

    def test_one_that_says_nothing_is_waited_for_as_long_as_in_a_cancellation(
        self, journal: Journal
    ) -> None:
        found, held = self.begin(journal)
        found.look(journal.grace)
        assert found.live() == {}
        found.look(int(journal.settings.cancel_grace * 1000))
        assert found.live() == {"compensations/a": "dispatched"}
        found.do("compensations/a")
        assert found.worked.status() is ExecutionStatus.FAILED
        assert found.settle("p/0/b", held, Completed(1)).word == "SUPERSEDED"
        assert journal.history("x1")[-1].event == "refused"

    def test_what_it_did_is_undone_also_where_the_flow_went_on(self, journal: Journal) -> None:
        either = parallel("p", [undoable("b")], [task("d")], next="z")
        either["parallel"]["join"] = "any"
        found = played(journal, either, task("z"))
        held = found.worked.take("p/0/b")
        found.do("p/1/d")
        assert found.settle("p/0/b", held, Completed(1)) == Refused("KEPT", ("running",))
        found.fail("z")
        found.do("compensations/p/0/b")
        assert found.error["compensated"] == ["p/0/b"]


class TestEscalated:
    LADDER: ClassVar[list[Any]] = [{"fallback": {"capability": "senior"}}, "human"]

    def begin(self, journal: Journal) -> Escalated:
        undo = {"capability": "undo"}
        steps = [task("a", "b", compensate=undo), task("b", compensate=undo)]
        steps[1]["escalation"] = self.LADDER
        found = Escalated(journal, *steps)
        found.do("a")
        found.fail("b")
        return found

    def test_a_person_who_decides_so_lets_it_be_undone(self, journal: Journal) -> None:
        found = self.begin(journal)
        found.fail("b/~1")
        found.rule("b", "compensate", by="ada")
        assert found.ended() == "compensating"
        found.do("compensations/a")
        assert found.ended() == "failed"
        error = journal.record("x1").error or {}
        assert (error["name"], error["by"], error["compensated"]) == ("Broken", "ada", ["a"])

    def test_what_a_rung_did_when_it_failed_is_undone_as_its_step(self, journal: Journal) -> None:
        found = self.begin(journal)
        claimed = found.worked.take("b/~1")
        found.advancer.fail("x1", ABORTED)
        found.advancer.settle(
            found.worked.plan, claimed.view, "b/~1", claimed.state, Completed("by the senior")
        )
        assert journal.read_output("x1", "b") == "by the senior"
        found.do("compensations/b")
        found.do("compensations/a")
        assert (journal.record("x1").error or {})["compensated"] == ["b", "a"]


class TestAnswers:
    def test_of_the_verbs_while_it_is_compensated(self, journal: Journal) -> None:
        found = failed(journal, "a")
        assert not found.verbs.cancel("x1")
        for verb in ("pause", "resume", "retry"):
            with pytest.raises(NotAllowed, match="x1 is compensating and cannot be"):
                getattr(found.verbs, verb)("x1")
        assert found.worked.claim("last") == Refused("ENDED", ("compensating",))
        assert found.verbs.terminate("x1")
        assert found.worked.status() is ExecutionStatus.CANCELLED

    def test_one_that_was_compensated_is_not_retried(self, journal: Journal) -> None:
        found = failed(journal, "a")
        found.do("compensations/a")
        with pytest.raises(NotAllowed, match="what a did was undone when it failed") as caught:
            found.verbs.retry("x1")
        assert "orch rerun x1" in caught.value.hint
        assert found.worked.status() is ExecutionStatus.FAILED

    def test_one_with_nothing_undone_is_retried_and_undone_at_its_next_failure(
        self, journal: Journal
    ) -> None:
        found = played(journal, undoable("a", "b"), task("b"))
        found.fail("a")
        assert found.worked.status() is ExecutionStatus.FAILED
        assert found.verbs.retry("x1")
        found.do("a")
        found.fail("b", "Other")
        assert found.worked.status() is COMPENSATING
        found.do("compensations/a")
        assert (found.error["name"], found.error["compensated"]) == ("Other", ["a"])

    def test_one_that_nobody_can_undo_may_be_skipped(self, journal: Journal) -> None:
        found = failed(journal, "a")
        assert found.verbs.skip("x1", "compensations/a", by="ada")
        assert found.worked.status() is ExecutionStatus.FAILED


class TestCrash:
    @pytest.mark.parametrize("lost", ["unwind", "message"])
    def test_a_crash_between_two_scripts_is_repaired_by_the_watch(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch, lost: str
    ) -> None:
        found = played(journal, undoable("a", "b"), task("b"))
        found.do("a")
        if lost == "unwind":
            monkeypatch.setattr(found.advancer.unwinding, "go_on", lambda execution: None)
        else:
            monkeypatch.setattr(found.advancer, "dispatch", lambda *_: None)
        found.fail("b")
        monkeypatch.undo()
        if lost == "unwind":
            assert found.live() == {} and set(found.worked.watched()) == {""}
            found.look(journal.grace)
            assert found.worked.sent[-1] == "compensations/a"
        held = found.worked.take("compensations/a")
        monkeypatch.setattr(found.advancer.unwinding, "go_on", lambda execution: None)
        found.settle("compensations/a", held, Completed())
        monkeypatch.undo()
        assert found.worked.status() is COMPENSATING
        found.look(journal.grace)
        assert found.worked.status() is ExecutionStatus.FAILED
        assert found.error["compensated"] == ["a"]
        assert found.settle("compensations/a", held, Completed()).word in ("ENDED", "SUPERSEDED")


class TestFamily:
    def test_the_parent_is_told_when_its_child_has_been_compensated(self, family: Family) -> None:
        parent, child = family.parent, family.child
        child.fail("c2")
        assert child.worked.status() is COMPENSATING
        assert parent.worked.status() is ExecutionStatus.RUNNING
        assert parent.worked.state("call").status is StepStatus.CALLING
        child.do("compensations/c1")
        assert child.worked.status() is ExecutionStatus.FAILED
        assert parent.worked.status() is COMPENSATING
        parent.do("compensations/a")
        assert parent.worked.status() is ExecutionStatus.FAILED

    def test_a_parent_that_fails_waits_for_what_its_child_undoes(self, family: Family) -> None:
        parent, child = family.parent, family.child
        assert family.advancer.fail(family.top, ABORTED)
        assert child.worked.status() is ExecutionStatus.CANCELLING
        child.do("compensations/c1")
        error = family.journal.record(family.below).error or {}
        assert error["message"] == f"its parent {family.top} failed: enough"
        assert parent.worked.state("call").status is StepStatus.CANCELLED
        parent.do("compensations/a")
        assert parent.worked.status() is ExecutionStatus.FAILED

    def test_a_child_that_undoes_what_it_did_is_left_to_its_end(self, family: Family) -> None:
        parent, child = family.parent, family.child
        child.fail("c2")
        family.advancer.fail(family.top, ABORTED)
        assert child.worked.status() is COMPENSATING
        assert parent.worked.state("call").status is StepStatus.CALLING
        child.do("compensations/c1")
        parent.do("compensations/a")
        assert parent.worked.status() is ExecutionStatus.FAILED


def test_a_simulation_shows_what_a_failure_undoes() -> None:
    steps = [undoable("a", "b"), undoable("b", "c"), task("c")]
    definition = WorkflowDefinition.model_validate({"name": "w", "steps": steps})
    mocks = {"fail": {"c": "always", "a": 0, "compensations/b": "always"}, "outputs": {"a": 1}}
    found = simulate(definition, key="w", input={"x": 1}, mocks=mocks)
    assert found.status == "failed"
    assert [step.path for step in found.steps] == [
        "a",
        "b",
        "c",
        "compensations/b",
        "compensations/a",
    ]
    assert found.error is not None and found.error["compensated"] == ["a"]
    assert json.loads(json.dumps(found.as_dict()))["error"]["failedCompensations"][0]["path"] == "b"


# --- real workers --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["settled", "unwound", "claimed"])
def test_a_process_that_dies_between_two_scripts_is_made_up_for(
    orchestrator: Orchestrator,
    tmp_path: Path,
    wait_until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    armed, go = tmp_path / "armed", tmp_path / "go"
    monkeypatch.setenv("ORCH_FAULT_POINT", f"{fault}:{armed}")
    armed.touch()  # disarmed until it fails
    shop = Shop(orchestrator, tmp_path, f"fails {go}")
    with orchestrator.workers(include=[str(shop.module)], concurrency=1):
        execution = orchestrator.start_workflow("shop")
        wait_until(lambda: "charge c" in shop.lines())
        armed.unlink()
        go.touch()
        context = execution.wait(50)
        assert armed.exists(), "somebody died"
    assert context.status == "failed"
    error = context.error or {}
    assert (error["name"], error["compensated"]) == ("StepError", ["b", "a"])
    completed = [e.path for e in execution.history() if e.event == "completed"]
    assert completed == ["a", "b", "compensations/b", "compensations/a"]
