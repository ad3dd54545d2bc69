"""What is declared of a capability beside its code, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from orch import Orchestrator
from orch.agents import capability as module
from orch.agents.capability import capability, get
from orch.agents.context import Context
from orch.control.advance import committing
from orch.errors import SettingsError, StepError
from orch.journal.journal import Journal
from orch.workflows.declared import Declared
from orch.workflows.definition import RetryPolicy
from orch.workflows.validation import Severity, validate_definition
from tests.build import task, workflow

CODE = """
import time
from orch import StepError, capability

@capability("flaky", version="2.1.0", retry={"max_attempts": 3, "interval": 10})
def flaky(until: int, context: "Context"):
    if context.attempt < until:
        raise StepError("NotYet", "not yet")
    return context.attempt

@capability("sleepy", timeout=0.3)
def sleepy(context: "Context"):
    while True:
        context.raise_if_cancelled()
        time.sleep(0.05)
"""


class Order(BaseModel):
    item: str
    count: int = 1


class Receipt(BaseModel):
    total: float
    lines: list[str] = []


@pytest.fixture(autouse=True)
def own_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_capabilities", {})


def call(name: str, input: Any) -> Any:
    found = get(name)
    assert found is not None
    return found.call(input, Context())


def refusal(name: str, input: Any) -> StepError:
    with pytest.raises(StepError) as refused:
        call(name, input)
    return refused.value


# --- what may be declared ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"version": "1.0"}, r"capability 'a': `version` of a capability is '1.0'"),
        ({"version": "01.0.0"}, "a semantic version"),
        ({"version": 1}, "a semantic version"),
        ({"timeout": 0}, "`timeout` .* is 0, .* seconds above 0"),
        ({"timeout": True}, "seconds above 0"),
        ({"timeout": float("inf")}, "seconds above 0"),
        ({"cost": -0.1}, "not negative"),
        ({"concurrency": 0}, "whole number from 1 on"),
        ({"concurrency": 1.5}, "whole number"),
        ({"rate_limit": "0/s"}, "a rate above 0"),
        ({"rate_limit": "50"}, "a rate above 0"),
        ({"rate_limit": 50}, "a rate above 0"),
        ({"idempotent": "no"}, "True or False"),
        ({"retry": {"max_attempts": 0}}, r"`retry\.max_attempts` .* is 0, .* greater than"),
        ({"retry": {"attempts": 3}}, r"`retry\.attempts`"),
        ({"retry": 3}, "`retry` of a capability is 3"),
    ],
)
def test_what_cannot_be_declared_is_refused_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        capability("a", **given)


def test_what_is_declared_is_known_of_the_capability() -> None:
    @capability(
        "a",
        version="2.0.0-rc.1+build.5",
        timeout=2.5,
        retry={"max_attempts": 3},
        cost=0.02,
        concurrency=4,
        rate_limit="50/s",
        idempotent=False,
    )
    def a() -> None: ...

    found = get("a")
    assert found is not None
    assert (found.version, found.cost, found.concurrency) == ("2.0.0-rc.1+build.5", 0.02, 4)
    assert (found.rate_limit, found.declared.timeout_ms) == ("50/s", 2500)
    assert found.declared.retry == RetryPolicy(max_attempts=3)
    assert Declared.of(found.declared.as_dict() | {"of_later": 1}) == found.declared


# --- input -------------------------------------------------------------------------------------


def test_a_model_is_given_whole_to_a_function_of_one_parameter() -> None:
    @capability("buy", input=Order)
    def buy(order: Order) -> list[Any]:
        return [order.item, order.count]

    assert call("buy", {"item": "tea"}) == ["tea", 1]
    assert call("buy", {"item": "tea", "count": "2"}) == ["tea", 2]
    refused = refusal("buy", {"count": "many"})
    assert refused.name == "InvalidInput"
    assert "'item' is missing; 'count' is 'many' (str)" in refused.message


def test_the_fields_of_a_model_are_the_arguments_of_a_function_that_names_them() -> None:
    @capability("buy", input=Order)
    def buy(item, count, context: Context):  # type: ignore[no-untyped-def]
        return [item, count, context.attempt]

    assert call("buy", {"item": "tea"}) == ["tea", 1, 1]
    assert call("buy", ["tea", 3]) == ["tea", 3, 1]
    found = get("buy")
    assert found is not None
    assert list(found.input_schema["properties"]) == ["item", "count"]


def test_an_input_may_be_any_type_that_pydantic_knows() -> None:
    @dataclass
    class Point:
        x: int
        y: int = 0

    @capability("area", input=Point)
    def area(x: int, y: int) -> int:
        return x * y

    @capability("total", input=list[int])
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    assert call("area", {"x": 3, "y": 2}) == 6
    assert call("total", ["1", 2]) == 3
    assert "expected" in refusal("total", {"a": 1}).message


def test_a_function_that_does_not_take_its_input_is_refused() -> None:
    with pytest.raises(SettingsError, match="Order has the field 'count', which is no parameter"):

        @capability("a", input=Order)
        def a(item: str, other: str = "") -> None: ...

    with pytest.raises(SettingsError, match="Order has no field 'colour'"):

        @capability("b", input=Order)
        def b(item: str, count: int, colour: str) -> None: ...

    with pytest.raises(SettingsError, match="no named fields"):

        @capability("c", input=int)
        def c(x: int, y: int) -> None: ...


# --- output ------------------------------------------------------------------------------------


def test_an_output_is_checked_where_it_is_declared_or_annotated_with_a_model() -> None:
    @capability("declared", output=Receipt)
    def declared(total: Any) -> Any:
        return {"total": total}

    @capability("annotated")
    def annotated(total: Any) -> Receipt:
        return {"total": total}  # type: ignore[return-value]

    for name in ("declared", "annotated"):
        assert call(name, {"total": "2.5"}) == {"total": 2.5, "lines": []}
        refused = refusal(name, {"total": "much"})
        assert refused.name == "InvalidOutput"
        assert f"capability {name!r} gives is not what it declares: 'total'" in refused.message
        assert refused.data == [{"field": "total", "expected": refused.data[0]["expected"]}]
        found = get(name)
        assert found is not None
        assert found.output_schema is not None
        assert list(found.output_schema["properties"]) == ["total", "lines"]


def test_an_output_of_which_nothing_is_declared_is_left_as_it_is() -> None:
    @capability("plain")
    def plain() -> dict[str, int]:
        return {"a": "text"}  # type: ignore[dict-item]

    assert call("plain", None) == {"a": "text"}


def test_what_is_published_of_an_output_is_what_its_annotation_says() -> None:
    def published(returns: Any) -> Any:
        def made() -> None: ...

        made.__annotations__["return"] = returns
        capability("made")(made)
        found = get("made")
        assert found is not None
        return found.as_dict()["output"]

    assert published(list[int]) == {"type": "array", "items": {"type": "integer"}}
    assert published(Receipt)["title"] == "Receipt"
    assert published(None) == {"type": "null"}
    assert [published(each) for each in (Any, threading.Lock, Iterator)] == [None] * 3


# --- defaults of steps -------------------------------------------------------------------------


@pytest.fixture
def running(orchestrator: Orchestrator, tmp_path: Path) -> Iterator[Orchestrator]:
    code = tmp_path / "declared_code.py"
    code.write_text(CODE)
    with orchestrator.workers(include=[str(code)], concurrency=2, pool="threads"):
        yield orchestrator


def ended(orchestrator: Orchestrator, **step: Any) -> Any:
    orchestrator.define_workflow("w", {"name": "w", "steps": [{"id": "s", **step}]})
    return orchestrator.start_workflow("w").wait(timeout=30)


def test_timeout_and_retry_are_those_of_the_capability_unless_the_step_says(
    running: Orchestrator,
) -> None:
    flaky = {"capability": "flaky", "input": {"until": 3}, "output": {"at": "$.output"}}
    assert ended(running, **flaky).variables == {"at": 3}
    assert ended(running, **flaky, retry={"maxAttempts": 1}).error["name"] == "NotYet"
    assert ended(running, **flaky, delivery="at_most_once").error["name"] == "NotYet"
    late = ended(running, capability="sleepy")
    assert late.error["name"] == "StepTimeout"
    assert "300 ms" in late.error["message"]


def test_who_has_not_the_code_reads_what_was_declared_last(journal: Journal) -> None:
    known = committing.Declarations(journal)
    journal.declare_capabilities({"a": Declared(timeout=2, retry=RetryPolicy(max_attempts=2))})
    assert known.timeout("a") == 2000
    assert known.retry("a") == RetryPolicy(max_attempts=2)
    assert known.timeout("b") is None
    known.know({"a": Declared(timeout=1)})
    assert known.timeout("a") == 1000


# --- what the validator says -------------------------------------------------------------------


def test_a_step_that_may_call_twice_what_must_not_be_is_warned_of() -> None:
    once = {"known_declared": {"charge": Declared(idempotent=False)}}

    def warnings(**fields: Any) -> list[str]:
        definition = workflow(task("a", capability="charge", timeout=1, **fields))
        found = validate_definition(definition, **once)  # type: ignore[arg-type]
        return [f"{f.path}: {f.hint}" for f in found if f.severity is Severity.WARNING]

    assert warnings() == ["steps[0]: add `delivery: at_most_once`"]
    assert warnings(delivery="at_most_once") == []
    (again,) = warnings(delivery="at_most_once", retry={"maxAttempts": 2})
    assert again.startswith("steps[0].retry: drop `retry`")


def test_a_workflow_is_checked_with_what_the_workers_declared(orchestrator: Orchestrator) -> None:
    orchestrator.runtime.journal.declare_capabilities({"charge": Declared(idempotent=False)})
    step = {"id": "a", "capability": "charge", "timeout": 1000}
    made = orchestrator.define_workflow("w", {"name": "w", "steps": [step]})
    assert "not idempotent" in made.warnings[0].message
