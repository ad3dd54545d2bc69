"""Each finding: what it says, where, and that a good definition has none."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orch.errors import InputError
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.loading import library_definition, library_names
from orch.workflows.validation import (
    Finding,
    Severity,
    check_input,
    check_output,
    errors_in,
    json_schema,
    validate_definition,
    validate_document,
)


def task(step_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": step_id, "capability": "c", "timeout": 1000, **fields}


def decision(step_id: str, branches: dict[str, str], **fields: Any) -> dict[str, Any]:
    choice: dict[str, Any] = {"expression": "$.input.x", "branches": branches}
    if "default" in fields:
        choice["default"] = fields.pop("default")
    return {"id": step_id, "type": "decision", "decision": choice, **fields}


def parallel(step_id: str, *branches: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    own: dict[str, Any] = {
        name: fields.pop(name) for name in ("join", "maxConcurrency") if name in fields
    }
    own["branches"] = [{"steps": steps} for steps in branches]
    return {"id": step_id, "type": "parallel", "parallel": own, **fields}


def document(*steps: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "n", "steps": list(steps), **fields}


def findings(*steps: Any, **fields: Any) -> list[Finding]:
    return validate_document(document(*steps, **fields))[1]


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, [str(finding) for finding in found]
    return found[0]


def test_a_good_definition_has_no_findings() -> None:
    definition, found = validate_document(
        document(
            task("a", output={"x": "$.output"}, onError="c", next="b"),
            decision("b", {"true": "a", "false": "c"}),
            task("c", input={"x": "$.variables.x || $.input.x", "why": "$.error.message"}),
        )
    )
    assert definition is not None
    assert found == []


# --- targets and ids -------------------------------------------------------------------------

MISSING = [
    (task("a", next="transform_dta"), "next"),
    (
        task("a", next={"expression": "$.input", "branches": {"x y": "transform_dta"}}),
        'next.branches["x y"]',
    ),
    (
        task("a", next={"expression": "1", "branches": {}, "default": "transform_dta"}),
        "next.default",
    ),
    (decision("a", {"true": "transform_dta"}), "decision.branches.true"),
    (decision("a", {}, default="transform_dta"), "decision.default"),
    (task("a", onError="transform_dta"), "onError"),
    (task("a", on_error={"next": "transform_dta"}), "onError.next"),
    (task("a", onError=[{"next": "transform_dta"}]), "onError[0].next"),
    (
        {"id": "a", "type": "event", "event": {"name": "e", "on_timeout": "transform_dta"}},
        "event.onTimeout",
    ),
]


@pytest.mark.parametrize(("step", "place"), MISSING, ids=[place for _, place in MISSING])
def test_a_missing_target_is_an_error_that_names_the_alternative(step: Any, place: str) -> None:
    found = errors_in(findings(step, task("transform_data")))
    assert only(found) == Finding(
        Severity.ERROR,
        f"steps[0].{place}",
        "there is no step 'transform_dta'",
        "did you mean 'transform_data'?",
    )


@pytest.mark.parametrize(
    "steps",
    [
        [parallel("p", [task("x", next="y")], [task("y")])],
        [parallel("p", [task("x")], next="x")],
        [parallel("p", [task("x", onError="after")], next="after"), task("after")],
    ],
)
def test_a_target_in_another_scope_is_an_error_that_says_so(steps: list[Any]) -> None:
    found = only(errors_in(findings(*steps)))
    assert "is in another scope" in found.message
    assert "one of its own scope" in found.hint


def test_the_path_of_a_nested_finding() -> None:
    steps = [task("x", next="y"), task("y", next="z")]
    found = errors_in(findings(task("a", next="p"), parallel("p", steps)))
    assert only(found).path == "steps[1].parallel.branches[0].steps[1].next"


def test_ids_are_unique_over_all_scopes() -> None:
    found = only(errors_in(findings(task("a", next="p"), parallel("p", [task("a")]))))
    assert found.path == "steps[1].parallel.branches[0].steps[0].id"
    assert "there twice" in found.message
    assert "steps[0]" in found.hint


def test_no_step_is_called_error_handlers() -> None:
    assert only(errors_in(findings(task("errorHandlers")))).path == "steps[0].id"


def test_a_handler_is_a_step_of_the_workflow_or_known_or_a_guess() -> None:
    def of(name: str, **known: Any) -> list[Finding]:
        content = document(
            task("a"), parallel("p", [task("inner")]), errorHandlers=[{"handler": name}]
        )
        found = validate_document(content, **known)[1]
        return [finding for finding in found if finding.path.startswith("errorHandlers")]

    assert of("a") == []
    assert of("report", known_workflows=["report"]) == []
    assert of("report", known_capabilities=["report", "c"]) == []
    guess = only(of("reprot", known_workflows=["report"]))
    assert guess.severity is Severity.WARNING
    assert guess.path == "errorHandlers[0].handler"
    assert "tried as a capability" in guess.message
    assert guess.hint == "did you mean 'report'?"
    assert only(of("inner")).severity is Severity.ERROR


# --- reachability and cycles -----------------------------------------------------------------


def test_a_step_that_nothing_leads_to_is_a_warning() -> None:
    found = only(findings(task("a"), task("b")))
    assert (found.severity, found.path) == (Severity.WARNING, "steps[1]")
    assert "give it `next: b`" in found.hint


def test_every_kind_of_edge_reaches_a_step() -> None:
    event = {"name": "e", "onTimeout": "late"}
    assert not findings(
        task("a", next="b", onError="failed"),
        {"id": "b", "type": "event", "event": event, "next": "c"},
        decision("c", {"true": "d"}, default="e"),
        task("d"),
        task("e", next={"expression": "1", "branches": {"1": "f"}}),
        task("f"),
        task("failed"),
        task("late"),
        task("handler"),
        errorHandlers=[{"handler": "handler"}],
    )


def test_a_cycle_without_a_way_out_is_an_error() -> None:
    found = only(errors_in(findings(task("a", next="b"), task("b", next="c"), task("c", next="b"))))
    assert found.path == "steps[1]"
    assert found.message == "nothing can leave the cycle b -> c -> b"
    assert only(errors_in(findings(task("a", next="a")))).path == "steps[0]"


def test_a_cycle_of_a_decision_whose_branches_all_lead_back_is_an_error() -> None:
    both = {"true": "a", "false": "b"}
    steps = [task("a", next="d"), decision("d", both), task("b", next="d")]
    assert "nothing can leave" in only(errors_in(findings(*steps))).message


@pytest.mark.parametrize(
    "step",
    [
        decision("d", {"true": "a", "false": "out"}),
        decision("d", {"true": "a"}, default="out"),
        decision("d", {"true": "a"}, next="out"),
        decision("d", {"true": "a", "false": "a"}, condition="$.input.x"),
        task("d", next={"expression": "$.output", "branches": {"true": "a", "false": "out"}}),
    ],
)
def test_a_cycle_that_a_choice_can_leave_is_fine(step: Any) -> None:
    assert errors_in(findings(task("a", next="d"), step, task("out"))) == []


@pytest.mark.parametrize(
    "steps",
    [
        [task("a", next="a", onError="out"), task("out")],
        [task("a", next="d"), decision("d", {"retry": "a"})],
    ],
)
def test_a_cycle_that_only_an_error_leaves_is_a_warning(steps: list[Any]) -> None:
    found = only(findings(*steps))
    assert found.severity is Severity.WARNING
    assert "only an error can leave" in found.message


def test_a_cycle_within_a_branch_is_found() -> None:
    found = only(errors_in(findings(parallel("p", [task("a", next="a")]))))
    assert found.path == "steps[0].parallel.branches[0].steps[0]"


# --- expressions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (task("a", condition="$.input.x =="), "steps[0].condition"),
        (task("a", input={"x": [{"y": "$.input.x + "}]}), "steps[0].input.x[0].y"),
        (task("a", output={"x": "$.output ||"}), "steps[0].output.x"),
        (task("a", next={"expression": "(", "branches": {}}), "steps[0].next.expression"),
        ({**decision("a", {}), "decision": {"expression": "a b", "branches": {}}},
         "steps[0].decision.expression"),
        ({"id": "a", "type": "loop", "loop": {"while": "<", "steps": [task("b")]}},
         "steps[0].loop.while"),
        ({"id": "a", "type": "map", "map": {"items": "${$.input.x", "steps": [task("b")]}},
         "steps[0].map.items"),
        ({"id": "a", "type": "wait", "wait": {"duration": "$.input.x +"}},
         "steps[0].wait.duration"),
    ],
)  # fmt: skip
def test_an_expression_that_does_not_parse_is_an_error_with_a_column(step: Any, path: str) -> None:
    found = only(errors_in(findings(step)))
    assert found.path == path
    assert "column" in found.message


def test_an_unknown_root_is_an_error_that_lists_the_legal_ones() -> None:
    found = only(errors_in(findings(task("a", input="$.inputs.x"))))
    assert "`$.inputs` is unknown" in found.message
    assert "$.executionId" in found.message
    assert found.hint == "did you mean '$.input'?"
    steps = [task("a", output={"plan": "$.output"}, next="b"), task("b", input="$.plan.x")]
    assert only(errors_in(findings(*steps))).hint == "variables are read as `$.variables.plan`"
    assert only(errors_in(findings(task("a"), result="$.x"))).path == "result"


def test_items_and_indexes_are_roots_within_a_map_and_a_loop_only() -> None:
    inner = task("b", input=["$.item", "$.file", "$.index"])
    files = {"items": "$.input", "as": "file", "steps": [inner]}
    assert not findings({"id": "a", "type": "map", "map": files})
    lone = {"items": "$.input", "capability": "c", "input": "$.item"}
    assert not findings({"id": "a", "type": "map", "map": lone})
    loop = {"while": "$.index < 3", "steps": [task("b", input="$.index")]}
    assert not findings({"id": "a", "type": "loop", "loop": loop})
    assert len(errors_in(findings(inner))) == 3
    outside = {"items": "$.item", "steps": [task("b")]}
    assert len(errors_in(findings({"id": "a", "type": "map", "map": outside}))) == 1


def test_the_first_step_of_a_scope_has_no_output_before_it() -> None:
    found = only(findings(task("a", next="p"), parallel("p", [task("b", input="$.output")])))
    assert "the first: it is null" in found.message
    assert findings(task("a", next="b"), task("b", input="$.output")) == []
    assert findings(task("a", output={"x": "$.output"})) == []


# --- variables -------------------------------------------------------------------------------


def test_a_variable_that_nobody_sets_is_a_warning() -> None:
    steps = [task("a", output={"plan": "$.output"}, next="b"), task("b", input="$.variables.paln")]
    found = only(findings(*steps))
    assert (found.severity, found.path) == (Severity.WARNING, "steps[1].input")
    assert "no step before this one sets it" in found.message
    assert found.hint == "did you mean 'plan'?"


def test_a_variable_that_is_set_too_late_is_a_warning() -> None:
    found = only(findings(task("a", input="$.variables.x", next="b"), task("b", output="x")))
    assert "set by 'b', too late" in found.hint
    own = only(findings(task("a", input="$.variables.x", output="x")))
    assert own.severity is Severity.WARNING


def test_a_sibling_branch_comes_not_before() -> None:
    found = only(
        findings(parallel("p", [task("a", output="x")], [task("b", input="$.variables.x")]))
    )
    assert found.severity is Severity.WARNING


BEFORE = [
    [task("a", output="x", next="z"), task("z", input="$.variables.x")],
    [task("a", output="x", next={"expression": "$.variables.x", "branches": {"1": "z"}}),
     task("z")],
    [parallel("p", [task("a", output="x")], [task("b")], next="z"),
     task("z", input="$.variables.x")],
    [task("a", output="x", next="p"), parallel("p", [task("z", input="$.variables.x")])],
    [parallel("p", [task("a", output="x", next="b"), task("b", input="$.variables.x")])],
    [decision("d", {"true": "a", "false": "b"}), task("a", output="x", next="z"),
     task("b", output="x", next="z"), task("z", input="$.variables.x")],
    [{"id": "l", "type": "loop", "loop": {"until": "$.variables.x",
      "steps": [task("a", output="x")]}, "next": "z"}, task("z", input="$.variables.x")],
]  # fmt: skip


@pytest.mark.parametrize("steps", BEFORE)
def test_a_variable_that_every_way_sets_is_fine(steps: list[Any]) -> None:
    assert findings(*steps) == []


SOME = [
    [decision("d", {"true": "a", "false": "z"}), task("a", output="x", next="z"),
     task("z", input="{0}")],
    [task("a", output="x", condition="$.input.x", next="z"), task("z", input="{0}")],
    [task("z", input="{0}", next="a"), task("a", output="x", next="d"),
     decision("d", {"true": "z", "false": "e"}), task("e")],
    [task("s", next="a"), task("a", output="x", onError="z", next="z"), task("z", input="{0}")],
    [parallel("p", [task("a", output="x")], [task("b")], onError="z", next="z"),
     task("z", input="{0}")],
    [parallel("p", [task("a", output="x")], [task("b")], join="any", next="z"),
     task("z", input="{0}")],
    [{"id": "m", "type": "map", "map": {"items": [1], "steps": [task("a", output="x")]},
      "next": "z"}, task("z", input="{0}")],
    [{"id": "l", "type": "loop", "loop": {"while": "1", "steps": [
        task("z", input="{0}", next="a"), task("a", output="x")]}}],
]  # fmt: skip


@pytest.mark.parametrize("steps", SOME)
def test_a_variable_that_only_some_ways_set_is_worth_a_look(steps: list[Any]) -> None:
    def reading(expression: str) -> list[Finding]:
        return findings(*json.loads(json.dumps(steps).replace("{0}", expression)))

    found = only(reading("$.variables.x"))
    assert found.severity is Severity.INFO
    assert "not set on every way" in found.message
    assert reading("$.variables.x || $.input.x") == []


def test_a_handler_step_may_follow_any_step() -> None:
    steps = [task("a", output="x", next="b"), task("b"), task("h", input="$.variables.x")]
    found = only(findings(*steps, errorHandlers=[{"handler": "h"}]))
    assert found.severity is Severity.INFO


def test_branches_that_set_the_same_variable_are_a_warning() -> None:
    found = only(findings(parallel("p", [task("a", output="x")], [task("b", output="x")])))
    assert (found.severity, found.path) == (Severity.WARNING, "steps[0].parallel")
    assert "branch 0 and branch 1 both set variable 'x'" in found.message


@pytest.mark.parametrize(
    ("output", "path"),
    [
        ("my var", "steps[0].output"),
        ("$.output.x", "steps[0].output"),
        ({"a-b": "$.output"}, 'steps[0].output["a-b"]'),
    ],
)
def test_a_variable_has_the_name_of_an_identifier(output: Any, path: str) -> None:
    found = only(errors_in(findings(task("a", output=output))))
    assert found.path == path
    assert "no name of a variable" in found.message


# --- schemas ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "strnig"}, "input.type"),
        ({"properties": {"x": {"minimum": "1"}}}, "input.properties.x.minimum"),
        ({"properties": {"x": {"pattern": "("}}}, "input.properties.x.pattern"),
        ({"$ref": "#/$defs/none"}, 'input["$ref"]'),
        ({"$ref": "http://127.0.0.1:9/none.json"}, 'input["$ref"]'),
    ],
)
def test_a_schema_that_is_none_is_an_error(schema: Any, path: str) -> None:
    found = only(errors_in(findings(task("a"), input=schema)))
    assert found.path == path
    assert only(errors_in(findings(task("a"), output=schema))).path.startswith("output")


def test_reading_what_a_closed_input_does_not_have_is_a_warning() -> None:
    schema = {"properties": {"path": {}}, "additionalProperties": False}
    found = only(findings(task("a", input="$.input.pth"), input=schema))
    assert found.severity is Severity.WARNING
    assert found.hint == "did you mean 'path'?"
    schema["additionalProperties"] = True
    assert findings(task("a", input="$.input.pth"), input=schema) == []


SCHEMA = {
    "type": "object",
    "required": ["path", "count"],
    "properties": {
        "path": {"type": "string"},
        "count": {"type": "integer", "minimum": 1},
        "mode": {"enum": ["fast", "safe"]},
        "list": {"type": "array", "items": {"type": ["number", "null"]}},
    },
    "additionalProperties": False,
}


def test_an_input_error_names_each_field_with_what_was_found_and_expected() -> None:
    definition = WorkflowDefinition.model_validate(document(task("a"), input=SCHEMA))
    with pytest.raises(InputError) as caught:
        check_input(definition, {"count": 0, "mode": "fsat", "list": [1, "x"], "pth": "/"})
    assert caught.value.message.splitlines() == [
        "the input of workflow 'n' does not fit its schema:",
        "  path is missing",
        "  pth is unknown (did you mean 'path'?)",
        "  count must be at least 1; found the number 0",
        "  list[1] must be a number or null; found 'x'",
        '  mode must be "fast" or "safe"; found \'fsat\'',
    ]
    assert "path (required)" in caught.value.hint
    with pytest.raises(InputError, match="the value must be an object; found a list of 1"):
        check_input(definition, [1])
    check_input(definition, {"path": "/", "count": 1})


def test_without_a_schema_every_input_is_taken() -> None:
    check_input(WorkflowDefinition.model_validate(document(task("a"))), {"any": "thing"})


def test_an_output_is_told_what_it_misses() -> None:
    definition = WorkflowDefinition.model_validate(document(task("a"), output=SCHEMA))
    assert check_output(definition, {"path": 1, "count": 2}) == [
        "path must be text; found the number 1"
    ]
    assert check_output(definition, {"path": "", "count": 2}) == []


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"$ref": "#"}, {"$ref": "#/x"}])
def test_a_schema_that_cannot_be_applied_is_an_input_error(schema: Any) -> None:
    definition = WorkflowDefinition.model_validate(document(task("a"), input=schema))
    with pytest.raises(InputError, match="schema"):
        check_input(definition, {})


# --- limits ----------------------------------------------------------------------------------


def test_a_task_without_a_timeout_is_a_warning_for_each_step() -> None:
    steps = [{"id": "a", "capability": "c", "next": "b"}, {"id": "b", "capability": "c"}]
    assert [f.path for f in findings(*steps)] == ["steps[0]", "steps[1]"]
    assert all("no `timeout`" in f.message for f in findings(*steps))
    assert findings(*steps, timeoutMs=5) == findings(*steps, timeout_ms=5) == []


def test_retries_without_an_end_are_a_warning() -> None:
    found = only(findings(task("a", retry={"interval": 5})))
    assert (found.severity, found.path) == (Severity.WARNING, "steps[0].retry")
    handlers = [{"handler": "a", "retry": {}}]
    assert only(findings(task("a"), errorHandlers=handlers)).path == "errorHandlers[0].retry"


@pytest.mark.parametrize("policy", [{"maxInterval": 500}, {"interval": 9, "max_interval": 8}])
def test_a_longest_pause_below_the_first_is_a_warning(policy: dict[str, Any]) -> None:
    found = only(findings(task("a", retry={"maxAttempts": 3, **policy})))
    assert (found.severity, found.path) == (Severity.WARNING, "steps[0].retry.maxInterval")


def test_no_concurrency_at_all_is_refused_in_a_clear_sentence() -> None:
    found = only(errors_in(findings(parallel("p", [task("a")], maxConcurrency=0))))
    assert found == Finding(
        Severity.ERROR,
        "steps[0].parallel.maxConcurrency",
        "must be at least 1; found the number 0",
        "leave it out for no limit",
    )


def test_more_branches_than_there_are_cannot_succeed() -> None:
    found = only(errors_in(findings(parallel("p", [task("a")], join={"at_least": 2}))))
    assert found.path == "steps[0].parallel.join.atLeast"


@pytest.mark.parametrize(
    ("wait", "path", "message"),
    [
        ({"duration": "P1M"}, "duration", "years or months"),
        ({"duration": "soon"}, "duration", "no ISO 8601 duration"),
        ({"duration": -5}, "duration", "negative"),
        ({"until": "2030-01-01T00:00:00"}, "until", "time zone"),
    ],
)
def test_a_wait_for_no_time_is_an_error(wait: Any, path: str, message: str) -> None:
    found = only(errors_in(findings({"id": "w", "type": "wait", "wait": wait})))
    assert found.path == f"steps[0].wait.{path}"
    assert message in found.message


@pytest.mark.parametrize(
    "wait", [{"duration": "PT5S"}, {"duration": "$.input.x"}, {"until": "2030-01-01T00:00:00Z"}]
)
def test_a_wait_for_a_time_or_an_expression_is_fine(wait: Any) -> None:
    assert findings({"id": "w", "type": "wait", "wait": wait}) == []


def test_a_capability_that_nobody_serves_is_a_warning() -> None:
    found = only(validate_document(document(task("a")), known_capabilities=["lint"])[1])
    assert found.severity is Severity.WARNING
    assert found.path == "steps[0].capability"
    assert found.hint == "start a worker: celery -A worker worker -Q c"
    assert validate_document(document(task("a")), known_capabilities=["c"])[1] == []


def test_a_workflow_that_is_not_defined_is_a_warning() -> None:
    content = document({"id": "a", "type": "subworkflow", "subworkflow": {"name": "reprot"}})
    found = only(validate_document(content, known_workflows=["report"])[1])
    assert (found.path, found.hint) == ("steps[0].subworkflow.name", "did you mean 'report'?")
    assert validate_document(content)[1] == []


# --- structure -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "path", "message", "hint"),
    [
        (task("a", onErorr="b"), "onErorr", "unknown field `onErorr`", "did you mean 'onError'?"),
        (task("a", xyz=1), "xyz", "unknown field `xyz`", "known here: id, name"),
        (task("a", retry={"maxAttempt": 1, "maxAttempts": 1}), "retry.maxAttempt",
         "unknown field `maxAttempt`", "did you mean 'maxAttempts'?"),
        (task("a", onError="a", on_error="a"), "onError", "given twice", "keep `onError`"),
        (task("a") | {"timeout": "30s"}, "timeout", "whole number; found '30s'", "milliseconds"),
        (task("a", name=5), "name", "must be text; found the number 5", "quotes"),
        (task("a", next=3), "next", "must be the id of a step or an object with", ""),
        (task("a", type="tsak"), "type", "found 'tsak'", "did you mean 'task'?"),
        (task("a", retry=[]), "retry", "must be an object; found an empty list", ""),
        (task("1 x"), "id", "'1 x' is no valid name", "letters, digits"),
        (parallel("p", [task("a")], join="al"), "parallel.join",
         "must be 'all', 'any', 'quorum' or `{\"atLeast\": n}`; found 'al'",
         "did you mean 'all'?"),
        (parallel("p", []), "parallel.branches[0].steps", "must not be empty", ""),
        ({"id": "a", "type": "wait", "wait": {}}, "wait", "takes one of `duration`", ""),
    ],
)  # fmt: skip
def test_errors_of_structure_are_plain_sentences(
    step: Any, path: str, message: str, hint: str
) -> None:
    found = [f for f in errors_in(findings(step)) if f.path == f"steps[0].{path}"]
    assert message in found[0].message
    assert hint in found[0].hint


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"id": "a"}, "a task needs a `capability`, or a Celery `task`"),
        (task("a", task="t"), "not both"),
        ({"id": "a", "type": "map"}, "a step of type `map` needs the field `map`"),
        (task("a", wait={"duration": 1}), "the field `wait` does not belong"),
    ],
)
def test_what_a_type_needs_is_said_once_and_beside_other_errors(step: Any, message: str) -> None:
    assert message in only(errors_in(findings(step))).message
    assert any(message in f.message for f in errors_in(findings({**step, "zzz": 1})))


def test_meaning_is_checked_where_the_structure_is_wrong() -> None:
    definition, found = validate_document(
        document(task("a", zzz=1, next="b"), 5, task("b", next="gone", input="$.inputt"))
    )
    assert definition is None
    assert [f.path for f in errors_in(found)] == [
        "steps[0].zzz", "steps[1]", "steps[2].input", "steps[2].next"
    ]  # fmt: skip


def test_missing_fields_of_the_workflow() -> None:
    assert [f.message for f in validate_document({})[1]] == [
        "the field `name` is missing",
        "the field `steps` is missing",
    ]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "must be an object with `name` and `steps`; found an empty list"),
        (document(task("a", input=float("nan"))), "nan is no JSON number"),
        (document(task("a", input="\ud800")), "half of a surrogate pair"),
        (document(task("a", input={1, 2})), "is a set, which JSON cannot hold"),
        (document(task("a", input={(1,): 2})), "is no text"),
        (document(task("a", input={True: 1, "true": 2})), "is there twice"),
        (document(task("a", input=[0] * 300_000)), "more than 250,000 values"),
    ],
)
def test_what_is_no_json_is_refused(raw: Any, message: str) -> None:
    definition, found = validate_document(raw)
    assert definition is None
    assert any(message in finding.message for finding in errors_in(found))


def test_a_finding_as_text_and_as_data() -> None:
    finding = Finding(Severity.ERROR, "steps[0]", "is wrong", "right it")
    assert str(finding) == "error: steps[0]: is wrong (right it)"
    assert finding.as_dict() == {
        "severity": "error", "path": "steps[0]", "message": "is wrong", "hint": "right it"
    }  # fmt: skip


# --- everything ------------------------------------------------------------------------------

FIELDS = st.sampled_from(
    ["id", "type", "name", "next", "capability", "parallel", "branches", "steps", "map", "loop",
     "decision", "wait", "event", "default", "expression", "retry", "onError", "on_error",
     "errors", "output", "input", "condition", "maxAttempts", "join", "atLeast", "items", "while",
     "until", "duration", "poll", "errorHandlers", "handler", "subworkflow", "properties",
     "result"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["a", "b", "task", "decision", "parallel", "map", "loop", "wait", "event", "$.variables.a"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(FIELDS | st.text(max_size=3), inner)
    ),
    max_leaves=30,
)
steps_like = st.lists(
    st.fixed_dictionaries(
        {"id": WORDS}, optional={name: json_values for name in ("next", "type", "parallel", "map")}
    ),
    max_size=5,
)


@given(st.dictionaries(FIELDS, json_values) | st.fixed_dictionaries({"steps": steps_like}))
def test_no_document_makes_the_validator_raise(raw: Mapping[str, Any]) -> None:
    definition, found = validate_document(raw, known_workflows=["w"], known_capabilities=["c"])
    assert definition is not None or errors_in(found)


@given(json_values)
def test_no_value_makes_the_validator_raise(raw: Any) -> None:
    definition, found = validate_document(raw)
    assert definition is not None or errors_in(found)


@given(steps_like)
def test_a_model_and_its_document_have_the_same_findings(steps: list[Any]) -> None:
    definition, found = validate_document(document(*steps))
    if definition is not None:
        assert validate_definition(definition) == found


def test_two_thousand_steps_take_less_than_a_second() -> None:
    steps = [
        task(
            f"s{n}",
            input={"a": f"$.variables.v{n - 1}", "b": f"${{$.input.x}} {n}"},
            output={f"v{n}": "$.output"},
            onError="h",
            next=f"s{n + 1}",
        )
        for n in range(2000)
    ]
    steps[-1]["next"] = "h"
    steps.append(task("h"))
    took = []
    for _ in range(3):  # the best counts: a neighbour on the same core costs CPU time, too
        begin = time.process_time()
        definition, found = validate_document(document(*steps, errorHandlers=[{"handler": "h"}]))
        took.append(time.process_time() - begin)
    assert min(took) < 1
    assert definition is not None
    assert [f.path for f in found] == ["steps[0].input.a"]


@pytest.mark.parametrize("kind", ["parallel", "loop", "map"])
@pytest.mark.parametrize("levels", [200, 5000])
def test_deep_nesting_is_refused_and_does_not_exhaust_the_stack(kind: str, levels: int) -> None:
    step = task("leaf")
    for level in range(levels):
        inner: dict[str, Any] = {"steps": [step]}
        if kind == "parallel":
            inner = {"branches": [inner]}
        elif kind == "map":
            inner["items"] = []
        step = {"id": f"s{level}", "type": kind, kind: inner}
    definition, found = validate_document(document(step))
    assert definition is None
    assert "nested deeper" in only(found).message


def test_ninety_levels_are_taken() -> None:
    step = task("leaf", next="gone")
    for level in range(90):
        step = parallel(f"s{level}", [step])
    assert only(errors_in(findings(step))).message == "there is no step 'gone'"


# --- the published schema --------------------------------------------------------------------

SEED = {
    "name": "Setup",
    "steps": [
        task("plan", retry={"maxAttempts": 3, "backoffRate": 2}, output={"plan": "$.output"},
             onError="both", next="choose"),
        decision("choose", {"true": "both", "false": "both"}),
        parallel("both", [task("x")], [task("y")], join={"atLeast": 1}),
    ],
    "errorHandlers": [{"error": "*", "handler": "report", "retry": {"maxAttempts": 3}}],
}  # fmt: skip


def test_the_published_schema_is_one_and_takes_what_loads() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert list(validator.iter_errors(SEED)) == []
    for name in library_names():
        definition = library_definition(name)
        assert definition is not None
        content = definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        assert list(validator.iter_errors(content)) == []


def test_the_published_schema_takes_snake_case_and_completes_camel_case() -> None:
    schema = json_schema()
    validator = Draft202012Validator(schema)
    step = parallel("p", [task("a", on_error="a", retry={"max_attempts": 2})])
    step["parallel"]["join"] = {"at_least": 1}
    assert list(validator.iter_errors(document(step, timeout_ms=5, error_handlers=[]))) == []
    assert "onError" in schema["$defs"]["WorkflowStep"]["properties"]
    assert "on_error" not in schema["$defs"]["WorkflowStep"]["properties"]


@pytest.mark.parametrize(
    "step",
    [
        {"id": "a"},
        task("a", task="t"),
        task("a", zzz=1),
        {"id": "a", "type": "wait"},
        parallel("p", [task("a")], join={}),
    ],
)
def test_the_published_schema_refuses_what_does_not_load(step: Any) -> None:
    assert not Draft202012Validator(json_schema()).is_valid(document(step))


def test_every_field_of_the_published_schema_has_a_known_kind_and_every_model_a_description() -> (
    None
):
    schema = json_schema()
    assert schema["title"] == "Workflow"
    assert schema["$schema"].endswith("2020-12/schema")
    for model in [schema, *schema["$defs"].values()]:
        if "properties" in model:
            assert model["description"]


def test_what_is_wrong_with_steps_that_are_never_reached_is_said_too() -> None:
    task = {"capability": "x", "timeout": 1}
    document = {
        "name": "w",
        "steps": [
            {"id": "a", **task},
            {"id": "c", **task, "next": "d"},
            {"id": "d", **task, "next": "c", "input": {"v": "$.variables.never"}},
        ],
    }
    messages = [finding.message for finding in validate_document(document)[1]]
    assert any("nothing can leave the cycle c -> d -> c" in message for message in messages)
    assert any("variable 'never' is read" in message for message in messages)
