"""Definitions in: from files, texts and mappings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orch.errors import InvalidWorkflow, LoadError
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.loading.files import FORMATS, MAX_BYTES, Format, read_text, too_large
from orch.workflows.loading.json_text import parse_json
from orch.workflows.loading.python_file import load_python
from orch.workflows.loading.writing import content_of
from orch.workflows.loading.yaml_text import parse_yaml
from orch.workflows.validation import Severity, validate_document


def load_definition(path: Path | str) -> WorkflowDefinition:
    """The definition in a .yaml, .yml, .json or .py file.

    Raises LoadError when the file cannot be read, InvalidWorkflow when what it holds does not
    have the structure of a workflow. What a workflow means is checked by the validator.
    """
    path = Path(path)
    if path.suffix == ".py":
        return load_python(path)
    return parse_definition(load_document(path), source=str(path))


def load_document(path: Path | str) -> dict[str, Any]:
    """What a file holds, unchecked, as plain JSON. Raises LoadError."""
    path = Path(path)
    if path.suffix == ".py":
        return content_of(load_python(path))
    if path.suffix not in FORMATS and not path.is_dir():
        raise LoadError(
            f"{path}: {path.suffix or 'a file without a suffix'!r} is no format of a workflow",
            source=str(path),
            hint=f"name it {', '.join(FORMATS)} or .py",
        )
    text = read_text(path)
    return parse_text(text, FORMATS[path.suffix], str(path))


def loads(text: str, format: Format = "yaml", source: str = "<text>") -> WorkflowDefinition:
    """The definition in a text. Raises LoadError or InvalidWorkflow."""
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise too_large(source)
    return parse_definition(parse_text(text, format, source), source=source)


def parse_definition(raw: Mapping[str, Any], source: str = "<definition>") -> WorkflowDefinition:
    """The definition in a mapping. Raises InvalidWorkflow with all findings at once."""
    definition, findings = validate_document(raw)
    if definition is None:
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        listed = "\n".join(f"  {error.path or 'workflow'}: {error.message}" for error in errors)
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise InvalidWorkflow(
            f"{source} is no workflow; {count}:\n{listed}",
            findings=findings,
            hint=next((error.hint for error in errors if error.hint), ""),
        )
    return definition


def parse_text(text: str, format: Format, source: str) -> dict[str, Any]:
    if not text.strip():
        raise LoadError(f"{source} is empty", source=source, hint="a workflow has a name and steps")
    found = parse_json(text, source) if format == "json" else parse_yaml(text, source)
    if not isinstance(found, dict):
        kind = {list: "a list", str: "a text", type(None): "nothing"}.get(type(found), "a value")
        raise LoadError(
            f"{source} holds {kind}, not a workflow",
            source=source,
            hint="a workflow is an object with `name` and `steps`",
        )
    return found
