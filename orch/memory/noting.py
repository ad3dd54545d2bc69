"""What the managers remember by themselves: written from an outbox, so that it is there once.

Of an execution the notice lies in the outbox of its partition, of all else in the hash that has
changed; see `orch/journal/noted.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from orch.errors import InputError, OrchError
from orch.faults import fault
from orch.journal.journal import Journal
from orch.memory.memory import Memory
from orch.memory.record import LONGEST_CONTENT
from orch.workflows.note import Note

logger = logging.getLogger(__name__)

ROLE = "ORCHESTRATOR"
"""Who writes these records."""

LONGEST_SAID = 500
"""Characters of what an error says of itself."""

SETTLED = 60_000
"""Ms after which whoever wrote a note has delivered it, or never will."""


def note(
    journal: Journal, project: str | None, id: str, area: str, said: str, **given: Any
) -> None:
    """Write the record of what happened; one of this ``id`` that is there stays as it is.

    ``given``: as `Memory.store` takes it. Raises Unreachable.
    """
    content = f"ORCH:{area}: {' '.join(said.split())}"
    try:
        Memory(journal).store(ROLE, project, content[:LONGEST_CONTENT], id=id, **given)
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
    deliver(journal, key, notes)
    return len(notes)


def deliver(
    journal: Journal, key: str, notes: Iterable[Note], point: str = "note_remembered"
) -> None:
    """Write the records of notes that lie in a hash, and take each out. Harmless if repeated.

    ``point``: where a test may let it die in between. Raises Unreachable.
    """
    for each in notes:
        remember_note(journal, each)
        fault(point)
        journal.drop_note(key, each.id)


def remember_note(journal: Journal, each: Note) -> None:
    """Write its record, in the project of the settings. Raises Unreachable."""
    note(
        journal,
        None,
        each.id,
        each.area,
        each.text,
        created=each.at,
        source=each.source,
        tags=each.tags,
        related=each.related,
        confidence=each.confidence,
        data=each.data,
    )


def deliver_left(journal: Journal) -> int:
    """Write the records of notes whose writers have died; how many. Raises Unreachable."""
    count = 0
    for key, since in journal.noted(journal.clock() - SETTLED).items():
        count += deliver_notes(journal, key)
        journal.forget_noted(key, since)
    for capability in journal.declared_breakers():
        count += deliver_notes(journal, journal.keys.breaker_notes(capability))
    return count
