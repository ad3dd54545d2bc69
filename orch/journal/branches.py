"""Transitions of one branch of an execution: pause and resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orch.journal.connection import Connection
from orch.journal.scripts import flat
from orch.journal.steering import Steered
from orch.workflows.commit import Event
from orch.workflows.pausing import load_pauses, pauses_over
from orch.workflows.state import ExecutionStatus

RESTS = frozenset({ExecutionStatus.RUNNING, ExecutionStatus.PAUSED})
"""Statuses of an execution in which a branch can be paused."""


class Branches(Connection):
    """``branch``: a path of a branch, an iteration, an item, or of a step that holds such.

    Each method is idempotent: asked again, it answers ``done=False`` and changes nothing.
    """

    def pause_branch(
        self, execution: str, branch: str, detail: Mapping[str, Any]
    ) -> Steered | None:
        """Let nothing in a branch start any more. None: it holds no live token."""
        now = self.clock()
        reply = self.run(
            "pause_branch",
            record=self.keys.record(execution),
            steps=self.keys.steps(execution),
            history=self.keys.history(execution),
            stream=self.keys.stream(self.keys.partition(execution)),
            now=now,
            id=execution,
            branch=branch,
            event=Event("branch_paused", detail={"branch": branch, **detail}).dumps(now),
        )
        word = self._word("pause_branch", reply, "PAUSED", "DONE", "ABSENT", "MISSING")
        if word == "PAUSED":
            return Steered(True, ExecutionStatus.RUNNING)
        if word == "ABSENT":
            return None
        return Steered(False, ExecutionStatus(reply[1]) if word == "DONE" else None)

    def resume_branch(
        self, execution: str, branch: str, fields: Mapping[str, str], detail: Mapping[str, Any]
    ) -> Steered:
        """Let a paused branch go on. ``fields``: of the record, JSON texts."""
        now = self.clock()
        reply = self.run(
            "resume_branch",
            **self._keys(execution),
            now=now,
            id=execution,
            branch=branch,
            grace=self.grace,
            fields=flat(fields.items()),
            event=Event("branch_resumed", detail={"branch": branch, **detail}).dumps(now),
        )
        word = self._word("resume_branch", reply, "RESUMED", "DONE", "MISSING")
        if word == "RESUMED":
            return Steered(True, ExecutionStatus.RUNNING, tuple(reply[1:]))
        return Steered(False, ExecutionStatus(reply[1]) if word == "DONE" else None)

    def pauses(self, execution: str) -> Mapping[str, int]:
        """The branches that are paused -> since when, ms."""
        return load_pauses(self.read(self.redis.hget, self.keys.record(execution), "pauses"))

    def rests(self, execution: str, path: str) -> bool:
        """Whether nothing may start at ``path``: the execution is paused, or a branch of it."""
        names = ["status", "pauses"]
        status, pauses = self.read(self.redis.hmget, self.keys.record(execution), names)
        paused = status == ExecutionStatus.PAUSED.value
        return paused or bool(pauses_over(load_pauses(pauses), path))
