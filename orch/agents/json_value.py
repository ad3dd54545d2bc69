"""What a capability gives, as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from orch.errors import StepError


def to_json_value(value: Any, *, capability: str = "") -> Any:
    """A result as JSON: models, dataclasses, dates, paths, sets and the like are turned.

    Raises StepError `OutputNotJSON`, which names the capability, the type and the place.
    """
    try:
        return _json(value)
    except (ValueError, TypeError, RecursionError) as exc:
        place, culprit, reason = _fault(value, "$.output", exc)
    whose = f"the output of capability {capability!r}" if capability else "the value"
    raise StepError(
        "OutputNotJSON",
        f"{whose} is not JSON: at {place} there is {type(culprit).__module__}."
        f"{type(culprit).__qualname__}{reason}",
        hint="return dicts, lists, texts, numbers, dataclasses or pydantic models",
    )


_STRICT = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


def _json(value: Any) -> Any:
    if value is None:
        return None
    plain = to_jsonable_python(value, fallback=_unknown)
    # Refuses NaN, infinities and halves of surrogate pairs, at C speed.
    _STRICT.encode(plain).encode()
    return plain


def _unknown(value: Any) -> Any:
    if isinstance(value, PurePath):  # pydantic knows only paths of this system
        return str(value)
    raise TypeError(f"no JSON for {type(value)}")


def _fault(value: Any, place: str, exc: Exception) -> tuple[str, Any, str]:
    """The innermost part of a value that is not JSON, and why."""
    if isinstance(exc, RecursionError) or str(exc).startswith(("Circular", "Maximum")):
        return place, value, ", which contains itself or is nested too deeply"
    for step, part in _parts(value):
        try:
            _json(part)
        except (ValueError, TypeError, RecursionError) as inner:
            return _fault(part, place + step, inner)
    if isinstance(value, float):
        return place, value, f" {value}, which JSON cannot hold"
    if isinstance(value, Mapping):
        return place, value, f" with a key that cannot be one: {exc}"
    if isinstance(exc, UnicodeError):
        return place, value, f": {exc}"
    return place, value, ""


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        return [(f".{name}", part) for name, part in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return [(f".{name}", getattr(value, name)) for name in names]
    if isinstance(value, Mapping):
        return [(f".{key}", part) for key, part in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    return []
