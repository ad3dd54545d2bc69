"""The archiver: the part of a worker that fills the archive, where `archive_dir` is set.

A thread of its own with a Redis client of its own: a disk that hangs must not make the worker
look dead. Of many workers one is at it at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import Any

from celery import bootsteps
from celery.worker import WorkController

from orch.control.archive import Archive
from orch.errors import ArchiveError, OrchError
from orch.journal.journal import Journal, open_redis
from orch.memory.compaction import compact
from orch.memory.memory import Memory
from orch.settings import Settings

logger = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds between two runs, at most."""

HOLD_INTERVAL = 3600.0
"""Seconds between two looks for executions that would expire."""

COMPACT_INTERVAL = 3600.0
"""Seconds between two compactions of the memory."""


class Archiver:
    """Fills the archive of ``settings.archive_dir`` until it is stopped."""

    def __init__(self, settings: Settings, url: str) -> None:
        assert settings.archive_dir is not None
        journal = Journal(open_redis(url), settings, url=url)
        self.archive = Archive(journal, settings.archive_dir)
        self.memory = Memory(journal)
        self._compacted = float("-inf")
        self.pause = min(INTERVAL, settings.retention / 4)
        self.hold_pause = min(HOLD_INTERVAL, settings.retention / 4)
        self._held = float("-inf")
        self._problem = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orch-archiver", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the batch at hand."""
        self._end.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self.tick()
            except ArchiveError as exc:
                self._say(f"{exc.message}; tried again every {self.pause:g} s. {exc.hint}")
            except OrchError as exc:
                self._say(f"the archiver waits: {exc.message}")
            except Exception:
                logger.exception("the archiver met an error that it does not know")
            self._end.wait(self.pause)

    def tick(self) -> None:
        """One run. Raises ArchiveError, Unreachable."""
        if time.monotonic() - self._held >= self.hold_pause:
            self.archive.hold()
            self._held = time.monotonic()
        self._compact()
        archived = self.archive.run(stop=self._end.is_set)
        if archived.executions:
            where = self.archive.directory
            logger.info("%d executions went to the archive in %s", archived.executions, where)
        if self._problem and not archived.busy:
            logger.info("the archive in %s is written again", self.archive.directory)
            self._problem = ""

    def _compact(self) -> None:
        """Merge what the memory has twice, if the settings say so; of two that do, one finds
        nothing."""
        after = self.memory.settings.memory_compact_after
        if after is None or time.monotonic() - self._compacted < COMPACT_INTERVAL:
            return
        self._compacted = time.monotonic()
        for project in self.memory.journal.memory_projects():
            done = compact(self.memory, project, older=timedelta(seconds=after))
            if done.merged:
                logger.info("%d records of %s went into others", done.merged, project)

    def _say(self, problem: str) -> None:
        """Once, not every minute of a night."""
        if problem != self._problem:
            logger.error("%s", problem)
        self._problem = problem


class ArchiverStep(bootsteps.StartStopStep):
    """Starts the archiver with the worker; made known by `orch.tasks.worker`."""

    def __init__(self, parent: WorkController, **options: Any) -> None:
        super().__init__(parent, **options)
        self.archiver: Archiver | None = None

    def start(self, parent: WorkController) -> None:
        self.archiver = parent.app.orch_make_archiver()
        if self.archiver is not None:
            self.archiver.start()

    def stop(self, parent: WorkController) -> None:
        if self.archiver is not None:
            self.archiver.stop()

    terminate = stop
