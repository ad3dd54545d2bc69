"""Values, choices and similar names, in a sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from orch.workflows.graph import join


def show(value: Any) -> str:
    """A value in a sentence: what it is, and how it begins."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > 200:
            return "a huge number"
        case int() | float():
            return f"the number {value}"
        case str():
            return repr(value if len(value) <= 60 else f"{value[:57]}...")
        case list() | tuple():
            return f"a list of {len(value)}" if value else "an empty list"
        case Mapping():
            keys = ", ".join(f"`{key}`" for key in list(map(str, value))[:3])
            return f"an object with {keys}" if keys else "an empty object"
    return f"a {type(value).__name__}"


def similar(word: str, candidates: Iterable[str]) -> str:
    """``did you mean 'x'?``, or nothing."""
    names = list(dict.fromkeys(candidates))
    folded = re.sub(r"[^a-z0-9]", "", word.lower())
    same = [n for n in names if folded and re.sub(r"[^a-z0-9]", "", n.lower()) == folded]
    close = same or difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def alternatives(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def extend(path: str, elements: Iterable[Any]) -> str:
    for element in elements:
        path = join(path, element if isinstance(element, int) else str(element))
    return path
