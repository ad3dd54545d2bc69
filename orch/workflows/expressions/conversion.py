"""JSON values as truth, as text and as a kind."""

from __future__ import annotations

import json
from typing import Any


def truthy(value: Any) -> bool:
    """Whether a value counts as true; as in JavaScript, an empty list or object does."""
    return bool(value) or isinstance(value, (list, dict))


def to_text(value: Any) -> str:
    """A value as text: null is empty, strings are themselves, all else is compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def kind_of(value: Any) -> str:
    kinds = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string"}
    return kinds.get(type(value)) or ("list" if isinstance(value, list) else "object")
