"""What the steps of an execution logged, for people."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field

from orch.control.status import instant
from orch.errors import InputError
from orch.journal.journal import Journal
from orch.journal.logs import BEGINNING
from orch.workflows.logged import LogLine

LEVELS = ("debug", "info", "warning", "error", "critical")

FOLLOW_PAUSE = 0.3
"""Seconds between looks for further lines."""


class LoggedLine(BaseModel):
    """A line that a step logged. ``at`` is ISO 8601 in UTC."""

    at: str
    path: str
    attempt: int
    level: str
    text: str
    fields: Any = Field(None, description="what was given as `extra`")

    @classmethod
    def of(cls, line: LogLine) -> LoggedLine:
        return cls(
            at=instant(line.at),
            path=line.path,
            attempt=line.attempt,
            level=line.level,
            text=line.text,
            fields=line.fields,
        )


def read_logs(
    journal: Journal,
    execution: str,
    path: str | None = None,
    level: str = "debug",
    *,
    follow: bool = False,
) -> Iterator[LoggedLine]:
    """See `Orchestrator.get_logs`."""
    if level not in LEVELS:
        raise InputError(
            f"{level!r} is no level of a logged line", hint=f"one of {', '.join(LEVELS)}"
        )
    if journal.status(execution) is None:
        journal.record(execution)  # raises, and says what there is
    wanted = LEVELS[LEVELS.index(level) :]
    return _lines(journal, execution, path, wanted, follow)


def _lines(
    journal: Journal, execution: str, path: str | None, levels: tuple[str, ...], follow: bool
) -> Iterator[LoggedLine]:
    since = BEGINNING
    while True:
        status = journal.status(execution)  # before the lines: what comes after the end is none
        for position, line in journal.read_lines(execution, since):
            since = f"({position}"
            if line.level in levels and (path is None or line.is_below(path)):
                yield LoggedLine.of(line)
        if not follow or status is None or status.ended:
            return
        time.sleep(FOLLOW_PAUSE)
