"""Pause, resume, cancel, retry, skip: what people do to an execution that is there.

Each may be asked for twice: the second time changes nothing, and the answer is False. Who
asked, and why, is in the history.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orch.control.branches import BranchPauses
from orch.control.runtime import Runtime
from orch.control.starting import check_json, deadline_of
from orch.control.user import current_user as current_user
from orch.control.user import said as _said
from orch.errors import InputError, NotAllowed, NotFound
from orch.faults import fault
from orch.journal.journal import Ended, Refused, Settled, Steered
from orch.workflows.commit import Event, Transition
from orch.workflows.compensating import in_compensation
from orch.workflows.escalation import Ruling
from orch.workflows.holes import Hole, hole_fields
from orch.workflows.outcome import Completed
from orch.workflows.plan import Plan
from orch.workflows.reopening import reopen
from orch.workflows.rungs import subject_of
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus
from orch.workflows.transition import decide
from orch.workflows.view import fields_for, variable_field

SKIPPABLE = frozenset(
    {
        StepStatus.DISPATCHED,
        StepStatus.RUNNING,
        StepStatus.RETRYING,
        StepStatus.WAITING,
        StepStatus.POLLING,
        StepStatus.LISTENING,
        StepStatus.CALLING,
        StepStatus.EXTERNAL,
    }
)

MOST_GRACE = 365 * 24 * 3600
"""Seconds."""

MOST_TRIES = 20
"""How often a skip may find that the step moved on under it."""


class Steering:
    """Steers executions in the Redis of ``runtime``.

    Every method raises NotFound when there is no such execution, NotAllowed when its state
    does not allow it. ``by`` is who asks, by default the user of this process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.branches = BranchPauses(runtime.journal)

    def pause(
        self,
        execution: str,
        reason: str = "",
        *,
        branch: str | None = None,
        by: str | None = None,
    ) -> bool:
        """Let nothing of it start any more; what runs may end. False: it was paused before.

        ``branch``: only in this one, see `orch.control.branches`.
        """
        if branch is not None:
            return self.branches.pause(execution, branch, _said(by, reason))
        steered = self.journal.pause(execution, _said(by, reason))
        return self._answer(execution, steered, "be paused")

    def resume(
        self,
        execution: str,
        input: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        branch: str | None = None,
        by: str | None = None,
    ) -> bool:
        """Let it go on. False: it was running. ``input``: variables that are set.

        ``branch``: only this one, if it was paused by itself; the pause of another one, or of
        the whole, stays as it is. Raises InputError, and NotAllowed for ``input`` when it is
        not paused.
        """
        fields = self._variables(input or {})
        said = _said(by, reason) | ({"input": sorted(input)} if input else {})
        if branch is not None:
            steered = self.branches.resume(execution, branch, fields, said)
            self._publish(execution, steered.paths)
            return steered.done
        steered = self.journal.resume(execution, fields, said)
        if input and not steered.done and steered.status is ExecutionStatus.RUNNING:
            raise NotAllowed(
                f"execution {execution} is running: only one that is paused takes input",
                hint=f"`orch pause {execution}` first",
            )
        done = self._answer(execution, steered, "be resumed")
        if done:
            self._publish(execution, steered.paths)
        return done

    def cancel(
        self,
        execution: str,
        reason: str = "",
        *,
        grace: float | None = None,
        by: str | None = None,
    ) -> bool:
        """Let nothing of it start any more, then compensate what was done, then end it.

        ``grace``: seconds that steps which run have to end; by default the setting
        `cancel_grace`. False: it had ended, or was being cancelled, before.
        """
        grace = self.runtime.settings.cancel_grace if grace is None else grace
        if not 0 <= grace < MOST_GRACE:
            raise InputError(f"a grace of {grace:g} s is none; it is from 0 s to a year")
        cancelled = self.runtime.advancer.cancel(
            execution,
            reason or "cancelled by request",
            by=by or current_user(),
            grace=int(grace * 1000),
        )
        if cancelled.status is None:
            self.journal.record(execution)
        return cancelled.done

    def terminate(self, execution: str, reason: str = "", *, by: str | None = None) -> bool:
        """End it now; nothing is compensated. False: it had ended before."""
        error = {"name": "Cancelled", "message": reason or "terminated by request"}
        status = ExecutionStatus.CANCELLED
        reply = self.runtime.advancer.end(execution, status, error, by=by or current_user())
        if isinstance(reply, Refused) and reply.word == "MISSING":
            self.journal.record(execution)
        return isinstance(reply, Ended)

    def retry(self, execution: str, reason: str = "", *, by: str | None = None) -> bool:
        """Let one that failed go on from the steps that failed. False: it is not ended."""
        record = self.journal.record(execution)
        if record.status is not ExecutionStatus.FAILED:
            return self._not_failed(execution, record.status)
        if record.parent is not None:
            raise NotAllowed(
                f"execution {execution} cannot be retried: {record.parent}, which called it, has "
                f"gone on without it",
                hint=f"`orch retry {record.parent}`, if that failed, calls it anew",
            )
        plan = self.runtime.plans.get(record.plan)
        try:
            ends = self.journal.read_ends(execution)
            found = reopen(plan, execution, self.journal.steps(execution), record.error, ends)
        except NotAllowed:
            # Somebody else's retry between the two reads leaves no step that failed.
            status = self.journal.status(execution)
            if status is ExecutionStatus.FAILED:
                raise
            return self._not_failed(execution, status)
        slots = self.journal.read_slots(execution)
        if slots is not None:
            slots = replace(slots, since=self.journal.clock())
            self.runtime.advancer.gating.admit_again(execution, record.workflow, slots)
        said = _said(by, reason)
        steered = self.journal.retry(
            execution,
            found,
            [
                Event("retried", detail=said),
                *(Event("retried", path, attempt) for path, attempt in found.attempts.items()),
            ],
            self._deadline(plan, execution, begins=slots is None),
            str((record.error or {}).get("name") or ""),
            record.ended,
        )
        if not steered.done:
            self.runtime.advancer.gating.take_back(execution, slots)
            if steered.status is ExecutionStatus.FAILED:  # it was retried, and has failed again
                return self.retry(execution, reason, by=by)
            return self._not_failed(execution, steered.status)
        fault("retried")
        if slots is not None:
            self.runtime.advancer.begin(execution)
        else:
            self._publish(execution, found.sent)
        return True

    def skip(
        self,
        execution: str,
        path: str,
        output: Any = None,
        *,
        reason: str = "",
        by: str | None = None,
    ) -> bool:
        """Let a step count as completed with ``output``. False: it was completed before.

        What a worker is doing for it is thrown away; an escalation is resolved by it, as by the
        decision `skip`. Raises InputError, NotFound, NotAllowed.
        """
        text = self._checked(output, f"the output of step {path!r}")
        subject = subject_of(path)
        found = self.journal.read_state(execution, subject) if path[:1] not in "=!?" else None
        if found is not None and found[1].status is StepStatus.ESCALATED:
            self._check_open_to_skips(execution, subject)
            who, now = by or current_user(), self.journal.clock()
            ruling = Ruling("skip", who, now, value=output, given=True, note=reason)
            self.runtime.advancer.rule(execution, subject, ruling)
            return True
        for _ in range(MOST_TRIES):
            plan = self.runtime.plans.get(self.journal.record(execution).plan)
            state = self._skippable(execution, path, plan)
            if state is None:
                return False
            self._check_open_to_skips(execution, path)
            outcome = Completed(output, text, final=True)
            transition = self._skip(plan, execution, path, state, outcome)
            detail = _said(by, reason)
            skipped = Event("skipped_by", path, state.attempt, detail)
            transition = replace(transition, events=(skipped, *transition.events))
            if not in_compensation(path):
                hole = Hole(path, "skipped", message=reason, by=str(detail.get("by", "")))
                fields = (*transition.fields, *hole_fields(path, [hole]).items())
                transition = replace(transition, fields=fields)
            reply = self.journal.settle(
                execution,
                transition,
                expect=state.status.value,
                attempt=state.attempt,
                owner=state.owner if state.status is StepStatus.RUNNING else "",
            )
            if isinstance(reply, Settled):
                self.runtime.advancer.follow(
                    plan, execution, transition, reply, self.journal.priority_of(execution)
                )
                if state.status is StepStatus.CALLING:
                    self.runtime.advancer.cancel_child(execution, path, state.attempt)
                return True
            if isinstance(reply, Refused) and reply.word == "MISSING":
                self.journal.record(execution)
        raise NotAllowed(
            f"step {path!r} of execution {execution} moves on faster than it can be skipped",
            hint=f"`orch pause {execution}` first",
        )

    # --- what is behind them -----------------------------------------------------------------

    def _answer(self, execution: str, steered: Steered, verb: str) -> bool:
        if steered.status is None:
            self.journal.record(execution)  # raises, with the sentence
        status = steered.status
        over = status is None or status.ended or status.unwinds
        if not steered.done and over:
            raise _ended(execution, status, verb)
        return steered.done

    def _not_failed(self, execution: str, status: ExecutionStatus | None) -> bool:
        """One that lives was retried before, or never ended; any other has nothing to retry."""
        if status is None:
            self.journal.record(execution)
        if status is None or status.ended or status.unwinds:
            raise _ended(execution, status, "be retried: only one that failed can")
        return False

    def _deadline(self, plan: Plan, execution: str, *, begins: bool) -> int:
        """Its limits count from now on, if it ``begins``; an instant stays, unless it is over."""
        now = self.journal.clock()
        until, within = self.journal.read_limits(execution)
        until = until if until > now else 0
        return deadline_of(plan, now, until, within) if begins else until

    def _publish(self, execution: str, paths: tuple[str, ...]) -> None:
        """Send their messages at once; where that fails, the watch does it."""
        key = self.journal.plan_of(execution)
        if key is not None and paths:
            self.runtime.advancer.apply(
                self.runtime.plans.get(key), execution, paths, self.journal.priority_of(execution)
            )

    def _variables(self, given: Mapping[str, Any]) -> dict[str, str]:
        if not all(isinstance(name, str) for name in given):
            raise InputError("the input of a resumption sets variables, and their names are texts")
        return {
            variable_field(name): self._checked(value, f"variable {name!r}")
            for name, value in given.items()
        }

    def _checked(self, value: Any, what: str) -> str:
        return check_json(self.runtime.settings, what, value)

    def _skippable(self, execution: str, path: str, plan: Plan) -> StepState | None:
        """The state of a step that can be skipped; None when it is completed."""
        found = self.journal.read_state(execution, path) if path[:1] not in "=!?" else None
        if found is None:
            fields = self.journal.steps(execution)
            live = sorted(
                name
                for name, text in fields.items()
                if name[0] not in "=!?" and StepState.loads(text).status in LIVE
            )
            raise NotFound(
                f"execution {execution} is at no step {path!r}; it is at: "
                f"{', '.join(live) or 'none, it has not begun or has ended'}",
                hint=f"`orch status {execution}` shows all of its steps",
            )
        state = found[1]
        if state.status is StepStatus.COMPLETED:
            return None
        if plan.node(path).branches:
            raise NotAllowed(
                f"step {path!r} of execution {execution} holds other steps and cannot be skipped",
                hint="skip those inside of it",
            )
        if state.status not in SKIPPABLE:
            raise NotAllowed(
                f"step {path!r} of execution {execution} is {state.status.value} "
                f"and cannot be skipped",
                hint=f"`orch retry {execution}` takes failed steps up again"
                if state.status is StepStatus.FAILED
                else "",
            )
        return state

    def _check_open_to_skips(self, execution: str, path: str) -> None:
        """Not while it waits for a slot; while it is being cancelled, only its compensations."""
        if in_compensation(path):
            return
        status = self.journal.status(execution)
        if status is not None and (status.unwinds or status is ExecutionStatus.QUEUED):
            raise _ended(execution, status, f"have step {path!r} skipped")

    def _skip(
        self, plan: Plan, execution: str, path: str, state: StepState, outcome: Completed
    ) -> Transition:
        journal = self.journal
        view = journal.read_view(execution, fields_for(plan, path))
        transition = decide(plan, view, path, state, outcome, journal.clock(), journal.grace)
        if transition.state is None or transition.state.status is not StepStatus.COMPLETED:
            error = json.loads(dict(transition.texts).get(f"!{path}", "{}"))
            raise NotAllowed(
                f"step {path!r} of execution {execution} would fail with this output: "
                f"{error.get('name')}: {error.get('message')}",
                hint="give one that its `output` mapping can read",
            )
        # No worker did it: an outcome that one hands in at this very instant is not this one.
        return replace(transition, state=replace(transition.state, owner=""))


def _ended(execution: str, status: ExecutionStatus | None, verb: str) -> NotAllowed:
    found = "is gone" if status is None else f"has {_past(status)}"
    if status is not None and not status.ended:
        found = f"is {status.value}"
    return NotAllowed(f"execution {execution} {found} and cannot {verb}")


def _past(status: ExecutionStatus) -> str:
    return "been cancelled" if status is ExecutionStatus.CANCELLED else status.value
