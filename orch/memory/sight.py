"""Whose eyes look at the memory: a private record is there for few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict


class Sighted(TypedDict, total=False):
    """Who looks. ``viewer``: a role; what is private to it, or shared with it, is there, too.
    ``all_private``: what is private to any role is there, as for who operates it."""

    viewer: str | None
    all_private: bool


@dataclass(frozen=True)
class Sight:
    """As `Sighted`; without either, what is private is not there."""

    viewer: str | None = None
    all_private: bool = False

    def sees(self, record: Mapping[str, Any]) -> bool:
        """``record``: as it is stored."""
        if self.all_private or not record.get("private"):
            return True
        return self.viewer in (record["agent_role"], *record.get("shared_with", ()))


PUBLIC = Sight()
EVERYTHING = Sight(all_private=True)
