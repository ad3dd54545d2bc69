"""What is to be remembered of an observation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orch.memory.record import LONGEST_TAG

State = dict[str, Any]
"""A part of what is kept from one observation to the next: JSON, bounded."""


@dataclass(frozen=True)
class Note:
    """A record to be: ``area`` without colons, ``text`` behind the prefix, ``at`` in ms."""

    area: str
    text: str
    at: int
    source: str
    tags: Sequence[str] = ()
    related: Sequence[str] = ()
    confidence: float = 1.0
    data: Any = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Notes:
    """Those of one observation. Their ids follow from its number and instant, so that whoever
    delivers them writes the same records."""

    number: int
    at: int
    found: dict[str, Note] = field(default_factory=dict)

    def add(
        self,
        area: str,
        text: str,
        source: str,
        *,
        tags: Sequence[str] = (),
        related: Sequence[str | None] = (),
        confidence: float = 1.0,
        data: Any = None,
    ) -> str:
        """The id of the record that it becomes."""
        id = f"observed:{self.at}.{self.number}.{len(self.found) + 1}"
        self.found[id] = Note(
            area,
            text,
            self.at,
            source,
            [tag[:LONGEST_TAG] for tag in tags],
            [each for each in related if each],
            round(confidence, 3),
            data,
        )
        return id
