"""Databases in a file of SQLite: rows as JSON, found by SQL whose every value is a parameter."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orch.agents.files import make_directory, named_errors
from orch.agents.notion.conditions import Condition, Sort
from orch.agents.notion.properties import Property, Schema, read_schema
from orch.agents.notion.sql import order, where
from orch.errors import StepError

FILE = "databases.sqlite"
PATIENCE = 30.0
"""Seconds for which a writer waits for another one."""

_TABLES = """
CREATE TABLE IF NOT EXISTS databases (
    name TEXT PRIMARY KEY, properties TEXT NOT NULL, created TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS rows (
    number INTEGER PRIMARY KEY,
    database TEXT NOT NULL REFERENCES databases (name) ON DELETE CASCADE,
    id TEXT NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL, data TEXT NOT NULL,
    UNIQUE (database, id)
);
"""


def row_id(key: str, number: int) -> str:
    """The id of a row that a step inserts: the same for all of its attempts."""
    digest = hashlib.sha256(f"{key}/{number}".encode(errors="surrogatepass")).hexdigest()
    return str(uuid.UUID(digest[:32]))


class Store:
    """The databases of a directory. Every method is one transaction."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / FILE

    def create(self, name: str, schema: Schema) -> bool:
        """Whether it was not there. Raises StepError `Conflict` where it has other properties."""
        told = json.dumps({key: each.as_dict() for key, each in schema.items()})
        with self._open() as db:
            done = db.execute(
                "INSERT INTO databases VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (name, told, _now()),
            )
            if done.rowcount == 0 and _schema(db, name) != dict(schema):
                raise StepError(
                    "Conflict",
                    f"there is a database {name!r} with other properties",
                    hint="take another name, or `drop` it",
                )
        return done.rowcount > 0

    def names(self) -> list[str]:
        with self._open() as db:
            return [name for (name,) in db.execute("SELECT name FROM databases ORDER BY name")]

    def schema(self, name: str) -> dict[str, Property]:
        """Raises StepError `DatabaseNotFound`."""
        with self._open() as db:
            return _schema(db, name)

    def drop(self, name: str) -> bool:
        with self._open() as db:
            return db.execute("DELETE FROM databases WHERE name = ?", (name,)).rowcount > 0

    def insert(self, name: str, rows: Sequence[Mapping[str, Any]], key: str) -> list[str]:
        """The ids of the rows. Those that are there already stay as they are."""
        ids = [row_id(key, number) for number in range(len(rows))]
        now = _now()
        with self._open() as db:
            _schema(db, name)
            db.executemany(
                "INSERT INTO rows (database, id, created, updated, data) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                [(name, id, now, now, json.dumps(row)) for id, row in zip(ids, rows, strict=True)],
            )
        return ids

    def query(
        self,
        name: str,
        condition: Condition | None,
        sorts: Sequence[Sort],
        limit: int,
        cursor: str | None,
    ) -> tuple[list[dict[str, Any]], str | None, int | None]:
        """A part of the rows, where the next part begins, and how many rows there are in all."""
        offset = _offset(cursor)
        rows, given = where(name, condition, None)
        sequence, paths = order(sorts)
        with self._open() as db:
            (count,) = db.execute(f"SELECT count(*) FROM rows WHERE {rows}", given).fetchone()
            found = db.execute(
                f"SELECT id, created, updated, data FROM rows WHERE {rows} "
                f"ORDER BY {sequence} LIMIT ? OFFSET ?",
                [*given, *paths, limit, offset],
            )
            page = [_row(entry) for entry in found]
        behind = offset + len(page)
        return page, str(behind) if page and behind < count else None, count

    def update(
        self,
        name: str,
        values: Mapping[str, Any],
        condition: Condition | None,
        ids: Sequence[str] | None,
    ) -> list[str]:
        """The ids of the rows that were changed: they have these values, and keep the others."""
        rows, given = where(name, condition, ids)
        with self._open() as db:
            found = db.execute(f"SELECT id, data FROM rows WHERE {rows}", given).fetchall()
            db.executemany(
                "UPDATE rows SET data = ?, updated = ? WHERE database = ? AND id = ?",
                [
                    (json.dumps({**json.loads(data), **values}), _now(), name, id)
                    for id, data in found
                ],
            )
        return [id for id, _ in found]

    def delete(
        self, name: str, condition: Condition | None, ids: Sequence[str] | None
    ) -> list[str]:
        rows, given = where(name, condition, ids)
        with self._open() as db:
            found = db.execute(f"DELETE FROM rows WHERE {rows} RETURNING id", given).fetchall()
        return [id for (id,) in found]

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with named_errors("make the directory", self._file.parent):
            make_directory(self._file.parent)
        try:
            db = sqlite3.connect(self._file, timeout=PATIENCE, isolation_level=None)
        except sqlite3.OperationalError as exc:
            raise StepError("FileError", f"cannot open {str(self._file)!r}: {exc}") from exc
        try:
            yield from _transaction(db)
        except sqlite3.OperationalError:
            raise  # a lock that somebody holds for long: it passes
        except sqlite3.DatabaseError as exc:
            raise StepError("NotReadable", f"{str(self._file)!r} is no database: {exc}") from exc
        finally:
            db.close()


def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.create_function("fold", 1, lambda text: str(text).casefold(), deterministic=True)
    db.create_function("ends", 2, lambda text, end: text.endswith(end), deterministic=True)
    db.execute("PRAGMA foreign_keys = ON")
    db.executescript(_TABLES)
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _schema(db: sqlite3.Connection, name: str) -> dict[str, Property]:
    found = db.execute("SELECT properties FROM databases WHERE name = ?", (name,)).fetchone()
    if found is None:
        raise StepError(
            "DatabaseNotFound", f"there is no database {name!r}", hint="`list` gives their names"
        )
    return read_schema(json.loads(found[0]))


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 12:
        raise StepError("InvalidInput", f"{cursor!r} is no `cursor`: `query` gives them")
    return int(cursor)


def _row(entry: Sequence[Any]) -> dict[str, Any]:
    id, created, updated, data = entry
    return {"id": id, "created": created, "updated": updated, "values": json.loads(data)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
