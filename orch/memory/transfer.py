"""Records of the memory go to a file, a line of JSON each, and come back from one."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from pydantic import BaseModel, ValidationError

from orch.errors import InputError
from orch.memory.memory import Memory, MemoryFilters, Stored
from orch.memory.record import TIMES, MemoryRecord, checked_id, new_record

KEPT_APART = ("shared_with", "ratings", "times", "first", "sources", "origin")
"""What a record has only where something became of it."""


class MemoryImport(BaseModel):
    """What became of the lines of a file."""

    imported: int = 0
    known: int = 0
    """The project had a record of the id, and nothing changed."""
    expired: int = 0
    """Its time is over."""


def export(
    memory: Memory,
    target: Path | str | BinaryIO,
    *,
    project: str | None = None,
    **filters: Unpack[MemoryFilters],
) -> int:
    """See `Orchestrator.export_memory`."""
    found = memory.walk(project=project, **filters)
    if not isinstance(target, str | Path):
        return _write(target, found)
    path = Path(target)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            count = _write(file, found)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    return count


def load(
    memory: Memory, source: Path | str | BinaryIO, *, project: str | None = None
) -> MemoryImport:
    """See `Orchestrator.import_memory`."""
    if not isinstance(source, str | Path):
        return _read(memory, source, project)
    try:
        with Path(source).open("rb") as file:
            return _read(memory, file, project)
    except OSError as exc:
        raise InputError(f"{source} cannot be read: {exc.strerror or exc}") from exc


def _write(file: BinaryIO, records: Iterable[MemoryRecord]) -> int:
    count = 0
    for record in records:
        file.write(json.dumps(record.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def _read(memory: Memory, lines: Iterable[bytes], project: str | None) -> MemoryImport:
    done = MemoryImport()
    for number, record in _records(lines):
        name = memory.project_named(record.project_id if project is None else project)
        try:
            stored = _stored(memory, record)
            if stored["expires"] <= memory.journal.clock():
                done.expired += 1
                continue
            _, is_new = memory.add(name, checked_id(record.id), stored)
        except InputError as exc:
            raise _wrong(number, exc.message) from exc
        done.imported += is_new
        done.known += not is_new
    return done


def _records(lines: Iterable[bytes]) -> Iterator[tuple[int, MemoryRecord]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, MemoryRecord.model_validate_json(line)
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise _wrong(number, f"{where}: {first['msg']}" if where else first["msg"]) from exc


def _stored(memory: Memory, record: MemoryRecord) -> Stored:
    """A record of a file as it is stored. Raises InputError."""
    given = record.model_dump(mode="json", include={"data", "tags", "related", "confidence"})
    given |= {"source": record.source, "private": record.private}
    stored = new_record(
        memory.settings, memory.journal.clock(), record.agent_role, record.content, **given
    )
    told: dict[str, Any] = record.model_dump(mode="json", include=set(KEPT_APART))
    stored |= {name: value for name, value in told.items() if value and value != 1}
    instants = {name: getattr(record, name) for name in TIMES}
    stored |= {name: _milliseconds(name, text) for name, text in instants.items() if text}
    if record.ratings:
        rated = [{**each, "at": _milliseconds("at", each["at"])} for each in told["ratings"]]
        stored["ratings"] = rated
    return stored


def _milliseconds(name: str, text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise InputError(f"{name}: {text!r} is no point in time") from exc
    if found.tzinfo is None:
        raise InputError(f"{name}: {text!r} names no time zone")
    return round(found.timestamp() * 1000)


def _wrong(number: int, what: str) -> InputError:
    return InputError(
        f"line {number} is no record of the memory: {what}",
        hint="the lines before it are imported; correct it and import the file again: "
        "what is there already does not change",
    )
