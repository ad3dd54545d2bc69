"""What differs between two executions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orch.workflows.comparing import Change, Side, StepSide, compare, flat_steps, values
from tests.build import parallel, task, workflow

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy"), inner, max_size=3),
    max_leaves=8,
)


@given(a=JSON, b=JSON)
def test_a_value_differs_from_another_exactly_if_it_is_another(a: Any, b: Any) -> None:
    assert list(values(a, a)) == []
    assert bool(list(values(a, b))) == (repr(a) != repr(b) and (a != b or _kinds(a) != _kinds(b)))


def _kinds(value: Any) -> Any:
    """The value, with what is true told from what is 1."""
    if isinstance(value, dict):
        return {key: _kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_kinds(item) for item in value]
    return f"{value!r}" if isinstance(value, bool) else value


def test_it_says_where() -> None:
    a = {"x": {"y": [1, 2]}, "gone": 1}
    b = {"x": {"y": [1, 3, 4]}, "new": None}
    assert list(values(a, b)) == [
        Change("$.x.y[1]", 2, 3),
        Change("$.x.y[2]", b=4, only="b"),
        Change("$.gone", a=1, only="a"),
        Change("$.new", only="b"),
    ]


def definition(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return workflow(*steps, **more).model_dump(mode="json", by_alias=True, exclude_defaults=True)


def test_a_definition_is_compared_step_by_step() -> None:
    loop = {"id": "l", "type": "loop", "loop": {"until": "true", "steps": [task("i")]}}
    whole = definition(parallel("p", [task("a")], [loop]))
    assert [path for path, _ in flat_steps(whole)] == ["p", "p/0/a", "p/1/l", "p/1/l/i"]
    one = side(definition=whole)
    two = side(definition=definition(parallel("p", [task("a", timeout=5)], [loop]), timeoutMs=9))
    assert compare(one, two).definition == [
        Change("p/0/a.timeout", b=5, only="b"),
        Change("$.timeoutMs", b=9, only="b"),
    ]


def side(**more: Any) -> Side:
    steps = {"a": StepSide("completed", 1, 5, {"n": 1}, None)}
    made = Side("1", "w", "v", "completed", {}, {}, None, None, 9, definition(task("a")), steps)
    return replace(made, **more)


def test_ids_and_durations_make_no_difference() -> None:
    other = {"a": StepSide("completed", 1, 99, {"n": 1}, None)}
    found = compare(side(), side(id="2", duration_ms=1, steps=other))
    assert found.same and found.as_dict()["same"]
    assert found.steps[0].duration_ms == (5, 99)


def test_steps_differ_in_status_attempts_output_and_error_or_are_in_one_alone() -> None:
    broken = {"name": "Broken", "message": "x", "child": "77"}
    steps = {
        "a": StepSide("failed", 2, 5, None, broken),
        "b": StepSide("completed", 1, 5, None, None),
    }
    found = compare(side(), side(status="failed", error=broken, steps=steps))
    a, b = found.steps
    assert (a.status, a.attempts, b.only) == (("completed", "failed"), (1, 2), "b")
    assert a.output == [Change("$", {"n": 1}, None)]
    assert [change.b for change in a.error] == [{"name": "Broken", "message": "x"}]
    assert not found.same
    assert [s["same"] for s in found.as_dict()["steps"]] == [False, False]
