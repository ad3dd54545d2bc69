"""Which rows of a database are meant, and in which order: as users write it.

    {"Status": "open", "Amount": {"greater_than": 100}}         all of these
    {"or": [{"Status": "open"}, {"not": {"Tags": {"contains": "late"}}}]}

Sorts are names, `-` before one that goes down: `["-Amount", "Name"]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orch.agents.notion.properties import Property, Schema, check_values, known
from orch.errors import StepError

_ANY = ("equals", "does_not_equal", "is_empty", "is_not_empty")
_ORDER = ("greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to")
_PART = ("contains", "does_not_contain")
_TEXT = (*_ANY, *_PART, "starts_with", "ends_with")
OPERATORS: dict[str, tuple[str, ...]] = {
    "number": (*_ANY, *_ORDER),
    "date": (*_ANY, *_ORDER),
    "checkbox": ("equals", "does_not_equal"),
    "select": _ANY,
    "multi_select": (*_PART, "is_empty", "is_not_empty"),
    **dict.fromkeys(("title", "text", "url", "email"), _TEXT),
}
"""What each type can be asked. The words are Notion's."""
_DEEPEST = 20


@dataclass(frozen=True)
class Test:
    """One property against one value; ``value`` of `is_empty` and `is_not_empty` is true."""

    name: str
    of: Property
    operator: str
    value: Any


@dataclass(frozen=True)
class Combined:
    """``word``: `and`, `or`; `not` has one part."""

    word: str
    parts: tuple[Condition, ...]


Condition = Test | Combined


@dataclass(frozen=True)
class Sort:
    name: str
    descending: bool = False


def read_filter(given: Mapping[str, Any] | None, schema: Schema) -> Condition | None:
    """What a filter asks for; None for an empty one.

    Raises StepError `InvalidInput`, `UnknownColumn`.
    """
    return _condition(given, schema, 0) if given else None


def read_sorts(given: Sequence[str], schema: Schema) -> list[Sort]:
    """Raises StepError `UnknownColumn`."""
    sorts = []
    for each in given:
        name = each[1:] if each.startswith("-") and each not in schema else each
        known(name, schema)
        sorts.append(Sort(name, name != each))
    return sorts


def _condition(given: Any, schema: Schema, depth: int) -> Condition:
    if not isinstance(given, Mapping) or not given or depth > _DEEPEST:
        raise StepError("InvalidInput", f"a filter is an object of conditions; found {given!r}")
    parts = [part for name, value in given.items() for part in _parts(name, value, schema, depth)]
    return parts[0] if len(parts) == 1 else Combined("and", tuple(parts))


def _parts(name: str, value: Any, schema: Schema, depth: int) -> list[Condition]:
    if name in ("and", "or") and name not in schema:
        if not isinstance(value, list) or not value:
            raise StepError("InvalidInput", f"`{name}` of a filter needs a list of filters")
        return [Combined(name, tuple(_condition(each, schema, depth + 1) for each in value))]
    if name == "not" and name not in schema:
        return [Combined("not", (_condition(value, schema, depth + 1),))]
    of = known(name, schema)
    if not isinstance(value, Mapping):
        return [_test(name, of, "equals", value)]
    return [_test(name, of, operator, each) for operator, each in value.items()]


def _test(name: str, of: Property, operator: str, value: Any) -> Test:
    if value is None and operator in ("equals", "does_not_equal"):
        operator, value = ("is_empty" if operator == "equals" else "is_not_empty"), True
    allowed = OPERATORS[of.kind]
    if operator not in allowed:
        raise StepError(
            "InvalidInput",
            f"{name!r}, of the type {of.kind}, cannot be asked {operator!r}; it can be asked "
            f"{', '.join(allowed)}",
        )
    if operator in ("is_empty", "is_not_empty"):
        return Test(name, of, operator, True)
    if operator in _PART and not isinstance(value, str):
        raise StepError("InvalidInput", f"`{operator}` of {name!r} needs a text")
    if of.kind != "multi_select":
        check_values({name: value}, {name: Property("text" if of.kind == "select" else of.kind)})
    if value is None:
        raise StepError("InvalidInput", f"`{operator}` of {name!r} needs a value")
    return Test(name, of, operator, value)
