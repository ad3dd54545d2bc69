"""Putting an execution on another plan."""

from __future__ import annotations

from orch.journal.heads import instant, of_kind
from orch.journal.indexing import Indexing
from orch.journal.lives import Lives
from orch.journal.records import Record
from orch.journal.scripts import flat
from orch.workflows.commit import Event
from orch.workflows.migrating import Fitting


class Migration(Indexing, Lives):
    """One script, fenced by all that its caller saw; it may be run twice without harm."""

    def migrate(
        self,
        record: Record,
        found: Fitting,
        event: Event,
        *,
        plan: str,
        version: str,
    ) -> str:
        """Let an execution, of which ``record`` was seen, go on by ``plan``.

        MIGRATED; DONE: it does so already; SUPERSEDED: it has moved on, look at it again;
        MISSING.
        """
        self.note_kind(record.workflow, version)
        execution, now = record.id, self.clock()
        reply = self.run(
            "migrate",
            **self._keys(execution),
            index=self._index_of(execution),
            listening=self.keys.listening(self.keys.partition(execution)),
            now=now,
            id=execution,
            status=record.status.value,
            before=record.plan,
            plan=plan,
            version=version,
            seen=flat(found.seen.items()),
            moves=flat(found.moves.items()),
            looks=list(found.looks),
            event=event.dumps(now),
            heads=[_entry(record, record.version), _entry(record, version)],
            **self._life(execution, event.word, now, event.detail or {}),
        )
        return str(self._word("migrate", reply, "MIGRATED", "DONE", "SUPERSEDED", "MISSING"))


def _entry(record: Record, version: str) -> str:
    """Where an execution is found by its workflow, version and status."""
    head = f"{of_kind(record.workflow, version)}{record.status.value} "
    return f"{head}{instant(record.created)}{record.id}"
