"""The language: one meaning whichever way it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orch.workflows.definition import (
    Branches,
    ErrorAction,
    RetryPolicy,
    StepType,
    WorkflowDefinition,
    WorkflowStep,
)
from orch.workflows.durations import MAX_DURATION, parse_duration, parse_instant
from orch.workflows.loading import dumps, loads

CAMEL = {
    "name": "Fetch",
    "timeoutMs": 60000,
    "steps": [
        {
            "id": "fetch",
            "capability": "http",
            "retry": {"maxAttempts": 3, "backoffRate": 2.0},
            "onError": [{"errors": ["Timeout"], "next": "report"}],
            "next": {"expression": "$.output.ok", "branches": {"true": "report"}},
        },
        {"id": "report", "capability": "mail", "input": {"maxSize": 1, "max_size": 2}},
    ],
    "errorHandlers": [{"handler": "report"}],
}
SNAKE = {
    "name": "Fetch",
    "timeout_ms": 60000,
    "steps": [
        {
            "id": "fetch",
            "capability": "http",
            "retry": {"max_attempts": 3, "backoff_rate": 2.0},
            "on_error": [{"errors": ["Timeout"], "next": "report"}],
            "next": {"expression": "$.output.ok", "branches": {"true": "report"}},
        },
        {"id": "report", "capability": "mail", "input": {"maxSize": 1, "max_size": 2}},
    ],
    "error_handlers": [{"handler": "report"}],
}
PYTHON = WorkflowDefinition(
    name="Fetch",
    timeout_ms=60000,
    steps=[
        WorkflowStep(
            id="fetch",
            capability="http",
            retry=RetryPolicy(max_attempts=3, backoff_rate=2),
            on_error=[ErrorAction(errors=["Timeout"], next="report")],
            next=Branches(expression="$.output.ok", branches={"true": "report"}),
        ),
        WorkflowStep(id="report", capability="mail", input={"maxSize": 1, "max_size": 2}),
    ],
    error_handlers=[{"handler": "report"}],
)


def test_the_version_is_the_same_however_the_definition_is_written() -> None:
    versions = {
        WorkflowDefinition.model_validate(CAMEL).content_hash(),
        WorkflowDefinition.model_validate(SNAKE).content_hash(),
        PYTHON.content_hash(),
        loads(json.dumps(CAMEL), "json").content_hash(),
        loads(dumps(PYTHON, "yaml"), "yaml").content_hash(),
        loads(dumps(PYTHON, "json"), "json").content_hash(),
    }
    assert len(versions) == 1


def test_the_order_of_keys_and_written_defaults_do_not_change_the_version() -> None:
    turned = {**dict(reversed(CAMEL.items())), "tags": [], "description": None}
    assert WorkflowDefinition.model_validate(turned).content_hash() == PYTHON.content_hash()


def test_any_change_of_content_changes_the_version() -> None:
    changed = {**CAMEL, "timeoutMs": 60001}
    assert WorkflowDefinition.model_validate(changed).content_hash() != PYTHON.content_hash()


def test_data_in_an_input_keeps_its_keys() -> None:
    content = json.loads(PYTHON.canonical())
    assert content["steps"][1]["input"] == {"maxSize": 1, "max_size": 2}


texts = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.from_regex(r"[-+0-9.eExo_:]{1,8}", fullmatch=True)
    | st.sampled_from(["yes", "on", "null", "~", "<<", "2024-01-01", "12:30", "0o7", "1e3", "="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_yaml_and_json_carry_every_value_unchanged(value: Any) -> None:
    definition = WorkflowDefinition(
        name="n", steps=[WorkflowStep(id="a", capability="c", input={"value": value})]
    )
    for format in ("yaml", "json"):
        loaded = loads(dumps(definition, format), format)
        assert loaded.canonical() == definition.canonical()


def test_the_reference_names_every_field_and_type() -> None:
    reference = (Path(__file__).parent.parent / "docs" / "definition.md").read_text("utf-8")
    definitions = [WorkflowDefinition.model_json_schema(by_alias=True)]
    definitions += definitions[0]["$defs"].values()
    fields = {name for model in definitions for name in model.get("properties", ())}
    missing = [name for name in sorted(fields | set(StepType)) if f"`{name}`" not in reference]
    assert missing == []


def test_a_definition_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PYTHON.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (1500, 1500),
        (2.6, 3),
        ("PT1H30M", 5_400_000),
        ("PT0.5S", 500),
        ("PT0,5S", 500),
        ("P1DT1S", 86_401_000),
        ("P2W", 1_209_600_000),
        ("P0.5D", 43_200_000),
        ("PT36H", 129_600_000),
    ],
)
def test_durations_are_milliseconds(value: object, expected: int) -> None:
    assert parse_duration(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("P1M", "years or months"),
        ("P1Y2D", "years or months"),
        ("-PT1S", "negative"),
        (-1, "negative"),
        ("PT", "no ISO 8601 duration"),
        ("P", "no ISO 8601 duration"),
        ("", "no ISO 8601 duration"),
        ("P1DT", "no ISO 8601 duration"),
        ("P1W2D", "no ISO 8601 duration"),
        ("PT1S ", "no ISO 8601 duration"),
        ("pt1s", "no ISO 8601 duration"),
        ("PT٣S", "no ISO 8601 duration"),
        ("PT1.5H3M", "fraction"),
        ("5000", "no ISO 8601 duration"),
        (True, "no duration"),
        (None, "no duration"),
        ([], "no duration"),
        (float("inf"), "no duration"),
        (MAX_DURATION + 1, "hundred years"),
        ("P99999999999999999999W", "hundred years"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_reason(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_duration(value)


@given(st.integers(0, MAX_DURATION))
def test_a_duration_of_n_milliseconds_is_n(milliseconds: int) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    assert parse_duration(f"PT{seconds}.{rest:03}S") == milliseconds


def test_instants_are_milliseconds_since_the_epoch_in_utc() -> None:
    assert parse_instant("1970-01-01T00:00:01.5Z") == 1500
    assert parse_instant("1970-01-01T02:00:00+02:00") == 0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("2030-01-01T00:00:00", "no time zone"),
        ("2030-01-01", "no time zone"),
        ("tomorrow", "no instant"),
        ("2030-13-01T00:00:00Z", "no instant"),
        (5, "no instant"),
    ],
)
def test_an_instant_needs_a_time_zone(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_instant(value)
