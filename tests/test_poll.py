"""Waits that ask a capability again and again: its state, its pauses, its end, and kills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.control.advance import Advancer
from orch.control.plans import Plans
from orch.control.simulation import Simulation, simulate
from orch.journal.journal import Journal, Refused
from orch.settings import Settings
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.outcome import Completed
from orch.workflows.state import StepStatus
from orch.workflows.validation import errors_in, validate_definition
from tests.build import FakeClock, start, task

Step = dict[str, Any]
CAPABILITIES = """
from orch import capability

@capability("ask")
def ask(state=None):
    return {"asked": (state or {"asked": 0})["asked"] + 1}
"""


def poll(until: str = "$.state.done", next: Any = None, **given: Any) -> Step:
    step = {k: given.pop(k) for k in ("retry", "timeout", "onError", "output") if k in given}
    asked = {"capability": "ask", "input": {"state": "$.state"}, **given}
    return {
        "id": "p",
        "type": "wait",
        "wait": {"poll": asked, "until": until},
        "next": next,
        **step,
    }


def made(*steps: Step, **given: Any) -> WorkflowDefinition:
    return WorkflowDefinition.model_validate({"name": "flow", "steps": list(steps), **given})


def run(*steps: Step, **mocks: Any) -> Simulation:
    return simulate(made(*steps), key="flow", mocks=mocks)


def listed(simulation: Simulation) -> list[tuple[str, int, int, str]]:
    return [(step.path, step.attempt, step.at_ms, step.outcome) for step in simulation.steps]


NOT_YET, DONE = {"done": False}, {"done": True}


def test_it_is_asked_until_the_condition_holds_and_the_last_state_is_the_output() -> None:
    ended = run(poll(next="after", output="last"), task("after"), polls={"p": [NOT_YET, DONE]})
    assert ended.variables == {"last": DONE}
    assert listed(ended) == [
        ("p", 1, 0, "completed"),
        ("p", 2, 1000, "completed"),
        ("after", 1, 1000, "completed"),
    ]


def test_pauses_grow_up_to_the_longest() -> None:
    step = poll(interval=100, backoffRate=2, maxInterval=300)
    ended = run(step, polls={"p": [NOT_YET] * 4 + [DONE]})
    assert [at for _, _, at, _ in listed(ended)] == [0, 100, 300, 600, 900]


def test_checks_that_do_not_suffice_fail_by_name_with_the_last_state() -> None:
    ended = run(poll(maxAttempts=3), polls={"p": [NOT_YET]})
    assert ended.error is not None and ended.error["name"] == "PollExhausted"
    assert ended.error["data"] == {"state": NOT_YET, "checks": 3}
    assert len(ended.steps) == 3


def test_a_check_that_fails_is_tried_again_and_does_not_count() -> None:
    step = poll(maxAttempts=2, retry={"maxAttempts": 3, "interval": 10})
    ended = run(step, polls={"p": [NOT_YET, DONE]}, fail={"p": 2})
    assert ended.status == "completed"
    assert listed(ended) == [
        ("p", 1, 0, "failed"),
        ("p", 2, 10, "failed"),
        ("p", 3, 20, "completed"),
        ("p", 4, 1020, "completed"),
    ]


def test_a_failure_is_taken_like_any_other() -> None:
    ended = run(poll(onError="after"), task("after"), errors={"p": "Broken"})
    assert [path for path, _, _, _ in listed(ended)] == ["p", "after"]


def test_a_condition_that_cannot_be_evaluated_fails_the_step() -> None:
    ended = run(poll(until="$.state - 'a' > 1"), polls={"p": [NOT_YET]})
    assert ended.status == "failed" and len(ended.steps) == 1


def test_a_check_has_the_timeout_of_the_step() -> None:
    ended = run(poll(timeout=50), durations={"p": 60})
    assert ended.error is not None and ended.error["name"] == "StepTimeout"


def test_months_of_checks_take_no_time() -> None:
    step = poll(interval=24 * 3600 * 1000)
    ended = run(step, polls={"p": [NOT_YET] * 60 + [DONE]})
    assert listed(ended)[-1][2] == 60 * 24 * 3600 * 1000


def test_state_may_be_read_in_a_poll_and_nowhere_else() -> None:
    assert errors_in(validate_definition(made(poll()))) == []
    other = made({"id": "a", "capability": "ask", "input": "$.state"})
    assert "`$.state` is unknown" in errors_in(validate_definition(other))[0].message


def test_between_checks_nothing_is_held_but_an_entry_in_the_watch(
    journal: Journal, clock: FakeClock
) -> None:
    worked = start(journal, poll(interval=60_000, next="after"), task("after"))
    advancer = Advancer(journal, Plans(journal), worked.dispatch)
    first = worked.take("p")
    for _ in range(2):  # the second is a repetition: its reply was lost
        advancer.settle(worked.plan, first.view, "p", first.state, Completed({"n": 1}))
    state = worked.state("p")
    assert (state.status, state.attempt, state.owner) == (StepStatus.POLLING, 2, "")
    assert worked.watched() == {"p": clock.now + 60_000}
    assert worked.sent == []
    assert worked.claim("p") == Refused("EARLY", ("polling",))
    clock.advance(60_000)
    for _ in range(2):  # two wardens
        advancer.redispatch("x1", "p", state)
    assert worked.sent == ["p"]
    assert worked.take("p").view.states == {"p": {"n": 1}}
    late = advancer.settle(worked.plan, first.view, "p", first.state, Completed({"done": True}))
    assert isinstance(late, Refused)


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as orchestrator:
        yield orchestrator
    redis.flushall()  # queues and bindings of the workers


@pytest.mark.parametrize(
    "point", [pytest.param(None, marks=pytest.mark.long), "claimed", "settled"]
)
def test_real_workers_pass_the_state_on_although_one_is_killed(
    orchestrator: Orchestrator, tmp_path: Path, point: str | None
) -> None:
    (tmp_path / "capabilities.py").write_text(CAPABILITIES)
    struck = tmp_path / "struck"
    environment = {"ORCH_FAULT_POINT": f"{point}:{struck}"} if point else {}
    orchestrator.define_workflow("flow", made(poll(until="$.state.asked >= 4", interval=50)))
    with orchestrator.workers(
        count=2,
        concurrency=1,
        pool="solo",
        include=[str(tmp_path / "capabilities.py")],
        environment=environment,
    ):
        execution = orchestrator.start_workflow("flow")
        ended = execution.wait(timeout=40)
    assert struck.exists() == bool(point)
    assert (ended.status, ended.output) == ("completed", {"asked": 4})
    assert [e.event for e in execution.history()].count("polled") == 3
