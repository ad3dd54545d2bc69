"""The two entries: a document, and a definition that has the right structure already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from pydantic import ValidationError

from orch.workflows.definition import WorkflowDefinition
from orch.workflows.validation.findings import Finding, Severity, order
from orch.workflows.validation.plain import TOO_DEEP, plain_json
from orch.workflows.validation.review import review
from orch.workflows.validation.review.subject import Known
from orch.workflows.validation.structure import MODEL_RULE, structure_findings, without_mark


def validate_document(
    raw: Mapping[str, Any], **known: Unpack[Known]
) -> tuple[WorkflowDefinition | None, list[Finding]]:
    """The definition, if its structure allows one, and all that is wrong. Never raises.

    ``known``: what is known around it.
    """
    document, findings = plain_json(raw)
    if not isinstance(document, dict):
        return None, findings
    definition: WorkflowDefinition | None = None
    structure: list[Finding] = []
    try:
        definition = WorkflowDefinition.model_validate(document)
    except ValidationError as error:
        structure = structure_findings(document, error)
    reviewed = review(document, known)
    # A rule of a model that the review explains better is said once.
    structure = [f for f in structure if f.hint is not MODEL_RULE or f.path not in reviewed.shapes]
    found = findings + [without_mark(f) for f in structure] + reviewed.findings
    if any(finding.severity is Severity.ERROR for finding in findings):
        definition = None
    return definition, sorted(dict.fromkeys(found), key=order)


def validate_definition(definition: WorkflowDefinition, **known: Unpack[Known]) -> list[Finding]:
    """All that is wrong with a definition that has the right structure."""
    try:
        raw = definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    except (ValueError, RecursionError):  # pydantic gives up at 255 models in one another
        return [Finding(Severity.ERROR, "", TOO_DEEP)]
    document, findings = plain_json(raw)
    if not isinstance(document, dict):
        return findings
    reviewed = review(document, known)
    return sorted(dict.fromkeys(findings + reviewed.findings), key=order)
