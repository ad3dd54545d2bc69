"""What the validator finds in steps that ask a model, and in budgets."""

from __future__ import annotations

from typing import Any

import pytest

from orch.workflows.validation import validate_document


def found(*steps: dict[str, Any], known: list[str] | None = None, **more: Any) -> list[str]:
    document = {"name": "w", "timeoutMs": 1000, "steps": list(steps), **more}
    return [str(each) for each in validate_document(document, known_capabilities=known)[1]]


def asks(**given: Any) -> dict[str, Any]:
    return {"id": "a", "capability": "llm", "input": {"prompt": "Say hello", **given}}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "is no valid JSON Schema"),
        ({"type": "string"}, "a model answers by the schema of an object"),
        ({}, "a model answers by the schema of an object"),
    ],
)
def test_a_schema_that_is_none(schema: dict[str, Any], said: str) -> None:
    [finding] = found(asks(outputSchema=schema))
    assert "steps[0].input.outputSchema" in finding and said in finding


def test_a_tool_that_nobody_serves_is_a_warning_where_one_may_know() -> None:
    step = asks(tools=["stock", "stok", "$.input.tool"])
    [finding] = found(step, known=["llm", "stock"])
    assert "no live worker serves the capability 'stok'" in finding and "'stock'" in finding
    assert found(step) == []


def test_a_prompt_is_missing() -> None:
    [finding] = found({"id": "a", "capability": "llm", "input": {"data": 1}})
    assert "asks a model, and has no `prompt`" in finding
    assert found({"id": "a", "capability": "llm", "input": "$.input"}) == []


def test_a_step_may_use_more_than_its_execution() -> None:
    step = {**asks(), "budget": {"cost": 3, "tokens": 10}}
    [finding] = found(step, budget={"cost": 2, "tokens": 10})
    assert "may use more than its execution: 3 of 2" in finding
    assert found(step) == []


def test_a_budget_that_is_none() -> None:
    [finding] = found({**asks(), "budget": {"cost": -1}})
    assert "steps[0].budget.cost" in finding
    [finding] = found({**asks(), "budget": {}})
    assert "a budget needs `cost`, `tokens` or both" in finding
    [finding] = found({**asks(), "budget": {"cost": 1, "onExceeded": "panic"}})
    assert "onExceeded" in finding
