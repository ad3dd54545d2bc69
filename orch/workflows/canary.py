"""Which of the executions of a workflow get its canary version."""

from __future__ import annotations

import hashlib


def is_chosen(workflow: str, execution: str, percent: float) -> bool:
    """Whether this execution is among ``percent`` of all: the same answer whoever asks."""
    digest = hashlib.sha256(f"{workflow}\0{execution}\0canary".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100 < percent
