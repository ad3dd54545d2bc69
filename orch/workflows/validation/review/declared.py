"""The schemas that a workflow declares for input and output, and its steps for theirs."""

from __future__ import annotations

from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.schemas import schema_problems
from orch.workflows.validation.wording import extend


def check_schemas(review: Review) -> None:
    declared = [(name, review.document.get(name)) for name in ("input", "output")]
    for step in review.outline.steps():
        declared.append((f"{step.path}.outputSchema", step.get("outputSchema")))
    for name, schema in declared:
        if isinstance(schema, dict):
            for path, message in schema_problems(schema):
                review.error(extend(name, path), f"is no valid JSON Schema: {message}")
