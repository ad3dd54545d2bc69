"""What is wrong with a definition: findings with path, severity, message and hint, all at once.

The structure is checked by the models of `definition`; what the steps mean is checked on the
outline of the raw document (`graph`), so that a document with an unknown field still hears of
its missing targets. The reference of all findings is docs/validation.md.
"""

from orch.workflows.validation.documents import validate_definition, validate_document
from orch.workflows.validation.findings import Finding, Severity, ValidationResult, errors_in
from orch.workflows.validation.language import SCHEMA_ID, json_schema
from orch.workflows.validation.mismatches import check_input, check_output, sentences_of
from orch.workflows.validation.plain import MAX_DEPTH, MAX_NODES
from orch.workflows.validation.review.reads import ROOTS
from orch.workflows.validation.review.subject import MAX_SUGGESTIONS

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "MAX_SUGGESTIONS",
    "ROOTS",
    "SCHEMA_ID",
    "Finding",
    "Severity",
    "ValidationResult",
    "check_input",
    "check_output",
    "errors_in",
    "json_schema",
    "sentences_of",
    "validate_definition",
    "validate_document",
]
