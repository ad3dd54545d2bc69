"""What a language model adds to what the rules of the planner found, where one is configured.

The rules always come first, and decide what is generated: the model fills in what takes
understanding, in a shape that is checked. Where it cannot be asked, or its answer does not fit,
what the rules found stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from orch.agents.capability import registry
from orch.agents.context import Context
from orch.agents.loop import run_on_loop
from orch.agents.models.asking import Question, ask
from orch.agents.models.choosing import is_configured, model_settings
from orch.agents.planning.specification import markdown_of
from orch.agents.planning.timeline import PlannedTask, schedule
from orch.errors import StepError

Shape = TypeVar("Shape", bound=BaseModel)
Found = dict[str, Any]

LET_THROUGH = ("BudgetExceeded", "Cancelled", "StepTimeout")
"""Failures of a model's answer that are the step's own; all others leave it to the rules."""

_Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
_Lines = Annotated[list[_Line], Field(max_length=20)]
_Feature = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*( [A-Za-z0-9]+){0,3}$")]
_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,19}$")]

INSTRUCTIONS = (
    "You plan software. You are given what was asked for, and what simple rules made of it. "
    "Answer with what understanding adds, in the language of the requirements, briefly. "
    "Invent no requirements: what is not said is a question."
)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AnalysisAnswer(_Answer):
    """What is to be made, in your words, and what the rules have missed."""

    summary: _Line
    features: Annotated[list[_Feature], Field(max_length=6)]
    """Parts that must be written, one to four words each, such as `User accounts`."""
    complexity: Literal["small", "medium", "large"]
    risks: _Lines
    assumptions: _Lines
    questions: _Lines


class TaskAnswer(_Answer):
    """One task of the plan."""

    id: _Id
    title: _Line
    capability: str
    hours: Annotated[float, Field(gt=0, le=1000)]
    dependsOn: Annotated[list[_Id], Field(max_length=50)] = []
    priority: Literal["low", "medium", "high", "critical"] = "medium"


class PlanAnswer(_Answer):
    """The tasks of the plan, in an order that can be kept."""

    tasks: Annotated[list[TaskAnswer], Field(min_length=1, max_length=50)]


class MilestoneAnswer(_Answer):
    title: _Line
    task: _Id
    """The task with whose end it is reached."""


class TimelineAnswer(_Answer):
    """What the people who wait for it should know of the timeline."""

    milestones: Annotated[list[MilestoneAnswer], Field(max_length=20)]
    risks: _Lines


class RequirementAnswer(_Answer):
    id: _Id
    """That of the requirement, such as `F1`."""
    priority: Literal["must", "should", "could", "wont"]
    acceptance: Annotated[list[_Line], Field(min_length=1, max_length=8)]
    """How one sees that it is met: `Given …, when …, then …`."""


class SpecificationAnswer(_Answer):
    """How each requirement is accepted, and what is open."""

    functional: Annotated[list[RequirementAnswer], Field(max_length=100)]
    risks: _Lines
    assumptions: _Lines
    questions: _Lines


def think_of_analysis(found: Found, given: Mapping[str, Any], context: Context) -> Found:
    def add(answer: AnalysisAnswer) -> Found:
        return {
            **found,
            "summary": answer.summary,
            "features": _joined(found["features"], answer.features)[:6],
            "complexity": answer.complexity,
            **_more(found, answer, "risks", "assumptions", "questions"),
        }

    return _think("project_analysis", AnalysisAnswer, found, given, add, context)


def think_of_plan(found: Found, given: Mapping[str, Any], context: Context) -> Found:
    known = {task["capability"] for task in found["tasks"]} | set(registry())

    def add(answer: PlanAnswer) -> Found:
        unknown = sorted({task.capability for task in answer.tasks} - known)
        if unknown:
            raise ValueError(f"there is no capability {unknown[0]!r}")
        tasks = [task.model_dump() for task in answer.tasks]
        schedule([PlannedTask.model_validate(task) for task in tasks], date(2000, 1, 3))
        return {**found, "tasks": tasks, "hours": round(sum(t["hours"] for t in tasks), 1)}

    given = {**given, "capabilities": sorted(known)}
    shown = {name: found[name] for name in ("title", "tasks", "priority")}
    return _think("task_planning", PlanAnswer, found, given, add, context, shown)


def think_of_timeline(found: Found, given: Mapping[str, Any], context: Context) -> Found:
    ends = {entry["id"]: entry["end"] for entry in found["entries"]}

    def add(answer: TimelineAnswer) -> Found:
        unknown = sorted({each.task for each in answer.milestones} - set(ends))
        if unknown:
            raise ValueError(f"there is no task {unknown[0]!r}")
        reached = [
            {"title": each.title, "task": each.task, "date": ends[each.task]}
            for each in answer.milestones
        ]
        return {**found, "milestones": reached, "risks": list(answer.risks)}

    return _think("timeline_creation", TimelineAnswer, found, given, add, context)


def think_of_specification(found: Found, given: Mapping[str, Any], context: Context) -> Found:
    def add(answer: SpecificationAnswer) -> Found:
        said = {each.id: each for each in answer.functional}
        unknown = sorted(set(said) - {each["id"] for each in found["functional"]})
        if unknown:
            raise ValueError(f"there is no requirement {unknown[0]!r}")
        functional = [
            {**each, "priority": met.priority, "acceptance": list(met.acceptance)}
            if (met := said.get(each["id"])) is not None
            else each
            for each in found["functional"]
        ]
        made = {
            **found,
            "functional": functional,
            **_more(found, answer, "risks", "assumptions", "questions"),
        }
        return {**made, "markdown": markdown_of(made)}

    shown = {name: value for name, value in found.items() if name != "markdown"}
    return _think(
        "specification_generation", SpecificationAnswer, found, given, add, context, shown
    )


def _think(
    name: str,
    shape: type[Shape],
    found: Found,
    given: Mapping[str, Any],
    add: Callable[[Shape], Found],
    context: Context,
    shown: Mapping[str, Any] | None = None,
) -> Found:
    """What ``add`` makes of the answer, with `by`, the model; else ``found``."""
    if not is_configured() or 0 in context.left():
        return found
    question = Question(
        prompt=f"{shape.__doc__}",
        data={"given": _plain(given), "byRules": shown or found},
        instructions=INSTRUCTIONS,
        output_schema=shape.model_json_schema(),
        max_requests=3,
    )
    try:
        answer = run_on_loop(ask(question, context), name, context)
        return {**add(shape.model_validate(answer)), "by": model_settings().llm_model}
    except StepError as error:
        if error.name in LET_THROUGH:
            raise
        context.log.warning("by rules alone: %s: %s", error.name, error.message)
    except (ValidationError, ValueError) as error:
        context.log.warning("by rules alone: the model's answer does not fit: %s", error)
    return found


def _more(found: Mapping[str, Any], answer: Any, *names: str) -> Found:
    return {name: _joined(found[name], getattr(answer, name)) for name in names}


def _joined(first: list[str], second: list[str]) -> list[str]:
    """Both, in their order, without what is said twice."""
    known = {text.lower() for text in first}
    return [*first, *(text for text in second if text.lower() not in known)]


def _plain(given: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps({k: v for k, v in given.items() if v is not None}, default=str))
