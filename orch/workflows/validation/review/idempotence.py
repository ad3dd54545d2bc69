"""Steps of capabilities that a second call would do harm with."""

from __future__ import annotations

from orch.workflows.graph import Step, get
from orch.workflows.validation.review.subject import Review

AT_MOST_ONCE = "at_most_once"


def check_idempotence(review: Review) -> None:
    """Warns where such a step may be called twice: by a retry, or because its worker died."""
    for step in review.outline.steps():
        capability = step.get("capability")
        if not isinstance(capability, str) or step.get("external") is True:
            continue
        declared = review.known_declared.get(capability)
        if declared is not None and not declared.idempotent:
            _check(review, step, capability)


def _check(review: Review, step: Step, capability: str) -> None:
    what = f"capability {capability!r} is declared as not idempotent"
    retry = step.get("retry")
    if isinstance(retry, dict) and get(retry, "maxAttempts") != 1:
        review.warning(
            f"{step.path}.retry",
            f"step {step.id!r} is tried again when it fails, and {what}",
            "drop `retry`, or name in `retryOn` the errors after which nothing was done",
        )
    if step.get("delivery") != AT_MOST_ONCE:
        review.warning(
            step.path,
            f"step {step.id!r} may be called twice where its worker dies, and {what}",
            f"add `delivery: {AT_MOST_ONCE}`",
        )
