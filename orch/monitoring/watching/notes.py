"""What is to be remembered of an observation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from orch.memory.record import LONGEST_TAG
from orch.workflows.note import Note

State = dict[str, Any]
"""A part of what is kept from one observation to the next: JSON, bounded."""


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
            id,
            area,
            text,
            self.at,
            [tag[:LONGEST_TAG] for tag in tags],
            source,
            data,
            [each for each in related if each],
            round(confidence, 3),
        )
        return id
