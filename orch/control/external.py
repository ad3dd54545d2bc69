"""Tasks that somebody outside of the workers does: listed, reported, kept alive.

A report may come from anywhere and more than once. The first one counts; one that comes before
its task is kept for it; one that comes too late is refused with who was first, and when.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from pydantic import BaseModel, Field

from orch.control.runtime import Runtime
from orch.control.starting import check_json
from orch.control.status import instant
from orch.control.user import current_user
from orch.errors import AlreadyReported, NotAllowed, NotFound, Unreachable
from orch.faults import fault
from orch.journal.external import OpenTask
from orch.journal.journal import HistoryEntry, Refused
from orch.redaction import Redactor
from orch.workflows.beat import Beat
from orch.workflows.external import Report, TaskId
from orch.workflows.node import Node
from orch.workflows.plan import Plan
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus

MOST_TRIES = 20
"""How often a report may find that the task moved on under it."""

MESSAGE_LIMIT = 2000


class ExternalTask(BaseModel):
    """A task that waits for its report. Instants are ISO 8601 in UTC."""

    id: str
    capability: str
    execution: str
    workflow: str
    path: str
    step: str
    attempt: int
    agent: str | None = Field(None, description="who alone is to do it")
    input: Any = None
    since: str
    deadline: str | None = Field(None, description="when the attempt is given up")
    heartbeat: str | None = Field(None, description="when it must be heard of at the latest")
    progress: Any = Field(None, description="what was said of it last, maybe of an attempt before")
    paused: bool = False


class ExternalTasks:
    """Tasks of the executions in the Redis of ``runtime``. Every method may raise Unreachable.

    ``task``: its id, as `list` gives it; without its attempt, whichever is open. ``by``: who
    reports, by default the user of this process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.advancer = runtime.advancer

    def list(
        self,
        capability: str | None = None,
        *,
        agent: str | None = None,
        limit: int | None = None,
    ) -> list[ExternalTask]:
        """Those that are open, of one capability or all; those that wait longest first.

        ``agent``: only those that it may do: that name it, or nobody.
        """
        found = self.journal.open_tasks(capability)
        if agent is None:
            return [self._shown(task) for task in found[:limit]]
        shown = (self._shown(task) for task in found)
        return list(islice((task for task in shown if task.agent in (None, agent)), limit))

    def complete(self, task: str | TaskId, output: Any = None, *, by: str | None = None) -> bool:
        """It is done. False: it does not stand there yet, and the report is kept for it.

        Raises InputError for an output that is no JSON or too large, NotAllowed where it does
        not fit the step's `output` mapping (the task stays open) or comes too late,
        AlreadyReported, NotFound.
        """
        named = _named(task)
        check_json(self.runtime.settings, f"the output of task {named}", output)
        return self._report(named, Report(by or current_user(), self.journal.clock(), output))

    def fail(
        self,
        task: str | TaskId,
        error: str,
        message: str = "",
        *,
        retryable: bool = True,
        by: str | None = None,
    ) -> bool:
        """It failed, as ``error``: the step's `retry`, `onError` and handlers see that name.

        ``retryable`` False: it is not tried again, whatever `retry` says. Answers and raises as
        `complete`.
        """
        message = Redactor.of(self.runtime.settings).text(message)
        said = (error, message[:MESSAGE_LIMIT] or error, retryable)
        report = Report(by or current_user(), self.journal.clock(), error=said)
        return self._report(_named(task), report)

    def heartbeat(self, task: str | TaskId, progress: Any = None) -> None:
        """Say that the work goes on; ``progress`` is any JSON value.

        Raises NotAllowed where nobody waits for it any more: stop working on it. NotFound,
        InputError.
        """
        named = _named(task)
        check_json(self.runtime.settings, f"the progress of task {named}", progress)
        step = self._find(named)[1].step
        found = self.journal.read_state(named.execution, named.path)
        if found is None or not self._is_open(named, found[1]):
            raise self._refused(named, found[1] if found else None)
        state, now = found[1], self.journal.clock()
        if progress is None:
            last = self.journal.read_beats(named.execution, [named.path]).get(named.path)
            progress = last.progress if last else None
        due = now + (step.heartbeat_timeout or int(self.runtime.settings.recheck_interval * 1000))
        due = min(due, state.started + step.timeout) if step.timeout else due
        beat = Beat(now, state.attempt, progress)
        if not self.journal.beat(named.execution, named.path, state, beat, due):
            again = self.journal.read_state(named.execution, named.path)
            raise self._refused(named, again[1] if again else None)

    # --- behind them -------------------------------------------------------------------------

    def _report(self, task: TaskId, report: Report) -> bool:
        for _ in range(MOST_TRIES):
            plan, _ = self._find(task)
            found = self.journal.read_state(task.execution, task.path)
            if found is None or self._comes_again(task, found[1]):
                done = self._keep(task, report)
            elif not self._is_open(task, found[1]):
                raise self._refused(task, found[1])
            else:
                done = self._commit(plan, task, found[1], report)
            if done is not None:
                return done
        raise NotAllowed(
            f"task {task} moves on faster than it can be reported",
            hint=f"`orch pause {task.execution}` first",
        )

    def _commit(self, plan: Plan, task: TaskId, state: StepState, report: Report) -> bool | None:
        """None: it moved on in the meantime."""
        if self.journal.kept_report(task.execution, task.path) is not None:
            # It came before the token, which came a moment ago: it was first.
            self.advancer.take_report(task.execution, task.path)
            return None
        if report.error is None:
            self._check_fits(plan, task, state, report)
        reply, transition = self.advancer.report(plan, task.execution, task.path, state, report)
        if reply == Refused("ENDED", (ExecutionStatus.QUEUED.value,)):
            raise NotAllowed(
                f"task {task} is not open yet: its execution waits for a slot",
                hint=f"report it again when it goes on; `orch why {task.execution}`",
            )
        if isinstance(reply, Refused):
            return None
        self._count(plan.node(task.path), state, report)
        fault("reported")
        self.advancer.follow(
            plan, task.execution, transition, reply, self.journal.priority_of(task.execution)
        )
        return True

    def _count(self, node: Node, state: StepState, report: Report) -> None:
        """What the agent that is named has done: for its figures, so a lost one does no harm."""
        if node.step.agent is None:
            return
        keep = int(self.runtime.settings.agent_retention * 1000)
        duration, failed = max(0, report.at - state.started), report.error is not None
        with suppress(Unreachable):
            self.journal.count_task(node.step.agent, duration, failed=failed, keep=keep)

    def _check_fits(self, plan: Plan, task: TaskId, state: StepState, report: Report) -> None:
        found = self.advancer.decide_report(plan, task.execution, task.path, state, report)
        if found.state is not None and found.state.status is StepStatus.FAILED:
            error = json.loads(dict(found.texts).get(f"!{task.path}", "{}"))
            raise NotAllowed(
                f"task {task} would fail with this output: {error.get('name')}: "
                f"{error.get('message')}",
                hint="the task is still open; give one that its `output` mapping can read",
            )

    def _keep(self, task: TaskId, report: Report) -> bool | None:
        word, rest = self.journal.keep_report(task.execution, task.path, report)
        match word:
            case "KEPT":
                return False
            case "TAKEN":
                raise _already(task, Report.loads(rest))
            case "ENDED":
                raise NotAllowed(
                    f"task {task} is not needed: its execution has ended as {rest}",
                    hint=f"`orch status {task.execution}` shows it",
                )
            case "MISSING":
                self.journal.record(task.execution)
        return None

    def _find(self, task: TaskId) -> tuple[Plan, Node]:
        plan = self.runtime.plans.get(self.journal.record(task.execution).plan)
        try:
            node = plan.node(task.path)
        except KeyError:
            known = ", ".join(sorted(n.key for n in plan.nodes() if n.external)) or "none"
            raise NotFound(
                f"execution {task.execution} has no step {task.path!r}; its external ones: {known}",
                hint="`orch tasks` lists the tasks that are open",
            ) from None
        if not node.external:
            raise NotAllowed(
                f"step {task.path!r} of execution {task.execution} is done by a worker: nobody "
                f"reports it",
                hint=f"`orch skip {task.execution} {task.path}` lets it count as completed",
            )
        return plan, node

    def _comes_again(self, task: TaskId, state: StepState) -> bool:
        """Whether it waits for its next attempt, and the report is not about one before."""
        return state.status is StepStatus.RETRYING and task.attempt in (0, state.attempt)

    def _is_open(self, task: TaskId, state: StepState) -> bool:
        return state.status is StepStatus.EXTERNAL and task.attempt in (0, state.attempt)

    def _refused(self, task: TaskId, state: StepState | None) -> NotAllowed:
        """Why a report, or a heartbeat, is of no use."""
        if state is None:
            return NotAllowed(
                f"task {task} is not open yet", hint="`orch tasks` lists those that are"
            )
        history = self.journal.history(task.execution)
        reports = [e for e in history if e.path == task.path and e.event in _ENDINGS]
        attempt = task.attempt or state.attempt
        about = [e for e in reports if e.attempt == attempt and e.event == "reported"]
        if about:
            return _already(task, about[0])
        if state.status in LIVE:
            return NotAllowed(
                f"attempt {attempt} of task {task.execution}:{task.path} is not open: it is at "
                f"attempt {state.attempt}, which is {state.status.value}",
                hint="`orch tasks` lists those that are open",
            )
        last = f" at {instant(reports[-1].at)}" if reports else ""
        by = f" by {reports[-1].detail['by']}" if reports and "by" in reports[-1].detail else ""
        return NotAllowed(
            f"task {task} is not open any more: its step was {state.status.value}{by}{last}",
            hint=f"`orch history {task.execution}` shows how it came to this",
        )

    def _shown(self, task: OpenTask) -> ExternalTask:
        node = self.runtime.plans.get(task.plan).node(task.path)
        step, state, beat = node.step, task.state, task.beat
        heard = max(state.since, beat.at if beat and beat.attempt == state.attempt else 0)
        silence = step.heartbeat_timeout
        return ExternalTask(
            id=str(TaskId(task.execution, task.path, state.attempt)),
            capability=node.capability,
            execution=task.execution,
            workflow=task.workflow,
            path=task.path,
            step=node.id,
            attempt=state.attempt,
            agent=step.agent,
            input=task.input,
            since=instant(state.started),
            deadline=instant(state.started + step.timeout) if step.timeout else None,
            heartbeat=instant(heard + silence) if silence else None,
            progress=beat.progress if beat else None,
            paused=task.paused,
        )


_ENDINGS = frozenset({"reported", "completed", "failed", "skipped_by", "cancelled", "retrying"})


def _named(task: str | TaskId) -> TaskId:
    return task if isinstance(task, TaskId) else TaskId.parse(task)


def _already(task: TaskId, first: Report | HistoryEntry) -> AlreadyReported:
    detail: Mapping[str, Any] = (
        first.detail if isinstance(first, HistoryEntry) else {"by": first.by}
    )
    by, at = str(detail.get("by", "")), instant(first.at)
    return AlreadyReported(
        f"task {task} was reported before, by {by} at {at}; nothing is changed by this report",
        by=by,
        at=at,
        hint=f"`orch history {task.execution}` shows it",
    )
