"""What the validator says of ladders, paths and approvals, and that good ones have no findings."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orch.control.plans import default_escalations
from orch.errors import SettingsError
from orch.orchestrator import Orchestrator
from orch.settings import Settings
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.validation import (
    Finding,
    errors_in,
    json_schema,
    validate_definition,
    validate_document,
)
from tests.build import task

GOOD: dict[str, Any] = {
    "name": "n",
    "steps": [
        {
            "id": "deploy",
            "capability": "c",
            "timeout": 1000,
            "next": "ask",
            "escalation": [
                "retry",
                {"fallback": {"capability": "s", "input": {"why": "$.error.message"}}},
                {"human": {"queue": "leads", "within": "2h", "remindEvery": "30m"}},
                {"human": {"quietHours": "22:00-07:00 Europe/Berlin", "form": {}, "within": 1}},
                "fail",
            ],
        },
        {
            "id": "ask",
            "capability": "human_approval",
            "input": {"prompt": "Ship ${$.input.v}?", "choices": ["yes"], "within": "4h"},
            "escalation": "auto",
        },
    ],
    "escalation": "night",
    "escalationPaths": {
        "night": {"errors": ["*"], "when": "$.error.name == 'X'", "ladder": ["human"]}
    },
}


def document(escalation: Any = None, **more: Any) -> dict[str, Any]:
    step = {"id": "deploy", "capability": "c", "timeout": 1000, **more.pop("step", {})}
    if escalation is not None:
        step["escalation"] = escalation
    return {"name": "n", "steps": [step, *more.pop("steps", [])], **more}


def findings(escalation: Any = None, **more: Any) -> list[Finding]:
    return validate_document(document(escalation, **more), known_paths=())[1]


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, [str(finding) for finding in found]
    return found[0]


def test_a_good_one_has_no_findings_and_fits_the_published_schema() -> None:
    made, found = validate_document(GOOD, known_paths=())
    assert (found, made is not None) == ([], True)
    assert made is not None and validate_definition(made, known_paths=()) == []
    Draft202012Validator(json_schema()).validate(GOOD)
    Draft202012Validator(json_schema()).validate(
        document([{"human": {"remind_every": "1h", "within": 5}}], escalation_paths={})
    )


@pytest.mark.parametrize("wrong", [["shrug"], [{"human": {"qeue": "x"}}], [{}], 5, ["reassign"]])
def test_the_published_schema_refuses_what_is_no_ladder(wrong: Any) -> None:
    assert not Draft202012Validator(json_schema()).is_valid(document(wrong))


@pytest.mark.parametrize(
    ("escalation", "path", "said", "hint"),
    [
        (["retri"], "[0]", "a rung is one of retry, reassign, fallback, human, fail", "'retry'"),
        ([{"humn": {}}], "[0].humn", "unknown field `humn`", "'human'"),
        ([{"human": {"qeue": "x"}}], "[0].human.qeue", "unknown field", "'queue'"),
        ([{"human": {}, "retry": {}}], "[0]", "a rung takes one of", ""),
        ([{"fail": False}], "[0].fail", "must be true", ""),
        (5, "", "must be a list of rungs or the name of a path; found the number 5", ""),
        ([{"human": {"within": 0}}], "[0].human.within", "must be at least 1", "30m"),
        ([{"retry": {"within": "0s"}}], "[0].retry.within", "must be at least 1", "30m"),
        ([{"human": {"remindEvery": -1}}], "[0].human.remindEvery", "at least 1", "30m"),
        ([{"human": {"within": "soon"}}], "[0].human.within", "'soon' is no duration", ""),
        ([{"human": {"quietHours": "22-7"}}], "[0].human", "names no quiet hours", ""),
        ([{"human": {"form": {"type": "objekt"}}}], "[0].human.form.type", "JSON Schema", ""),
        ([{"fallback": {}}], "[0].fallback.capability", "is missing", ""),
        (
            [{"fallback": {"capability": "c", "input": "$.oops"}}],
            "[0].fallback.input",
            "$.oops",
            "",
        ),
        ("tecnical", "", "there is no path of escalation 'tecnical'", "'technical'"),
        (["human"] * 21, "", "at most 20 entries", ""),
    ],
)
def test_what_cannot_be_used(escalation: Any, path: str, said: str, hint: str) -> None:
    found = [each for each in findings(escalation) if each.severity == "error"]
    one = only(found)
    assert one.path == f"steps[0].escalation{path}"
    assert said in one.message and hint in one.hint


def test_a_path_may_be_in_settings_that_nobody_knows_here() -> None:
    given = document("ops")
    assert only(validate_document(given)[1]).severity == "warning"
    assert validate_document(given, known_paths=["ops"])[1] == []
    assert "'ops'" in only(validate_document(given, known_paths=())[1]).message


@pytest.mark.parametrize(
    ("more", "path", "said"),
    [
        ({"escalation": [{"human": {}}, "fail"]}, ".escalation[1]", "for a person for ever"),
        ({"escalation": ["fail", "human"]}, ".escalation[1]", "is `fail`"),
        (
            {"escalation": [{"human": {"within": "1h", "remindEvery": "1h"}}]},
            ".escalation[0].human.remindEvery",
            "before the first reminder",
        ),
        ({"escalation": ["human"], "onError": "other"}, ".escalation", "takes every error"),
        ({"escalation": ["human"], "onError": [{"next": "other"}]}, ".escalation", "`onError`"),
        ({"escalation": ["retry"], "external": True}, ".escalation[0]", "can do nothing"),
    ],
)
def test_what_will_not_do_what_is_meant(more: dict[str, Any], path: str, said: str) -> None:
    other = {"id": "other", "capability": "c", "timeout": 1}
    step = {"next": "other", **more}
    one = only(findings(step=step, steps=[other]))
    assert (one.severity, one.path) == ("warning", f"steps[0]{path}")
    assert said in one.message


def test_an_error_that_on_error_leaves_may_be_asked_about() -> None:
    other = {"id": "other", "capability": "c", "timeout": 1}
    step = {"next": "other", "onError": [{"errors": ["Red"], "next": "other"}]}
    assert findings(["human"], step=step, steps=[other]) == []


def test_a_rung_that_tries_again_does_nothing_for_a_step_that_holds_others() -> None:
    inner = {"id": "a", "capability": "c", "timeout": 1}
    both = {
        "id": "both",
        "type": "parallel",
        "parallel": {"branches": [{"steps": [inner]}]},
        "escalation": [{"reassign": {}}, "human"],
    }
    one = only(validate_document({"name": "n", "steps": [both]})[1])
    assert one.path == "steps[0].escalation[0].reassign" and "parallel" in one.message


def test_nobody_serves_the_fallback() -> None:
    given = document([{"fallback": {"capability": "senoir"}}])
    found = validate_document(given, known_capabilities=["c", "senior"])[1]
    one = only(found)
    assert (one.severity, one.path) == ("warning", "steps[0].escalation[0].fallback.capability")
    assert "'senior'" in one.hint


@pytest.mark.parametrize(
    ("paths", "path", "said"),
    [
        ({"x": {"lader": []}}, ".x.lader", "unknown field"),
        ({"X y": {"ladder": ["fail"]}}, '["X y"]', "no valid name"),
        ({"x": {"ladder": ["shrug"]}}, ".x.ladder[0]", "a rung is one of"),
        ({"x": {"classes": ["transent"], "ladder": []}}, ".x.classes[0]", "'transient'"),
        ({"x": {"when": "$.", "ladder": []}}, ".x.when", "breaks at column"),
        ({"x": {"when": "$.item.a", "ladder": []}}, ".x.when", "`$.item` is unknown"),
        ({"_fallback": {"ladder": ["fail"]}}, "._fallback", "stands for the `fallback`"),
        ({"auto": {"ladder": ["fail"]}}, ".auto", "no path may be called 'auto'"),
    ],
)
def test_paths_are_checked(paths: dict[str, Any], path: str, said: str) -> None:
    found = {each.path: each for each in findings(escalationPaths=paths)}
    assert said in found[f"escalationPaths{path}"].message


def test_a_handler_that_takes_all_leaves_nothing_to_ask_about() -> None:
    handlers = [{"error": "*", "handler": "deploy"}]
    paths = {"x": {"errors": ["Red"], "ladder": ["human"]}, "y": {"ladder": ["human"]}}
    given = document(errorHandlers=handlers, escalationPaths=paths) | {"escalation": ["human"]}
    found = validate_document(given, known_paths=())[1]
    assert [each.path for each in found] == ["escalation", "escalationPaths.x"]
    assert findings("x", errorHandlers=handlers, escalationPaths=paths) == []


@pytest.mark.parametrize(
    ("input", "said"),
    [
        ({"choises": ["yes"]}, "choises"),
        ({"choices": "yes"}, "`choices`"),
        ({"choices": ["a", "a"]}, "`choices`"),
        ({"within": 0}, "`within`"),
        ({"form": {"type": "objekt"}}, "JSON Schema"),
        ({"choices": ["a"], "default": "b"}, "`default`"),
        ({"prompt": "${$.input.x}", "quietHours": "at night"}, "quiet hours"),
        ("who knows", "must be an object"),
    ],
)
def test_an_approval_that_cannot_be_asked_is_an_error(input: Any, said: str) -> None:
    step = {"id": "ask", "capability": "human_approval", "input": input}
    one = only(validate_document({"name": "n", "steps": [step]}, known_capabilities=[])[1])
    assert one.severity == "error" and one.path.startswith("steps[0].input")
    assert said in one.message


@pytest.mark.parametrize(
    "input", [None, "$.input", {"choices": "$.input.choices", "default": "x"}, {"queue": "leads"}]
)
def test_what_is_known_only_at_run_time_is_not_judged(input: Any) -> None:
    step = {"id": "ask", "capability": "human_approval", "input": input}
    assert validate_document({"name": "n", "steps": [step]}, known_capabilities=[])[1] == []


def test_what_says_something_to_workers_says_nothing_of_an_approval() -> None:
    step = {"id": "ask", "capability": "human_approval", "timeout": 1000}
    one = only(validate_document({"name": "n", "steps": [step]})[1])
    assert (one.severity, one.path) == ("warning", "steps[0].timeout")
    assert "`within`" in one.hint


def test_an_output_schema_of_a_step_is_checked() -> None:
    one = only(findings(step={"outputSchema": {"type": "objekt"}}))
    assert one.path == "steps[0].outputSchema.type"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"escalation": "tecnical"}, "`escalation` is wrong: there is no path"),
        ({"escalation": [{"human": {"within": 0}}]}, "escalation[0].human.within"),
        ({"escalation_paths": {"x": {"ladder": ["shrug"]}}}, "escalation_paths.x.ladder[0]"),
        ({"escalation_paths": {"x": {"ladder": [], "when": "$."}}}, "escalation_paths.x.when"),
    ],
)
def test_the_settings_ladders_are_checked(
    settings: Settings, given: dict[str, Any], said: str
) -> None:
    wrong = settings.model_copy(update=given)
    with pytest.raises(SettingsError) as caught:
        default_escalations(wrong)
    assert said in caught.value.message
    good = {"escalation": "ops", "escalation_paths": {"ops": {"ladder": ["human"]}}}
    assert default_escalations(settings.model_copy(update=good)) is not None


def test_a_workflow_may_name_a_path_of_the_settings(settings: Settings, redis: Any) -> None:
    paths = {"ops": {"ladder": ["human"]}}
    with Orchestrator(settings=settings.model_copy(update={"escalation_paths": paths})) as found:
        assert isinstance(
            found.define_workflow("w", document("ops")).definition, WorkflowDefinition
        )
        assert "'opps'" in found.manager.validate(document("opps"))[0].message


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        (
            [task("a", escalation=[{"human": {"queue": "leads"}}])],
            "steps[0].escalation[0].human.queue",
        ),
        ([task("a", escalation=["human"])], "steps[0].escalation[0].queue"),
        (
            [{"id": "a", "capability": "human_approval", "input": {"queue": "x"}}],
            "steps[0].input.queue",
        ),
    ],
)
def test_a_queue_that_nobody_watches_is_an_error(steps: list[Any], path: str) -> None:
    raw = {"name": "w", "steps": steps}
    found = validate_document(raw, known_queues=("reviewers",))[1]
    assert [f.path for f in errors_in(found)] == [path]
    assert errors_in(validate_document(raw)[1]) == []
