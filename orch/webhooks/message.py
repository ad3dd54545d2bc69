"""What a webhook is told, in the form that the Standard Webhooks specification recommends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orch.escalation.notice import Notice
from orch.workflows.hearing import EVENT_MARK, LIFE_MARK

NOT_TOLD = frozenset(("event", "path", "plan", "told", "tries"))
"""Of a notice of the life of an execution: what is ours alone."""


@dataclass(frozen=True)
class Message:
    """``id``: the same however often it is told; ``at``: ms since the epoch."""

    id: str
    type: str
    at: int
    data: Mapping[str, Any]
    workflow: str = ""

    def body(self) -> str:
        at = datetime.fromtimestamp(self.at / 1000, UTC).isoformat(timespec="milliseconds")
        content = {"type": self.type, "timestamp": at, "data": self.data}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def of_escalation(notice: Notice) -> Message:
    return Message(
        notice.id, f"escalation.{notice.event}", notice.at, notice.as_dict(), notice.workflow
    )


def of_life(content: Mapping[str, Any]) -> Message:
    """From what the outbox holds of what became of an execution."""
    data = {name: value for name, value in content.items() if name not in NOT_TOLD}
    type, workflow = f"{LIFE_MARK}{content['word']}", str(content.get("workflow") or "")
    return Message(content["id"], type, content["at"], data, workflow)


def of_event(content: Mapping[str, Any]) -> Message:
    """From what the outbox holds of an event that was triggered."""
    fields = ("id", "name", "payload", "correlation", "execution", "by")
    data = {name: content["occurrence"].get(name) for name in fields}
    return Message(content["id"], f"{EVENT_MARK}{data['name']}", content["at"], data)
