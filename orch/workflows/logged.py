"""A line that the code of a step logged, as the journal keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orch.workflows.state import encode

OVERHEAD = 64
"""Bytes that a line costs beside its text."""


@dataclass(frozen=True)
class LogLine:
    """``at``: when it was logged, ms since the epoch; ``number``: which line of its attempt it is,
    from 1; ``level``: `debug`, `info`, `warning`, `error` or `critical`; ``fields``: what was
    given as `extra`."""

    at: int
    path: str
    attempt: int
    number: int
    level: str
    text: str
    fields: Any = None

    def dumps(self) -> str:
        values = [self.at, self.path, self.attempt, self.number, self.level, self.text]
        return encode(values if self.fields is None else [*values, self.fields])

    @classmethod
    def loads(cls, text: str) -> LogLine:
        return cls(*json.loads(text))

    def is_below(self, path: str) -> bool:
        """Whether the step at ``path`` logged it, or one in its branches, items or iterations."""
        return self.path == path or self.path.startswith((f"{path}/", f"{path}[", f"{path}#"))
