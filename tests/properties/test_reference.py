"""The engine against a reference interpreter: random workflows of all step types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

import orch.control.simulation
from orch.control.simulation import simulate
from orch.workflows.definition import WorkflowDefinition
from tests.conftest import LONG
from tests.properties.flows import INPUT, flow
from tests.properties.reference import Open, Reference

pytestmark = pytest.mark.timeout(3600 if LONG else 120)

CASES = 10_000 if LONG else 300
BATCH = 50


@pytest.fixture(autouse=True)
def one_server(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def emptied() -> Iterator[SimpleNamespace]:
        redis.flushall()
        yield SimpleNamespace(url=redis_url)

    monkeypatch.setattr(orch.control.simulation, "ephemeral", emptied)


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_both_say_the_same(first: int) -> None:
    said = sum(compare(seed) for seed in range(first, first + BATCH))
    assert said > BATCH // 2, "most cases must say something"


def test_to_send_messages_elsewhere_changes_nothing_of_the_flow() -> None:
    elsewhere = {"when": "$.input.n || $.executionId", "route": {"capability": "other"}}
    rules = [
        {"name": "some", "when": "$.stepId < 's5'", "route": {"capability": "some"}},
        {"name": "rest", "enrich": {"n": "$.input.n"}, **elsewhere},
    ]
    assert sum(compare(seed, rules) for seed in range(CASES // 10)) > CASES // 20


def compare(seed: int, rules: Sequence[Any] = ()) -> bool:
    case, workflows = flow(seed)
    if rules:
        case.definition["messageRules"] = list(rules)
    reference = Reference(case.mocks, workflows)
    try:
        run = reference.run(case.definition, INPUT)
    except Open:
        return False
    found = simulate(
        WorkflowDefinition.model_validate(case.definition),
        key="flow",
        workflows={k: WorkflowDefinition.model_validate(v) for k, v in workflows.items()},
        input=INPUT,
        mocks=case.mocks,
    )
    where = f"seed {seed}"
    error = found.error["name"] if found.error else None
    assert (found.status, error) == (
        "failed" if run.error else "completed",
        run.error.name if run.error else None,
    ), where
    assert named(found.output) == (None if run.error else run.output), where
    assert named(dict(found.variables)) == reference.variables, where
    attempts = [
        (step.at_ms, step.path, step.attempt)
        for step in found.steps
        if step.outcome in ("completed", "failed", "skipped")
    ]
    expected = [(each.at, each.path, each.attempt) for each in run.effects if each.path]
    assert sorted(attempts) == sorted(expected), where
    return True


def named(found: Any) -> Any:
    """Errors, wherever they are, by their names alone."""
    if isinstance(found, dict):
        if {"name", "message", "path"} <= found.keys():
            return found["name"]
        return {key: named(value) for key, value in found.items()}
    return [named(value) for value in found] if isinstance(found, list) else found
