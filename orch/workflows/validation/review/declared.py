"""The schemas that a workflow declares for its input and its output."""

from __future__ import annotations

from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.schemas import schema_problems
from orch.workflows.validation.wording import extend


def check_schemas(review: Review) -> None:
    for name in ("input", "output"):
        schema = review.document.get(name)
        if isinstance(schema, dict):
            for path, message in schema_problems(schema):
                review.error(extend(name, path), f"is no valid JSON Schema: {message}")
