"""Heartbeats of one attempt, and what else it tells, from its code to the journal."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from orch.control.starting import check_json
from orch.errors import InputError, OrchError, StepCancelled, StepError
from orch.journal.journal import Journal
from orch.redaction import without_noted
from orch.tasks.report import Report
from orch.workflows.beat import Beat
from orch.workflows.state import StepState

UNASKED = 1.0
"""Seconds between heartbeats of a step without `heartbeatTimeout`."""


class Pulse:
    """Sends at most one heartbeat in ``pause`` seconds, and never loses the latest.

    One that comes too early is sent by a thread when its time has come: an attempt that beats
    regularly is never seen as silent because some of its beats were held back. ``look_after``:
    ms from a heartbeat to the next look at the token; ``limit``: when it is looked at in any
    case, ms. ``report``: of what else it tells. Safe to use from several threads.
    """

    def __init__(
        self,
        journal: Journal,
        execution: str,
        path: str,
        state: StepState,
        *,
        pause: float,
        look_after: int,
        limit: int | None,
        progress: Any = None,
    ) -> None:
        self._journal = journal
        self._token = (execution, path)
        self._state = state
        self._pause = pause
        self._look_after = look_after
        self._limit = limit
        self._progress = progress
        self._at = 0
        self._sent = time.monotonic()
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._ended = False
        self.report = Report(journal, execution, path, state.attempt, state.started)
        self.superseded = False
        self.on_superseded: Callable[[], None] = lambda: None

    def beat(self, progress: Any = None) -> None:
        """Raises StepCancelled, StepError."""
        if progress is not None:
            progress = without_noted(progress)
            self._check(progress)
        with self._lock:
            self._progress = self._progress if progress is None else progress
            self._at = self._journal.clock()
            if self._timer is None and not self._ended:
                left = self._sent + self._pause - time.monotonic()
                if left <= 0 and not _in_event_loop():
                    self._send()
                else:
                    self._timer = threading.Timer(max(left, 0), self._send_held)
                    self._timer.daemon = True
                    self._timer.start()
        if self.superseded:
            raise StepCancelled(
                f"attempt {self._state.attempt} of {self._token[1]!r} is wanted no more"
            )

    def last(self) -> Beat | None:
        """The latest heartbeat, sent or not."""
        return Beat(self._at, self._state.attempt, self._progress) if self._at else None

    def end(self) -> None:
        """The code of the attempt has returned: what it told is sent, and nothing more."""
        with self._lock:
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()
        self.report.end()

    def _check(self, progress: Any) -> None:
        try:
            check_json(self._journal.settings, "the progress", progress)
        except InputError as error:
            raise StepError("InvalidProgress", error.message, hint=error.hint) from error

    def _send_held(self) -> None:
        with self._lock:
            self._timer = None
            if not self._ended:
                self._send()

    def _send(self) -> None:
        """Called under the lock. A Redis that is away is left to the next heartbeat."""
        self._sent = time.monotonic()
        due = self._at + self._look_after
        beat = Beat(self._at, self._state.attempt, self._progress)
        try:
            held = self._journal.beat(*self._token, self._state, beat, min(due, self._limit or due))
        except OrchError:
            return
        if not held:
            self.superseded = True
            self.on_superseded()


def _in_event_loop() -> bool:
    """Whether waiting for Redis here would hold up other coroutines."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
