"""What the spans of an execution tell of it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from orch.journal.connection import Connection
from orch.workflows.outcome import Failure
from orch.workflows.state import ExecutionStatus
from orch.workflows.traces import TRACE_FIELD
from orch.workflows.view import PROJECT_FIELD, WORKFLOW_FIELD

_FIELDS = (
    "status",
    WORKFLOW_FIELD,
    "version",
    "created",
    "begun",
    "ended",
    "error",
    TRACE_FIELD,
    PROJECT_FIELD,
)


@dataclass(frozen=True)
class Traced:
    """Instants in ms. ``given``: the context that it was started with, a `traceparent` or ''."""

    status: ExecutionStatus
    workflow: str
    version: str
    begun: int
    ended: int
    failure: Failure | None
    given: str
    project: str


class Traces(Connection):
    """Every method may raise Unreachable."""

    def read_trace(self, execution: str) -> tuple[str, str]:
        """(workflow, `traceparent` that it was started with); '' where there is none."""
        names = [WORKFLOW_FIELD, TRACE_FIELD]
        found = self.read(self.redis.hmget, self.keys.record(execution), names)
        return found[0] or "", found[1] or ""

    def read_traced(self, execution: str) -> Traced | None:
        """None when it is not there."""
        found = self.read(self.redis.hmget, self.keys.record(execution), list(_FIELDS))
        status, workflow, version, created, begun, ended, error, given, project = found
        if status is None:
            return None
        return Traced(
            ExecutionStatus(status),
            workflow or "",
            version or "",
            int(begun or created or 0),
            int(ended or 0),
            _failure_of(error),
            given or "",
            project or "",
        )


def _failure_of(text: str | None) -> Failure | None:
    found = json.loads(text) if text else None
    if not isinstance(found, dict):
        return None
    name, message = str(found.get("name", "")), str(found.get("message", ""))
    return Failure(name, message, said_class=str(found.get("class", "")))
