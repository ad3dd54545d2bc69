"""How it works, in code: read from top to bottom.

A definition is compiled to a plan. An execution is a journal. Every change is one transition,
decided without I/O and committed by one script; what remains to do is a Celery canvas.
"""

from __future__ import annotations

from orch.control.advance import Advancer
from orch.control.plans import Plans
from orch.journal.journal import Claimed, Journal, Refused
from orch.workflows.canvas import compile_canvas
from orch.workflows.outcome import Completed, Lost
from orch.workflows.state import ExecutionStatus, StepStatus
from tests.build import FakeClock, decided, decision, parallel, plan_of, start, task


def test_what_an_outcome_means_is_decided_without_redis_and_celery() -> None:
    plan = plan_of(
        task("build", "check"),
        decision("check", "$.output.ok", {"true": "ship", "false": "repair"}),
        task("ship"),
        task("repair"),
    )
    transition = decided(plan, "build", Completed({"ok": False}))
    # The decision was made on the way, in the same transition: it costs no message.
    assert [opened.path for opened in transition.opens] == ["check", "repair"]
    assert transition.dispatched == ("repair",)


def test_what_remains_to_be_done_is_a_canvas_of_ids() -> None:
    plan = plan_of(task("a", "b"), task("b", "c"), task("c"))
    (chain,) = compile_canvas(plan, "7f3", ["b"])
    assert [tuple(signature.args) for signature in chain.tasks] == [
        ("7f3", "b", plan.key),
        ("7f3", "c", plan.key),
    ]


def test_a_message_is_a_hint_and_the_journal_is_the_truth(journal: Journal) -> None:
    worked = start(journal, task("a"))
    # The message is delivered twice: one worker gets the attempt, the other one a word.
    first = worked.claim("a", "worker1/1/x")
    second = worked.claim("a", "worker2/1/x")
    assert isinstance(first, Claimed)
    assert second == Refused("OWNED", ("running",))


def test_nothing_is_forgotten_since_every_live_token_is_watched(
    journal: Journal, clock: FakeClock
) -> None:
    worked = start(journal, task("a"))
    # The message is lost. When the grace is over, the token is due: a warden takes it,
    worked.sent.clear()
    clock.advance(journal.grace)
    _, due = journal.take_due()
    assert due == [("x1", "a")]
    # … and sends the message again.
    Advancer(journal, Plans(journal), worked.dispatch).redispatch("x1", "a", worked.state("a"))
    assert worked.sent == ["a"]
    assert worked.watched() == {"a": clock() + journal.grace}


def test_a_worker_that_comes_back_too_late_is_refused(journal: Journal) -> None:
    worked = start(journal, task("a"))
    frozen = worked.take("a", "frozen/1/x")
    # Its lease ran out: the attempt is settled as lost, and the next one is dispatched.
    worked.settle("a", frozen, Lost("its worker is silent"))
    other = worked.take("a", "other/1/x")
    assert other.state.attempt == 2  # the attempt is the fence
    assert worked.settle("a", frozen, Completed("late")) == Refused("SUPERSEDED", ("running", 2))
    worked.settle("a", other, Completed("in time"))
    assert journal.record("x1").output == "in time"


def test_branches_are_counted_by_the_journal_and_not_by_celery(journal: Journal) -> None:
    worked = start(journal, parallel("p", [task("a")], [task("b")], next="z"), task("z"))
    advancer = Advancer(journal, Plans(journal), worked.dispatch)
    for path in ("p/1/b", "p/0/a"):
        assert "z" not in worked.sent
        claimed = worked.take(path)
        advancer.settle(worked.plan, claimed.view, path, claimed.state, Completed(path))
    assert worked.sent == ["z"]
    assert worked.state("p").status is StepStatus.COMPLETED
    worked.do("z")
    assert worked.status() is ExecutionStatus.COMPLETED
    assert worked.watched() == {}  # nothing lives, so nothing is watched
