"""Tables of a settings file -> what they declare: a limit, a breaker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from orch.errors import SettingsError

T = TypeVar("T")


def from_table(kind: type[T], given: Any, what: str) -> T:
    """One of ``kind``, a dataclass, from its fields. ``what``: as people call it.

    Raises SettingsError, which names the field that there is not.
    """
    if isinstance(given, kind):
        return given
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(given, Mapping):
        raise SettingsError(
            f"a {what} is a table of fields, found {given!r}", hint=f"{', '.join(known)}"
        )
    for name in given:
        if name not in known:
            raise SettingsError(
                f"a {what} has no field {name!r}", hint=f"its fields are {', '.join(known)}"
            )
    return kind(**given)
