"""What the inbox shows of an escalation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from orch.control.escalated import rungs_of
from orch.control.status import instant
from orch.journal.escalations import OpenEscalation
from orch.workflows.approving import Approval
from orch.workflows.escalation import Escalation, escalation_id
from orch.workflows.plan import Plan


class InboxItem(BaseModel):
    """An escalation or an approval. Instants are ISO 8601 in UTC."""

    id: str = Field(description="EXECUTION:PATH")
    execution: str
    workflow: str
    path: str
    step: str
    kind: str = Field(description="of its rung: retry, reassign, fallback, human; or approval")
    queue: str | None = Field(None, description="of the inbox; null: a rung is at work")
    ladder: str | None = Field(None, description="the name of the path; null: the step's own")
    rung: int
    rungs: int
    error: dict[str, Any] | None = None
    prompt: str | None = None
    choices: list[str] | None = None
    form: dict[str, Any] | None = Field(None, description="JSON Schema of the answer, or output")
    working: str | None = Field(None, description="the path of what is being done for it")
    raised: str
    since: str = Field(description="when its rung began")
    until: str | None = Field(None, description="when the next rung takes over")
    reminders: int = 0
    claimed_by: str | None = None
    claimed_until: str | None = None
    acknowledged: str | None = None
    comments: list[dict[str, Any]] = Field(default_factory=list)
    decision: str | None = None
    decided_by: str | None = None
    note: str | None = None
    resolved: str | None = None
    paused: bool = False


def item_of(found: OpenEscalation, plan: Plan, now: int) -> InboxItem:
    record, path = found.escalation, found.path
    holder = record.held(now)
    prompt, choices, form = _asked(record, plan, path)
    comments = [{**said, "at": instant(int(said["at"]))} for said in record.comments]
    return InboxItem(
        id=escalation_id(found.execution, path),
        execution=found.execution,
        workflow=found.workflow,
        path=path,
        step=plan.node(path).id,
        kind=record.kind,
        queue=record.queue or None,
        ladder=record.ladder or None,
        rung=record.rung,
        rungs=rungs_of(plan, path, record),
        error=dict(record.error) if record.error is not None else None,
        prompt=prompt,
        choices=choices,
        form=form,
        working=record.work or None,
        raised=instant(record.raised),
        since=instant(record.since),
        until=_instant(record.until),
        reminders=record.reminders,
        claimed_by=holder or None,
        claimed_until=_instant(record.held_until) if holder else None,
        acknowledged=_instant(record.acknowledged),
        comments=comments,
        decision=record.decision or None,
        decided_by=record.by or None,
        note=record.note or None,
        resolved=_instant(record.resolved),
        paused=found.paused,
    )


def _asked(
    record: Escalation, plan: Plan, path: str
) -> tuple[str | None, list[str] | None, dict[str, Any] | None]:
    if record.asked is not None:
        asked = Approval.of(record.asked)
        form: Mapping[str, Any] | None = asked.form
        return asked.prompt or None, list(asked.choices) or None, dict(form) if form else None
    rung = plan.rung(path, record.ladder, record.rung)
    if rung is None:
        return None, None, None
    form = plan.node(path).step.output_schema
    if rung.human is not None and rung.human.form is not None:
        form = rung.human.form
    return None, None, dict(form) if form else None


def _instant(ms: int) -> str | None:
    return instant(ms) if ms else None
