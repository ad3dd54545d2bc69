"""What becomes of an escalation is remembered: a record of the memory for each notice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orch.control.runtime import Runtime
from orch.escalation.notice import Notice
from orch.faults import fault
from orch.memory.memory import Memory
from orch.memory.noting import LONGEST_SAID, note
from orch.memory.record import LONGEST_TAG, MemoryRecord
from orch.memory.step import project_of
from orch.workflows.escalation import escalation_id


def remember(runtime: Runtime, content: Mapping[str, Any]) -> None:
    """Write the record of a notice; its id is that of the notice, so a second time does nothing.

    Raises Unreachable.
    """
    notice, memory = Notice.of(content), Memory(runtime.journal)
    project = project_of(runtime.journal, notice.execution)
    source = escalation_id(notice.execution, notice.path)
    raised = int(content.get("raised", notice.at))
    note(
        runtime.journal,
        project,
        notice.id,
        "ESCALATION",
        _said(notice),
        created=notice.at,
        source=source,
        tags=_tags(notice),
        related=_raising(memory, project, source, raised, notice),
        data=notice.as_dict(),
    )
    fault("notice_remembered")


def _said(notice: Notice) -> str:
    said = notice.headline()
    if notice.event in ("raised", "rung") and notice.error.message:
        said += f": {' '.join(notice.error.message.split())}"
    return said[:LONGEST_SAID]


def _tags(notice: Notice) -> list[str]:
    named = {
        "event": notice.event,
        "workflow": notice.workflow,
        "class": notice.error.error_class,
        "queue": notice.queue,
        "decision": notice.decision,
    }
    return [f"{name}:{value}"[:LONGEST_TAG] for name, value in named.items() if value]


def _raising(
    memory: Memory, project: str | None, source: str, raised: int, notice: Notice
) -> list[str]:
    """The record of when it was raised, where that was not now; it may have been merged."""
    if notice.event == "raised":
        return []
    at = datetime.fromtimestamp(raised / 1000, UTC)
    found = memory.search(project=project, source=source, tag="event:raised", since=at, limit=100)
    ids = [each.id for each in found if _first(each) <= at <= _instant(each.created)]
    return ids[:1]


def _first(record: MemoryRecord) -> datetime:
    return _instant(record.first or record.created)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
