"""What attempts use is counted once, and a budget that is used up stops or asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from redis import Redis

from orch import Orchestrator
from orch.agents.context import Context
from orch.budget import Budget
from orch.cli.app import run_command
from orch.control.plans import Plans
from orch.control.runtime import Runtime
from orch.control.spending import set_budget, spending, usage_of
from orch.control.status import execution_context
from orch.errors import InputError, NotFound, StepError
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.tasks import purse, report
from orch.workflows.state import ExecutionStatus, StepStatus
from orch.workflows.usage import Usage
from tests.build import FakeClock, start, task, workflow
from tests.played import Played

Act = Callable[[Context], Any]
Make = Callable[..., Runtime]


@pytest.fixture(autouse=True)
def nothing_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purse, "_spent", {})


@pytest.fixture
def make(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Make]:
    made: list[Runtime] = []

    def runtime(**given: Any) -> Runtime:
        made.append(Runtime(settings.model_copy(update=given), redis_url))
        return made[-1]

    yield runtime
    for each in made:
        each.close()


def played(runtime: Runtime, act: Act, *steps: dict[str, Any], **more: Any) -> Played:
    """Do all of a workflow, so far as it goes; ``act`` is the code of each of its steps."""
    worker = Played(runtime, *(steps or [task("a")]), **more)
    worker.call = lambda node, seen, context: act(context)  # type: ignore[method-assign]
    worker.run()
    return worker


def spend(cost: float = 0.0, tokens: int = 0) -> Act:
    return lambda context: context.use(cost=cost, tokens=tokens, model="m")


def error_of(worker: Played) -> dict[str, Any]:
    return dict(worker.journal.record("x1").error or {})


class TestCounting:
    def test_by_step_by_execution_and_by_project_and_day(self, make: Make) -> None:
        runtime = make()

        def act(context: Context) -> None:
            context.use(input_tokens=10, output_tokens=5, cost=0.1, model="m")
            context.use(tokens=3, cost=0.2)

        worker = played(runtime, act, task("a", "b"), task("b"))
        found = usage_of(runtime.journal, "x1")
        step = {"tokens": 18, "input_tokens": 13, "output_tokens": 5, "cost": 0.3, "calls": 2}
        assert found.steps["a"].model_dump() == {**step, "model": "m"}
        assert (found.total.tokens, found.total.cost, found.total.calls) == (36, 0.6, 4)
        [today] = spending(runtime.journal, None, 1)
        assert (today.project_id, today.used.tokens, today.budget) == ("default", 36, None)
        context = execution_context(runtime.journal, Plans(runtime.journal), "x1")
        assert str(context.usage) == "36 tokens, cost 0.6, m"
        assert [str(step.usage) for step in context.steps] == ["18 tokens, cost 0.3, m"] * 2
        told = [e for e in worker.journal.history("x1") if e.event == "used"]
        assert [(e.path, e.detail["tokens"]) for e in told] == [("a", 18), ("b", 18)]

    def test_failed_attempts_count_too(self, make: Make) -> None:
        runtime = make()

        def act(context: Context) -> None:
            context.use(tokens=context.attempt)
            if context.attempt < 3:
                raise StepError("Broken", "again")

        retry = {"maxAttempts": 3, "interval": 0}
        worker = Played(runtime, task("a", retry=retry))
        worker.call = lambda node, seen, context: act(context)  # type: ignore[method-assign]
        worker.run()
        while worker.worked.status() is not ExecutionStatus.COMPLETED:
            runtime.journal.redispatch("x1", "a", worker.worked.state("a"))
            worker.do("a")
        assert usage_of(runtime.journal, "x1").steps["a"].tokens == 6

    def test_what_is_said_again_or_late_counts_once(
        self, journal: Journal, clock: FakeClock
    ) -> None:
        start(journal, task("a"))
        for tokens in (5, 8, 8):
            journal.use("x1", "a", 1, 1000, Usage(tokens), ended=False)
        journal.use("x1", "a", 2, 2000, Usage(100), ended=True)
        step, all_of_it = journal.use("x1", "a", 1, 1000, Usage(9), ended=True) or (None, None)
        journal.use("x1", "a", 1, 1000, Usage(9), ended=True)
        assert (step, all_of_it) == (Usage(109), Usage(109))
        assert journal.spent_today("default") == Usage(109)
        assert [e.event for e in journal.history("x1")].count("used") == 2
        clock.advance(86_400_000)
        assert journal.spent_today("default") == Usage()
        assert journal.spent(2)["2025-06-15"] == {"default": Usage(109)}
        journal.end("x1", ExecutionStatus.CANCELLED, {"name": "Cancelled"})

    def test_prometheus_reads_what_a_project_spent_today(self, make: Make) -> None:
        exporter = pytest.importorskip("orch.monitoring.exporter")
        runtime = make()
        played(runtime, spend(cost=0.5, tokens=7))
        families = exporter.Collector(runtime, exporter.Aim()).collect()
        samples = {s.name: (s.labels, s.value) for each in families for s in each.samples}
        assert samples["orch_tokens_today"] == ({"project": "default"}, 7)
        assert samples["orch_cost_today"] == ({"project": "default"}, 0.5)

    def test_of_many_attempts_the_oldest_are_one(self, journal: Journal) -> None:
        start(journal, task("a"))
        for number in range(1, 60):
            found = journal.use("x1", "a", number, 1000 * number, Usage(1, cost=0.1), True)
        assert found is not None and found[0] == Usage(59, cost=5.9) == found[1]
        text = journal.redis.hget(journal.keys.record("x1"), "u:a")
        assert len(json.loads(text or "")) <= 21
        journal.end("x1", ExecutionStatus.CANCELLED, {"name": "Cancelled"})

    def test_a_project_is_the_one_that_the_execution_names(self, make: Make) -> None:
        runtime = make()
        journal = runtime.journal
        worked = start(journal, task("a"))
        journal.redis.hset(journal.keys.record("x1"), "attributes", '{"project_id":"acme"}')
        journal.use("x1", "a", 1, 1, Usage(7), ended=True)
        assert journal.spent(1, "acme") == {
            day.day: {"acme": Usage(7)} for day in spending(journal, "acme", 1)
        }
        assert journal.spent_today("default") == Usage()
        worked.do("a")

    def test_what_a_child_used_counts_for_the_step_that_called_it(
        self, journal: Journal, redis: Redis, settings: Settings
    ) -> None:
        with Orchestrator(settings) as orchestrator:
            orchestrator.define_workflow("child", {"name": "Child", "steps": [task("c")]})
            called = {"id": "a", "type": "subworkflow", "subworkflow": "child"}
            orchestrator.define_workflow("parent", {"name": "Parent", "steps": [called]})
            parent = orchestrator.start_workflow("parent")
            child = parent.status().steps[0].child or ""
            real = orchestrator.manager.journal
            real.use(child, "c", 1, 1, Usage(7, 3, 0.5, 1, "m"), ended=True)
            orchestrator.skip_step(child, "c")
            found = orchestrator.get_usage(parent.id)
            assert (found.steps["a"].tokens, found.total.cost) == (10, 0.5)
            assert real.spent_today("default").tokens == 10
            assert parent.status().status == "completed"

    def test_it_is_seen_while_the_step_runs(
        self, make: Make, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
    ) -> None:
        monkeypatch.setattr(report, "PAUSE", 0.01)
        runtime = make()

        def act(context: Context) -> None:
            context.use(tokens=7)
            wait_until(lambda: usage_of(runtime.journal, "x1").total.tokens == 7)

        assert played(runtime, act).worked.status() is ExecutionStatus.COMPLETED

    def test_a_step_that_uses_nothing_sends_nothing(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Journal, "use", lambda *_: pytest.fail("it was called"))
        monkeypatch.setattr(Journal, "read_spending", lambda *_: pytest.fail("it was called"))
        worker = played(make(), lambda context: None)
        assert worker.worked.status() is ExecutionStatus.COMPLETED

    @pytest.mark.parametrize("wrong", [{"tokens": -1}, {"cost": float("nan")}, {"calls": -1}])
    def test_less_than_nothing_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="0 or more"):
            Context().use(**wrong)
        Context().use(tokens=1)
        assert Context().left() == (None, None)


class TestBudgets:
    def test_of_a_step_stops_it_in_the_middle(self, make: Make) -> None:
        seen: list[Any] = []

        def act(context: Context) -> None:
            for _ in range(10):
                context.use(tokens=40, cost=0.5)
                seen.append(context.left())

        budget = {"tokens": 100, "cost": 9}
        worker = played(make(), act, task("a", budget=budget, retry={"maxAttempts": 5}))
        assert seen == [(8.5, 60), (8.0, 20)]
        error = error_of(worker)
        assert (error["name"], error["class"]) == ("BudgetExceeded", "permanent")
        assert error["message"] == "the budget of step 'a' is used up: 120 of 100 tokens"
        assert error["data"]["used"] == {"cost": 1.5, "tokens": 120}
        assert worker.runs == [] and worker.worked.state("a").attempt == 1
        assert usage_of(worker.journal, "x1").total.tokens == 120

    def test_of_an_execution_lets_no_step_begin_that_costs(self, make: Make) -> None:
        begun: list[str] = []

        def act(context: Context) -> None:
            begun.append(context.path)
            context.use(cost=2)

        worker = Played(make(), task("a", "b"), task("b"), budget={"cost": 2})

        def call(node: Any, seen: Any, context: Context) -> None:
            act(context)

        call.spends = True  # type: ignore[attr-defined]
        worker.call = call  # type: ignore[method-assign]
        worker.run()
        assert begun == ["a"]
        assert error_of(worker)["message"] == (
            "the budget of execution x1 is used up: a cost of 2 of 2 before the step begins"
        )

    def test_what_costs_nothing_runs_on(self, make: Make) -> None:
        def act(context: Context) -> None:
            if context.path == "a":
                context.use(cost=1)

        worker = played(make(), act, task("a", "b"), task("b"), budget={"cost": 1})
        assert worker.worked.status() is ExecutionStatus.COMPLETED

    def test_the_price_of_a_call_counts_and_must_be_left(self, make: Make) -> None:
        worker = Played(make(), task("a", "b"), task("b", "c"), task("c"), budget={"cost": 0.25})
        called: list[str] = []

        def call(node: Any, seen: Any, context: Context) -> None:
            called.append(context.path)

        call.cost = 0.1  # type: ignore[attr-defined]
        worker.call = call  # type: ignore[method-assign]
        worker.run()
        assert called == ["a", "b"]
        assert error_of(worker)["data"]["used"]["cost"] == 0.3
        assert usage_of(worker.journal, "x1").total.cost == 0.2

    def test_of_a_project_holds_for_all_its_executions_on_a_day(self, make: Make) -> None:
        runtime = make(budgets={"*": Budget(tokens=100), "rich": Budget(tokens=1000)})
        played(runtime, spend(tokens=90))
        start_again(runtime.journal)
        worker = played(runtime, spend(tokens=20))
        message = "the budget of project 'default' for today is used up: 110 of 100 tokens"
        assert error_of(worker)["message"] == message
        [today] = spending(runtime.journal, None, 1)
        assert (today.used.tokens, today.budget) == (110, {"tokens": 100, "onExceeded": "stop"})

    def test_onerror_takes_it_like_any_other(self, make: Make) -> None:
        act = spend(cost=2)
        first = task("a", budget={"cost": 1}, onError="b")
        worker = played(make(), lambda c: act(c) if c.path == "a" else None, first, task("b"))
        assert worker.worked.status() is ExecutionStatus.COMPLETED

    def test_a_budget_says_something_and_is_for_what_workers_do(self) -> None:
        with pytest.raises(ValidationError, match="`budget` is for tasks that workers do"):
            workflow(task("a", external=True, budget={"cost": 1}))
        with pytest.raises(ValidationError, match="a budget needs `cost`, `tokens` or both"):
            Budget()
        with pytest.raises(ValidationError, match="greater than or equal to 0"):
            Budget(cost=-1)


def start_again(journal: Journal) -> None:
    """Let the next execution have the same id: what the first one spent stays."""
    journal.redis.delete(*journal.redis.scan_iter(match="*:x1"))


class TestRaising:
    def test_people_are_asked_and_may_raise_it(self, make: Make) -> None:
        runtime = make()
        budget = {"cost": 1, "onExceeded": "escalate"}
        worker = played(runtime, spend(cost=0.7), task("a", budget=budget))
        assert worker.worked.status() is ExecutionStatus.COMPLETED
        start_again(runtime.journal)
        worker = played(runtime, spend(cost=1.2), task("a", budget=budget))
        assert worker.worked.state("a").status is StepStatus.ESCALATED
        context = execution_context(runtime.journal, Plans(runtime.journal), "x1")
        why = context.waiting_for["a"]
        assert "queue 'budget'" in why and "BudgetExceeded" in why
        set_budget(runtime.journal, "x1", "a", cost=5, by="ada", reason="it is worth it")
        told = [e for e in worker.journal.history("x1") if e.event == "budget"]
        assert told[0].detail == {"cost": 5, "by": "ada", "reason": "it is worth it"}
        with Orchestrator(runtime.settings) as orchestrator:
            [item] = orchestrator.list_escalations()
            orchestrator.decide_escalation(item.id, "retry", by="ada")
            worker.messages += [p for p, s in worker.states().items() if s.status == "dispatched"]
            worker.run()
            assert worker.worked.status() is ExecutionStatus.COMPLETED
            assert orchestrator.get_usage("x1").steps["a"].cost == 2.4

    def test_by_the_command_line(
        self, journal: Journal, redis_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        worked = start(journal, task("a"))
        journal.use("x1", "a", 1, 1, Usage(5, 5, 0.25, 1, "m"), ended=True)
        at = ["--redis", redis_url]
        assert run_command(["budget", "x1", "a", "--cost", "2", "--by", "ada", *at]) == 0
        assert journal.read_spending("x1", "a").budgets == {"a": {"cost": 2}}
        assert run_command(["usage", "x1", *at]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "step  tokens  cost  calls  model",
            "a     10      0.25  1      m",
            "all   10      0.25  1      m",
        ]
        assert run_command(["status", "x1", *at]) == 0
        assert "used: 10 tokens, cost 0.25, m" in capsys.readouterr().out.splitlines()
        assert run_command(["usage", "x1", "--json", *at]) == 0
        assert json.loads(capsys.readouterr().out)["total"]["cost"] == 0.25
        assert run_command(["usage", "--days", "90", "--project", "default", "--json", *at]) == 0
        assert run_command(["usage", *at]) == 0
        assert run_command(["budget", "x1", *at]) == 2
        assert "a budget needs `cost`, `tokens` or both" in capsys.readouterr().err
        worked.do("a")

    def test_what_there_is_not_is_said(self, journal: Journal) -> None:
        start(journal, task("a"))
        with pytest.raises(NotFound, match="has no step 'b'"):
            set_budget(journal, "x1", "b", cost=1)
        with pytest.raises(NotFound):
            set_budget(journal, "nobody", cost=1)
        with pytest.raises(InputError, match="greater than or equal to 0"):
            set_budget(journal, "x1", cost=-1)
        with pytest.raises(InputError, match="91 days"):
            spending(journal, None, 91)
        assert journal.use("nobody", "a", 1, 1, Usage(1), ended=True) is None
        journal.end("x1", ExecutionStatus.CANCELLED, {"name": "Cancelled"})
