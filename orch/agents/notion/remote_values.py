"""Values, properties and conditions, as Notion writes them (API version 2025-09-03)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orch.agents.notion.conditions import Combined, Condition, Sort, Test
from orch.agents.notion.properties import Property, Schema
from orch.errors import StepError

LONGEST = 2000
"""Characters of one piece of text."""

_THEIRS = {"text": "rich_text"}
_OURS = {"rich_text": "text"}
_KEPT = ("title", "number", "checkbox", "date", "select", "multi_select", "url", "email")
_DATES = {
    "greater_than": "after",
    "greater_than_or_equal_to": "on_or_after",
    "less_than": "before",
    "less_than_or_equal_to": "on_or_before",
}
_OPPOSITE = {
    "equals": "does_not_equal",
    "contains": "does_not_contain",
    "is_empty": "is_not_empty",
    "greater_than": "less_than_or_equal_to",
    "less_than": "greater_than_or_equal_to",
}
_OPPOSITE |= {after: before for before, after in _OPPOSITE.items()}


def rich_text(text: str) -> list[dict[str, Any]]:
    """A text in pieces that are short enough."""
    pieces = [text[start : start + LONGEST] for start in range(0, len(text), LONGEST)]
    return [{"type": "text", "text": {"content": piece}} for piece in pieces]


def plain_text(pieces: Sequence[Mapping[str, Any]] | None) -> str:
    return "".join(
        str(piece.get("plain_text", (piece.get("text") or {}).get("content", "")))
        for piece in pieces or ()
    )


# Properties ----------------------------------------------------------------------------------


def schema_to_notion(schema: Schema) -> dict[str, Any]:
    """The properties of a new data source; Notion wants a title."""
    told = {name: _declared(of) for name, of in schema.items()}
    if not any(of.kind == "title" for of in schema.values()):
        told["Name" if "Name" not in told else "Title"] = {"title": {}}
    return told


def _declared(of: Property) -> dict[str, Any]:
    kind = _THEIRS.get(of.kind, of.kind)
    options = {"options": [{"name": name} for name in of.options]} if of.options else {}
    return {kind: options}


def schema_from_notion(properties: Mapping[str, Any]) -> dict[str, Property]:
    """The properties of a data source that can be written; others (formulas, people) are left
    out. Notion adds to the options of a select whatever is written, so they bind nobody."""
    found = {}
    for name, each in properties.items():
        kind = _OURS.get(each.get("type"), each.get("type"))
        if kind in (*_KEPT, "text"):
            found[name] = Property(str(kind))
    return found


# Values --------------------------------------------------------------------------------------


def values_to_notion(values: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    return {name: _written(value, schema[name].kind) for name, value in values.items()}


def _written(value: Any, kind: str) -> dict[str, Any]:
    if kind in ("title", "text"):
        return {_THEIRS.get(kind, kind): rich_text(value or "")}
    if kind == "date":
        return {"date": None if value is None else {"start": value}}
    if kind == "select":
        return {"select": None if value is None else {"name": value}}
    if kind == "multi_select":
        return {"multi_select": [{"name": name} for name in value or ()]}
    return {kind: bool(value) if kind == "checkbox" else value}


def values_from_notion(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _read(each.get(each.get("type")), str(each.get("type")))
        for name, each in properties.items()
        if each.get("type") in (*_KEPT, "rich_text")
    }


def _read(value: Any, kind: str) -> Any:
    if kind in ("title", "rich_text"):
        return plain_text(value) or None
    if value is None:
        return None
    if kind == "date":
        return value.get("start")
    if kind == "select":
        return value.get("name")
    if kind == "multi_select":
        return [each.get("name") for each in value]
    return value


# Conditions ----------------------------------------------------------------------------------


def filter_to_notion(condition: Condition) -> dict[str, Any]:
    """A filter. Notion knows no `not`: the opposite is asked for instead.

    Raises StepError `InvalidInput` where there is no opposite.
    """
    if isinstance(condition, Combined):
        if condition.word == "not":
            return filter_to_notion(_opposite(condition.parts[0]))
        return {condition.word: [filter_to_notion(part) for part in condition.parts]}
    kind = _THEIRS.get(condition.of.kind, condition.of.kind)
    operator = condition.operator
    if kind == "date":
        operator = _DATES.get(operator, operator)
    kind = "rich_text" if kind in ("url", "email") else kind
    return {"property": condition.name, kind: {operator: condition.value}}


def _opposite(condition: Condition) -> Condition:
    if isinstance(condition, Combined):
        if condition.word == "not":
            return condition.parts[0]
        word = "or" if condition.word == "and" else "and"
        return Combined(word, tuple(_opposite(part) for part in condition.parts))
    operator = _OPPOSITE.get(condition.operator)
    if operator is None:
        raise StepError("InvalidInput", f"Notion knows no opposite of `{condition.operator}`")
    opposite = Test(condition.name, condition.of, operator, condition.value)
    if operator.startswith(("greater", "less")):  # what is empty is neither
        empty = Test(condition.name, condition.of, "is_empty", True)
        return Combined("or", (opposite, empty))
    return opposite


def sorts_to_notion(sorts: Sequence[Sort]) -> list[dict[str, str]]:
    return [
        {"property": each.name, "direction": "descending" if each.descending else "ascending"}
        for each in sorts
    ]
