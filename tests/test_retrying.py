"""When an attempt is tried again, after which pause, and when it must not be."""

from __future__ import annotations

from typing import Any

import pytest

from orch.control.simulation import Simulation, simulate
from orch.errors import RetryAfter
from orch.tasks.failures import asked_pause
from orch.workflows.definition import RetryPolicy, WorkflowDefinition
from orch.workflows.outcome import Completed, Failed, Failure, Lost
from orch.workflows.plan import Plan
from orch.workflows.retrying import retry_pause
from orch.workflows.state import StepState, StepStatus
from orch.workflows.transition import decide
from orch.workflows.view import View


def pauses(**policy: Any) -> list[int]:
    made = RetryPolicy.model_validate({"interval": 100, **policy})
    return [retry_pause(made, failures, "seed") for failures in range(1, 5)]


def plan_of(**step: Any) -> Plan:
    steps = [{"id": "a", "capability": "pay", **step}]
    return Plan(WorkflowDefinition.model_validate({"name": "w", "steps": steps}))


def run(**step: Any) -> Simulation:
    mocks = {"durations": {"a": 500}}
    return simulate(plan_of(**step).definition, key="w", mocks=mocks)


RUNNING = StepState(StepStatus.RUNNING, owner="w/1/x", started=1)
VIEW = View("x1", "w")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, [100, 100, 100, 100]),
        ({"strategy": "none", "backoffRate": 3}, [100, 100, 100, 100]),
        ({"strategy": "linear"}, [100, 200, 300, 400]),
        ({"strategy": "exponential"}, [100, 200, 400, 800]),
        ({"strategy": "exponential", "backoffRate": 3}, [100, 300, 900, 2700]),
        ({"backoffRate": 2, "maxInterval": 250}, [100, 200, 250, 250]),
    ],
)
def test_pauses_grow_as_the_strategy_says(policy: dict[str, Any], expected: list[int]) -> None:
    assert pauses(**policy) == expected


def test_a_pause_that_the_error_asks_for_is_kept() -> None:
    plan = plan_of(retry={"maxAttempts": 3, "interval": 100})
    failure = Failure("RetryAfter", "busy", "a", "a", 1, retry_after=7000)
    transition = decide(plan, VIEW, "a", RUNNING, Failed(failure), 1000, 3000)
    assert transition.due == 8000


def test_an_error_asks_for_a_pause_by_its_class_or_by_its_http_answer() -> None:
    class Answer:
        status_code = 429
        headers = {"Retry-After": "3"}  # noqa: RUF012

    class HTTPError(Exception):
        response = Answer()

    assert asked_pause(RetryAfter("busy", seconds=1.5)) == 1500
    assert asked_pause(HTTPError()) == 3000
    assert asked_pause(ValueError()) == 0


def test_a_step_that_may_run_once_is_not_tried_again_when_its_worker_died() -> None:
    plan = plan_of(delivery="at_most_once", retry={"maxAttempts": 3})
    transition = decide(plan, VIEW, "a", RUNNING, Lost("its worker is gone"), 1000, 3000)
    assert transition.dispatched == () and transition.end is not None
    assert transition.end.error is not None and '"name":"Interrupted"' in transition.end.error


def test_nor_when_it_ran_out_of_time() -> None:
    ended = run(delivery="at_most_once", timeout=100, retry={"maxAttempts": 3})
    assert ended.error is not None and ended.error["name"] == "Interrupted"
    assert [s.attempt for s in ended.steps] == [1]


def test_but_an_error_that_it_raised_itself_is_its_own_affair() -> None:
    plan = plan_of(delivery="at_most_once", retry={"maxAttempts": 3})
    failure = Failure("Refused", "no", "a", "a", 1)
    transition = decide(plan, VIEW, "a", RUNNING, Failed(failure), 1000, 3000)
    assert transition.state is not None and transition.state.status is StepStatus.RETRYING


def test_a_success_says_nothing_of_retries() -> None:
    transition = decide(plan_of(), VIEW, "a", RUNNING, Completed(1), 1000, 3000)
    assert transition.end is not None and transition.end.status == "completed"
