"""Limits and resources: of steps that can have them, and of what is there."""

from __future__ import annotations

from typing import Any

from orch.workflows.definition import StepType
from orch.workflows.graph import as_mapping
from orch.workflows.validation.review.steps import does_work
from orch.workflows.validation.review.subject import Review


def check_limits(review: Review) -> None:
    for step in review.outline.steps():
        polls = step.type == StepType.WAIT and as_mapping(step.get("wait")).get("poll") is not None
        for name in ("resources", "limits"):
            if step.get(name) and not does_work(step) and not polls:
                review.error(
                    f"{step.path}.{name}",
                    f"a step that no worker does has no `{name}`",
                    "give them to the tasks and polls within it, or behind it",
                )
        for name, units in as_mapping(step.get("resources")).items():
            _check_resource(review, f"{step.path}.resources.{name}", str(name), units)


def _check_resource(review: Review, path: str, name: str, units: Any) -> None:
    known = review.known_resources
    if known is None or type(units) is not int:
        return
    if name not in known:
        hint = review.suggest(name, known) or f"define it: orch resources define {name} {units}"
        review.warning(path, f"there is no resource {name!r}", hint)
    elif units > known[name]:
        message = f"the step takes {units} of resource {name!r}, whose capacity is {known[name]}"
        review.warning(path, message, "take fewer, or define more of it")
