"""Steps that ask a language model, and budgets of steps."""

from __future__ import annotations

from typing import Any

from orch.workflows.graph import Step, as_mapping
from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.schemas import schema_problems
from orch.workflows.validation.wording import extend

LLM = "llm"


def check_models(review: Review) -> None:
    """Finds, in steps of `llm`, schemas that are none, and tools that nobody serves."""
    for step in review.outline.steps():
        given = step.get("input")
        if step.get("capability") == LLM and isinstance(given, dict):
            _check_schema(review, step, given.get("outputSchema"))
            _check_tools(review, step, given.get("tools"))
            if "prompt" not in given:
                review.error(
                    f"{step.path}.input",
                    f"step {step.id!r} asks a model, and has no `prompt`",
                    "add `prompt`, a text",
                )


def check_budgets(review: Review) -> None:
    """Warns of a step that may use more than its execution."""
    whole = as_mapping(review.document.get("budget"))
    for step in review.outline.steps():
        own = as_mapping(step.get("budget"))
        for name in ("cost", "tokens"):
            if _exceeds(own.get(name), whole.get(name)):
                review.warning(
                    f"{step.path}.budget.{name}",
                    f"step {step.id!r} may use more than its execution: {own[name]} of "
                    f"{whole[name]}",
                    "the smaller one counts; lower this, or raise that of the workflow",
                )


def _check_schema(review: Review, step: Step, schema: Any) -> None:
    place = f"{step.path}.input.outputSchema"
    if not isinstance(schema, dict):
        return
    problems = schema_problems(schema)
    for path, message in problems:
        review.error(extend(place, path), f"is no valid JSON Schema: {message}")
    if not problems and schema.get("type") != "object":
        review.error(place, "a model answers by the schema of an object", "add `type: object`")


def _check_tools(review: Review, step: Step, tools: Any) -> None:
    known = review.known_capabilities
    if not isinstance(tools, list) or known is None:
        return
    for number, name in enumerate(tools):
        if isinstance(name, str) and not name.startswith("$") and name not in known:
            near = review.suggest(name, known)
            review.warning(
                f"{step.path}.input.tools[{number}]",
                f"no live worker serves the capability {name!r}, which the model of step "
                f"{step.id!r} is to have as a tool",
                f"do you mean {near!r}?" if near else "",
            )


def _exceeds(own: Any, whole: Any) -> bool:
    numbers = (int, float)
    return isinstance(own, numbers) and isinstance(whole, numbers) and own > whole
