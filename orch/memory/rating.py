"""A confidence may turn out to be another one: who said so, and when, stays with the record."""

from __future__ import annotations

from orch.memory.memory import Memory, Stored
from orch.memory.record import MemoryRecord, checked_confidence, checked_name
from orch.memory.sight import Sight

MOST_RATINGS = 20
"""The last ones, that a record keeps."""


def rate(
    memory: Memory, id: str, confidence: float, by: str, project: str | None, sight: Sight
) -> MemoryRecord:
    """See `Orchestrator.rate_memory`."""
    checked_confidence(confidence)
    rating = {"by": checked_name("who rates a record", by), "at": memory.journal.clock()}
    rating["confidence"] = confidence

    def rated(record: Stored) -> Stored:
        ratings = [*record.get("ratings", ()), rating][-MOST_RATINGS:]
        return {**record, "confidence": confidence, "ratings": ratings}

    return memory.change(memory.project_named(project), id, sight, rated)
