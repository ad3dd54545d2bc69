"""How an execution that was cancelled, or failed, comes to its end.

Steps end, children end, compensations run, one after the other; then it ends.
"""

from __future__ import annotations

import json

from orch.control.plans import Plans
from orch.journal.journal import Ended, Journal
from orch.journal.records import Family
from orch.workflows.compensating import (
    awaited,
    compensation_path,
    in_compensation,
    opened,
    undoing,
)
from orch.workflows.plan import Plan
from orch.workflows.rungs import subject_of
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus
from orch.workflows.view import cancelled_by


class Unwinding:
    """Takes an execution that unwinds one step further. Harmless if repeated."""

    def __init__(self, journal: Journal, plans: Plans) -> None:
        self.journal = journal
        self.plans = plans

    def go_on(self, execution: str) -> tuple[Plan, str] | Ended | None:
        """The compensation that was opened and needs a message, or that it has ended."""
        family = self.journal.read_family(execution)
        if family is None or not family.status.unwinds:
            return None
        plan = self.plans.get(family.plan)
        # The steps first: of each that has completed in them, the history knows then.
        fields = self.journal.steps(execution)
        history = self.journal.history(execution)
        states = _states(fields)
        statuses = {path: state.status for path, state in states.items()}
        done = [e for e in history if e.event in ("completed", "kept")]
        for entry in done:
            step = subject_of(entry.path)
            if entry.event == "kept" or step != entry.path:
                statuses[step] = _as_done(statuses[step])
        found = undoing(plan, statuses, [subject_of(entry.path) for entry in done])
        grace = int(self.journal.settings.cancel_grace * 1000)
        if found.live or awaited(plan, states, self.journal.clock(), grace):
            return None
        if found.following is not None:
            now = self.journal.clock()
            made = self.journal.undo(execution, opened(found.following, now, self.journal.grace))
            return (plan, found.following) if made else None
        if found.asked:
            return None
        asked, fails = family.cancel or {}, family.status is ExecutionStatus.COMPENSATING
        by = str(asked.get("by", ""))
        error = dict(family.failing or {}) if fails else cancelled_by(asked)
        if found.done or found.failed or not fails:
            error["compensated"] = list(found.done)
            error["failedCompensations"] = [
                {"path": path, "error": json.loads(fields[f"!{compensation_path(path)}"])}
                for path in found.failed
            ]
        status = ExecutionStatus.FAILED if fails else ExecutionStatus.CANCELLED
        reply = self.journal.end(execution, status, error, by=by)
        return reply if isinstance(reply, Ended) else None

    def fence(self, execution: str, family: Family) -> None:
        """End what runs past its time; see to it that somebody looks again."""
        now = self.journal.clock()
        until = int((family.cancel or {}).get("until", 0))
        due = now + self.journal.grace
        states = _states(self.journal.steps(execution))
        live = [path for path, state in states.items() if state.status in LIVE]
        if live and all(_asks(path, states[path]) for path in live):
            # For hours maybe; who decides goes on at once.
            due = now + int(self.journal.settings.recheck_interval * 1000)
        self.journal.look_at_whole(execution, min(due, until) if until > now else due)
        if now < until:
            return
        running = [
            path
            for path, state in states.items()
            if state.status is StepStatus.RUNNING and not in_compensation(path)
        ]
        if running:
            self.journal.fence(execution, running)


def _as_done(status: StepStatus) -> StepStatus:
    """Of a step that did what it does, and was cancelled meanwhile."""
    return status if status in LIVE else StepStatus.COMPLETED


def _asks(path: str, state: StepState) -> bool:
    """Whether a person is asked about it: it is a compensation that failed."""
    return in_compensation(path) and state.status is StepStatus.ESCALATED


def _states(fields: dict[str, str]) -> dict[str, StepState]:
    return {p: StepState.loads(text) for p, text in fields.items() if p[0] not in "=!?"}
