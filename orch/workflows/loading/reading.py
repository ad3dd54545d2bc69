"""Definitions in: from files, texts and mappings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orch.errors import InvalidWorkflow, LoadError
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.loading.documents import parse_text, read_document
from orch.workflows.loading.expanding import expand
from orch.workflows.loading.files import MAX_BYTES, Format, too_large
from orch.workflows.loading.python_file import load_python
from orch.workflows.loading.writing import content_of
from orch.workflows.validation import Finding, errors_in, validate_document

Parameters = Mapping[str, Any] | None
"""Values of a file's `parameters`, by name."""


def load_definition(path: Path | str, parameters: Parameters = None) -> WorkflowDefinition:
    """The definition in a .yaml, .yml, .json or .py file, filled in with ``parameters``.

    Raises LoadError when the file cannot be read, InvalidWorkflow when what it holds does not
    have the structure of a workflow. What a workflow means is checked by the validator.
    """
    path = Path(path)
    if path.suffix == ".py" and not parameters:
        return load_python(path)
    return _parsed(load_document(path, parameters), source=str(path))


def load_document(path: Path | str, parameters: Parameters = None) -> dict[str, Any]:
    """What a file holds, filled in and else unchecked, as plain JSON.

    Raises LoadError, and InvalidWorkflow with what is wrong with parameters and included steps.
    """
    path = Path(path)
    if path.suffix == ".py":
        if parameters:
            raise LoadError(
                f"{path} is Python, and takes no parameters",
                source=str(path),
                hint="parameters are for YAML and JSON; Python can read its own environment",
            )
        return content_of(load_python(path))
    return filled(read_document(path), str(path), path, parameters)


def loads(
    text: str,
    format: Format = "yaml",
    source: str = "<text>",
    parameters: Parameters = None,
) -> WorkflowDefinition:
    """The definition in a text. Raises LoadError or InvalidWorkflow."""
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise too_large(source)
    return parse_definition(parse_text(text, format, source), source, parameters)


def parse_definition(
    raw: Mapping[str, Any], source: str = "<definition>", parameters: Parameters = None
) -> WorkflowDefinition:
    """The definition in a mapping. Raises InvalidWorkflow with all findings at once."""
    return _parsed(filled(raw, source, None, parameters), source)


def filled(
    raw: Mapping[str, Any], source: str, path: Path | None, parameters: Parameters = None
) -> dict[str, Any]:
    """A document without `parameters`, `include` and `use`. Raises InvalidWorkflow."""
    document, findings = expand(raw, path, parameters)
    if findings:
        raise _invalid(source, findings)
    return document


def _parsed(document: Mapping[str, Any], source: str) -> WorkflowDefinition:
    definition, findings = validate_document(document)
    if definition is None:
        raise _invalid(source, findings)
    return definition


def _invalid(source: str, findings: list[Finding]) -> InvalidWorkflow:
    errors = errors_in(findings)
    listed = "\n".join(f"  {error.path or 'workflow'}: {error.message}" for error in errors)
    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    return InvalidWorkflow(
        f"{source} is no workflow; {count}:\n{listed}",
        findings=findings,
        hint=next((error.hint for error in errors if error.hint), ""),
    )
