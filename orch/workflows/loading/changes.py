"""Changes of a definition in: a list of them, or an object whose `changes` is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orch.errors import LoadError
from orch.workflows.loading.files import FORMATS, read_text
from orch.workflows.loading.json_text import parse_json
from orch.workflows.loading.yaml_text import parse_yaml


def load_changes(path: Path) -> list[Any]:
    """The changes in a .json file, or any other as YAML. Raises LoadError."""
    text, source = read_text(path), str(path)
    parse = parse_json if FORMATS.get(path.suffix) == "json" else parse_yaml
    found = parse(text, source) if text.strip() else None
    if isinstance(found, dict) and found.keys() == {"changes"}:
        found = found["changes"]
    if not isinstance(found, list):
        raise LoadError(
            f"{source} holds no list of changes",
            source=source,
            hint="for example: [{insert: {id: check, capability: lint}, after: build}]",
        )
    return found
