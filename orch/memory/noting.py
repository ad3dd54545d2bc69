"""What the managers remember by themselves: written from an outbox, so that it is there once.

Of an execution the notice lies in the outbox of its partition, of all else in the hash that has
changed; see `orch/journal/noted.py`.
"""

from __future__ import annotations

import logging
from typing import Any

from orch.errors import InputError, OrchError
from orch.faults import fault
from orch.journal.journal import Journal
from orch.memory.memory import Memory

logger = logging.getLogger(__name__)

ROLE = "ORCHESTRATOR"
"""Who writes these records."""

LONGEST_SAID = 500

SETTLED = 60_000
"""Ms after which whoever wrote a note has delivered it, or never will."""


def note(
    journal: Journal, project: str | None, id: str, area: str, said: str, **given: Any
) -> None:
    """Write the record of what happened; one of this ``id`` that is there stays as it is.

    ``given``: as `Memory.store` takes it. Raises Unreachable.
    """
    content = f"ORCH:{area}: {' '.join(said.split())[:LONGEST_SAID]}"
    try:
        Memory(journal).store(ROLE, project, content, id=id, **given)
    except InputError as exc:
        # It would be refused again: what comes behind it must not wait for it.
        logger.warning("%s is not remembered: %s", id, exc)


def hear(journal: Journal, key: str) -> None:
    """Deliver the notes of a hash at once. What fails is left to the workers."""
    fault("noted")
    try:
        deliver_notes(journal, key)
    except OrchError as exc:
        logger.info("what changed is remembered later: %s", exc)


def deliver_notes(journal: Journal, key: str) -> int:
    """Write the records of the notes in a hash; how many. Harmless if repeated.

    Raises Unreachable.
    """
    notes = journal.read_notes(key)
    for each in notes:
        note(
            journal,
            None,
            each.id,
            each.area,
            each.said,
            created=each.at,
            source=each.source,
            tags=list(each.tags),
            data=dict(each.data),
        )
        fault("note_remembered")
        journal.drop_note(key, each.id)
    return len(notes)


def deliver_left(journal: Journal) -> int:
    """Write the records of notes whose writers have died; how many. Raises Unreachable."""
    count = 0
    for key, since in journal.noted(journal.clock() - SETTLED).items():
        count += deliver_notes(journal, key)
        journal.forget_noted(key, since)
    for capability in journal.declared_breakers():
        count += deliver_notes(journal, journal.keys.breaker_notes(capability))
    return count
