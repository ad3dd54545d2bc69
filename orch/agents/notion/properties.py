"""The properties of a database: their types, and the values that fit them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, get_args

from orch.errors import StepError

Kind = Literal[
    "title", "text", "number", "checkbox", "date", "select", "multi_select", "url", "email"
]
KINDS: tuple[str, ...] = get_args(Kind)
_NAME = re.compile(r'[^"\\\x00-\x1f]{1,100}')


@dataclass(frozen=True)
class Property:
    """One column. ``options``: what a select may be; empty: anything."""

    kind: str
    options: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {"type": self.kind, **({"options": list(self.options)} if self.options else {})}


Schema = Mapping[str, Property]


def read_schema(given: Mapping[str, Any]) -> dict[str, Property]:
    """`{"Name": "title", "Status": {"type": "select", "options": ["open"]}}` as properties.

    Raises StepError `InvalidInput`.
    """
    if not given:
        raise StepError("InvalidInput", "a database needs `properties`: names and their types")
    found = {name: _property(name, value) for name, value in given.items()}
    titles = [name for name, each in found.items() if each.kind == "title"]
    if len(titles) > 1:
        raise StepError("InvalidInput", f"two properties are a title: {', '.join(titles)}")
    return found


def _property(name: str, given: Any) -> Property:
    if not _NAME.fullmatch(name):
        raise StepError("InvalidInput", f"{name!r} cannot be the name of a property")
    entry = {"type": given} if isinstance(given, str) else given
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if kind not in KINDS:
        raise StepError(
            "InvalidInput",
            f"the property {name!r} has the type {kind!r}; there are {', '.join(KINDS)}",
        )
    options = entry.get("options") or []
    if not isinstance(options, list) or not all(isinstance(each, str) for each in options):
        raise StepError("InvalidInput", f"the options of {name!r} are no list of texts")
    return Property(str(kind), tuple(options))


def check_values(values: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The values of a row, as they are. Raises StepError `UnknownColumn`, `InvalidInput`."""
    for name, value in values.items():
        found = known(name, schema)
        reason = _fault(value, found)
        if reason:
            raise StepError(
                "InvalidInput", f"{name!r} is {value!r}, but {reason}", data={"property": name}
            )
    return dict(values)


def known(name: str, schema: Schema) -> Property:
    """The property of a name. Raises StepError `UnknownColumn`."""
    if name not in schema:
        raise StepError(
            "UnknownColumn",
            f"there is no property {name!r}; there are {', '.join(map(repr, schema))}",
            data={"column": name, "columns": list(schema)},
        )
    return schema[name]


def _fault(value: Any, of: Property) -> str:
    """Why a value does not fit; empty where it does. Nothing fits every type."""
    if value is None:
        return ""
    if of.kind == "number":
        good = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if good else "it must be a number"
    if of.kind == "checkbox":
        return "" if isinstance(value, bool) else "it must be true or false"
    if of.kind == "multi_select":
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            return "it must be a list of texts"
        return _not_an_option(value, of)
    if not isinstance(value, str):
        return "it must be a text"
    if of.kind == "date":
        return "" if _is_date(value) else "it must be a date such as 2026-01-31, or with a time"
    return _not_an_option([value], of) if of.kind == "select" else ""


def _not_an_option(values: list[str], of: Property) -> str:
    other = [value for value in values if of.options and value not in of.options]
    return f"it must be one of {', '.join(map(repr, of.options))}" if other else ""


def _is_date(value: str) -> bool:
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            read(value)
        except ValueError:
            continue
        return True
    return False
