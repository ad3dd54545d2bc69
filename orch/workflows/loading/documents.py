"""Documents as they stand in files, neither filled in nor checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orch.errors import LoadError
from orch.workflows.loading.files import FORMATS, Format, read_text
from orch.workflows.loading.json_text import parse_json
from orch.workflows.loading.yaml_text import parse_yaml


def read_document(path: Path) -> dict[str, Any]:
    """What a YAML or JSON file holds. Raises LoadError."""
    if path.suffix not in FORMATS and not path.is_dir():
        raise LoadError(
            f"{path}: {path.suffix or 'a file without a suffix'!r} is no format of a workflow",
            source=str(path),
            hint=f"name it {', '.join(FORMATS)} or .py",
        )
    text = read_text(path)
    return parse_text(text, FORMATS[path.suffix], str(path))


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
