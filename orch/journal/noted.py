"""Hashes of managers whose changes are told of: the note lies in the hash that has changed.

One command or script writes both, on one key, so there is no change without its note. `noted`
lists the hashes in which one may lie: it is written before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from orch.journal.connection import Connection
from orch.journal.scripts import flat
from orch.workflows.note import NOTE_MARK, Note

Heard = Callable[[str], None]
"""(key of a hash): a note lies in it. What it cannot do is left to the workers."""


def leave_to_workers(key: str) -> None:
    """They look once a minute."""


class Noted(Connection):
    """Every method may raise Unreachable."""

    heard: Heard = staticmethod(leave_to_workers)

    def amend(
        self,
        key: str,
        sets: Mapping[str, str] | None = None,
        drops: Sequence[str] = (),
        *,
        expect: Mapping[str, str] | None = None,
        note: Note | None = None,
    ) -> bool:
        """Change fields of a hash. False: nothing has changed, since what is expected ('': nothing)
        is not there, or nothing of what is dropped."""
        notes = self.expected(key, note)
        reply = self.run(
            "amend",
            hash=key,
            expect=flat((expect or {}).items()),
            sets=flat((sets or {}).items()),
            drops=list(drops),
            notes=noted_fields(notes),
        )
        amended = self._word("amend", reply, "AMENDED", "AS_BEFORE") == "AMENDED"
        if amended and notes:
            self.heard(key)
        return amended

    def expected(self, key: str, note: Note | None) -> list[Note]:
        """The note that is to be left in a hash, if anybody wants to know: it is listed there."""
        if note is None or self.settings.remember == "off":
            return []
        self.read(self.redis.zadd, self.keys.noted(), {key: self.clock()})
        return [note]

    def noted(self, before: int) -> dict[str, int]:
        """Hashes in which a note may lie since ``before``, ms, or longer -> since when."""
        found = self.read(
            self.redis.zrangebyscore, self.keys.noted(), "-inf", before, withscores=True
        )
        return {str(key): int(since) for key, since in found}

    def read_notes(self, key: str) -> list[Note]:
        """Those that are not delivered yet, the oldest first."""
        return notes_in(self.read(self.redis.hgetall, key))

    def drop_note(self, key: str, id: str) -> None:
        """It is delivered."""
        self.read(self.redis.hdel, key, f"{NOTE_MARK}{id}")

    def forget_noted(self, key: str, since: int) -> None:
        """No note lies in a hash any more, unless one was expected after ``since``, ms."""
        reply = self.run("forget_noted", noted=self.keys.noted(), name=key, since=since)
        self._word("forget_noted", reply, "FORGOTTEN", "KEPT")


def notes_in(found: Mapping[str, str]) -> list[Note]:
    """The notes that a hash holds, the oldest first."""
    notes = [
        Note.loads(name.removeprefix(NOTE_MARK), text)
        for name, text in found.items()
        if name.startswith(NOTE_MARK)
    ]
    return sorted(notes, key=lambda note: (note.at, note.id))


def noted_fields(notes: Iterable[Note]) -> list[str]:
    """Fields of a hash and their texts, flat."""
    return [part for note in notes for part in (f"{NOTE_MARK}{note.id}", note.dumps())]


def without_notes(found: Mapping[str, str]) -> dict[str, str]:
    """What a hash holds beside its notes."""
    return {name: text for name, text in found.items() if not name.startswith(NOTE_MARK)}
