"""A heartbeat: what a running attempt said last of how far it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orch.workflows.state import encode


@dataclass(frozen=True)
class Beat:
    """``at``: when it was said, ms since the epoch; ``attempt``: by which attempt."""

    at: int
    attempt: int
    progress: Any = None

    def dumps(self) -> str:
        return encode([self.at, self.attempt, self.progress])

    def brief(self, most: int = 100) -> str:
        """The progress as JSON on one line, cut where it is long; '' without one."""
        text = "" if self.progress is None else encode(self.progress)
        return text if len(text) <= most else f"{text[: most - 1]}…"

    @classmethod
    def loads(cls, text: str) -> Beat:
        return cls(*json.loads(text))
