"""Children, events and polls as items of a map, and under pause, resume, retry and skip."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from orch.control.manager import WorkflowManager
from orch.control.runtime import Runtime
from orch.control.simulation import Simulation, simulate
from orch.errors import NotAllowed
from orch.journal.journal import Claimed
from orch.settings import Settings
from orch.tasks.warden import Warden
from orch.workflows.calls import Call
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.events import Occurrence
from orch.workflows.outcome import Completed, Failed, Failure, Outcome
from orch.workflows.state import ExecutionStatus, StepState, StepStatus
from orch.workflows.view import fields_for

Step = dict[str, Any]


def made(*steps: Step, **given: Any) -> WorkflowDefinition:
    return WorkflowDefinition.model_validate({"name": "flow", "steps": list(steps), **given})


def task(id: str, next: str | None = None, **given: Any) -> Step:
    return {"id": id, "capability": "work", "next": next, **given}


def call(id: str = "call", workflow: str = "child", **given: Any) -> Step:
    return {"id": id, "type": "subworkflow", "subworkflow": workflow, **given}


def poll(id: str = "poll", **given: Any) -> Step:
    asked = {"capability": "work", "interval": 1000, **given}
    return {"id": id, "type": "wait", "wait": {"poll": asked, "until": "$.state.done"}}


def event(id: str = "wait", name: str = "paid", next: str | None = None, **given: Any) -> Step:
    return {"id": id, "type": "event", "event": {"name": name, **given}, "next": next}


def mapped(*steps: Step, items: Any = (1, 2, 3), **given: Any) -> Step:
    return {"id": "m", "type": "map", "map": {"items": list(items), "steps": list(steps), **given}}


def run(*steps: Step, child: WorkflowDefinition | None = None, **mocks: Any) -> Simulation:
    workflows = {"child": child} if child is not None else {}
    return simulate(made(*steps), key="flow", workflows=workflows, mocks=mocks)


class TestItems:
    def test_a_child_for_each(self) -> None:
        child = made(task("c1"), result={"of": "$.input"})
        ended = run(mapped(call(input="$.item"), maxConcurrency=1), child=child)
        assert ended.status == "completed"
        assert ended.output["results"] == [{"of": 1}, {"of": 2}, {"of": 3}]

    def test_an_event_for_each(self) -> None:
        ended = run(
            mapped(event(correlation="$.item"), maxConcurrency=2),
            events={f"m[{n}]/wait": n for n in range(3)},
        )
        assert ended.output["results"] == [0, 1, 2]

    def test_each_emits(self) -> None:
        listens = {"id": "p", "type": "parallel", "parallel": {"branches": []}}
        listens["parallel"]["branches"] = [  # type: ignore[index]
            {"steps": [event(correlation="3")]},
            {"steps": [mapped(event("tell", action="emit", correlation="$.item", payload=7))]},
        ]
        ended = run(listens)
        assert ended.status == "completed"
        assert ended.output["results"][0] == 7
        assert ended.output["results"][1]["results"] == [7, 7, 7]

    def test_a_poll_for_each(self) -> None:
        ended = run(
            mapped(poll(input={"of": "$.item"}), maxConcurrency=2, items=[1, 2, 3]),
            polls={"poll": [{"done": False}, {"done": True}]},
        )
        assert ended.output["results"] == [{"done": True}] * 3

    def test_in_the_middle_of_the_steps_of_an_item(self) -> None:
        ended = run(
            mapped(task("a", "wait"), event(next="call"), call(next="b"), task("b")),
            child=made(task("c1")),
            events={f"m[{n}]/wait": n for n in range(3)},
            outputs={"b": "done"},
        )
        assert ended.output["results"] == ["done"] * 3

    def test_a_map_in_a_child(self) -> None:
        child = made(mapped(task("x"), items=[1, 2]))
        ended = run(call(), child=child, outputs={"x": "ok"})
        assert ended.output["results"] == ["ok", "ok"]


class Held(WorkflowManager):
    """A manager whose warden looks when it is told to."""

    def look(self) -> None:
        warden = Warden.__new__(Warden)
        warden.settings, warden.journal = self.settings, self.journal
        warden.advancer, warden._stopping = self.runtime.advancer, False
        warden.runtime = SimpleNamespace(plans=self.plans)  # type: ignore[assignment]
        for execution, path in self.journal.take_due()[1]:
            warden._look_at(execution, path, {})

    def later(self, ms: int) -> None:
        now = self.journal.clock() + ms
        self.journal.clock = lambda: now
        self.look()

    def settle(self, execution: str, path: str, outcome: Outcome) -> None:
        plan = self.plans.get(self.journal.plan_of(execution) or "")
        claimed = self.journal.claim(
            execution,
            path,
            owner="me/1/a",
            plan=plan.key,
            queue="work",
            reads=fields_for(plan, path),
            lease=1000,
        )
        assert isinstance(claimed, Claimed)
        self.runtime.advancer.settle(plan, claimed.view, path, claimed.state, outcome)

    def fail(self, execution: str, path: str) -> None:
        self.settle(execution, path, Failed(Failure("Broken", "it broke", path, path, 1)))

    def state(self, execution: str, path: str) -> StepState:
        found = self.journal.read_state(execution, path)
        assert found is not None
        return found[1]

    def begin(self, *steps: Step, **given: Any) -> str:
        self.define("flow", made(*steps, **given))
        return self.start("flow").id

    def status_of(self, execution: str) -> ExecutionStatus | None:
        return self.journal.status(execution)

    def listening(self) -> int:
        keys = self.journal.keys
        return sum(self.journal.redis.zcard(keys.listening(n)) for n in range(keys.partitions))


@pytest.fixture
def held(redis: Redis, settings: Settings, redis_url: str) -> Iterator[Held]:
    runtime = Runtime(settings, redis_url)
    runtime.advancer.dispatch = lambda plan, execution, paths: None
    now = runtime.journal.clock()
    runtime.journal.clock = lambda: now
    found = Held(runtime)
    found.define("child", made(task("c1")))
    yield found
    runtime.close()


class TestPaused:
    def test_no_child_is_started_until_it_is_resumed(self, held: Held) -> None:
        own = held.begin(task("a", "call"), call(timeout=10_000))
        held.steering.pause(own)
        plan = held.plans.get(held.journal.plan_of(own) or "")
        # It was claimed before the pause.
        held.steering.resume(own)
        claimed = held.journal.claim(
            own, "a", owner="me/1/a", plan=plan.key, queue="work", reads=[], lease=1000
        )
        assert isinstance(claimed, Claimed)
        held.steering.pause(own)
        held.runtime.advancer.settle(plan, claimed.view, "a", claimed.state, Completed())
        child = Call(own, "call", 1).child
        held.later(60_000)
        assert held.status_of(child) is None
        assert held.state(own, "call").status is StepStatus.CALLING
        held.steering.resume(own)
        held.later(5000)
        assert held.status_of(child) is ExecutionStatus.RUNNING
        held.settle(child, "c1", Completed("done"))
        assert held.status_of(own) is ExecutionStatus.COMPLETED

    def test_a_child_that_ends_in_the_pause_counts(self, held: Held) -> None:
        own = held.begin(call())
        held.steering.pause(own)
        held.settle(Call(own, "call", 1).child, "c1", Completed("done"))
        assert held.state(own, "call").status is StepStatus.COMPLETED

    def test_an_event_is_taken_but_its_timeout_stands_still(self, held: Held) -> None:
        own = held.begin(event(timeout=10_000, next="b"), task("b"))
        held.later(4000)
        held.steering.pause(own)
        held.later(60_000)
        assert held.state(own, "wait").status is StepStatus.LISTENING
        held.steering.resume(own)
        held.later(3000)
        assert held.state(own, "wait").status is StepStatus.LISTENING
        held.steering.pause(own)
        assert held.runtime.advancer.trigger(Occurrence("e1", "paid", 5)) == 1
        assert held.state(own, "b").status is StepStatus.DISPATCHED
        assert held.listening() == 0

    def test_the_timeout_of_an_event_counts_on_behind_it(self, held: Held) -> None:
        own = held.begin(event(timeout=10_000))
        held.steering.pause(own)
        held.later(60_000)
        held.steering.resume(own)
        held.look()
        held.later(10_001)
        assert held.status_of(own) is ExecutionStatus.FAILED

    def test_a_poll_asks_again_behind_it(self, held: Held) -> None:
        own = held.begin(poll())
        held.settle(own, "poll", Completed({"done": False}))
        held.steering.pause(own)
        held.later(60_000)
        assert held.state(own, "poll").status is StepStatus.POLLING
        held.steering.resume(own)
        held.look()
        assert held.state(own, "poll").status is StepStatus.DISPATCHED

    def test_its_own_deadline_moves_and_a_child_inherits_that(self, held: Held) -> None:
        own = held.begin(task("a", "call"), call(), timeoutMs=10_000)
        held.steering.pause(own)
        held.later(60_000)
        held.steering.resume(own)
        held.settle(own, "a", Completed())
        family = held.journal.read_family(Call(own, "call", 1).child)
        assert family is not None
        assert family.deadline == held.journal.clock() + 10_000


class TestRetried:
    def test_a_call_starts_a_new_child(self, held: Held) -> None:
        own = held.begin(call(timeout=10_000), timeoutMs=90_000)
        held.fail(Call(own, "call", 1).child, "c1")
        assert held.status_of(own) is ExecutionStatus.FAILED
        held.later(100_000)
        assert held.steering.retry(own)
        held.look()
        child = Call(own, "call", 2).child
        assert held.status_of(child) is ExecutionStatus.RUNNING
        family = held.journal.read_family(child)
        assert family is not None and family.deadline == held.journal.clock() + 90_000
        held.settle(child, "c1", Completed("done"))
        assert held.status_of(own) is ExecutionStatus.COMPLETED

    def test_a_child_is_retried_through_its_parent(self, held: Held) -> None:
        own = held.begin(call())
        child = Call(own, "call", 1).child
        held.fail(child, "c1")
        with pytest.raises(NotAllowed, match=own):
            held.steering.retry(child)

    def test_a_poll_counts_its_checks_anew(self, held: Held) -> None:
        own = held.begin(poll(maxAttempts=2))
        for _ in range(2):
            held.settle(own, "poll", Completed({"done": False}))
            held.later(1000)
        assert held.status_of(own) is ExecutionStatus.FAILED
        assert held.steering.retry(own)
        held.settle(own, "poll", Completed({"done": False}))
        assert held.state(own, "poll").status is StepStatus.POLLING

    def test_a_cancelled_poll_and_call_of_other_branches(self, held: Held) -> None:
        branches = [{"steps": [s]} for s in (task("a"), poll(), call())]
        own = held.begin({"id": "p", "type": "parallel", "parallel": {"branches": branches}})
        held.settle(own, "p/1/poll", Completed({"done": False}))
        held.fail(own, "p/0/a")
        assert held.status_of(Call(own, "p/2/call", 1).child) is ExecutionStatus.CANCELLED
        assert held.steering.retry(own)
        held.look()
        held.settle(own, "p/0/a", Completed())
        held.settle(own, "p/1/poll", Completed({"done": True}))
        held.settle(Call(own, "p/2/call", 2).child, "c1", Completed())
        assert held.status_of(own) is ExecutionStatus.COMPLETED


class TestSkipped:
    def test_a_call_and_its_child_is_cancelled(self, held: Held) -> None:
        own = held.begin(call())
        assert held.steering.skip(own, "call", 5)
        assert held.status_of(Call(own, "call", 1).child) is ExecutionStatus.CANCELLED
        assert held.journal.record(own).output == 5

    def test_a_step_that_waits_for_an_event(self, held: Held) -> None:
        own = held.begin(event())
        assert held.steering.skip(own, "wait", 5)
        assert (held.journal.record(own).output, held.listening()) == (5, 0)

    @pytest.mark.parametrize("checked", [False, True])
    def test_a_poll_whatever_its_until_says(self, held: Held, checked: bool) -> None:
        own = held.begin(poll())
        if checked:
            held.settle(own, "poll", Completed({"done": False}))
        assert held.steering.skip(own, "poll", {"done": False})
        assert held.status_of(own) is ExecutionStatus.COMPLETED

    def test_an_item_lets_the_next_one_begin(self, held: Held) -> None:
        own = held.begin(mapped(call(), maxConcurrency=1, items=[1, 2]))
        assert held.steering.skip(own, "m[0]/call")
        assert held.status_of(Call(own, "m[1]/call", 1).child) is ExecutionStatus.RUNNING


class TestEnded:
    def test_items_that_listen_or_call_end_with_it(self, held: Held) -> None:
        own = held.begin(mapped(event(), items=[1, 2], maxConcurrency=2))
        assert held.listening() == 2
        assert held.status(own).waiting_for["m[0]/wait"].startswith("event 'paid'")
        assert held.cancel(own, by="ada")
        assert held.listening() == 0
        own = held.begin(mapped(call(), items=[1, 2], maxConcurrency=2))
        assert held.cancel(own)
        for n in range(2):
            child = Call(own, f"m[{n}]/call", 1).child
            assert held.status_of(child) is ExecutionStatus.CANCELLED

    def test_an_item_that_fails_takes_the_children_of_the_others_along(self, held: Held) -> None:
        own = held.begin(mapped(call(), items=[1, 2], maxConcurrency=2))
        held.fail(Call(own, "m[0]/call", 1).child, "c1")
        assert held.status_of(own) is ExecutionStatus.FAILED
        assert held.status_of(Call(own, "m[1]/call", 1).child) is ExecutionStatus.CANCELLED
