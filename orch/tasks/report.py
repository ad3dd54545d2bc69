"""What an attempt tells while it runs, gathered and sent together: what it logs, what it uses."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from orch.errors import OrchError
from orch.journal.journal import Journal
from orch.redaction import Redactor
from orch.tasks.purse import Purse
from orch.workflows.logged import OVERHEAD, LogLine
from orch.workflows.usage import Usage

logger = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two sendings of what an attempt tells."""

LONGEST_LINE = 4096
"""Characters of a line, and of its fields as JSON."""

LAST_KEPT = 50
"""Lines that are kept of an attempt that logs more than it may: its last ones."""

AT_ONCE = 500
"""Lines in one script."""

OFF = logging.CRITICAL + 1
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "off": OFF,
}
NOTHING = Usage()

Line = tuple[int, int, int, str, Any]
"""Instant, number, level, text, fields."""


class Report:
    """Of one attempt. Safe to use from several threads; costs nothing until something is told."""

    def __init__(
        self, journal: Journal, execution: str, path: str, attempt: int, begun: int = 0
    ) -> None:
        """``begun``: when the attempt began, ms."""
        self.purse: Purse | None = None
        self._begun = begun
        self._used = self._said = NOTHING
        self._journal = journal
        self._execution = execution
        self._place = (path, attempt)
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._lines: list[Line] = []
        self._last: deque[Line] | None = None
        self._number = 0
        self._count = self._bytes = self._over = 0

    def keep_line(self, level: int, text: str, fields: Mapping[str, Any]) -> None:
        """Keep a line with the execution. It is cut where it is long."""
        if level < LEVELS[self._journal.settings.log_level]:
            return
        now, said = self._journal.clock(), _fields(fields)
        with self._lock:
            self._number = max(self._number + 1, now * 1000)
            line = (now, self._number, level, _cut(text), said)
            self._count += 1
            self._bytes += OVERHEAD + len(line[3]) + (len(str(said)) if said else 0)
            settings = self._journal.settings
            if self._count > settings.log_lines or self._bytes > settings.log_bytes:
                self._over += 1
                if self._last is None:
                    self._last = deque(maxlen=LAST_KEPT)
                self._last.append(line)
                return
            self._lines.append(line)
        send_soon(self)

    def begin(self, price: float | None, *, spends: bool) -> None:
        """The attempt begins. ``price``: what a call of its capability costs; ``spends``: it uses
        more than it says beforehand. Raises StepError where a budget leaves nothing for it.
        """
        if price is None and self.purse is None:
            return
        used = NOTHING if price is None else Usage(cost=price, calls=1)
        if self.purse is not None and (spends or used or self.purse.is_of_step):
            refused = self.purse.refusal(NOTHING, begins=True) or self.purse.refusal(used)
            if refused is not None:
                raise refused
        if price is not None:
            self._add(used)

    def use(self, used: Usage) -> None:
        """Note what the attempt has used, beside what it said before. Raises StepError where that
        is more than a budget allows; it is noted all the same."""
        self._add(used)
        if self.purse is not None:
            refused = self.purse.refusal(self._used)
            if refused is not None:
                raise refused

    def left(self, *, begins: bool = False) -> tuple[float | None, int | None]:
        """Cost and tokens that it may use yet; None: any. ``begins``: raises where that is none."""
        if self.purse is None:
            return None, None
        refused = self.purse.refusal(self._used, begins=True) if begins else None
        if refused is not None:
            raise refused
        return self.purse.left(self._used)

    def _add(self, used: Usage) -> None:
        with self._lock:
            self._used += used
        send_soon(self)

    def send(self, *, ended: bool = False) -> None:
        """Send what was told since the last time. Raises Unreachable, and has it still then."""
        with self._sending:
            used, (path, attempt) = self._used, self._place
            if used != self._said or (used and ended):
                spent = self._journal.use(self._execution, path, attempt, self._begun, used, ended)
                more, self._said = used - self._said, used
                if spent is not None and self.purse is not None:
                    self.purse.learn(*spent, used, more)
            while chosen := self._lines[:AT_ONCE]:
                redactor = Redactor.of(self._journal.settings)
                lines = [self._line(line, redactor) for line in chosen]
                self._journal.keep_lines(self._execution, lines)
                with self._lock:
                    del self._lines[: len(chosen)]

    def end(self) -> None:
        """The code of the attempt has returned: send all of it, before its outcome is committed."""
        if not self._number and self._used is NOTHING:
            return
        with self._lock:
            last = list(self._last or ())
            left = self._over - len(last)
            if left > 0:
                said = f"{left} lines are not kept: ORCH_LOG_LINES and ORCH_LOG_BYTES are the limit"
                first = last[0]
                self._lines.append((first[0], first[1] - 1, logging.WARNING, said, None))
            self._lines += last
            self._last, self._over = None, 0
        try:
            self._journal.patiently(partial(self.send, ended=True))
        except OrchError as exc:
            path, attempt = self._place
            logger.warning("what %s, attempt %d, told is not kept: %s", path, attempt, exc)

    def _line(self, line: Line, redactor: Redactor) -> LogLine:
        at, number, level, text, fields = line
        path, attempt = self._place
        word = level_name(level)
        return LogLine(at, path, attempt, number, word, redactor.text(text), redactor.value(fields))


def level_name(level: int) -> str:
    """The word for a level of `logging`: that of the highest which it reaches."""
    for known in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO):
        if level >= known:
            return logging.getLevelName(known).lower()
    return "debug"


def _cut(text: str) -> str:
    if len(text) > LONGEST_LINE:
        text = f"{text[:LONGEST_LINE]}… ({len(text) - LONGEST_LINE} characters more)"
    return text.encode(errors="backslashreplace").decode()


def _fields(given: Mapping[str, Any]) -> Any:
    """As JSON; what is none as its text."""
    if not given:
        return None
    try:
        text = json.dumps(given, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps({key: str(value) for key, value in given.items()}, default=str)
    return json.loads(text) if len(text) <= LONGEST_LINE else _cut(text)


class _Sender:
    """The thread of a process that sends what its attempts tell. A forked child makes its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._reports: set[Report] = set()
        self._lock = threading.Lock()
        self._told = threading.Event()
        threading.Thread(target=self._serve, name="orch-reports", daemon=True).start()

    def add(self, report: Report) -> None:
        with self._lock:
            self._reports.add(report)
        self._told.set()

    def _serve(self) -> None:
        pause = threading.Event()
        while self._told.wait():
            pause.wait(PAUSE)
            self._told.clear()
            with self._lock:
                reports, self._reports = self._reports, set()
            for report in reports:
                try:
                    report.send()
                except OrchError:
                    self.add(report)


_sender: _Sender | None = None
_making = threading.Lock()


def send_soon(report: Report) -> None:
    """Have a report sent within a second."""
    global _sender
    sender = _sender
    if sender is None or sender.pid != os.getpid():
        with _making:
            if _sender is None or _sender.pid != os.getpid():
                _sender = _Sender()
            sender = _sender
    sender.add(report)


def _new_lock_after_fork() -> None:
    # A fork while another thread held the lock would leave it locked for ever in the child.
    global _making
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_after_fork)
