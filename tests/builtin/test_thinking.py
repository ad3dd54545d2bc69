"""The planner asks a language model where one is configured, and goes by its rules where not."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import orch.agents.builtin.project_analysis
import orch.agents.builtin.specification_generation
import orch.agents.builtin.task_planning
import orch.agents.builtin.timeline_creation  # noqa: F401
from orch.agents import capability as capabilities
from orch.agents.context import Context
from orch.errors import StepError
from tests.model_server import ModelServer

WANTED = {"requirements": ["Build a CLI that lists stock", "Reports should be exported"]}
MORE: dict[str, Any] = {"risks": ["stock changes"], "assumptions": [], "questions": ["Whose?"]}
ANALYSIS = {"summary": "Lists stock", "features": ["Stock list"], "complexity": "medium", **MORE}


def call(name: str, given: dict[str, Any], context: Context | None = None) -> Any:
    found = capabilities.get(name)
    assert found is not None
    return found.call(given, context or Context())


def answered(server: ModelServer, name: str, given: dict[str, Any], **answer: Any) -> Any:
    server.requests.clear()
    server.answers = [lambda reply: reply.answer(**answer)]
    return call(name, given)


def test_an_analysis_says_what_the_rules_have_missed(server: ModelServer) -> None:
    found = answered(server, "project_analysis", WANTED, **ANALYSIS)
    assert found["by"] == "small" and found["projectType"] == "python_cli"
    assert (found["summary"], found["complexity"]) == ("Lists stock", "medium")
    assert "Stock list" in found["features"] and "stock changes" in found["risks"]
    assert found["questions"][-1] == "Whose?"


def test_a_plan_has_the_tasks_of_the_model(server: ModelServer) -> None:
    analysis = answered(server, "project_analysis", WANTED, **ANALYSIS)
    first = {"id": "A", "title": "Read the stock", "capability": "code_linting", "hours": 3}
    second = {**first, "id": "B", "hours": 2, "dependsOn": ["A"], "priority": "high"}
    found = answered(server, "task_planning", {"analysis": analysis}, tasks=[first, second])
    assert [task["id"] for task in found["tasks"]] == ["A", "B"] and found["hours"] == 5
    assert found["coreComponents"]  # what is generated is a matter of rules
    feature = answered(server, "task_planning", {"feature": "Login"}, tasks=[first])
    assert [task["id"] for task in feature["tasks"]] == ["A"]
    assert feature["specifications"]["uiComponents"]


def test_a_timeline_has_milestones(server: ModelServer) -> None:
    tasks = [{"id": "A", "hours": 6}, {"id": "B", "hours": 6, "dependsOn": ["A"]}]
    given = {"tasks": tasks, "start": "2026-03-02"}
    said = {"milestones": [{"title": "Half", "task": "A"}], "risks": ["one person"]}
    found = answered(server, "timeline_creation", given, **said)
    assert found["milestones"] == [{"title": "Half", "task": "A", "date": "2026-03-02"}]


def test_a_specification_says_how_a_requirement_is_accepted(server: ModelServer) -> None:
    met = {"id": "F1", "priority": "could", "acceptance": ["Given stock, it is listed"]}
    found = answered(server, "specification_generation", WANTED, functional=[met], **MORE)
    assert found["functional"][0]["acceptance"] == ["Given stock, it is listed"]
    assert found["functional"][1]["id"] == "F2"
    assert "- [ ] Given stock, it is listed" in found["markdown"]


@pytest.mark.parametrize(
    ("name", "given", "answer"),
    [
        ("project_analysis", WANTED, {**ANALYSIS, "complexity": "huge"}),
        ("project_analysis", WANTED, {**ANALYSIS, "features": ["../../etc"]}),
        (
            "task_planning",
            {"feature": "Login"},
            {"tasks": [{"id": "A", "title": "x", "capability": "nobody", "hours": 1}]},
        ),
        (
            "task_planning",
            {"feature": "Login"},
            {
                "tasks": [
                    {
                        "id": "A",
                        "title": "x",
                        "capability": "code_linting",
                        "hours": 1,
                        "dependsOn": ["A"],
                    }
                ]
            },
        ),
        (
            "timeline_creation",
            {"tasks": [{"id": "A"}], "start": "2026-03-02"},
            {"milestones": [{"title": "x", "task": "Z"}], "risks": []},
        ),
        (
            "specification_generation",
            WANTED,
            {"functional": [{"id": "F9", "priority": "must", "acceptance": ["x"]}], **MORE},
        ),
    ],
)
def test_an_answer_that_does_not_fit_leaves_it_to_the_rules(
    server: ModelServer,
    caplog: pytest.LogCaptureFixture,
    name: str,
    given: dict[str, Any],
    answer: dict[str, Any],
) -> None:
    with caplog.at_level(logging.WARNING, "orch.step"):
        found = answered(server, name, given, **answer)
    assert "by" not in found and "by rules alone" in caplog.text
    assert len(server.requests) >= 1


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_so_does_a_model_that_cannot_be_asked(server: ModelServer, status: int) -> None:
    server.answers = [lambda reply: reply.fail(status, "code")]
    assert "by" not in call("project_analysis", WANTED)


def test_where_nothing_is_left_to_spend_nobody_is_asked(server: ModelServer) -> None:
    context = Context(read_left=lambda *, begins=False: (0.0, None))
    assert "by" not in call("project_analysis", WANTED, context)
    assert server.requests == []


def test_a_budget_that_is_exceeded_is_no_matter_of_rules(server: ModelServer) -> None:
    def use(used: Any) -> None:
        raise StepError("BudgetExceeded", "too much")

    server.answers = [lambda reply: reply.answer(**ANALYSIS)]
    with pytest.raises(StepError, match="too much"):
        call("project_analysis", WANTED, Context(on_use=use))
