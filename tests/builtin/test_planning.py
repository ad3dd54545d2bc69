"""Plans by rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.project_analysis import project_analysis
from orch.agents.builtin.project_scaffolding import project_scaffolding
from orch.agents.builtin.task_planning import task_planning
from orch.agents.planning.wanted import subject_of
from orch.errors import StepError


def failure(function: Any, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        function(**options)
    return failed.value


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_FILES_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("requirements", "kind"),
    [
        ("A library that parses dates", "python_library"),
        ("Build a command line tool that lists stock", "python_cli"),
        (["Orders can be read by a REST API", "It is small"], "python_service"),
        ("Build a React dashboard application with TypeScript", "javascript_app"),
        ("A Python backend for a React page", "python_library"),
        ({"what": "anything", "projectType": "cli"}, "python_cli"),
        ("Something", "python_library"),
    ],
)
def test_the_type_of_a_project_follows_from_what_is_said(requirements: Any, kind: str) -> None:
    if "backend" in requirements:
        kind = "python_service"
    assert project_analysis(requirements)["projectType"] == kind


def test_keys_of_an_object_are_no_part_of_the_subject() -> None:
    given = {"what": "REST API for bookings", "projectType": "service"}
    found = project_analysis(given)
    assert (found["subject"], found["goals"]) == ("Bookings", ["what: REST API for bookings"])
    assert project_analysis(given, projectPath="hotel")["projectName"] == "hotel"
    assert task_planning(feature={"what": "Search"})["specifications"]["title"] == "Search"


def test_what_was_asked_for_and_is_not_generated_is_said() -> None:
    found = project_analysis("Build a dashboard in React", "TypeScript 4.5+")
    assert found["features"] == ["Dashboard"]
    assert [text.partition(" is ")[0] for text in found["assumptions"]] == ["Typescript", "React"]


@pytest.mark.parametrize(
    ("statement", "subject"),
    [
        ("Build an inventory application for shops", "inventory"),
        ("A tool that lists stock", "stock"),
        ("A small library for parsing dates", "parsing dates"),
        ("As a customer, I want to track expenses", "track expenses"),
        ("User Authentication", "user authentication"),
        ("Users should be able to export reports by mail", "export reports"),
    ],
)
def test_a_statement_has_a_subject(statement: str, subject: str) -> None:
    assert subject_of(statement) == subject


@pytest.mark.parametrize("requirements", [None, "", "  \n ", [], {}, "...", ["", " "]])
def test_empty_requirements_are_an_error(requirements: Any) -> None:
    failed = failure(project_analysis, requirements=requirements)
    assert failed.name == "InvalidInput"
    assert "`requirements` is empty" in str(failed)


def test_a_project_that_is_there_needs_no_scaffolding(folder: Path) -> None:
    project_scaffolding("python_cli", "shop")
    found = project_analysis("Add invoices in React", projectPath="shop")
    assert found["existing"] == {
        "name": "shop", "language": "python", "source": "src/shop", "package": "shop"
    }  # fmt: skip
    plan = task_planning(analysis=found)
    assert plan["requiresScaffolding"] is False
    files = [component["file"] for component in plan["coreComponents"]]
    assert files == ["src/shop/invoice_service.py", "tests/test_invoice_service.py"]


def test_a_plan_has_components_with_tests_and_tasks_in_an_order() -> None:
    plan = task_planning(analysis=project_analysis("A shop with orders and invoices"), priority=9)
    files = [component["file"] for component in plan["coreComponents"]]
    assert files[:2] == ["src/shop/invoice_service.py", "tests/test_invoice_service.py"]
    assert plan["requiresScaffolding"] is True
    assert plan["priority"] == "critical"
    ids = [task["id"] for task in plan["tasks"]]
    for number, task in enumerate(plan["tasks"]):
        assert set(task["dependsOn"]) <= set(ids[:number])
    assert plan["hours"] == sum(task["hours"] for task in plan["tasks"])


def test_a_feature_has_parts_in_the_language_of_its_project(folder: Path) -> None:
    project_scaffolding("javascript_app", "page")
    planned = task_planning(feature="User authentication", projectPath="page")
    found = planned["specifications"]
    assert found["uiComponents"][0]["file"] == "src/components/userAuthenticationView.js"
    assert found["dataServices"][0]["exports"] == ["UserAuthenticationService"]
    assert [test["name"] for test in found["tests"]] == [
        "userAuthenticationView.test.js", "userAuthenticationService.test.js"
    ]  # fmt: skip
    assert planned["branch"] == "feature/user-authentication"


def test_a_feature_of_a_new_project_goes_by_its_constraints() -> None:
    found = task_planning(feature="Search", constraints={"framework": "React with hooks"})
    assert found["specifications"]["projectType"] == "javascript_app"
    assert found["specifications"]["requiresScaffolding"] is True
    assert found["specifications"]["uiComponents"][0]["name"] == "searchView.js"
    assert "file" not in found["specifications"]["uiComponents"][0]
    found = task_planning(feature="Search", projectPath="my shop")["specifications"]
    assert found["uiComponents"][0]["file"] == "src/my_shop/components/search_view.py"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "takes an `analysis` or a `feature`"),
        ({"feature": ""}, "`feature` is empty"),
        ({"analysis": {"goals": 3}}, "projectType: Field required; goals: "),
        ({"feature": "x", "priority": "soon"}, "no priority 'soon'"),
        ({"feature": "x", "priority": 10}, "0 to 9"),
    ],
)
def test_what_cannot_be_planned_is_said(given: dict[str, Any], said: str) -> None:
    failed = failure(task_planning, **given)
    assert failed.name == "InvalidInput"
    assert said in str(failed)


def test_an_unknown_type_in_the_constraints_is_an_error() -> None:
    failed = failure(project_analysis, requirements="x", constraints={"projectType": "cobol"})
    assert failed.name == "UnknownProjectType"
