"""Cancelling: what may end, what is undone, in which order; and what dies on the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch import Context, Orchestrator
from orch.errors import InputError, NotAllowed, StepCancelled
from orch.journal.journal import Journal, Refused
from orch.workflows.compensating import compensations_due, undoing
from orch.workflows.outcome import Completed, Failed, Failure, Lost
from orch.workflows.plan import Plan
from orch.workflows.state import ExecutionStatus, StepStatus
from orch.workflows.validation import validate_document
from orch.workflows.view import context_of
from tests.build import parallel, plan_of, start, task, wait
from tests.undone import UNDO, Family, Played, Shop, played, undoable


class TestCancel:
    def test_with_nothing_at_work_and_nothing_to_undo_it_ends_in_one_script(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = played(journal, task("a", "b"), parallel("b", [task("c")], [wait("w", 9)]))
        found.do("a")
        ran: list[str] = []
        run = journal.run
        monkeypatch.setattr(
            journal, "run", lambda script, **g: ran.append(script) or run(script, **g)
        )
        assert found.verbs.cancel("x1", "enough", by="ada")
        assert ran == ["cancel"]
        assert found.worked.status() is ExecutionStatus.CANCELLED
        assert found.error == {"name": "Cancelled", "message": "enough"}
        assert found.worked.watched() == {}
        assert found.verbs.cancel("x1") is False

    def test_what_runs_may_end_and_its_output_is_kept(self, journal: Journal) -> None:
        found = played(
            journal,
            parallel("p", [task("a", "a2", output="v"), task("a2")], [task("b")], [wait("w", 99)]),
        )
        a, b = found.worked.take("p/0/a"), found.worked.take("p/1/b")
        assert found.verbs.cancel("x1", "enough", grace=5, by="ada")
        assert found.worked.status() is ExecutionStatus.CANCELLING
        assert found.live() == {"p/0/a": "running", "p/1/b": "running"}
        assert found.verbs.cancel("x1") is False, "asked for twice"
        found.settle("p/0/a", a, Completed(5))
        assert found.worked.state("p/0/a").status is StepStatus.COMPLETED
        assert journal.steps("x1")["=p/0/a"] == "5"
        assert "p/0/a2" not in journal.steps("x1"), "nothing follows"
        assert found.worked.status() is ExecutionStatus.CANCELLING
        found.settle("p/1/b", b, Failed(Failure("Cancelled", "asked to")))
        assert found.worked.state("p/1/b").status is StepStatus.CANCELLED
        assert found.worked.status() is ExecutionStatus.CANCELLED
        assert found.error == {
            "name": "Cancelled",
            "message": "enough",
            "by": "ada",
            "compensated": [],
            "failedCompensations": [],
        }
        assert journal.record("x1").variables == {"v": 5}
        assert found.worked.watched() == {}

    def test_nothing_is_tried_again(self, journal: Journal) -> None:
        found = played(
            journal,
            parallel(
                "p",
                [task("a", retry={"maxAttempts": 5})],
                [task("b")],
                [task("c", onError="d"), task("d")],
            ),
        )
        held = {path: found.worked.take(path) for path in ("p/0/a", "p/1/b", "p/2/c")}
        found.verbs.cancel("x1")
        found.settle("p/0/a", held["p/0/a"], Failed(Failure("Broken", "x")))
        found.settle("p/1/b", held["p/1/b"], Lost("it died"))
        found.settle("p/2/c", held["p/2/c"], Failed(Failure("Broken", "x")))
        statuses = [found.worked.state(path).status.value for path in held]
        assert statuses == ["cancelled", "cancelled", "failed"]
        assert found.worked.status() is ExecutionStatus.CANCELLED

    def test_what_runs_past_the_grace_is_fenced(self, journal: Journal) -> None:
        found = played(journal, task("a"))
        held = found.worked.take("a")
        found.verbs.cancel("x1", grace=5)
        found.look(4000)
        assert found.worked.state("a").status is StepStatus.RUNNING
        found.look(3000)
        assert found.worked.state("a").status is StepStatus.CANCELLED
        assert found.worked.status() is ExecutionStatus.CANCELLED
        late = found.settle("a", held, Completed(1))
        assert late == Refused("SUPERSEDED", ("cancelled", 1))
        assert found.worked.events()[-1] == ("refused", "a")

    def test_a_grace_of_nothing_and_one_that_is_none(self, journal: Journal) -> None:
        found = played(journal, task("a"))
        found.worked.take("a")
        for wrong in (-1.0, float("nan"), float("inf")):
            with pytest.raises(InputError):
                found.verbs.cancel("x1", grace=wrong)
        found.verbs.cancel("x1", grace=0)
        found.look(0)
        assert found.worked.status() is ExecutionStatus.CANCELLED

    def test_other_verbs_while_it_goes_on(self, journal: Journal) -> None:
        found = played(journal, undoable("a", "b"), task("b", "c"), task("c"))
        found.do("a")
        found.worked.take("b")
        found.verbs.cancel("x1", "why", by="ada")
        for verb in (found.verbs.pause, found.verbs.resume, found.verbs.retry):
            with pytest.raises(NotAllowed, match="x1 is cancelling and cannot"):
                verb("x1")
        with pytest.raises(NotAllowed, match="is cancelling and cannot have step 'b' skipped"):
            found.verbs.skip("x1", "b")
        context = found.context()
        assert context.status == "cancelling" and context.cancelling is not None
        assert "being cancelled by ada" in str(context.cancelling)
        assert found.verbs.terminate("x1", "at once", by="ada")
        assert found.worked.status() is ExecutionStatus.CANCELLED
        assert found.error["message"] == "at once"
        assert found.worked.watched() == {} and found.live() == {}
        assert not found.verbs.terminate("x1")

    def test_a_paused_one_and_its_deadline(self, journal: Journal) -> None:
        found = Played(
            start(journal, undoable("a", "b"), task("b"), deadline=journal.clock() + 9000)
        )
        found.do("a")
        found.verbs.pause("x1")
        assert found.verbs.cancel("x1")
        found.look(60_000)
        assert found.worked.status() is ExecutionStatus.CANCELLING
        found.do("compensations/a")
        assert found.worked.status() is ExecutionStatus.CANCELLED


class TestCompensations:
    def test_they_run_in_the_reverse_order_of_completion(self, journal: Journal) -> None:
        found = played(
            journal,
            undoable("a", "p"),
            parallel(
                "p",
                [undoable("b")],
                [
                    undoable("c"),
                ],
                next="d",
                compensate=UNDO,
            ),
            undoable("d", "e"),
            task("e"),
            input={"x": 1},
        )
        for path in ("a", "p/1/c", "p/0/b", "d"):
            found.do(path, path)
        assert found.verbs.cancel("x1")
        expected = ["d", "p", "p/0/b", "p/1/c", "a"]
        for path in expected:
            own = f"compensations/{path}"
            assert found.live() == {own: "dispatched"}
            assert set(found.worked.watched()) == {own, ""}
            assert found.worked.sent[-1] == own
            claimed = found.worked.take(own)
            assert claimed.view.input == {"x": 1}
            found.settle(own, claimed, Completed("undone"))
        assert found.worked.status() is ExecutionStatus.CANCELLED
        assert found.error["compensated"] == expected
        events = [path for event, path in found.worked.events() if event == "completed"]
        assert events[-5:] == [f"compensations/{path}" for path in expected]

    def test_one_that_fails_is_tried_again_noted_and_the_rest_goes_on(
        self, journal: Journal
    ) -> None:
        undo = {**UNDO, "retry": {"maxAttempts": 2, "interval": 500}}
        found = played(journal, undoable("a", "b"), task("b", "c", compensate=undo), task("c"))
        found.do("a")
        found.do("b")
        found.verbs.cancel("x1")
        found.fail("compensations/b", "Odd")
        assert found.live() == {"compensations/b": "retrying"}
        found.look(500)
        assert found.worked.sent[-1] == "compensations/b"
        found.fail("compensations/b", "Odd")
        found.do("compensations/a")
        assert found.error["compensated"] == ["a"]
        (failed,) = found.error["failedCompensations"]
        assert (failed["path"], failed["error"]["name"], failed["error"]["attempt"]) == (
            "b",
            "Odd",
            2,
        )

    def test_a_worker_that_dies_under_one_is_replaced_and_poison_is_noted(
        self, journal: Journal
    ) -> None:
        found = played(journal, undoable("a", "b"), task("b"))
        found.do("a")
        found.verbs.cancel("x1")
        for attempt in (1, 2, 3):
            claimed = found.worked.take("compensations/a")
            assert claimed.state.attempt == attempt
            found.advancer.lose("x1", "compensations/a", claimed.state, "it died")
        assert found.worked.status() is ExecutionStatus.CANCELLED
        assert found.error["failedCompensations"][0]["error"]["name"] == "WorkerLost"

    def test_what_completes_within_the_grace_is_undone_too(self, journal: Journal) -> None:
        found = played(journal, undoable("a", "b"), undoable("b"))
        found.do("a")
        held = found.worked.take("b")
        found.verbs.cancel("x1")
        assert found.live() == {"b": "running"}
        found.settle("b", held, Completed(2))
        assert found.live() == {"compensations/b": "dispatched"}
        found.do("compensations/b")
        found.do("compensations/a")
        assert found.error["compensated"] == ["b", "a"]

    def test_items_iterations_laps_and_waits_have_theirs(self, journal: Journal) -> None:
        mapped = {"items": [5, 6], "steps": [undoable("i")]}
        mapped["steps"][0]["compensate"] = {"capability": "undo", "input": "$.item"}  # type: ignore[index]
        loop = {"until": "$.output >= 2", "steps": [undoable("s")]}
        found = played(
            journal,
            {"id": "m", "type": "map", "map": mapped, "next": "l"},
            {"id": "l", "type": "loop", "loop": loop, "next": "z"},
            task("z"),
        )
        assert not found.worked.plan.is_quiet("m[0]/i")
        found.do("m[1]/i", "one")
        found.do("m[0]/i", "zero")
        found.do("l[0]/s", 1)
        found.do("l[1]/s", 2)
        found.verbs.cancel("x1")
        seen = []
        for path in ("l[1]/s", "l[0]/s", "m[0]/i", "m[1]/i"):
            own = f"compensations/{path}"
            claimed = found.worked.take(own)
            node = found.worked.plan.node(own)
            seen.append(node.input.evaluate(context_of(claimed.view, own)))
            found.settle(own, claimed, Completed())
        assert seen[2:] == [5, 6]
        assert found.worked.status() is ExecutionStatus.CANCELLED

    def test_one_that_no_worker_does_can_be_skipped_and_why_says_so(self, journal: Journal) -> None:
        found = played(journal, undoable("a", "b"), task("b"))
        found.do("a")
        found.verbs.cancel("x1")
        waits = found.context().waiting_for
        assert "no live worker serves 'undo'" in waits["compensations/a"]
        assert found.verbs.skip("x1", "compensations/a", by="ada")
        assert found.worked.status() is ExecutionStatus.CANCELLED
        assert found.error["compensated"] == ["a"]

    def test_a_message_that_comes_twice_or_from_nowhere_does_nothing(
        self, journal: Journal
    ) -> None:
        found = played(journal, undoable("a", "b"), task("b"))
        found.do("a")
        assert found.worked.claim("compensations/a") == Refused("MISSING")
        found.verbs.cancel("x1")
        assert found.worked.claim("b") == Refused("ENDED", ("cancelling",))
        held = found.worked.take("compensations/a")
        assert found.worked.claim("compensations/a", "other/1/a").word == "OWNED"  # type: ignore[union-attr]
        found.settle("compensations/a", held, Completed())
        assert found.worked.claim("compensations/a") == Refused("ENDED", ("cancelled",))

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
        found.verbs.cancel("x1")
        monkeypatch.undo()
        assert found.worked.sent == ["b"]
        if lost == "unwind":
            assert found.live() == {} and set(found.worked.watched()) == {""}
            found.look(journal.grace)
            assert found.worked.sent[-1] == "compensations/a"
        held = found.worked.take("compensations/a")
        monkeypatch.setattr(found.advancer.unwinding, "go_on", lambda execution: None)
        found.settle("compensations/a", held, Completed())
        monkeypatch.undo()
        assert found.worked.status() is ExecutionStatus.CANCELLING
        found.look(journal.grace)
        assert found.worked.status() is ExecutionStatus.CANCELLED
        assert found.error["compensated"] == ["a"]


class TestFamily:
    def test_a_parent_waits_for_the_compensations_of_its_child(self, family: Family) -> None:
        journal, top, below = family.journal, family.top, family.below
        parent, child = family.parent, family.child
        assert family.manager.cancel(top, "enough")
        assert journal.status(top) is journal.status(below) is ExecutionStatus.CANCELLING
        assert parent.worked.state("call").status is StepStatus.CALLING
        child.do("compensations/c1")
        assert journal.status(below) is ExecutionStatus.CANCELLED
        assert parent.worked.state("call").status is StepStatus.CANCELLED
        parent.do("compensations/a")
        assert journal.status(top) is ExecutionStatus.CANCELLED
        assert (journal.record(top).error or {})["compensated"] == ["a"]
        assert "its parent" in (journal.record(below).error or {})["message"]

    def test_terminating_the_parent_ends_a_child_that_is_being_cancelled(
        self, family: Family
    ) -> None:
        journal, top = family.journal, family.top
        family.manager.cancel(top)
        assert family.manager.steering.terminate(top)
        assert journal.status(top) is journal.status(family.below) is ExecutionStatus.CANCELLED


class TestPure:
    PLAN: Plan = plan_of(
        undoable("a", "p"), parallel("p", [undoable("b"), task("n")], [undoable("c")])
    )

    @given(st.permutations(["a", "p/0/b", "p/1/c", "p/0/n", "p"]))
    def test_what_is_due_is_what_completed_and_can_be_undone_backwards(
        self, completed: list[str]
    ) -> None:
        statuses = dict.fromkeys(completed, StepStatus.COMPLETED)
        statuses["p"] = StepStatus.CANCELLED
        due = compensations_due(self.PLAN, statuses, completed)
        assert due == [p for p in reversed(completed) if p not in ("p", "p/0/n")]
        inner = compensations_due(self.PLAN, statuses, completed, "p/0")
        assert inner == ["p/0/b"]
        for path in due:
            assert undoing(self.PLAN, statuses, completed).following == f"compensations/{path}"
            statuses[f"compensations/{path}"] = StepStatus.FAILED
        assert undoing(self.PLAN, statuses, completed).failed == tuple(due)


def test_validation_knows_compensations() -> None:
    def found(**more: Any) -> list[str]:
        steps = [{"id": "a", "capability": "work", **more}]
        _, findings = validate_document({"name": "w", "steps": steps})
        return [f"{f.path}: {f.message}" for f in findings if f.severity == "error"]

    assert found(compensate={"capability": "undo", "input": "$.output.id"}) == []
    assert any("compensate" in each for each in found(compensate={"capabilty": "undo"}))
    assert any(
        "compensate.input" in e for e in found(compensate={"capability": "u", "input": "$.oops"})
    )
    assert any("no step may be called" in each for each in found(id="compensations"))


def test_a_context_says_that_it_is_cancelled() -> None:
    assert not Context().is_cancelled
    Context().raise_if_cancelled()
    context = Context(step_id="s", is_cancelled=lambda: True)
    assert context.is_cancelled
    with pytest.raises(StepCancelled, match="step 's' was cancelled") as raised:
        context.raise_if_cancelled()
    assert raised.value.name == "Cancelled"


# --- real workers --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("hold", ["asks", "deaf"])
def test_a_step_is_told_or_fenced_and_the_others_are_undone(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any], hold: str
) -> None:
    shop = Shop(orchestrator, tmp_path, hold)
    with orchestrator.workers(include=[str(shop.module)], concurrency=2):
        execution = orchestrator.start_workflow("shop")
        wait_until(lambda: "charge c" in shop.lines())
        assert execution.cancel("sold", grace=30 if hold == "asks" else 0.5, by="ada")
        context = execution.wait(25)
    assert context.status == "cancelled"
    assert context.error == {
        "name": "Cancelled",
        "message": "sold",
        "by": "ada",
        "compensated": ["b", "a"],
        "failedCompensations": [],
    }
    assert shop.lines()[3:] == ["refund b 1", "refund a 1"]
    assert {s.path: s.status for s in context.steps}["c"] == "cancelled"


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_a_compensation_is_replaced(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    shop = Shop(orchestrator, tmp_path, "asks", die="b")
    with (
        orchestrator.workers(include=[str(shop.module)], concurrency=1),
        orchestrator.workers(include=[str(shop.module)], concurrency=1),
    ):
        execution = orchestrator.start_workflow("shop")
        wait_until(lambda: "charge c" in shop.lines())
        assert execution.cancel("sold")
        context = execution.wait(50)
    assert (context.error or {})["compensated"] == ["b", "a"]
    assert shop.lines()[3:] == ["refund b 1", "refund b 2", "refund a 1"]
    completed = [e.path for e in execution.history() if e.event == "completed"]
    assert completed == ["a", "b", "compensations/b", "compensations/a"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["unwound", "claimed"])
def test_a_process_that_dies_between_two_scripts_is_made_up_for(
    orchestrator: Orchestrator,
    tmp_path: Path,
    wait_until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    armed = tmp_path / "armed"
    monkeypatch.setenv("ORCH_FAULT_POINT", f"{fault}:{armed}")
    armed.touch()  # disarmed until it is cancelled
    shop = Shop(orchestrator, tmp_path, "asks")
    with orchestrator.workers(include=[str(shop.module)], concurrency=1):
        execution = orchestrator.start_workflow("shop")
        wait_until(lambda: "charge c" in shop.lines())
        armed.unlink()
        assert execution.cancel("sold")
        context = execution.wait(50)
        assert armed.exists(), "somebody died"
    assert (context.error or {})["compensated"] == ["b", "a"]
    completed = [e.path for e in execution.history() if e.event == "completed"]
    assert completed == ["a", "b", "compensations/b", "compensations/a"]


@pytest.mark.slow
def test_a_command_that_runs_is_stopped(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    pid = tmp_path / "pid"
    command = {"command": f"echo $$ > {pid}; exec sleep 600"}
    step = {"id": "a", "capability": "command_execution", "input": command}
    orchestrator.define_workflow("w", {"name": "w", "steps": [step]})
    with orchestrator.workers(concurrency=1):
        execution = orchestrator.start_workflow("w")
        wait_until(lambda: pid.exists() and pid.read_text().strip())
        execution.cancel(grace=60)
        context = execution.wait(30)
        assert context.status == "cancelled" and context.steps[0].status == "cancelled"
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)
