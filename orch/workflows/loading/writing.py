"""Definitions out: as text, and as files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from orch.errors import LoadError
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.loading.core_schema import FLOAT, INTEGER, TAG
from orch.workflows.loading.files import FORMATS, Format, replace_text


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would read as a number, too; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes these line breaks of Unicode as they are, and reads them back as blanks.
    style = '"' if any(letter in text for letter in "\x85\u2028\u2029\ufeff") else None
    node: yaml.ScalarNode = dumper.represent_scalar(TAG + "str", text, style=style)
    return node


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(
    TAG + "float", re.compile(rf"(?:{FLOAT.pattern}|{INTEGER.pattern})\Z"), list("-+.0123456789")
)


def dumps(definition: WorkflowDefinition, format: Format = "yaml") -> str:
    """A definition as text: camelCase, without defaults. Loading it gives the same version."""
    content = content_of(definition)
    if format == "json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def save_definition(definition: WorkflowDefinition, path: Path | str) -> None:
    """Write a .yaml, .yml or .json file, whole or not at all."""
    path = Path(path)
    if path.suffix not in FORMATS:
        raise LoadError(
            f"{path}: a workflow cannot be written as {path.suffix or 'a file without suffix'!r}",
            source=str(path),
            hint=f"name it {', '.join(FORMATS)}",
        )
    text = dumps(definition, FORMATS[path.suffix])
    replace_text(path, text)


def content_of(definition: WorkflowDefinition) -> dict[str, Any]:
    return definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
