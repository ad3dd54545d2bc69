"""Approvals: steps that a person does, and whether what they ask can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orch.errors import ExpressionError, StepError
from orch.workflows.expressions import compile_value
from orch.workflows.graph import Step, as_list, as_mapping
from orch.workflows.validation.review.ladders import check_queue
from orch.workflows.validation.review.steps import is_approval
from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.schemas import schema_problems
from orch.workflows.validation.wording import extend

KNOWN = ("prompt", "choices", "form", "queue", "within", "remindEvery", "quietHours", "default")
"""What the input of an approval may have."""

UNUSED = ("retry", "timeout", "scheduleTimeout", "heartbeatTimeout", "queue", "priority")
"""Fields of a step that say something to workers alone."""


def check_approvals(review: Review) -> None:
    for step in review.outline.steps():
        if is_approval(step):
            _check(review, step)


def _check(review: Review, step: Step) -> None:
    path, asked = f"{step.path}.input", step.get("input")
    asked = {} if asked is None else asked
    for name in UNUSED:
        if step.get(name) is not None:
            message = f"`{name}` says nothing of a step that a person does"
            hint = f"say `{name}` in its `input`" if name in KNOWN else "leave it out"
            if name == "timeout":
                hint = "say `within` in its `input`"
            review.warning(f"{step.path}.{name}", message, hint)
    if not isinstance(asked, dict) and not _is_literal(asked):
        return  # it is known only at run time
    given = _literals(asked) if isinstance(asked, dict) else asked
    form = as_mapping(given).get("form")
    problems = schema_problems(form) if isinstance(form, dict) else ()
    for where, message in problems:
        review.error(extend(f"{path}.form", where), f"is no valid JSON Schema: {message}")
    if problems:
        return
    check_queue(review, f"{path}.queue", as_mapping(given).get("queue", "inbox"))
    from orch.workflows.approving import Approval  # which checks answers by this package

    try:
        Approval.of(given)
    except StepError as error:
        review.error(path, f"cannot be asked: {error.message}", f"known here: {', '.join(KNOWN)}")


def _literals(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an input that are known before a run, and can be judged by themselves."""
    found = {name: value for name, value in asked.items() if _is_literal(value)}
    if any(name in asked and name not in found for name in ("choices", "form")):
        found.pop("default", None)  # it must fit what is not known yet
    return found | {name: None for name in asked if name not in KNOWN}


def _is_literal(value: Any) -> bool:
    try:
        return not compile_value(value).reads and not _interpolates(value)
    except ExpressionError:
        return False  # that it does not parse is said where all expressions are checked


def _interpolates(value: Any) -> bool:
    if isinstance(value, str):
        return "$" in value
    if isinstance(value, dict):
        return any(map(_interpolates, value.values()))
    return any(map(_interpolates, as_list(value)))
