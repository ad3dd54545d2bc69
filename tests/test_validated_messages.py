"""What the validator finds in rules for messages."""

from __future__ import annotations

from typing import Any

import pytest

from orch.workflows.calls import capabilities_in
from orch.workflows.validation import Finding, Severity, json_schema, validate_document
from tests.build import task, workflow

STEP = {"id": "a", "capability": "work", "timeout": 1000, "input": {"region": "$.input.region"}}
EU = {"name": "eu", "when": "$.message.input.region == 'eu'", "route": {"capability": "lint_eu"}}
TO_ANY = {"route": {"capability": "other"}}


def findings(*rules: Any, steps: Any = None, **known: Any) -> list[Finding]:
    document = {"name": "w", "steps": steps or [STEP], "messageRules": list(rules)}
    return validate_document(document, **known)[1]


def test_rules_that_fit_are_not_spoken_of() -> None:
    canonical = {
        "name": "canonical",
        "enrich": {"known": {"memory": {"tags": ["$.message.input.region"]}}, "kind": "order"},
        "transform": {"kind": "$.message.input.kind", "of": "$.memory.known[0].content"},
        "validate": {"type": "object", "required": ["kind"]},
    }
    after = {"name": "after", "steps": ["a"], "transform": {"k": "$.message.input.of"}}
    assert findings(EU, canonical, after) == []


@pytest.mark.parametrize(
    ("rule", "path", "message", "hint"),
    [
        ({"when": "$.message.input ==", **TO_ANY}, "when", "expression breaks at column", ""),
        ({"when": "$.message.body", **TO_ANY}, "when", "`$.message.body` is unknown", "there are"),
        ({"when": "$.mesage.input", **TO_ANY}, "when", "`$.mesage` is unknown", "$.message"),
        (
            {"transform": {"x": ["$.memory.known"]}},
            "transform.x[0]",
            "`$.memory.known` is read, and no rule before has taken it",
            "`enrich: {known: {memory: …}}` does",
        ),
        (
            {"enrich": {"x": {"memory": {}}}, **TO_ANY},
            "route",
            "rule 'r' routes, and reads the memory",
            "decided from what the journal holds",
        ),
        ({"validate": {"type": "thing"}}, "validate.type", "is no valid JSON Schema", ""),
        ({"steps": ["b"], "stop": True}, "steps[0]", "there is no step 'b'", ""),
        ({"route": {}}, "route", "takes at least one of `capability`", ""),
        ({"route": {"agent": "a", "queue": "b"}}, "route", "takes a `queue` or an `agent`", ""),
        ({"route": {"capability": "human_approval"}}, "route.capability", "of people", "decision"),
        ({"route": {"priority": 10}}, "route.priority", "must be at most 9", ""),
        ({"enrich": {"x": {"required": True}}}, "enrich.x", "takes one of `value`", ""),
        (
            {"enrich": {"x": {"memory": {"limit": 1000}}}},
            "enrich.x.memory.limit",
            "must be at most 100",
            "",
        ),
        ({"enrich": {"x": {"memory": {"tag": "y"}}}}, "enrich.x.memory.tag", "unknown", "tags"),
        ({"route": {"capabilty": "x"}}, "route.capabilty", "unknown field", "capability"),
        ({"whn": "true"}, "whn", "unknown field", "when"),
        ({"name": "a b"}, "name", "'a b' is no valid name", "letters"),
    ],
)
def test_what_cannot_be_is_an_error(
    rule: dict[str, Any], path: str, message: str, hint: str
) -> None:
    found = [f for f in findings({"name": "r", **rule}) if f.severity is Severity.ERROR]
    assert found, "nothing was found"
    assert found[0].path == f"messageRules[0].{path}"
    assert message in found[0].message and hint in (found[0].hint or "")


@pytest.mark.parametrize(
    ("rules", "path", "message"),
    [
        ([{"name": "r"}], "[0]", "rule 'r' does nothing"),
        (
            [{"name": "all", "stop": True, **TO_ANY}, EU],
            "[1]",
            "rule 'eu' never takes a message: 'all' before it takes every one, and stops",
        ),
        (
            [{**EU, "stop": True}, {**EU, "name": "again"}],
            "[1]",
            "rule 'again' never takes a message: 'eu' before it has the same condition, and stops",
        ),
        (
            [{**EU, "capabilities": ["wrk"]}],
            "[0].capabilities[0]",
            "rule 'eu' never takes a message to 'wrk': none goes there",
        ),
        (
            [{"name": "r", "transform": {"x": "$.message.input.regoin"}}],
            "[0].transform.x",
            "`$.message.input.regoin` is read, and no message has a field 'regoin'",
        ),
        (
            [{"name": "r", "when": "$.variables.nobody", **TO_ANY}],
            "[0].when",
            "variable 'nobody' is read, but no step before this one sets it",
        ),
        (
            [{"name": "m", "enrich": {"x": {"memory": {}}}}, EU],
            "[1].route",
            "rule 'eu' routes behind 'm', which reads the memory",
        ),
    ],
)
def test_what_comes_to_nothing_is_a_warning(rules: list[Any], path: str, message: str) -> None:
    (found,) = findings(*rules)
    assert found.severity is Severity.WARNING
    assert found.path == f"messageRules{path}" and message in found.message


def test_a_name_is_there_once() -> None:
    (found,) = findings(EU, {**EU, "when": "true"})
    assert (found.path, found.message) == (
        "messageRules[1].name", "the rule 'eu' is there twice",
    )  # fmt: skip


def test_a_rule_for_steps_that_send_nothing_is_told_of() -> None:
    waits = {"id": "w", "type": "wait", "wait": {"duration": 1}}
    (found,) = findings({**EU, "steps": ["w"]}, steps=[{**STEP, "next": "w"}, waits])
    assert found.message == "step 'w' sends no message"


def test_a_rule_behind_a_stop_for_other_steps_is_alive() -> None:
    steps = [{**STEP, "next": "b"}, {**STEP, "id": "b"}]
    first = {**EU, "name": "first", "steps": ["a"], "stop": True}
    assert findings(first, EU, steps=steps) == []


def test_a_capability_that_a_rule_may_choose_must_be_served() -> None:
    (found,) = findings(EU, known_capabilities={"work", "lint_us"})
    assert found.path == "messageRules[0].route.capability"
    assert found.message == "no known agent serves the capability 'lint_eu'"
    assert capabilities_in(workflow(task("a"), messageRules=[EU])) == {"work", "lint_eu"}


def test_items_of_a_map_are_known_in_rules() -> None:
    mapped = {"items": [1], "as": "file", "capability": "work", "input": {"n": "$.file"}}
    rule = {"name": "r", "when": "$.file == 1 && $.item == 1", "route": {"priority": 1}}
    assert findings(rule, steps=[{"id": "m", "type": "map", "map": mapped, "timeout": 9}]) == []


def test_editors_know_the_language() -> None:
    schema = json_schema()
    assert set(schema["$defs"]["MessageRule"]["properties"]) >= {"when", "validate", "route"}
    assert "messageRules" in schema["properties"]
