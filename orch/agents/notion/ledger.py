"""What was made in Notion, and by which step: a step that runs again finds what it made.

Notion takes no idempotency keys, so that a page that is asked for twice is made twice. The id of
what was made is written down here, directly after; only an attempt that is killed in between
makes it again.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from orch.agents.files import make_directory, named_errors

FILE = "notion.sqlite"
_TABLE = "CREATE TABLE IF NOT EXISTS made (key TEXT PRIMARY KEY, id TEXT NOT NULL)"


class Ledger:
    """Keys and ids, in the directory of pages."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / FILE

    def find(self, key: str) -> str | None:
        with self._open() as db:
            found = db.execute("SELECT id FROM made WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def keep(self, key: str, id: str) -> None:
        with self._open() as db:
            db.execute("INSERT OR REPLACE INTO made VALUES (?, ?)", (key, id))

    def forget(self, id: str) -> None:
        with self._open() as db:
            db.execute("DELETE FROM made WHERE id = ?", (id,))

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with named_errors("make the directory", self._file.parent):
            make_directory(self._file.parent)
        db = sqlite3.connect(self._file, timeout=30)
        try:
            db.execute(_TABLE)
            with db:
                yield db
        finally:
            db.close()
