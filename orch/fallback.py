"""What is declared of the output that stands in for one that cannot be had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from orch.errors import SettingsError

INPUT, CAPABILITY = "input", "capability"


class _Nothing:
    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()
"""No constant is declared: null is one."""


@dataclass(frozen=True)
class Cached:
    """The last good output, if it is not older than ``max_age`` seconds.

    ``by``: that of the same `input`, or of the `capability`, whatever its input was.
    Raises SettingsError.
    """

    max_age: float
    by: str = INPUT

    def __post_init__(self) -> None:
        age = self.max_age
        known = isinstance(age, int | float) and not isinstance(age, bool)
        if not known or not 0 < age <= 31_536_000:
            raise _wrong("max_age", age, "seconds above 0, at most a year")
        if self.by not in (INPUT, CAPABILITY):
            raise _wrong("by", self.by, f"`{INPUT}` or `{CAPABILITY}`")


@dataclass(frozen=True)
class Fallback:
    """What a step of a capability gives when its attempts are used up, or its breaker is open.

    cached  the last good output; where there is none, or it is too old, ``value``
    value   a constant, as JSON
    errors  names of the errors for which it stands in, or classes (`class:transient`); `*`: any

    Raises SettingsError.
    """

    cached: Cached | None = None
    value: Any = NOTHING
    errors: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        cached: Any = self.cached
        if isinstance(cached, Mapping):
            object.__setattr__(self, "cached", _made(Cached, cached))
        if self.cached is None and self.value is NOTHING:
            raise _wrong("value", None, "given, or `cached`")
        try:
            json.dumps(None if self.value is NOTHING else self.value, allow_nan=False)
        except (TypeError, ValueError):
            raise _wrong("value", self.value, "JSON") from None
        names: Any = self.errors
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise _wrong("errors", names, "a list of names of errors")
        object.__setattr__(self, "errors", tuple(names))

    @classmethod
    def of(cls, given: Any) -> Fallback:
        """Of what a settings file says. Raises SettingsError."""
        return given if isinstance(given, Fallback) else _made(cls, given)

    @classmethod
    def loads(cls, text: str) -> Fallback:
        return cls(**json.loads(text))

    def dumps(self) -> str:
        return json.dumps(self.as_dict(), separators=(",", ":"))

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"errors": list(self.errors)}
        if self.cached is not None:
            found["cached"] = {"max_age": self.cached.max_age, "by": self.cached.by}
        return found if self.value is NOTHING else {**found, "value": self.value}


def _made(kind: Any, given: Any) -> Any:
    known = [field.name for field in fields(kind)]
    if not isinstance(given, Mapping) or not set(given) <= set(known):
        raise SettingsError(
            f"a fallback has no fields like {given!r}",
            hint=f"here may stand {', '.join(known)}; docs/fallbacks.md has their meaning",
        )
    if kind is Cached and "max_age" not in given:
        raise _wrong("max_age", None, "seconds")
    return kind(**given)


def _wrong(name: str, found: Any, wanted: str) -> SettingsError:
    return SettingsError(
        f"`{name}` of a fallback is {found!r}, and should be {wanted}",
        hint="docs/fallbacks.md has the fields and their defaults",
    )
