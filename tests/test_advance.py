"""Commit, then apply what remains: starting, joining, firing, losing, and what cannot be sent."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from orch.control.advance import Advancer
from orch.control.plans import Plans
from orch.errors import Unreachable
from orch.journal.journal import Journal, Refused
from orch.workflows.outcome import Completed, Failed
from orch.workflows.plan import Plan
from orch.workflows.state import ExecutionStatus, StepStatus
from tests.build import Worked, failure, parallel, start, task, wait


def advancer(worked: Worked) -> Advancer:
    return Advancer(worked.journal, Plans(worked.journal), worked.dispatch)


def complete(worked: Worked, path: str, output: object = None) -> object:
    claimed = worked.take(path)
    outcome = Completed(output)
    return advancer(worked).settle(worked.plan, claimed.view, path, claimed.state, outcome)


def test_what_a_settle_opens_gets_its_message(journal: Journal) -> None:
    worked = start(journal, task("a", "b"), task("b"))
    complete(worked, "a")
    assert worked.sent == ["b"]


def test_what_the_chain_carries_gets_none(journal: Journal) -> None:
    worked = start(journal, task("a", "b"), task("b"))
    claimed = worked.take("a")
    advancer(worked).settle(
        worked.plan, claimed.view, "a", claimed.state, Completed(), skip_dispatch=lambda paths: ()
    )
    assert worked.sent == [] and "b" in worked.watched()


def test_the_settle_that_closes_a_join_goes_on_behind_it(journal: Journal) -> None:
    worked = start(journal, parallel("p", [task("a")], [task("b")], next="z"), task("z"))
    complete(worked, "p/0/a", 1)
    assert worked.sent == []
    complete(worked, "p/1/b", 2)
    assert worked.sent == ["z"]
    assert json.loads(journal.steps("x1")["=p"])["results"] == [1, 2]


def test_nested_joins_close_one_after_the_other(journal: Journal) -> None:
    inner = parallel("q", [parallel("r", [task("a")])])
    worked = start(journal, parallel("p", [inner], next="z"), task("z"))
    complete(worked, "p/0/q/0/r/0/a")
    assert worked.sent == ["z"]


def test_a_failure_deep_inside_fails_what_is_around_it(journal: Journal) -> None:
    inner = parallel("q", [task("a")], [wait("w")])
    worked = start(journal, parallel("p", [inner], [task("b")]))
    claimed = worked.take("p/0/q/0/a")
    advancer(worked).settle(
        worked.plan, claimed.view, "p/0/q/0/a", claimed.state, Failed(failure())
    )
    assert worked.status() is ExecutionStatus.FAILED
    assert worked.watched() == {}


def test_a_branch_that_forks_into_nothing_joins_at_once(journal: Journal) -> None:
    skipped = parallel("p", [task("s", condition="false")], next="z")
    worked = start(journal, task("a", "p"), skipped, task("z"))
    complete(worked, "a")
    assert worked.sent == ["z"]


def test_a_join_told_twice_goes_on_once(journal: Journal) -> None:
    worked = start(journal, parallel("p", [task("a")], next="z"), task("z"))
    complete(worked, "p/0/a")
    advancer(worked).join("x1", "p")
    advancer(worked).join("x1", "elsewhere")
    assert worked.sent == ["z"]


def test_a_message_that_cannot_be_sent_is_left_to_the_watch(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    def away(plan: Plan, execution: str, paths: Sequence[str]) -> None:
        raise Unreachable("the broker is away")

    worked = start(journal, task("a", "b"), task("b"))
    claimed = worked.take("a")
    Advancer(journal, Plans(journal), away).settle(
        worked.plan, claimed.view, "a", claimed.state, Completed()
    )
    assert "b" in worked.watched()
    assert "b of execution x1 not published" in caplog.text


def test_a_join_that_cannot_be_reached_is_left_to_the_watch(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worked = start(journal, parallel("p", [task("a")], next="z"), task("z"))

    def away(*_: object) -> None:
        raise Unreachable("Redis is away")

    monkeypatch.setattr(journal, "read_branches", away)
    complete(worked, "p/0/a")  # the outcome is committed: nothing is raised to Celery
    assert "the join p of execution x1 is left to the watch" in caplog.text
    monkeypatch.undo()
    assert list(worked.watched()) == ["p"]
    advancer(worked).join("x1", "p")
    assert worked.sent == ["z"]


def test_a_timer_that_is_over_completes_its_wait(journal: Journal) -> None:
    worked = start(journal, wait("w", next="a"), task("a"))
    state = worked.state("w")
    for _ in range(2):
        advancer(worked).fire("x1", "w", state)
    assert worked.sent == ["a"]


def test_a_lost_attempt_gets_the_next_message(journal: Journal) -> None:
    worked = start(journal, task("a"))
    late = worked.take("a")
    advancer(worked).lose("x1", "a", late.state, "gone")
    assert worked.sent == ["a"] and worked.state("a").attempt == 2
    refused = advancer(worked).settle(worked.plan, late.view, "a", late.state, Completed())
    assert refused == Refused("SUPERSEDED", ("dispatched", 2))


def test_a_step_under_which_workers_keep_dying_is_poison(journal: Journal) -> None:
    worked = start(journal, task("a"))
    for _ in range(journal.settings.max_lost_attempts):
        advancer(worked).lose("x1", "a", worked.take("a").state, "gone")
    assert worked.state("a").status is StepStatus.FAILED
    assert (journal.record("x1").error or {})["name"] == "WorkerLost"
    assert len(worked.sent) == journal.settings.max_lost_attempts - 1


def test_a_failure_that_is_known_forgives_the_lost_ones(journal: Journal) -> None:
    worked = start(journal, task("a", retry={"interval": 0}))
    for _ in range(4):
        advancer(worked).lose("x1", "a", worked.take("a").state, "gone")
        worked.fail("a")
        advancer(worked).redispatch("x1", "a", worked.state("a"))
    assert worked.state("a").status is StepStatus.DISPATCHED


def test_an_execution_that_is_gone_is_left_alone(journal: Journal) -> None:
    worked = start(journal, wait("w"))
    state = worked.state("w")
    journal.end("x1", ExecutionStatus.CANCELLED, {"name": "Cancelled", "message": ""})
    advancer(worked).fire("x1", "w", state)
    worked.execution = "never"
    advancer(worked).fire("never", "w", state)
    advancer(worked).redispatch("never", "w", state)
    assert worked.sent == []
