"""Steps that are escalated: the end of a rung's time, what a person decides, and notices."""

from __future__ import annotations

from collections.abc import Sequence

from orch.control.advance.committing import Committing, Todo
from orch.errors import AlreadyDecided, NotAllowed, NotFound
from orch.faults import fault
from orch.journal.journal import Refused
from orch.workflows.calls import Call
from orch.workflows.escalating import is_overdue
from orch.workflows.escalation import ENDINGS, Escalation, Ruling
from orch.workflows.notices import NOTICE_MARK
from orch.workflows.outcome import Overdue, Ruled
from orch.workflows.plan import Plan
from orch.workflows.ruling import not_open
from orch.workflows.state import StepState, StepStatus
from orch.workflows.view import View, escalated_fields_for

MOST_TRIES = 20
"""How often a ruling may find that somebody else changed the escalation under it."""

NOTICE_GRACE = 10_000
"""Ms after which a notice is sent again that nobody has taken; twice as late each time."""


class Escalated(Committing):
    """Moves escalated steps on. What a person may do is in `orch/workflows/ruling.py`."""

    def look_at_escalated(self, execution: str, path: str, state: StepState) -> int | None:
        """See whether a rung is out of time, or a decision is to be carried out.

        When to look again, ms; None: it has moved on, or is not there.
        """
        found = self._escalated(execution, path)
        if found is None:
            return None
        plan, view, record = found
        if record.ends:
            self._do([(self._end_by_ruling, (Call(execution, path, 0),))])
            return None
        if is_overdue(record, self.journal.clock()):
            self._do(list(self._advance(plan, view, path, state, Overdue())))
            return None
        return record.due(self.journal.clock())

    def rule(self, execution: str, path: str, ruling: Ruling) -> Escalation:
        """What a person does about an escalated step; what it has become.

        Raises AlreadyDecided (with who did), NotAllowed, InputError, NotFound: then nothing is
        changed.
        """
        for _ in range(MOST_TRIES):
            found = self.journal.read_state(execution, path)
            plan, view, record = self._open_escalation(execution, path, found and found[1])
            assert found is not None
            plan, reply, transition = self._commit(plan, view, path, found[1], Ruled(ruling))
            if not isinstance(reply, Refused):
                fault("ruled")
                self.follow(plan, execution, transition, reply, view.priority)
                if ruling.word in ENDINGS:
                    self._do([(self._end_by_ruling, (Call(execution, path, 0),))])
                return self.journal.read_escalation(execution, path) or record
        raise NotAllowed(
            f"the escalation of step {path!r} of execution {execution} changes faster than it "
            f"can be decided",
            hint=f"`orch pause {execution}` first",
        )

    def _open_escalation(
        self, execution: str, path: str, state: StepState | None
    ) -> tuple[Plan, View, Escalation]:
        found = self._escalated(execution, path, state)
        if found is not None:
            return found
        status = self.journal.status(execution)
        if status is None:
            raise NotFound(f"no execution {execution!r} in Redis at {self.journal.url}")
        if state is None:
            raise NotFound(
                f"execution {execution} is at no step {path!r}",
                hint="`orch inbox` lists what is escalated",
            )
        record = self.journal.read_escalation(execution, path)
        if record is not None and (record.ends or not record.open):
            raise not_open(path, record)
        if status.ended or status.unwinds:
            said = f"step {path!r} waits for nobody: its execution is {status.value}"
            raise AlreadyDecided(said, decision=status.value)
        raise not_open(path, record)

    def _escalated(
        self, execution: str, path: str, state: StepState | None = None
    ) -> tuple[Plan, View, Escalation] | None:
        plan = self._plan_of(execution)
        if plan is None or (state is not None and state.status is not StepStatus.ESCALATED):
            return None
        try:
            fields = escalated_fields_for(plan, path)
        except KeyError:
            return None
        view = self.journal.read_view(execution, fields)
        record = view.escalations.get(path)
        return None if record is None or not record.open else (plan, view, record)

    def _end_by_ruling(self, call: Call) -> Sequence[Todo]:
        """Carry out what somebody decided: the execution ends. Harmless if repeated."""
        record = self.journal.read_escalation(call.execution, call.path)
        if record is None or not record.ends:
            return ()
        message = f"{record.by} decided so about step {call.path!r}"
        message += f": {record.note}" if record.note else ""
        if record.decision == "abort":
            grace = int(self.journal.settings.cancel_grace * 1000)
            return self._begin_to_cancel(call.execution, message, record.by, grace)[1]
        error = {**(record.error or {}), "decision": record.decision, "by": record.by}
        self.fail(call.execution, error, by=record.by)
        return ()

    # --- notices -----------------------------------------------------------------------------

    def _send_notices(self, notices: Sequence[tuple[str, str]]) -> Sequence[Todo]:
        """Send the tasks that deliver notices; where that fails, the watch does it."""
        fault("noticed")
        for notice, event in notices:
            self.publish(lambda n=notice, e=event: self.tell(e, n), f"notice {notice}")  # type: ignore[misc]
        return ()

    def look_at_notice(self, member: str) -> None:
        """A notice is due that nobody has delivered yet."""
        notice = member.removeprefix(NOTICE_MARK)
        content = self.journal.read_notice(notice)
        if content is None:
            self.journal.leave_notice(notice, None)
            return
        now = self.journal.clock()
        age = max(now - int(content.get("at", now)), NOTICE_GRACE)
        self.journal.look_at_notice(notice, now + min(age, 3600_000))
        self.publish(lambda: self.tell(str(content["event"]), notice), f"notice {notice}")
