"""Conditions on rows as SQL: the text is made of the pieces here alone, and all that users say is a
parameter of it, the names of properties included."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from orch.agents.notion.conditions import Combined, Condition, Sort, Test

_DIRECTIONS = {False: "json_extract(data, ?)", True: "json_extract(data, ?) DESC"}
_EMPTY = "coalesce(json_extract(data, ?), '') IN ('', '[]')"
_COMPARED = {
    "equals": "json_extract(data, ?) IS ?",
    "does_not_equal": "json_extract(data, ?) IS NOT ?",
    "greater_than": "json_extract(data, ?) > ?",
    "greater_than_or_equal_to": "json_extract(data, ?) >= ?",
    "less_than": "json_extract(data, ?) < ?",
    "less_than_or_equal_to": "json_extract(data, ?) <= ?",
    "contains": "instr(fold(coalesce(json_extract(data, ?), '')), fold(?)) > 0",
    "does_not_contain": "instr(fold(coalesce(json_extract(data, ?), '')), fold(?)) = 0",
    "starts_with": "instr(fold(coalesce(json_extract(data, ?), '')), fold(?)) = 1",
    "ends_with": "ends(fold(coalesce(json_extract(data, ?), '')), fold(?))",
}
_AMONG = "EXISTS (SELECT 1 FROM json_each(data, ?) WHERE value = ?)"


def where(
    name: str, condition: Condition | None, ids: Sequence[str] | None
) -> tuple[str, list[Any]]:
    """The rows of a database that are meant, and the parameters."""
    parts, given = ["database = ?"], [name]
    if ids is not None:
        parts.append("id IN (SELECT value FROM json_each(?))")
        given.append(json.dumps(list(ids)))
    if condition is not None:
        text, values = _sql(condition)
        parts.append(text)
        given += values
    return " AND ".join(parts), given


def _sql(condition: Condition) -> tuple[str, list[Any]]:
    if isinstance(condition, Combined):
        pairs = [_sql(part) for part in condition.parts]
        given = [value for _, values in pairs for value in values]
        if condition.word == "not":
            return f"NOT coalesce({pairs[0][0]}, 0)", given
        word = {"and": " AND ", "or": " OR "}[condition.word]
        return f"({word.join(text for text, _ in pairs)})", given
    return _tested(condition)


def _tested(test: Test) -> tuple[str, list[Any]]:
    path = _path(test.name)
    if test.operator in ("is_empty", "is_not_empty"):
        return (_EMPTY if test.operator == "is_empty" else f"NOT {_EMPTY}"), [path]
    if test.of.kind == "multi_select":
        return (_AMONG if test.operator == "contains" else f"NOT {_AMONG}"), [path, test.value]
    value = test.value
    if isinstance(value, int) and abs(value) >= 1 << 63:
        value = float(value)  # SQLite knows no larger integer
    return _COMPARED[test.operator], [path, value]


def _path(name: str) -> str:
    return f'$."{name}"'


def order(sorts: Sequence[Sort]) -> tuple[str, list[Any]]:
    """In which order, and the parameters. Rows without a value come last."""
    parts, given = [], []
    for each in sorts:
        parts += ["json_extract(data, ?) IS NULL", _DIRECTIONS[each.descending]]
        given += [_path(each.name)] * 2
    return ", ".join([*parts, "number"]), given
