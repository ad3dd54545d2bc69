"""Poison: a step that killed its workers too often is set aside, with the input that it had."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orch.workflows.state import encode

QUARANTINE = "%poison"
"""What is written in the index of tokens that wait, of a step in quarantine."""


def quarantine_field(path: str) -> str:
    """Field of the record with what is known of a step in quarantine."""
    return f"k:{path}"


@dataclass(frozen=True)
class Quarantined:
    """``at``: when it was set aside, ms. ``input``: as the last attempt had it."""

    at: int
    input: Any = None

    def dumps(self) -> str:
        return encode([self.at, self.input])

    @classmethod
    def loads(cls, text: str) -> Quarantined:
        at, input = json.loads(text)
        return cls(at, input)
