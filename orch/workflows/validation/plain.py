"""A document as plain JSON, as far as it can be that."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from orch.workflows.graph import join
from orch.workflows.validation.findings import Finding, Severity
from orch.workflows.validation.wording import show

MAX_DEPTH = 500
"""Levels of JSON in a definition: what can be hashed and stored without exhausting the stack."""

MAX_NODES = 250_000
"""Values in a definition, every one counted."""

TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"


def plain_json(raw: Any) -> tuple[Any, list[Finding]]:
    """A copy of ``raw`` in plain JSON with text as keys, or None where it cannot be one."""
    findings: list[Finding] = []

    def wrong(path: str, message: str, hint: str = "") -> None:
        findings.append(Finding(Severity.ERROR, path, message, hint))

    if not isinstance(raw, Mapping):
        wrong("", f"must be an object with `name` and `steps`; found {show(raw)}")
        return None, findings
    root: list[Any] = [None]
    work: list[tuple[Any, Any, Any, str, int]] = [(raw, root, 0, "", 1)]
    count = 0
    while work:
        value, holder, place, path, depth = work.pop()
        count += 1
        if depth > MAX_DEPTH:
            wrong("", TOO_DEEP, "call a part of it as a subworkflow")
            return None, findings
        if count + len(work) > MAX_NODES:
            wrong("", f"holds more than {MAX_NODES:,} values", "hand large data in as the input")
            return None, findings
        if isinstance(value, Mapping):
            copy: dict[str, Any] = {}
            for key, item in value.items():
                text = _key(key)
                if text is None:
                    wrong(path, f"the key {show(key)} is no text")
                elif text in copy:
                    wrong(path, f"the key {text!r} is there twice")
                else:
                    copy[text] = None
                    work.append((item, copy, text, join(path, text), depth + 1))
            holder[place] = copy
        elif isinstance(value, list | tuple):
            holder[place] = [None] * len(value)
            for index, item in enumerate(value):
                work.append((item, holder[place], index, join(path, index), depth + 1))
        elif (reason := _not_json(value)) is not None:
            wrong(path, reason)
        else:
            holder[place] = value
    return root[0], findings


def _key(key: Any) -> str | None:
    """A key as text: what YAML takes for true, null or a number is written as in JSON."""
    if isinstance(key, str):
        return key if _not_json(key) is None else None
    if key is None or (isinstance(key, bool | int | float) and _not_json(key) is None):
        return json.dumps(key)
    return None


def _not_json(value: Any) -> str | None:
    """Why a scalar cannot be in JSON."""
    if isinstance(value, str):
        if value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value):
            return None
        return "holds half of a surrogate pair, which is no text"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no JSON number"
    if isinstance(value, int) and value.bit_length() > 10_000:
        return "is a number of more than 3,000 digits"
    if value is None or isinstance(value, bool | int | float):
        return None
    return f"is a {type(value).__name__}, which JSON cannot hold"
