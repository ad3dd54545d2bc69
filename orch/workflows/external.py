"""Tasks that somebody outside of the workers does: their ids, and reports of what came of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orch.errors import InputError
from orch.workflows.outcome import Completed, Failed, Failure, Outcome
from orch.workflows.state import encode

ASSIGNMENT = "assignment"
"""The workflow of tasks that are assigned by themselves."""

MARK = "@"
"""Begins what a token waits for, where that is a report and no event."""


@dataclass(frozen=True)
class TaskId:
    """Which attempt of which step: `EXECUTION:PATH:ATTEMPT`. ``attempt`` 0: whichever is open."""

    execution: str
    path: str
    attempt: int = 0

    def __str__(self) -> str:
        attempt = f":{self.attempt}" if self.attempt else ""
        return f"{self.execution}:{self.path}{attempt}"

    @classmethod
    def parse(cls, text: str) -> TaskId:
        """Raises InputError."""
        execution, _, rest = text.partition(":")
        path, _, attempt = rest.rpartition(":")
        if not path:
            path, attempt = rest, "0"
        if not execution or not path or not attempt.isdecimal():
            raise InputError(
                f"{text!r} is no id of a task, which is EXECUTION:PATH:ATTEMPT",
                hint="`orch tasks` lists those that are open",
            )
        return cls(execution, path, int(attempt))


@dataclass(frozen=True)
class Report:
    """What somebody says of a task. ``error``: (name, message, retryable) if it failed."""

    by: str
    at: int  # ms since the epoch
    output: Any = None
    error: tuple[str, str, bool] | None = None

    def outcome(self, step: str, path: str, attempt: int) -> Outcome:
        if self.error is None:
            return Completed(self.output)
        name, message, retryable = self.error
        return Failed(Failure(name, message, step, path, attempt), retryable)

    def dumps(self) -> str:
        return encode([self.by, self.at, self.output, self.error])

    @classmethod
    def loads(cls, text: str) -> Report:
        by, at, output, error = json.loads(text)
        return cls(by, at, output, tuple(error) if error else None)


def waits_for(capability: str) -> str:
    """What is written in the index of tokens that wait, of a task of this capability."""
    return f"{MARK}{capability}"


def given_field(path: str) -> str:
    """Field of the record with the input of a task."""
    return f"t:{path}"


def report_field(path: str) -> str:
    """Field of the record with a report that came before the task was there."""
    return f"r:{path}"
