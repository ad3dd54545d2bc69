"""A note: what a manager has changed, as it is to be remembered. It lies beside what was changed,
in the same hash of Redis, until it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orch.workflows.state import encode

NOTE_MARK = ">"
"""Begins the field of a note; nothing else in such a hash begins so."""


@dataclass(frozen=True)
class Note:
    """``id``: of the record that it becomes; ``said``: its text, without the prefix. ``at``: ms."""

    id: str
    area: str
    said: str
    at: int
    tags: Sequence[str] = ()
    source: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def dumps(self) -> str:
        fields = ("area", "said", "at", "tags", "source", "data")
        return encode({name: getattr(self, name) for name in fields})

    @classmethod
    def loads(cls, id: str, text: str) -> Note:
        return cls(id, **json.loads(text))
