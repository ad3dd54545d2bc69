"""A note: what a manager has changed, or an observation found, as it is to be remembered. It lies
beside what was changed, in the same hash of Redis, until it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orch.workflows.state import encode

NOTE_MARK = ">"
"""Begins the field of a note; nothing else in such a hash begins so."""


@dataclass(frozen=True)
class Note:
    """``id``: of the record that it becomes; ``text``: behind the prefix. ``at``: ms."""

    id: str
    area: str
    text: str
    at: int
    tags: Sequence[str] = ()
    source: str = ""
    data: Any = None
    related: Sequence[str] = ()
    confidence: float = 1.0

    def dumps(self) -> str:
        said = asdict(self)
        del said["id"]
        return encode(said)

    @classmethod
    def loads(cls, id: str, text: str) -> Note:
        return cls(id, **json.loads(text))
