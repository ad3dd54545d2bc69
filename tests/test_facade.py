"""The facade against the interface that it follows, as docs/facade.md tells of both."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from redis import Redis

import orch
from orch import AsyncOrchestrator, Orchestrator
from orch.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "facade.md"

INTERFACE = (
    *("defineWorkflow", "loadWorkflow", "saveWorkflow", "listWorkflows", "validateWorkflow"),
    *("startWorkflow", "resumeWorkflow", "pauseWorkflow", "stopWorkflow", "getExecutionStatus"),
    *("registerAgent", "unregisterAgent", "listAgents", "getAgentCapabilities"),
    *("findAgentsByCapability", "assignTask", "bulkAssignTasks", "getTaskStatus", "completeTask"),
    *("failTask", "listActiveExecutions", "getExecutionHistory", "subscribeToEvents"),
    *("triggerEvent", "getWorkflowMetrics", "getSystemMetrics"),
    *("registerExternalService", "callExternalService", "registerWebhook"),
)
TWINS = {"Execution": "AsyncExecution", "Subscription": "AsyncSubscription"}
ONLY_SYNC = {"workers"}
PAUSE = {"name": "Pause", "steps": [{"id": "p", "type": "wait", "wait": {"duration": 3_600_000}}]}


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the table below a heading, without the two lines of its head."""
    section = PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    for line in lines:
        yield [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


LISTED = {code(row[1])[0]: code(row[2])[0] for row in rows("Methods")} | {
    code(row[0])[0]: code(row[1])[0] for row in rows("Beyond the interface")
}


def public(facade: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(facade, callable) if not name.startswith("_")}


def parameters(method: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(method).parameters.values()
    return [(each.name, each.kind, each.default) for each in found]


def test_every_method_of_the_interface_is_in_the_table() -> None:
    told = [code(row[0])[0].partition("(")[0] for row in rows("Methods")]
    assert sorted(told) == sorted(INTERFACE)


def test_every_method_of_the_facade_is_in_one_of_the_tables() -> None:
    assert public(Orchestrator) == set(LISTED)
    assert public(AsyncOrchestrator) == set(LISTED) - ONLY_SYNC


@pytest.mark.parametrize("name", sorted(LISTED))
def test_a_method_answers_what_the_table_says_with_and_without_await(name: str) -> None:
    answers = inspect.signature(getattr(Orchestrator, name)).return_annotation
    assert answers == LISTED[name]
    if name in ONLY_SYNC:
        return
    twin = getattr(AsyncOrchestrator, name)
    expected = re.sub(r"\b(Execution|Subscription)\b", lambda m: TWINS[m[1]], answers)
    expected = expected.replace("Iterator", "AsyncIterator")
    assert inspect.signature(twin).return_annotation == expected
    assert parameters(twin) == parameters(getattr(Orchestrator, name))


def fields_of(kind: Any) -> set[str]:
    properties = {name for name, _ in inspect.getmembers(kind, lambda v: isinstance(v, property))}
    return properties | set(kind.model_fields if issubclass(kind, BaseModel) else ())


def test_every_type_is_a_model_of_orch_with_the_fields_that_the_table_names() -> None:
    kind: Any = None
    for named, fields, here in rows("Types"):
        if named:
            kind = getattr(orch, code(here)[0])
            continue
        told = code(here) if "the same" not in here else code(fields)
        assert set(told) <= fields_of(kind) | {"map", "loop"}, (kind, told)


def test_what_is_answered_cannot_be_changed() -> None:
    for name in ("ExecutionContext", "ExecutionInfo", "TaskAssignment", "AgentInfo", "Workflow"):
        kind = getattr(orch, name)
        assert issubclass(kind, BaseModel)
        assert kind.model_config.get("frozen"), name


def test_every_option_of_the_interface_is_a_setting_or_said_to_be_none() -> None:
    for option, here in rows("Options"):
        assert here.startswith("none:") or code(here)[0] in Settings.model_fields, option


def test_every_public_name_can_be_imported() -> None:
    for name in orch.__all__:
        assert getattr(orch, name).__name__ == name


def test_active_executions_are_those_that_have_not_ended(redis: Redis, settings: Settings) -> None:
    with Orchestrator(settings) as orchestrator:
        orchestrator.define_workflow("pause", PAUSE)
        orchestrator.define_workflow("other", PAUSE)
        first, second, third = (orchestrator.start_workflow("pause").id for _ in range(3))
        later = orchestrator.start_workflow("other", delay="1h").id
        orchestrator.pause_workflow(second)
        orchestrator.terminate_workflow(third)
        found = orchestrator.list_active_executions()
        assert {each.id for each in found} == {first, second, later}
        assert {each.id for each in orchestrator.list_active_executions("pause")} == {first, second}
        for each in found:
            orchestrator.terminate_workflow(each.id)
        assert orchestrator.list_active_executions() == []


def test_a_definition_is_valid_or_says_what_is_wrong(redis: Redis, settings: Settings) -> None:
    with Orchestrator(settings) as orchestrator:
        assert orchestrator.validate_workflow(PAUSE).valid
        wrong = orchestrator.validate_workflow(
            {"name": "Wrong", "steps": [{"id": "p", "next": "x"}]}
        )
        assert not wrong.valid
        assert wrong.errors
