"""Whether an execution fits another plan, and what a migration does to one that lives."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from redis import Redis

from orch import Orchestrator
from orch.control.catalog import Catalog
from orch.control.migration import Migrated, Migration
from orch.control.runtime import Runtime
from orch.errors import NotAllowed, NotFound
from orch.journal.journal import Claimed, Journal, Refused
from orch.settings import Settings
from orch.tasks.step import run_step
from orch.workflows.events import Occurrence
from orch.workflows.migrating import Fitting, fit
from orch.workflows.outcome import Completed
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus
from tests.build import (
    FakeClock,
    Worked,
    decision,
    handler,
    parallel,
    plan_of,
    runtime_of,
    task,
    wait,
    workflow,
)
from tests.test_control import Life, Steered, hypothesis_settings, steer

Step = dict[str, Any]


def listen(step_id: str, name: str = "paid", next: Any = None, **more: Any) -> Step:
    return {"id": step_id, "type": "event", "event": {"name": name, **more}, "next": next}


def loop(step_id: str, *steps: Step, next: Any = None) -> Step:
    of = {"while": "$.variables.go", "steps": list(steps)}
    return {"id": step_id, "type": "loop", "loop": of, "next": next}


def mapped(step_id: str, *steps: Step, **more: Any) -> Step:
    of = {"items": [1, 2, 3], "steps": list(steps), **more}
    return {"id": step_id, "type": "map", "map": of}


def at(**states: Any) -> dict[str, str]:
    """Fields of a steps' hash; `_` in a name is `/` in a path."""
    found = {}
    for name, state in states.items():
        made = state if isinstance(state, StepState) else StepState(StepStatus(state))
        found[name.replace("_", "/")] = made.dumps()
    return found


def reasons(found: Fitting) -> list[str]:
    return [str(misfit) for misfit in found.misfits]


class TestFit:
    def test_what_is_there_with_the_same_type_fits(self) -> None:
        old = plan_of(task("a", "b"), wait("b"))
        new = plan_of(task("a", "x"), task("x", "b"), wait("b", 5))
        for fields in (at(a="running"), at(a="completed", b="waiting")):
            found = fit(old, new, fields)
            assert (reasons(found), found.moves, found.sends) == ([], {}, ())

    def test_all_that_does_not_fit_is_told_at_once(self) -> None:
        old = plan_of(parallel("p", [task("a")], [wait("b")], [task("c")]))
        new = plan_of(parallel("p", [task("x")], [task("b")]))
        joining = StepState(StepStatus.JOINING, total=3, left=3)
        fields = at(p=joining, p_0_a="running", p_1_b="waiting", p_2_c="dispatched")
        assert reasons(fit(old, new, fields)) == [
            "p: has 3 branches, and 2 in the other version",
            "p/0/a: is running, and the other version has no such step",
            "p/1/b: is a wait, and task in the other version",
            "p/2/c: is dispatched, and the other version has no such step",
        ]

    @pytest.mark.parametrize(
        ("before", "after", "state", "reason"),
        [
            (listen("a"), listen("a", "lost"), "listening", "about another event there: 'lost'"),
            (listen("a"), listen("a", action="emit"), "listening", "emits one in the other"),
            (
                {"id": "a", "type": "subworkflow", "subworkflow": "one"},
                {"id": "a", "type": "subworkflow", "subworkflow": "two"},
                "calling",
                "calls another workflow there: 'two'",
            ),
            (
                parallel("a", [task("x")], [task("y")]),
                {
                    "id": "a",
                    "type": "parallel",
                    "parallel": {
                        "branches": [{"steps": [task("x")]}, {"steps": [task("y")]}],
                        "join": "any",
                    },
                },
                StepState(StepStatus.JOINING, total=2, left=2),
                "joined by other rules",
            ),
            (
                mapped("a", task("x")),
                mapped("a", task("x"), tolerate={"count": 1}),
                StepState(StepStatus.JOINING, total=3, left=3),
                "joined by other rules",
            ),
            (task("a", external=True), task("a"), "external", "is a task that is done outside"),
            (
                task("a", external=True),
                {**task("a", external=True), "capability": "other"},
                "external",
                "is left to those who do 'other' there",
            ),
            (wait("a"), {**wait("a"), "wait": {"poll": {"capability": "c"}, "until": "true"}},
             "waiting", "is a wait, and wait with a poll"),
        ],
    )  # fmt: skip
    def test_what_counts_or_waits_otherwise_does_not(
        self, before: Step, after: Step, state: Any, reason: str
    ) -> None:
        (found,) = reasons(fit(plan_of(before), plan_of(after), at(a=state)))
        assert reason in found

    def test_a_path_is_run_once(self) -> None:
        old = plan_of(task("a", "b"), task("b"))
        turned = plan_of(task("b", "a"), task("a", "c"), task("c"))
        assert reasons(fit(old, turned, at(a="completed", b="dispatched"))) == [
            "b: the other version would come to 'a' again, which was run"
        ]
        cycle = plan_of(
            task("a", "b"), decision("b", "$.variables.x", {"true": "a", "false": "c"}), task("c")
        )
        fields = {"a": at(a="completed")["a"], "b": at(b="completed")["b"]}
        fields |= {"a#2": StepState(StepStatus.RUNNING).dumps()}
        assert reasons(fit(cycle, cycle, fields)) == []

    def test_an_output_that_was_not_kept_cannot_be_read(self) -> None:
        old = plan_of(task("a", "b"), task("b"))
        new = plan_of(task("a", "b"), task("b", input="$.output"))
        fields = at(a="completed", b="dispatched")
        assert "reads the output of the step before it" in reasons(fit(old, new, fields))[0]
        assert reasons(fit(old, new, at(a="running"))) == []
        assert reasons(fit(new, new, fields)) == []

    def test_the_steps_of_another_error_handler_do_not_fit(self) -> None:
        def made(name: str) -> Plan:
            return Plan(
                workflow(task("a"), errorHandlers=[handler(name)]),
                handlers={name: workflow(task("t"))},
            )

        fields = at(a="failed") | {"errorHandlers/0/t": StepState(StepStatus.RUNNING).dumps()}
        assert reasons(fit(made("one"), made("one"), fields)) == []
        assert "another error handler" in reasons(fit(made("one"), made("two"), fields))[0]

    def test_a_step_at_rest_may_get_another_name(self) -> None:
        old = plan_of(parallel("p", [task("a")], [wait("b")]), task("z"))
        new = plan_of(parallel("p", [task("x", "y"), task("y")], [wait("b")]), task("z"))
        joining = StepState(StepStatus.JOINING, total=2, left=2)
        fields = at(p=joining, p_0_a="dispatched", p_1_b="waiting")
        for mapping in ({"a": "x"}, {"p/0/a": "p/0/x"}):
            found = fit(old, new, fields, mapping)
            assert (reasons(found), found.moves) == ([], {"p/0/a": "p/0/x"})
            assert found.sends == ("p/0/x",)
        for mapping, reason in (
            ({"a": "z"}, "is mapped to 'z', which is no step in 'p/0' there"),
            ({"a": "p/1/b"}, "is mapped to 'p/1/b', which is no step in 'p/0' there"),
            ({"b": "b"}, "is mapped to itself"),
            ({"a": "x", "q": "r"}, "no step that is on its way is called 'q'"),
        ):
            assert any(reason in each for each in reasons(fit(old, new, fields, mapping)))

    def test_one_that_somebody_holds_keeps_its_name(self) -> None:
        old, new = plan_of(task("a")), plan_of(task("x"))
        found = reasons(fit(old, new, at(a="running"), {"a": "x"}))
        assert found == ["a: is running, and cannot take another name until it is at rest"]

    def test_a_message_in_another_queue_and_another_limit_are_told(self) -> None:
        old = plan_of(task("a", timeout=5))
        for step, waits in ((task("a"), ("a",)), (task("a", timeout=5), ())):
            found = fit(old, plan_of(step | {"queue": "other"}), at(a="dispatched"))
            assert (found.sends, found.looks) == (("a",), waits)


# --- on a journal ------------------------------------------------------------------------------


class Moved(Steered):
    """An execution `x1` of the workflow `w`, and what moves it."""

    def __init__(self, worked: Worked) -> None:
        super().__init__(worked)
        catalog = Catalog(self.journal.settings, self.plans)
        runtime = runtime_of(self.advancer)
        self.catalog = catalog
        self.moves = Migration(runtime, catalog)

    def to(self, *steps: Step, mapping: dict[str, str] | None = None, **more: Any) -> Migrated:
        self.catalog.define("w", workflow(*steps, **more))
        found = self.moves.migrate("x1", None, mapping, by="ada", reason="why not")
        self.worked.plan = self.plans.get(self.journal.record("x1").plan)
        return found


def begin(journal: Journal, *steps: Step, **more: Any) -> Moved:
    return Moved(steer(journal, *steps, **more).worked)


@pytest.fixture
def chain(journal: Journal) -> Moved:
    return begin(journal, task("a", "b"), task("b"))


LONGER = task("a", "x"), task("x", "b"), task("b")


def test_what_is_ahead_is_that_of_the_new_version_and_the_history_says_who(chain: Moved) -> None:
    before = chain.journal.record("x1").version
    found = chain.to(*LONGER)
    assert (found.done, found.before, found.after) == (True, before, chain.worked.plan.version)
    for path in ("a", "x", "b"):
        chain.do(path)
    assert str(chain.worked.status()) == "completed"
    assert chain.told("migrated") == {
        "by": "ada", "reason": "why not", "from": before, "to": found.after,
    }  # fmt: skip
    assert chain.context().version == found.after


def test_a_second_one_changes_nothing(chain: Moved) -> None:
    chain.to(*LONGER)
    before = chain.journal.history("x1")
    assert chain.moves.migrate("x1").done is False
    assert chain.journal.history("x1") == before


def test_a_dry_run_changes_nothing(chain: Moved) -> None:
    chain.catalog.define("w", workflow(*LONGER))
    before = chain.journal.record("x1")
    assert chain.moves.migrate("x1", dry_run=True).done
    assert chain.journal.record("x1") == before


def test_a_step_that_runs_is_settled_by_the_new_plan(chain: Moved) -> None:
    old, claimed = chain.worked.plan, chain.worked.take("a")
    chain.to(*LONGER)
    stale = chain.worked.decide("a", claimed, Completed(1))
    refused = chain.journal.settle(
        "x1", cast(Any, stale.__class__)(**{**stale.__dict__, "plan": old.key}),
        expect="running", attempt=1, owner=claimed.state.owner,
    )  # fmt: skip
    assert refused == Refused("REPLANNED", (chain.worked.plan.key,))
    assert chain.worked.state("a").status is StepStatus.RUNNING
    chain.advancer.settle(old, claimed.view, "a", claimed.state, Completed(1))
    assert chain.worked.sent[-1] == "x"
    assert "b" not in chain.journal.steps("x1")


def test_the_new_plan_reads_what_the_old_one_did_not(journal: Journal) -> None:
    moved = begin(journal, task("a", "b"), task("b"), input={"n": 3})
    old, claimed = moved.worked.plan, moved.worked.take("a")
    moved.to(task("a", "w"), wait("w", "$.input.n", "b"), task("b"))
    moved.advancer.settle(old, claimed.view, "a", claimed.state, Completed())
    assert moved.worked.state("w").due == moved.worked.state("w").since + 3


def test_a_join_and_an_event_are_decided_by_the_new_plan(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration comes between reading the plan and committing by it."""
    moved = begin(journal, parallel("p", [listen("e")], next="z"), task("z"))
    settle = journal.settle
    then = [parallel("p", [listen("e", next="x"), task("x")], next="y"), task("y")]

    def migrate_first(*given: Any, **more: Any) -> Any:
        monkeypatch.undo()
        moved.to(*then)
        return settle(*given, **more)

    monkeypatch.setattr(journal, "settle", migrate_first)
    assert moved.advancer.trigger(Occurrence("1", "paid", 7, None, "x1")) == 1
    assert moved.worked.sent == ["p/0/x"]
    then = [parallel("p", [listen("e", next="x"), task("x")], next="q"), task("q")]
    claimed = moved.worked.take("p/0/x")
    assert moved.worked.settle("p/0/x", claimed, Completed()).joined == "p"  # type: ignore[union-attr]
    monkeypatch.setattr(journal, "settle", migrate_first)
    moved.advancer.join("x1", "p")
    assert moved.worked.sent[-1] == "q"


def test_a_skip_goes_by_the_new_plan(chain: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = chain.journal.settle

    def migrate_first(*given: Any, **more: Any) -> Any:
        monkeypatch.undo()
        chain.to(*LONGER)
        return settle(*given, **more)

    monkeypatch.setattr(chain.journal, "settle", migrate_first)
    assert chain.verbs.skip("x1", "a")
    assert chain.worked.sent == ["x"]


def test_one_that_moves_on_meanwhile_is_looked_at_again(
    chain: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate = chain.journal.migrate

    def finish_first(*given: Any, **more: Any) -> Any:
        monkeypatch.undo()
        chain.do("a")
        return migrate(*given, **more)

    monkeypatch.setattr(chain.journal, "migrate", finish_first)
    chain.to(*LONGER)
    assert chain.worked.sent == ["b"]
    chain.do("b")
    assert str(chain.worked.status()) == "completed"
    assert "x" not in chain.journal.steps("x1")


def test_one_that_comes_past_what_fits_is_refused_and_left_alone(
    chain: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate, before = chain.journal.migrate, chain.journal.record("x1").plan

    def finish_first(*given: Any, **more: Any) -> Any:
        monkeypatch.undo()
        chain.do("a")
        return migrate(*given, **more)

    monkeypatch.setattr(chain.journal, "migrate", finish_first)
    with pytest.raises(NotAllowed, match="b: is dispatched, and the other version has no such"):
        chain.to(task("a", "x"), task("x"))
    assert chain.journal.record("x1").plan == before


def test_names_move_with_all_that_hangs_on_them(journal: Journal) -> None:
    moved = begin(
        journal, parallel("p", [task("a")], [wait("b", 9000)], [listen("c", correlation="7")])
    )
    steps = [task("a2")], [wait("b2", 1, "b3"), task("b3")], [listen("c2", correlation="7")]
    before = moved.worked.watched()
    found = moved.to(parallel("p", *steps), mapping={"a": "a2", "b": "b2", "c": "c2"})
    assert found.moved == {"p/0/a": "p/0/a2", "p/1/b": "p/1/b2", "p/2/c": "p/2/c2"}
    assert moved.told("migrated")["moved"] == found.moved
    assert moved.worked.watched() == {f"{p}2" if p != "p" else p: due for p, due in before.items()}
    assert moved.worked.sent == ["p/0/a2"]
    stale = journal.claim(
        "x1", "p/0/a", owner="me", plan=moved.worked.plan.key, queue="work", reads=[], lease=9
    )
    assert stale == Refused("MISSING")
    moved.do("p/0/a2")
    assert moved.advancer.trigger(Occurrence("1", "paid", None, "7")) == 1
    moved.look(9000)
    moved.do("p/1/b3")
    assert str(moved.worked.status()) == "completed"


def test_what_a_poll_gave_last_moves_with_it(journal: Journal) -> None:
    def poll(step_id: str) -> Step:
        asked = {"capability": "work", "input": "$.state"}
        return {"id": step_id, "type": "wait", "wait": {"poll": asked, "until": "$.state.ok"}}

    moved = begin(journal, poll("a"))
    moved.do("a", {"n": 1})
    moved.to(poll("b"), mapping={"a": "b"})
    moved.look(2000)
    assert moved.worked.take("b").view.states == {"b": {"n": 1}}


def test_another_limit_is_looked_at_at_once(journal: Journal) -> None:
    moved = begin(journal, parallel("p", [task("a")], timeout=900_000))
    moved.look(5000)
    moved.to(parallel("p", [task("a")], timeout=4000))
    moved.look(0)
    assert moved.worked.state("p").status is StepStatus.FAILED


def test_a_message_for_another_capability_is_sent_there(
    journal: Journal, redis: Redis, settings: Settings, redis_url: str
) -> None:
    moved = begin(journal, task("a", "b"), task("b"))
    old = moved.worked.plan
    moved.to(task("a", "b"), task("b") | {"capability": "other"})
    moved.do("a")
    runtime = Runtime(settings, redis_url)
    sent: list[tuple[str, str]] = []
    runtime.advancer.dispatch = lambda plan, _, paths: sent.extend((plan.key, p) for p in paths)
    chained = SimpleNamespace(chain=None)
    called: list[Any] = []
    assert run_step(runtime, chained, lambda *_: called.append(1), "x1", "b", old.key) == "moved"
    assert (sent, called) == ([(moved.worked.plan.key, "b")], [])
    assert run_step(runtime, chained, lambda *_: 5, "x1", "b", sent[0][0]) == "completed"
    runtime.close()


def test_a_crash_before_the_messages_costs_a_look(
    chain: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain.advancer, "apply", lambda *_: None)
    chain.to(task("q", "b"), task("b"), mapping={"a": "q"})
    monkeypatch.undo()
    assert chain.worked.sent == []
    chain.look(journal_grace(chain))
    assert chain.worked.sent == ["q"]


def journal_grace(moved: Moved) -> int:
    return moved.journal.grace


def test_paused_ones_move_and_go_on_later(chain: Moved) -> None:
    chain.verbs.pause("x1")
    chain.to(task("q", "x"), task("x"), mapping={"a": "q"})
    assert chain.worked.sent == []
    chain.verbs.resume("x1")
    assert chain.worked.sent == ["q"]


def test_one_that_failed_is_retried_by_the_new_version(chain: Moved) -> None:
    chain.fail("a")
    chain.to(*LONGER)
    assert chain.verbs.retry("x1")
    for path in ("a", "x", "b"):
        chain.do(path)
    assert str(chain.worked.status()) == "completed"


def test_a_step_that_failed_must_be_there(chain: Moved) -> None:
    chain.fail("a")
    with pytest.raises(NotAllowed, match="a: is failed, and the other version has no such step"):
        chain.to(task("q"))


def test_what_is_being_cancelled_is_undone_by_the_version_that_it_has(journal: Journal) -> None:
    moved = begin(journal, task("a", "b", compensate={"capability": "undo"}), task("b"))
    moved.do("a")
    moved.verbs.cancel("x1", grace=0)
    assert moved.worked.state("compensations/a").status is StepStatus.DISPATCHED
    with pytest.raises(NotAllowed, match="x1 is being cancelled"):
        moved.to(*LONGER)
    with pytest.raises(NotAllowed, match="x1 is being cancelled"):
        moved.moves.modify("x1", [{"insert": task("x"), "after": "b"}])


def test_what_has_ended_or_is_not_there_is_refused(chain: Moved) -> None:
    with pytest.raises(NotFound, match="no version 'zz'"):
        chain.moves.migrate("x1", "zz")
    chain.do("a")
    chain.do("b")
    with pytest.raises(NotAllowed, match="x1 is completed: it has ended"):
        chain.to(*LONGER)
    with pytest.raises(NotFound, match="no execution 'never'"):
        chain.moves.migrate("never")


def test_what_never_rests_is_refused_in_the_end(
    chain: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain.journal, "migrate", lambda *_, **__: "SUPERSEDED")
    with pytest.raises(NotAllowed, match="moves on faster"):
        chain.to(*LONGER)


# --- any order of everything -------------------------------------------------------------------


class Moving(Life):
    """As `Life`, while the execution goes to and fro between versions."""

    def variants(self) -> list[list[Step]]:
        first = [step.model_dump(by_alias=True, exclude_defaults=True) for step in self.first]
        last = json.loads(json.dumps(first))
        last[-1]["next"] = "added"
        return [first, [*last, task("added")], [*last, wait("added", 700)]]

    @rule(pick=st.integers(0, 2))
    def migrate(self, pick: int) -> None:
        if not hasattr(self, "first"):
            self.first = self.worked.plan.definition.steps
            self.moved = Moved(self.worked)
            self.plans_of: dict[str, Plan] = {}
        with suppress(NotAllowed):
            self.moved.to(*self.variants()[pick])
        self.worked.plan = self.moved.plans.get(self.journal.record("x1").plan)

    def deliver(self, pick: int, keep: bool) -> None:
        """The worker holds the plan by which it claimed."""
        before = len(self.held)
        super().deliver(pick, keep)
        if len(self.held) > before:
            self.by_owner()[self.held[-1][1].state.owner] = self.worked.plan

    deliver = precondition(lambda self: self.worked.sent)(
        rule(pick=st.integers(0, 9), keep=st.booleans())(deliver)
    )  # type: ignore[assignment]

    def by_owner(self) -> dict[str, Plan]:
        return self.__dict__.setdefault("_by_owner", {})

    def settle(self, path: str, claimed: Claimed, ok: bool) -> None:
        now = self.worked.plan
        self.worked.plan = self.by_owner().get(claimed.state.owner, now)
        try:
            super().settle(path, claimed, ok)
        finally:
            self.worked.plan = now


@pytest.mark.timeout(300)
def test_any_order_of_migrations_keeps_what_holds_always(redis: Redis, settings: Settings) -> None:
    Moving.journal = Journal(redis, settings, clock=FakeClock())
    run_state_machine_as_test(Moving, settings=hypothesis_settings())  # type: ignore[no-untyped-call]


def test_a_migration_and_a_settle_at_the_same_time_agree(
    redis: Redis, settings: Settings, redis_url: str
) -> None:
    """Two processes' worth of connections, no order between them, many times."""
    one = Journal(redis, settings, url=redis_url)
    for number in range(60):
        redis.flushall()
        moved = begin(one, task("a", "b"), task("b"))
        old, claimed = moved.worked.plan, moved.worked.take("a")
        moved.catalog.define("w", workflow(*LONGER))
        started = threading.Barrier(2)

        def settle(
            moved: Moved = moved,
            old: Plan = old,
            claimed: Claimed = claimed,
            started: threading.Barrier = started,
        ) -> None:
            started.wait()
            moved.advancer.settle(old, claimed.view, "a", claimed.state, Completed())

        thread = threading.Thread(target=settle)
        thread.start()
        started.wait()
        assert moved.moves.migrate("x1").done
        thread.join()
        words = [event for event, _ in moved.worked.events()]
        first = words.index("migrated") < words.index("completed")
        assert moved.worked.sent == ["x" if first else "b"], number


# --- real workers ------------------------------------------------------------------------------

CAPABILITIES = """
import time
from pathlib import Path
from orch import Context, capability

@capability("hold")
def hold(context: Context, file: str) -> int:
    while not Path(file).exists():
        time.sleep(0.02)
    return context.attempt

@capability("note")
def note(context: Context, file: str) -> str:
    with open(file, "a") as out:
        out.write(context.path + "\\n")
    return context.path
"""


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as orchestrator:
        yield orchestrator
    redis.flushall()


@pytest.mark.slow
def test_one_is_migrated_while_a_step_runs_and_its_worker_is_killed(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    module, go, notes = tmp_path / "noting.py", tmp_path / "go", tmp_path / "notes"
    module.write_text(CAPABILITIES)
    held = {"capability": "hold", "input": {"file": str(go)}}
    noted = {"capability": "note", "input": {"file": str(notes)}}
    old = [{"id": "a", **held, "next": "b"}, {"id": "b", **noted}]
    new = [{"id": "a", **held, "next": "x"}, {"id": "x", **noted, "next": "b"}, old[1]]
    first = orchestrator.define_workflow("w", {"name": "w", "steps": old}).version

    def claims() -> int:
        return sum((e.event, e.path) == ("claimed", "a") for e in execution.history())

    with orchestrator.workers(include=[str(module)], concurrency=1) as workers:
        execution = orchestrator.start_workflow("w")
        wait_until(lambda: claims() == 1)
        second = orchestrator.define_workflow("w", {"name": "w", "steps": new}).version
        found = orchestrator.migrate_workflow(execution.id, second[:8], by="a test")
        assert (found.before, found.after, found.done) == (first, second, True)
        os.killpg(workers.processes[0].pid, signal.SIGKILL)
        with orchestrator.workers(include=[str(module)], concurrency=1):
            wait_until(lambda: claims() == 2)
            go.touch()
            ended = execution.wait(30)
    assert (ended.status, ended.version, ended.output) == ("completed", second, "b")
    assert notes.read_text().split() == ["x", "b"]
    completed = Counter(e.path for e in execution.history() if e.event == "completed")
    assert completed == {"a": 1, "x": 1, "b": 1}


@pytest.mark.slow
def test_a_worker_that_was_frozen_over_a_migration_hands_in_by_the_new_plan(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    module, go, notes = tmp_path / "noting.py", tmp_path / "go", tmp_path / "notes"
    module.write_text(CAPABILITIES)
    held = {"capability": "hold", "input": {"file": str(go)}}
    noted = {"capability": "note", "input": {"file": str(notes)}}
    orchestrator.define_workflow(
        "w", {"name": "w", "steps": [{"id": "a", **held, "next": "b"}, {"id": "b", **noted}]}
    )
    with orchestrator.workers(include=[str(module)], concurrency=1, pool="threads"):
        execution = orchestrator.start_workflow("w")
        wait_until(lambda: any(e.event == "claimed" for e in execution.history()))
        orchestrator.define_workflow(
            "w", {"name": "w", "steps": [{"id": "a", **held, "next": "c"}, {"id": "c", **noted}]}
        )
        assert execution.migrate().done
        go.touch()
        assert execution.wait(30).status == "completed"
    assert notes.read_text().split() == ["c"]
    assert [e.path for e in execution.history() if e.event == "claimed"] == ["a", "c"]
