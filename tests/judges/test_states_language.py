"""Amazon States Language as a second judge: the same workflows through moto's interpreter."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from threading import Barrier, BrokenBarrierError
from types import SimpleNamespace
from typing import Any

import pytest
from moto.stepfunctions.parser.asl.component import eval_component
from redis import Redis

import orch.control.simulation
from orch.control.simulation import SimulatedStep, Simulation, simulate
from orch.workflows.definition import WorkflowDefinition
from tests.conftest import LONG, wait_for
from tests.judges.cases import INPUT, case
from tests.judges.states import NO_CHOICE, Judge, judge, to_states

# In moto, branches that are stopped because of another one end in an exception of their own.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

CASES = 3000 if LONG else 200
BATCH = 20


@pytest.fixture(autouse=True)
def one_server(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server for each of some hundred simulations would take longer than they do."""

    @contextmanager
    def emptied() -> Iterator[SimpleNamespace]:
        redis.flushall()
        yield SimpleNamespace(url=redis_url)

    monkeypatch.setattr(orch.control.simulation, "ephemeral", emptied)


@pytest.fixture(scope="module")
def moto() -> Iterator[Judge]:
    with judge() as found:
        yield found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_both_say_the_same(moto: Judge, first: int) -> None:
    for seed in range(first, first + BATCH):
        compare(moto, seed)


def compare(moto: Judge, seed: int) -> None:
    made = case(seed)
    definition = WorkflowDefinition.model_validate(made.definition)
    found = simulate(definition, key="judged", input=INPUT, mocks=made.mocks)
    verdict = moto.run(to_states(made.definition), INPUT, made.mocks)
    where = f"seed {seed}"
    assert (found.status, found.output) == (verdict.status, verdict.output), where
    assert error_of(found) == verdict.error, where
    open_below = failed_joins(found, made.definition)
    calls = by_scope(verdict.calls, open_below)
    assert calls_of(found, made.definition, open_below) == calls, where
    if not open_below:
        assert pauses_of(found) == sorted(verdict.pauses), where


def error_of(found: Simulation) -> str | None:
    name = found.error["name"] if found.error else None
    return NO_CHOICE if name == "NoBranch" else name


def kinds_of(steps: list[dict[str, Any]]) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for step in steps:
        kinds[step["id"]] = step.get("type", "task")
        for branch in step.get("parallel", {}).get("branches", []):
            kinds |= kinds_of(branch["steps"])
        kinds |= kinds_of(step.get("map", {}).get("steps", []))
    return kinds


def own_id(path: str) -> str:
    return path.rpartition("/")[2].partition("#")[0]


def failed_joins(found: Simulation, definition: dict[str, Any]) -> tuple[str, ...]:
    """Where a failure ended what ran beside it, and how far that came is open."""
    kinds = kinds_of(definition["steps"])
    return tuple(
        step.path
        for step in found.steps
        if step.outcome == "failed" and kinds[own_id(step.path)] in ("parallel", "map")
    )


def is_open(path: str, joins: tuple[str, ...]) -> bool:
    return any(path.startswith((f"{join}/", f"{join}[")) for join in joins)


Calls = dict[str, list[tuple[str, int]]]
"""Scope -> the attempts in it, in their order; that of two scopes is open."""


def by_scope(calls: list[tuple[str, int]], joins: tuple[str, ...]) -> Calls:
    found: Calls = defaultdict(list)
    for path, attempt in calls:
        if not is_open(path, joins):
            found[path.rpartition("/")[0]].append((path, attempt))
    return found


def tries(found: Simulation) -> list[SimulatedStep]:
    return [step for step in found.steps if step.outcome in ("completed", "failed")]


def calls_of(found: Simulation, definition: dict[str, Any], joins: tuple[str, ...]) -> Calls:
    kinds = kinds_of(definition["steps"])
    work = [(s.path, s.attempt) for s in tries(found) if kinds[own_id(s.path)] == "task"]
    return by_scope(work, joins)


def pauses_of(found: Simulation) -> list[int]:
    ends = {(step.path, step.attempt): step.at_ms for step in found.steps}
    return sorted(
        at - ends[path, attempt - 1] for (path, attempt), at in ends.items() if attempt > 1
    )


def test_the_cases_hold_what_they_are_meant_to_judge() -> None:
    """The random cases would be worth nothing if they never came to what is to be compared."""
    seen: Counter[str] = Counter()
    for seed in range(200):
        made = case(seed)
        text = json.dumps(made.definition)
        kinds = set(kinds_of(made.definition["steps"]).values())
        words = ("onError", "retryOn", "abortOn", "maxInterval", "backoffRate", "condition", '"1"')
        seen.update([*kinds, *(word for word in words if word in text)])
        seen.update(["fails"] if any(made.mocks["fail"].values()) else [])
    assert min(seen.values()) >= 10 and len(seen) == 13, seen


def test_items_that_fail_at_once_count_their_attempts_apart(
    moto: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto names a counter when it is first asked for; two threads could each give it a name."""
    asked, both = count(), Barrier(2)

    def named() -> str:
        second = next(asked) == 1
        with suppress(BrokenBarrierError):
            both.wait(2)
        if second:
            wait_for(lambda: moto.verdict.pauses)
        return str(next(asked))

    monkeypatch.setattr(eval_component, "long_uid", named)
    step = {"id": "a", "capability": "work", "retry": {"maxAttempts": 3, "interval": 1000}}
    step["retry"] |= {"backoffRate": 3}
    of_items = {"items": "$.input.three", "maxConcurrency": 3, "steps": [step]}
    steps = [{"id": "m", "type": "map", "map": of_items}]
    definition = {"name": "w", "steps": steps, "result": {"last": None, "error": None}}
    given = {"outputs": {"a": {"n": 1}}, "fail": {"a": 2}, "errors": {"a": "Red"}}
    found = moto.run(to_states(definition), INPUT, given)
    assert sorted(found.pauses) == [1000] * 3 + [3000] * 3


def test_what_moto_counts_is_what_was_planned(moto: Judge) -> None:
    """A judge that said yes to everything would be none."""
    step = {"id": "a", "capability": "work", "retry": {"maxAttempts": 3, "interval": 2000}}
    definition = {"name": "w", "steps": [step], "result": {"last": "$.output", "error": None}}
    given = {"outputs": {"a": {"n": 1}}, "fail": {"a": 2}, "errors": {"a": "Red"}}
    good = moto.run(to_states(definition), INPUT, given)
    assert (good.calls, good.pauses) == ([("a", 1), ("a", 2), ("a", 3)], [2000, 2000])
    assert (good.status, good.output) == ("completed", {"last": {"n": 1}, "error": None})
    bad = moto.run(to_states(definition), INPUT, {**given, "fail": {"a": 3}})
    assert (bad.status, bad.error, len(bad.calls)) == ("failed", "Red", 3)
