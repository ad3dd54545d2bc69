"""The archive: executions that have been kept for long enough, in a file for each day.

They are written and on the disk before they leave Redis. Whoever dies in between has written
them, and they are written once more: what is read back takes each id once.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orch.control.lines import line_of, needed_by
from orch.embedded.locks import try_lock
from orch.errors import ArchiveError
from orch.faults import fault
from orch.journal.finding import Query
from orch.journal.journal import Journal
from orch.journal.snapshots import ENDED, IMPORTED, Snapshot

BATCH = 100
"""Executions that are written and then forgotten at a time."""

LEASE = 60_000
"""Ms for which one is believed to be at work, counted from its last batch."""


@dataclass
class Archived:
    """``held``: kept from expiring; ``busy``: somebody else was at it, and nothing was done."""

    executions: int = 0
    held: int = 0
    busy: bool = False


class Archive:
    """The archive of a journal in ``directory``, which is made where it is not there."""

    def __init__(self, journal: Journal, directory: Path) -> None:
        self.journal = journal
        self.directory = directory
        self._owner = secrets.token_hex(8)
        self._file: Path | None = None
        self._told: set[str] = set()

    def hold(self) -> int:
        """Let no ended execution expire before it is archived; how many would have.

        Those that a process has ended which knows of no archive.
        """
        held = 0
        found = self.journal.found(Query(statuses=ENDED))
        for page in _pages((one.id for one in found), 1000):
            held += self.journal.hold(page)
        return held

    def run(self, *, all: bool = False, stop: Callable[[], bool] = lambda: False) -> Archived:
        """Archive what has been kept for `retention`; with ``all``, whatever has ended.

        Raises ArchiveError where it cannot be written: then all that is not on the disk stays
        in Redis. Raises Unreachable.
        """
        if not self.journal.take_archiver(self._owner, LEASE):
            return Archived(busy=True)
        try:
            with self._translated():
                self.directory.mkdir(parents=True, exist_ok=True)
                with try_lock(self.directory / ".lock") as mine:
                    return self._run(all, stop) if mine else Archived(busy=True)
        finally:
            self.journal.leave_archiver(self._owner)

    def _run(self, all: bool, stop: Callable[[], bool]) -> Archived:
        archived = Archived()
        self._compress_past_days()
        last = self.journal.clock() - (0 if all else self.journal.keep)
        found = self.journal.found(Query(statuses=ENDED, until=last + 1))
        for page in _pages((one.id for one in found if one.ended <= last), BATCH):
            if stop() or not self.journal.take_archiver(self._owner, LEASE):
                break
            archived.executions += self._archive(page)
        return archived

    def _archive(self, executions: Iterable[str]) -> int:
        found = [self.journal.snapshot(execution) for execution in executions]
        meant = [s for s in found if s is not None and s.ended and IMPORTED not in s.record]
        if not meant:
            return 0
        self._append(meant)
        fault("archived")
        return sum(self.journal.forget(snapshot) for snapshot in meant)

    # --- files --------------------------------------------------------------------------------

    def _append(self, snapshots: Sequence[Snapshot]) -> None:
        """Write lines to the end of today's file, all of them or none, down to the disk."""
        path = self.directory / f"executions-{self._today()}.jsonl"
        if path != self._file or not path.exists():
            self._file, self._told = path, set()
        told = set(self._told)
        lines = [
            line_of(content)
            for snapshot in snapshots
            for content in (*needed_by(self.journal, snapshot, told), snapshot)
        ]
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            size = _cut_torn_line(fd)
            try:
                rest = memoryview("".join(f"{line}\n" for line in lines).encode())
                while rest:
                    rest = rest[os.write(fd, rest) :]
                os.fsync(fd)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)
        if size == 0:
            _sync(self.directory)
        self._told = told

    def _compress_past_days(self) -> None:
        """Each file of a day that is over becomes one that ends with .gz."""
        today = self.directory / f"executions-{self._today()}.jsonl"
        for path in sorted(self.directory.glob("executions-*.jsonl")):
            if path >= today:
                continue
            packed = path.with_name(f"{path.name}.gz")
            part = path.with_name(f"{path.name}.gz.part")
            with part.open("wb") as target:
                if packed.exists():  # who did it before died before it removed the other
                    with packed.open("rb") as before:
                        shutil.copyfileobj(before, target)
                with path.open("rb") as source, gzip.open(target, "wb") as compressed:
                    shutil.copyfileobj(source, compressed)
                target.flush()
                os.fsync(target.fileno())
            part.chmod(0o640)
            part.replace(packed)
            _sync(self.directory)
            path.unlink()

    def _today(self) -> str:
        return datetime.fromtimestamp(self.journal.clock() / 1000, UTC).date().isoformat()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise ArchiveError(
                f"the archive in {self.directory} cannot be written: {exc.strerror or exc}; "
                "nothing is lost: ended executions stay in Redis until it can",
                hint="free space there, or make it writable for this user",
            ) from exc


def _pages(executions: Iterable[str], size: int) -> Iterator[list[str]]:
    page: list[str] = []
    for execution in executions:
        page.append(execution)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page


def _cut_torn_line(fd: int) -> int:
    """The size of a file, less the end of one that died while it wrote."""
    size = os.fstat(fd).st_size
    end = size
    while end > 0:
        first = max(0, end - 65_536)
        newline = os.pread(fd, end - first, first).rfind(b"\n")
        if newline >= 0:
            end = first + newline + 1
            break
        end = first
    if end != size:
        os.ftruncate(fd, end)
    return end


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
