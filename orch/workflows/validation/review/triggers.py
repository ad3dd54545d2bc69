"""Triggers: what their expressions read, and workflows that start themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orch.workflows.definition import StepType
from orch.workflows.graph import as_list, as_mapping
from orch.workflows.validation.review.reads import compiled
from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.review.uses import Use, texts

ROOTS = ("event", "correlation")
"""What the expressions of a trigger may read: there is no execution yet."""


def check_triggers(review: Review) -> None:
    for index, trigger in enumerate(as_list(review.document.get("triggers"))):
        path, fields = f"triggers[{index}]", as_mapping(trigger)
        for use in _uses(review, path, fields):
            for _, reads in compiled(review, use):
                for root in sorted({read[0] for read in reads} - set(ROOTS)):
                    review.error(
                        use.path,
                        f"`$.{root}` is unknown in a trigger, which is asked before there is an "
                        f"execution",
                        "read the payload as `$.event`, or `$.correlation`",
                    )
        for step in review.outline.steps():
            emitted = as_mapping(step.get("event"))
            if step.type == StepType.EVENT and emitted.get("action") == "emit":
                _check_circle(review, path, fields.get("event"), step.id, emitted.get("name"))


def _uses(review: Review, path: str, trigger: Mapping[str, Any]) -> Iterator[Use]:
    if isinstance(trigger.get("match"), str):
        yield Use(f"{path}.match", trigger["match"], True)
    yield from texts(review, f"{path}.input", trigger.get("input"))


def _check_circle(review: Review, path: str, event: Any, step: str, emitted: Any) -> None:
    if isinstance(event, str) and event == emitted:
        review.warning(
            f"{path}.event",
            f"step {step!r} emits the event {event!r}, which starts this workflow again",
            "see that its `match` or a condition ends the circle; the setting `max_depth` will",
        )
