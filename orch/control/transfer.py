"""Executions out of a journal into a file, and back into another one."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from orch.control.filters import Filters
from orch.control.lines import BadLine, Definition, PlanText, content_of, line_of, needed_by
from orch.control.search import Search
from orch.errors import InputError, NotAllowed
from orch.journal.journal import Journal
from orch.journal.snapshots import Snapshot

Told = Callable[[int, int], None]
"""(done, of all): executions of an export, bytes of an import."""

GZIP = b"\x1f\x8b"


@dataclass
class Exported:
    """``live``: left out because they have not ended; ``gone``: expired in the meantime."""

    executions: int = 0
    definitions: int = 0
    live: int = 0
    gone: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Imported:
    """``existed``: their ids were there; ``live``: they had not ended, and were left out.

    ``bad``: number of a line, from 1, and what is wrong with it.
    """

    executions: int = 0
    existed: int = 0
    live: int = 0
    definitions: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        bad = [{"line": line, "message": message} for line, message in self.bad]
        return {**asdict(self), "bad": bad}


class Transfer:
    """Writes executions to files, and reads them back."""

    def __init__(self, journal: Journal, search: Search) -> None:
        self.journal = journal
        self.search = search

    def write(
        self,
        target: Path | str | BinaryIO,
        ids: Sequence[str] | None,
        filters: Filters,
        *,
        live: bool = False,
        told: Told | None = None,
    ) -> Exported:
        """See `Orchestrator.export_executions`."""
        if ids is not None:
            for id in ids:
                status = self.journal.record(id).status
                if not live and not status.ended:
                    raise NotAllowed(
                        f"execution {id} is {status.value}: what is exported of it would be old "
                        "at once",
                        hint="--live, in Python live=True, exports it all the same",
                    )
        chosen = list(ids) if ids is not None else self.search.ids(filters)
        if not isinstance(target, str | Path):
            return self._write(target, chosen, live, told)
        path = Path(target)
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as raw:
                if path.suffix == ".gz":
                    with gzip.open(raw, "wb") as file:
                        exported = self._write(cast(BinaryIO, file), chosen, live, told)
                else:
                    exported = self._write(raw, chosen, live, told)
                raw.flush()
                os.fsync(raw.fileno())
            part.replace(path)
        except OSError as exc:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise InputError(f"{path} cannot be written: {exc.strerror or exc}") from exc
        return exported

    def _write(self, file: BinaryIO, ids: Sequence[str], live: bool, told: Told | None) -> Exported:
        exported = Exported()
        known: set[str] = set()
        for number, id in enumerate(ids):
            if told is not None:
                told(number, len(ids))
            snapshot = self.journal.snapshot(id)
            if snapshot is None:
                exported.gone += 1
                continue
            if not live and not snapshot.ended:
                exported.live += 1
                continue
            for content in (*needed_by(self.journal, snapshot, known), snapshot):
                exported.definitions += isinstance(content, Definition)
                file.write(line_of(content).encode() + b"\n")
            exported.executions += 1
        if told is not None:
            told(len(ids), len(ids))
        return exported

    def read(self, source: Path | str | BinaryIO, told: Told | None = None) -> Imported:
        """See `Orchestrator.import_executions`."""
        if not isinstance(source, str | Path):
            return self._read(source, None)
        try:
            size = Path(source).stat().st_size
            with Path(source).open("rb") as raw:
                follow = None if told is None else lambda: told(raw.tell(), size)
                packed = raw.read(2) == GZIP
                raw.seek(0)
                if not packed:
                    return self._read(raw, follow)
                with gzip.open(raw, "rb") as file:
                    return self._read(cast(BinaryIO, file), follow)
        except OSError as exc:
            raise InputError(f"{source} cannot be read: {exc.strerror or exc}") from exc

    def _read(self, file: BinaryIO, follow: Callable[[], None] | None) -> Imported:
        imported = Imported()
        for number, line in enumerate(_lines(file, imported), 1):
            if follow is not None:
                follow()
            if not line.strip():
                continue
            try:
                self._take(content_of(line), imported)
            except BadLine as exc:
                imported.bad.append((number, str(exc)))
        return imported

    def _take(self, content: Snapshot | Definition | PlanText, imported: Imported) -> None:
        match content:
            case Definition(version, text):
                if self.journal.read_definition(version) is None:
                    self.journal.store_definition(None, version, text)
                    imported.definitions += 1
            case PlanText(key, text):
                if self.journal.read_plan(key) is None:
                    self.journal.store_plan(key, text)
            case Snapshot() if not content.ended:
                imported.live += 1
            case Snapshot():
                if self.journal.restore(content):
                    imported.executions += 1
                else:
                    imported.existed += 1


def _lines(file: BinaryIO, imported: Imported) -> Iterator[bytes]:
    """The lines of a file; of a compressed one that is damaged those before the damage."""
    number = 0
    try:
        for line in file:
            number += 1
            yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        imported.bad.append((number + 1, f"the compressed file ends or is damaged here: {exc}"))
