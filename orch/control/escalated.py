"""An escalated step as people see it: which rung, who is asked, until when, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from orch.workflows.asking import OWN_FALLBACK
from orch.workflows.escalation import ENDINGS, Escalation, escalation_id
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung, rung_of, subject_of

MOST_ASKED = 200
"""Characters of an approval's prompt in a sentence."""


class EscalationStatus(BaseModel):
    """What has been done about a failed step, or a step that a person does. Instants: ISO 8601.

    One that is `resolved` is over: `decision` and `by` say how, and who.
    """

    id: str
    path: str
    kind: str = Field(description="of its rung: retry, reassign, fallback, human; or approval")
    rung: int = Field(0, description="from 1; 0: an approval, which has no ladder")
    rungs: int = Field(0, description="how many the ladder has")
    ladder: str = Field("", description="name of the path; empty: a ladder without a name")
    queue: str | None = Field(None, description="of the inbox, while a person is asked")
    work: str | None = Field(None, description="path of what is being done for the step")
    raised: str
    since: str | None = Field(None, description="when its rung began")
    until: str | None = Field(None, description="when the next rung takes over")
    reminders: int = 0
    remind: str | None = Field(None, description="when somebody is reminded next")
    claimed_by: str | None = None
    claimed_until: str | None = None
    acknowledged: str | None = None
    asked: dict[str, Any] | None = Field(None, description="of an approval: what is asked")
    error: dict[str, Any] | None = None
    comments: list[dict[str, Any]] = Field(default_factory=list)
    decision: str | None = None
    by: str | None = None
    note: str | None = None
    resolved: str | None = None

    def __str__(self) -> str:
        """How it was resolved, in a few words."""
        by = f" by {self.by}" if self.by else ""
        where = f" at rung {self.rung}" if self.rung else ""
        note = f": {self.note}" if self.note else ""
        return f"{self.decision or 'ended'}{by}{where}{note}"


def escalation_status(
    execution: str, path: str, record: Escalation, plan: Plan | None, now: int, ended: int = 0
) -> EscalationStatus:
    """``ended``: since when its step is escalated no more, ms; 0: it is, or nobody has told."""
    if record.open and ended:
        record = record.ended(ended)
    return EscalationStatus(
        id=escalation_id(execution, path),
        path=path,
        kind=record.kind,
        rung=record.rung,
        rungs=rungs_of(plan, path, record),
        ladder=record.ladder,
        queue=record.queue or None,
        work=record.work or None,
        raised=_instant(record.raised) or "",
        since=_instant(record.since),
        until=_instant(record.until) if record.open else None,
        reminders=record.reminders,
        remind=_instant(record.remind) if record.open else None,
        claimed_by=record.held(now) or None,
        claimed_until=_instant(record.held_until) if record.held(now) else None,
        acknowledged=_instant(record.acknowledged),
        asked=dict(record.asked) if record.asked is not None else None,
        error=dict(record.error) if record.error is not None else None,
        comments=[{**said, "at": _instant(int(said["at"]))} for said in record.comments],
        decision=record.decision or None,
        by=record.by or None,
        note=record.note or None,
        resolved=_instant(record.resolved),
    )


def why_escalated(found: EscalationStatus, title: str, working: str | None, left: str) -> str:
    """For whom an escalated step waits, in one line.

    ``title``: of the work of its rung; ``working``: why that is not done yet; ``left``: how long
    its rung still has, '' for as long as it takes.
    """
    if found.decision in ENDINGS and found.resolved is None:
        return f"{found.by} decided to {found.decision}; a worker ends the execution"
    until = f", until {found.until}, in {left}" if found.until else ""
    if found.work is not None:
        doing = f"{found.work} ({title})" + (f": {working}" if working else "")
        return f"{_place(found)}: {doing}{until}{_after(found)}"
    parts = [f"{_question(found)} in inbox queue {found.queue!r}{until}"]
    if found.reminders:
        parts.append(f"reminded {found.reminders} time{'s'[: found.reminders != 1]}")
    if found.claimed_by:
        parts.append(f"claimed by {found.claimed_by} until {found.claimed_until}")
    return f"{'; '.join(parts)}{_after(found)}; `orch inbox show {found.id}`"


def rung_title(plan: Plan | None, path: str) -> str | None:
    """What the work of a rung is, `rung 2: fallback senior`; None for any other path."""
    if not in_rung(path):
        return None
    name = rung_of(path)
    if name.capability:
        return f"rerouted to {name.capability}"
    what = _what(plan, subject_of(path), name.ladder, name.number)
    if name.ladder == OWN_FALLBACK:
        return what.removeprefix(": ") or "fallback"
    return f"rung {name.number}{f' of {name.ladder}' if name.ladder else ''}{what}"


def _what(plan: Plan | None, subject: str, ladder: str, number: int) -> str:
    rung = plan.rung(subject, ladder, number) if plan is not None else None
    if rung is None:
        return ""
    if rung.fallback is not None:
        return f": fallback {rung.fallback.capability}"
    if rung.reassign is not None:
        return f": reassign to {rung.reassign.to_agent}"
    return ": tried again, as a person decided" if rung.human is not None else f": {rung.kind}"


def _place(found: EscalationStatus) -> str:
    if found.ladder == OWN_FALLBACK:
        return "the step's `fallback`, before its ladder"
    of = f" of {found.ladder}" if found.ladder else ""
    return f"rung {found.rung}/{found.rungs}{of}"


def _question(found: EscalationStatus) -> str:
    if found.asked is None:
        return f"{_place(found)}: a person decides"
    prompt = " ".join(str(found.asked.get("prompt") or "").split())
    choices = found.asked.get("choices")
    offered = f" ({', '.join(map(str, choices))})" if isinstance(choices, list) and choices else ""
    asked = f" {prompt[:MOST_ASKED]!r}{offered}" if prompt or offered else ""
    return f"approval{asked}: a person answers"


def _after(found: EscalationStatus) -> str:
    error = found.error
    return f"; after {error_words(error)}" if error else ""


def error_words(error: Mapping[str, Any]) -> str:
    """``Broken (transient): it broke``."""
    kind = f" ({error['class']})" if error.get("class") else ""
    return f"{error.get('name')}{kind}: {error.get('message')}"


def rungs_of(plan: Plan | None, path: str, record: Escalation) -> int:
    """How many the ladder has on which it is; 0: none, of an approval, or it is not known."""
    if plan is None or record.asked is not None:
        return 0
    try:
        return len(plan.ladder(path, record.ladder))
    except KeyError:
        return 0


def _instant(ms: int) -> str | None:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds") if ms else None
