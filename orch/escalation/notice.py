"""What hooks are told of an escalation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from orch.hooks import BaseHook, NoticeEvent


class NoticeError(BaseModel):
    """Why the step failed: `class` is one of the classes of errors."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = ""
    error_class: str = ""
    message: str = ""


class Notice(BaseModel):
    """One thing that happened to an escalation. ``id``: the same however often it is told.

    path, step     of the step that failed; ``rung``: which level, from 1; ``kind``: what it does
    queue          of the inbox in which it waits, '' in none; ``ladder``: the named path, or ''
    at             ms since the epoch
    decision, by   how it was dealt with, and who did it; '' before
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    event: NoticeEvent
    execution: str
    path: str
    workflow: str = ""
    step: str = ""
    rung: int = 0
    kind: str = ""
    queue: str = ""
    ladder: str = ""
    error: NoticeError = NoticeError()
    at: int = 0
    by: str = ""
    decision: str = ""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Notice:
        """From what the outbox holds; what is not known is left aside."""
        step = content.get("step") or str(content["path"]).rpartition("/")[2].partition("#")[0]
        error = dict(content.get("error") or {})
        error["error_class"] = error.pop("class", error.get("error_class", ""))
        return cls.model_validate({**content, "step": step, "error": error})

    def as_dict(self) -> dict[str, Any]:
        found = self.model_dump(mode="json")
        error = found["error"]
        found["error"] = {n.removeprefix("error_"): error[n] for n in error}
        return found

    def body(self) -> str:
        """JSON, in the form that the Standard Webhooks specification recommends."""
        content = {
            "type": f"escalation.{self.event}",
            "timestamp": datetime.fromtimestamp(self.at / 1000, UTC).isoformat(
                timespec="milliseconds"
            ),
            "data": self.as_dict(),
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    def headline(self) -> str:
        """One line for people."""
        what = f"{self.workflow or self.execution}: step {self.path}"
        match self.event:
            case "raised":
                said = f"{what} failed ({self.error.name})"
            case "rung":
                said = f"{what} is at rung {self.rung} ({self.kind})"
            case "reminder":
                said = f"{what} still waits for somebody"
            case "resolved":
                by = f" by {self.by}" if self.by else ""
                said = f"{what} is dealt with{by}: {self.decision}"
        return " ".join(said.split())[:200]

    def lines(self) -> list[str]:
        """All of it, for people."""
        rows = {
            "workflow": self.workflow,
            "execution": self.execution,
            "step": self.path,
            "error": f"{self.error.name} ({self.error.error_class})" if self.error.name else "",
            "message": self.error.message,
            "rung": f"{self.rung} {self.kind}".strip() if self.rung else "",
            "path": self.ladder,
            "queue": self.queue,
            "decision": self.decision,
            "by": self.by,
        }
        return [f"{name}: {value}" for name, value in rows.items() if value]


def wants(hook: BaseHook, notice: Notice) -> bool:
    """Whether a hook is told of it."""
    return (
        notice.event in hook.events
        and (not hook.queues or notice.queue in hook.queues)
        and (not hook.paths or notice.ladder in hook.paths)
        and (not hook.workflows or notice.workflow in hook.workflows)
    )
