"""Simulation: the real plan and journal on a virtual clock."""

from __future__ import annotations

import time
from typing import Any

import pytest

from orch.control.simulation import Simulation, simulate
from orch.errors import InputError, NotSupportedYet
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.loading import library_definition

MONTH = 30 * 24 * 3600 * 1000

SCENARIOS: list[tuple[str, dict[str, Any], list[str | set[str]]]] = [
    (
        "project_setup",
        {
            "outputs": {
                "create_plan": {"requiresScaffolding": True},
                "review_code": {"issues": []},
                "run_tests": {"passed": True},
            }
        },
        [
            "analyze_requirements",
            "create_plan",
            "document_plan",
            "setup_decisions",
            "scaffold_project",
            "setup_repository",
            "generate_components",
            {"generate_core", "generate_utils"},
            "review_code",
            "handle_review_results",
            "run_tests",
            "check_test_results",
            "optimize_performance",
            "document_project",
            "verify_project",
            "commit_project",
            "deploy_project",
        ],
    ),
    (
        "data_processing",
        {},
        ["fetch_data", "transform_data", "save_results", "send_notification"],
    ),
    (
        "data_processing",
        {"fail": {"fetch_data": 2}},
        [
            "fetch_data",
            "fetch_data",
            "fetch_data",
            "transform_data",
            "save_results",
            "send_notification",
        ],
    ),
    (
        "data_processing",
        {"fail": {"save_results": "always"}},
        [
            "fetch_data",
            "transform_data",
            "save_results",
            "handle_save_error",
            "send_error_notification",
        ],
    ),
    (
        "implement_feature",
        {},
        [
            "plan_feature",
            "document_specs",
            "prepare_project",
            "prepare_repository",
            "implement_components",
            {"create_ui_components", "create_data_services", "create_tests"},
            "review_implementation",
            "optimize_implementation",
            "run_tests",
            "commit_changes",
        ],
    ),
]


def made(*steps: dict[str, Any], **given: Any) -> WorkflowDefinition:
    return WorkflowDefinition.model_validate({"name": "simulated", "steps": list(steps), **given})


def task(id: str, **given: Any) -> dict[str, Any]:
    return {"id": id, "capability": "anything", **given}


def names(simulation: Simulation) -> list[str]:
    return [step.path.rpartition("/")[2] for step in simulation.steps]


@pytest.mark.parametrize(("workflow", "mocks", "order"), SCENARIOS)
def test_the_workflows_of_the_library_go_the_way_they_are_meant_to(
    workflow: str, mocks: dict[str, Any], order: list[str | set[str]]
) -> None:
    definition = library_definition(workflow)
    handler = library_definition("global_error_handler")
    assert definition is not None and handler is not None
    simulation = simulate(
        definition, key=workflow, handlers={"global_error_handler": handler}, mocks=mocks
    )
    found = names(simulation)
    for expected in order:
        if isinstance(expected, set):
            assert set(found[: len(expected)]) == expected
            found = found[len(expected) :]
        else:
            assert found.pop(0) == expected
    assert (found, simulation.status) == ([], "completed")


def test_a_month_takes_no_time() -> None:
    definition = made(
        {"id": "pause", "type": "wait", "wait": {"duration": "P30D"}, "next": "after"},
        task("after"),
    )
    began = time.monotonic()
    simulation = simulate(definition, key="month")
    assert [(s.path, s.at_ms) for s in simulation.steps] == [("pause", MONTH), ("after", MONTH)]
    assert time.monotonic() - began < 5


def test_a_month_in_a_branch_takes_no_time_either() -> None:
    slow = {"id": "pause", "type": "wait", "wait": {"duration": "P30D"}}
    definition = made(
        {
            "id": "both",
            "type": "parallel",
            "parallel": {"branches": [{"steps": [slow]}, {"steps": [task("quick")]}]},
        }
    )
    began = time.monotonic()
    simulation = simulate(definition, key="month")
    assert {s.path: s.at_ms for s in simulation.steps}["both"] == MONTH
    assert time.monotonic() - began < 5


def test_attempts_fail_as_mocked_and_wait_for_their_back_off() -> None:
    retry = {"maxAttempts": 4, "interval": 1000, "backoffRate": 3}
    simulation = simulate(
        made(task("a", retry=retry)), key="w", mocks={"fail": {"a": 3}, "durations": {"a": 10}}
    )
    assert [(s.attempt, s.at_ms, s.outcome) for s in simulation.steps] == [
        (1, 10, "failed"),
        (2, 1020, "failed"),
        (3, 4030, "failed"),
        (4, 13040, "completed"),
    ]


def test_a_step_that_takes_longer_than_its_timeout_fails_at_the_timeout() -> None:
    definition = made(task("a", timeout=100, onError="b"), task("b"))
    simulation = simulate(definition, key="w", mocks={"durations": {"a": 500}})
    assert [(s.path, s.at_ms, s.outcome) for s in simulation.steps] == [
        ("a", 100, "failed"),
        ("b", 100, "completed"),
    ]


def test_a_parallel_step_out_of_time_fails_and_ends_its_branches() -> None:
    slow = {"id": "pause", "type": "wait", "wait": {"duration": 5000}}
    definition = made(
        {
            "id": "both",
            "type": "parallel",
            "timeout": 300,
            "parallel": {"branches": [{"steps": [slow]}, {"steps": [task("long")]}]},
            "onError": "b",
        },
        task("b"),
    )
    simulation = simulate(definition, key="w", mocks={"durations": {"long": 9000}})
    assert simulation.status == "completed"
    assert {(s.path, s.at_ms, s.outcome) for s in simulation.steps} == {
        ("both", 300, "failed"),
        ("both/0/pause", 300, "cancelled"),
        ("both/1/long", 300, "cancelled"),
        ("b", 300, "completed"),
    }


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (
            {"id": "w", "type": "wait", "wait": {"duration": 1}, "timeout": 5},
            "timeout of a wait",
        ),
        (
            {"id": "w", "type": "wait", "wait": {"duration": 1}, "retry": {"maxAttempts": 2}},
            "retry of a wait",
        ),
    ],
)
def test_what_does_not_run_yet_is_said_and_not_silently_left_out(
    step: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NotSupportedYet, match=reason):
        simulate(made(step), key="w")


def test_an_execution_out_of_time_fails_by_name() -> None:
    definition = made({"id": "pause", "type": "wait", "wait": {"duration": 5000}}, timeoutMs=2000)
    simulation = simulate(definition, key="w")
    assert simulation.status == "failed"
    assert simulation.error is not None and simulation.error["name"] == "ExecutionTimeout"


def test_errors_are_named_as_mocked_and_taken_by_the_handler_of_that_name() -> None:
    definition = made(
        task("a", next="b"),
        task("b"),
        task("special"),
        errorHandlers=[{"error": "Special", "handler": "special"}],
    )
    taken = simulate(definition, key="w", mocks={"errors": {"a": "Special"}})
    failed = simulate(definition, key="w", mocks={"errors": {"a": "Other"}})
    assert (names(taken), taken.status) == (["a", "special"], "completed")
    assert (names(failed), failed.status) == (["a"], "failed")


@pytest.mark.parametrize(
    ("mocks", "sentence"),
    [
        ({"fial": {}}, "fial"),
        ({"outputs": {"stepp": 1}}, "did you mean 'step'"),
        ({"fail": {"step": "sometimes"}}, "`always` or a count"),
        ({"durations": {"step": -1}}, "greater than or equal to 0"),
    ],
)
def test_mocks_that_fit_nothing_are_refused_with_the_reason(
    mocks: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        simulate(made(task("step")), key="w", mocks=mocks)


def test_a_run_that_never_ends_is_given_up() -> None:
    definition = made(
        task("a", next="again"),
        {
            "id": "again",
            "type": "decision",
            "decision": {"expression": "true", "branches": {"true": "a", "false": "a"}},
        },
    )
    with pytest.raises(InputError, match="did not end"):
        import orch.control.simulation as simulation

        most, simulation.MOST_EVENTS = simulation.MOST_EVENTS, 200
        try:
            simulate(definition, key="w")
        finally:
            simulation.MOST_EVENTS = most


def test_a_skipped_last_step_gives_the_output_before_it_even_behind_a_failure() -> None:
    definition = made(
        task("a", next="b"),
        task("b", onError="c"),
        task("c", condition="$.input.never"),
    )
    mocks = {"outputs": {"a": 1}, "fail": {"b": "always"}}
    assert simulate(definition, key="w", input={}, mocks=mocks).output == 1


def test_a_map_over_the_output_finds_it_even_behind_a_failure() -> None:
    each = {"items": "$.output", "capability": "anything"}
    definition = made(
        task("a", next="b"),
        task("b", onError="c"),
        {"id": "c", "type": "map", "map": each},
    )
    mocks = {"outputs": {"a": [1, 2]}, "fail": {"b": "always"}}
    found = simulate(definition, key="w", input={}, mocks=mocks)
    assert (found.status, found.output["counts"]["total"]) == ("completed", 2)
