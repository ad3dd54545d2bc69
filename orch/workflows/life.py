"""The life of an execution as it is told outside: that it was started, paused, resumed, retried or
put on another version, and how it ended.

The script that commits a change of this kind leaves a notice of it in the outbox; the memory, and
whoever else wants to know, hears of it from there. The id is `EXECUTION::WORD:MS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from orch.workflows.state import encode

LIFE = "life"
"""The event of such a notice."""

STARTED, PAUSED, RESUMED, RETRIED = "started", "paused", "resumed", "retried"
MIGRATED, MODIFIED = "migrated", "modified"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"

WORDS = (
    STARTED,
    PAUSED,
    RESUMED,
    RETRIED,
    MIGRATED,
    MODIFIED,
    COMPLETED,
    FAILED,
    CANCELLED,
)

Remembered = Literal["all", "notable", "off"]

TOLD: Mapping[Remembered, frozenset[str]] = {
    "all": frozenset(WORDS),
    "notable": frozenset(WORDS) - {STARTED, COMPLETED},
    "off": frozenset(),
}
"""What is remembered of each execution, by the setting `remember`."""


def notice_of_life(execution: str, word: str, at: int, detail: Mapping[str, Any]) -> list[str]:
    """Id and JSON of a notice; the script adds what the record says. ``at``: ms."""
    id = f"{execution}::{word}:{at}"
    told = {"id": id, "event": LIFE, "word": word, "execution": execution, "path": "", "at": at}
    return [id, encode({**told, **detail})]
