"""What an execution is doing: its steps in order, and why each token waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from orch.control.escalated import (
    EscalationStatus,
    escalation_status,
    rung_title,
    why_escalated,
)
from orch.control.hindrance import why_limited
from orch.control.placing import Place, Placing
from orch.control.plans import Plans
from orch.control.spending import UsageInfo
from orch.errors import NotFound
from orch.journal.finding import Found
from orch.journal.journal import HistoryEntry, Journal, Record
from orch.workflows.agents import agent_of_queue, queues_of_agent
from orch.workflows.beat import Beat
from orch.workflows.calls import Call
from orch.workflows.definition import StepType
from orch.workflows.escalation import INBOX_MARK
from orch.workflows.external import MARK, TaskId
from orch.workflows.message import told as routed_by
from orch.workflows.node import Node
from orch.workflows.paths import split
from orch.workflows.pausing import pauses_over
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung, subject_of
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus, encode
from orch.workflows.traces import TraceContext, trace_of
from orch.workflows.view import scopes_up

ITEMS_SHOWN = 100
"""Steps of items, at work or failed, that a status shows."""

HOLDERS_SHOWN = 3
"""Executions that have a slot for which another one waits, that a status names."""

Depth = Callable[[str], int | None]
"""Queue -> how many messages lie in it; None where nobody can say."""


class Voted(BaseModel):
    """What was said, and by which branches, named by their paths."""

    value: Any
    by: list[str]


class Resolved(BaseModel):
    """Which branch of a step has the output that counts, and who said what."""

    policy: str
    need: int | None = Field(None, description="of a vote: how many had to say the same")
    winner: str | None = Field(None, description="path of the branch; none: they contradict")
    votes: list[Voted] = Field(default_factory=list, description="the one with the most first")
    dissenters: list[str] = Field(default_factory=list, description="who said something else")
    mute: list[str] = Field(default_factory=list, description="who said nothing to compare")

    def __str__(self) -> str:
        if not self.votes:
            return f"{self.policy}: {self.winner or 'nobody'}"
        return f"{self.policy}: {votes_in_words(self.votes)}"


def votes_in_words(votes: Iterable[Voted | Mapping[str, Any]]) -> str:
    """`"yes" by review/0, review/2; "no" by review/1`"""
    found = (each if isinstance(each, Voted) else Voted.model_validate(each) for each in votes)
    return "; ".join(f"{encode(each.value)[:100]} by {', '.join(each.by)}" for each in found)


class StepExecution(BaseModel):
    """One step of an execution. Instants are ISO 8601 in UTC, durations ms."""

    model_config = ConfigDict(frozen=True)

    path: str
    step: str
    type: str = "task"
    capability: str | None = None
    status: str
    attempts: int = 0
    started: str | None = None
    ended: str | None = None
    duration_ms: int | None = None
    worker: str | None = None
    progress: Any = Field(None, description="what a running attempt said last")
    heartbeat: str | None = Field(None, description="when it said so")
    child: str | None = Field(None, description="the execution that a subworkflow step called")
    task: str | None = Field(None, description="id under which an outside agent reports")
    error: dict[str, Any] | None = None
    fallback: str | None = Field(
        None,
        description="cached, value or capability: what its output is from, if not from itself",
    )
    waiting_for: str | None = None
    routed: str | None = Field(
        None, description="where message rules have sent it, and which: `routed by rule 'eu' to x`"
    )
    rung: str | None = Field(None, description="of the work of a rung: which, and what it does")
    escalation: EscalationStatus | None = Field(None, description="the last one of the step")
    resolution: Resolved | None = Field(
        None, description="of branches that may contradict one another: whose output counts"
    )
    usage: UsageInfo | None = Field(None, description="what all of its attempts used")
    items: dict[str, int] | None = None
    """Of a map: total, succeeded, failed, running, waiting. Items have no lines of their own,
    but for those that are at work or have failed, and of these at most a hundred."""


class Pause(BaseModel):
    """Since when an execution is paused, and by whom."""

    at: str
    by: str = ""
    reason: str = ""

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        return f"paused by {self.by or 'somebody'} at {self.at}{because}"


class Origin(BaseModel):
    """The execution that this one was made from: run again, or forked from the step at `path`."""

    execution: str
    path: str | None = None
    by: str = ""
    at: str

    @classmethod
    def of(cls, found: Mapping[str, Any] | None) -> Origin | None:
        return None if found is None else cls.model_validate({**found, "at": instant(found["at"])})

    def __str__(self) -> str:
        if self.path is None:
            return f"run again from {self.execution} by {self.by}"
        return f"forked from {self.execution} at {self.path} by {self.by}"


class Cancelling(BaseModel):
    """Who cancels an execution, and until when its steps may end."""

    at: str
    by: str = ""
    reason: str = ""
    until: str

    @classmethod
    def of(cls, record: Record) -> Cancelling | None:
        if record.status is not ExecutionStatus.CANCELLING or record.cancel is None:
            return None
        found = record.cancel
        at, until = instant(found["at"]), instant(found["until"])
        return cls(at=at, by=found["by"], reason=found["message"], until=until)

    def __str__(self) -> str:
        return (
            f"being cancelled by {self.by} since {self.at}: {self.reason}; "
            f"what runs may end until {self.until}, then what was done is compensated"
        )


class HoleInfo(BaseModel):
    """What an execution has gone on without."""

    path: str
    why: str = Field(description="tolerated, skipped or fallback")
    error: str = ""
    message: str = ""
    by: str = ""

    def __str__(self) -> str:
        cause = ": ".join(text for text in (self.error, self.message) if text)
        by = f" by {self.by}" if self.by else ""
        return f"{self.path} {self.why}{by}" + (f": {cause}" if cause else "")


class ExecutionMetrics(BaseModel):
    model_config = ConfigDict(frozen=True)

    duration: int = Field(0, description="ms from its beginning to its end, or to now")
    step_count: int = 0
    completed_steps: int = 0
    task_count: int = 0
    error_count: int = 0
    retry_count: int = 0


class ExecutionContext(BaseModel):
    """All that one asks of an execution."""

    model_config = ConfigDict(frozen=True)

    id: str
    workflow: str
    version: str
    canary: float | None = Field(None, description="percentage of new ones that get its version")
    status: str
    created: str
    ended: str | None = None
    begins: str | None = Field(None, description="when it begins, or was to begin")
    waits: str | None = Field(None, description="why it has not begun")
    paused: Pause | None = None
    paused_branches: dict[str, Pause] = Field(
        default_factory=dict, description="path of a branch that is paused by itself -> who, why"
    )
    cancelling: Cancelling | None = None
    attributes: dict[str, str | int | float | bool] = Field(default_factory=dict)
    priority: int = Field(0, description="0 to 9, the most urgent")
    project: str | None = Field(None, description="for whom it works, where its start said so")
    parent: str | None = Field(None, description="the execution that called it")
    origin: Origin | None = Field(None, description="what it was run again, or forked, from")
    input: Any = None
    output: Any = None
    variables: dict[str, Any] = Field(default_factory=dict)
    error: dict[str, Any] | None = None
    degraded: bool = Field(False, description="completed with holes")
    holes: list[HoleInfo] = Field(default_factory=list, description="what it went on without")
    steps: list[StepExecution] = Field(default_factory=list)
    metrics: ExecutionMetrics = Field(default_factory=ExecutionMetrics)
    usage: UsageInfo | None = Field(None, description="what its steps used")
    trace_id: str | None = Field(None, description="of its spans, where `tracing` is on")

    @property
    def undoing(self) -> list[str]:
        """What is undone, or was, of one that did not complete; a sentence each."""
        if self.status == ExecutionStatus.COMPENSATING:
            return ["it failed; what it did is undone, and then it ends as failed"]
        error = self.error or {}
        done, failed = error.get("compensated", []), error.get("failedCompensations", [])
        lines = [f"undone: {', '.join(done)}"] if done else []
        for each in failed:
            cause = each["error"]
            lines.append(f"not undone: {each['path']}: {cause.get('name')}: {cause.get('message')}")
        return lines

    @property
    def current_steps(self) -> list[StepExecution]:
        return [s for s in self.steps if s.status in LIVE]

    @property
    def fallbacks(self) -> dict[str, str]:
        """Path of each step that a fallback completed -> `cached`, `value` or `capability`.

        Items of maps are in `fallbacks_taken` alone."""
        return {s.path: s.fallback for s in self.steps if s.fallback}

    @property
    def waiting_for(self) -> dict[str, str]:
        """Path of each live token -> why it is not done yet."""
        return {s.path: s.waiting_for for s in self.steps if s.waiting_for}


@dataclass(frozen=True)
class Waits:
    """What must be known to say why a token waits. ``served``: queue -> live workers."""

    now: int
    served: Mapping[str, list[str]]
    paused: str
    depth: Depth
    branches: Mapping[str, Pause] = field(default_factory=dict)
    place: Callable[[str], Place] | None = None
    found: Place | None = None
    limited: Mapping[str, str] = field(default_factory=dict)
    """Path of a token that waits for its limits -> which, and how many before it."""
    limit: str = ""

    def at(self, path: str, node: Node | None = None) -> Waits:
        """As it is for the token at ``path``: with the pauses of the branches around it, and where
        it was sent, if its plan does not say."""
        if node is not None and node.is_placed and self.place is not None:
            return replace(self, found=self.place(path), place=None).at(path)
        if path in self.limited:
            return replace(self, limit=self.limited[path], limited={}).at(path)
        if not self.branches:
            return self
        around = [
            f"branch {name} {self.branches[name]}" for name in pauses_over(self.branches, path)
        ]
        return replace(self, paused="; ".join(filter(None, [self.paused, *around])))

    def why(
        self,
        state: StepState,
        node: Node | None,
        child: str,
        listens: str,
        beat: Beat | None = None,
        broken: Mapping[str, Any] | None = None,
        asked: str = "",
    ) -> str | None:
        """Why a live token is not done yet, in one line.

        ``child``: the execution that it called, or the task that is to be reported;
        ``listens``: the event for which it waits; ``beat``: what it said last;
        ``broken``: the open breaker for which it waits, as the history tells of it;
        ``asked``: who is asked about it, of an escalated one.
        """
        match state.status:
            case StepStatus.RETRYING if broken and not self.paused:
                return self._broken(state, broken)
            case StepStatus.RUNNING:
                owner = state.owner.rsplit("/", 2)[0]
                heard = "" if beat is None else f", {self._heard(state, beat)}"
                return f"running on {owner} for {seconds(self.now - state.started)}{heard}"
            case StepStatus.JOINED:
                return "its branches ended; a worker goes on"
            case StepStatus.DISPATCHED if self.paused:
                return self.paused
            case StepStatus.ESCALATED:
                return f"{asked}; {self.paused}" if self.paused else asked
        found = self._rests(state, node, child, listens)
        if state.status is StepStatus.EXTERNAL and beat is not None and found:
            found = f"{found}; {self._heard(state, beat)}"
        return f"{found}; {self.paused}" if found and self.paused else found

    def _heard(self, state: StepState, beat: Beat) -> str:
        said = f": {beat.brief()}" if beat.progress is not None else ""
        if beat.attempt != state.attempt:
            return f"last heard of attempt {beat.attempt}{said}"
        return f"heartbeat {seconds(self.now - beat.at)} ago{said}"

    def _broken(self, state: StepState, broken: Mapping[str, Any]) -> str:
        until = broken.get("until")
        probed = f", probed at {instant(until)}" if until else ""
        left = seconds(state.due - self.now)
        return (
            f"the breaker of capability {broken['capability']!r}, open since "
            f"{instant(broken['since'])}{probed}; attempt {state.attempt} in {left}"
        )

    def _rests(self, state: StepState, node: Node | None, child: str, listens: str) -> str | None:
        if state.waits_for_limits:
            return self.limit
        queue, place = node.queue if node else "", self.found
        if state.status is StepStatus.DISPATCHED and place is not None:
            if place.queue is None:
                return f"{place.why}, for {seconds(self.now - state.since)}"
            queue = place.queue
            if place.why:
                alone = replace(self, found=replace(place, why=""))
                return f"{alone._rests(state, node, child, listens)}; {place.why}"
        match state.status:
            case StepStatus.DISPATCHED if not self.served.get(queue):
                return nobody_serves(queue)
            case StepStatus.DISPATCHED:
                depth = self.depth(queue)
                ahead = "" if depth is None else f", at most {max(depth - 1, 0)} messages before it"
                return f"in queue {queue!r} for {seconds(self.now - state.since)}{ahead}"
            case StepStatus.RETRYING:
                left = seconds(state.due - self.now)
                return f"attempt {state.attempt} at {instant(state.due)}, in {left}"
            case StepStatus.POLLING:
                left = seconds(state.due - self.now)
                return f"check {state.total + 1} at {instant(state.due)}, in {left}"
            case StepStatus.WAITING:
                return f"timer until {instant(state.due)}, in {seconds(state.due - self.now)}"
            case StepStatus.ENTERING:
                return "its turn has come; a worker goes on"
            case StepStatus.JOINING if node is not None and node.mapped is not None:
                running = _items(state)["running"]
                return f"{state.left} of {state.total} items, {running} of them at work"
            case StepStatus.JOINING:
                bounded = f", {_at_work(state)} at work" if state.opened else ""
                return f"{state.left} of {state.total} branches{bounded}"
            case StepStatus.LISTENING:
                return f"event {listens} for {seconds(self.now - state.since)}"
            case StepStatus.EMITTING:
                return "its event is sent; a worker goes on"
            case StepStatus.CALLING:
                return f"child execution {child}"
            case StepStatus.EXTERNAL:
                since = seconds(self.now - state.started)
                limit = node.step.timeout if node else None
                until = f", until {instant(state.started + limit)}" if limit else ""
                agent = (
                    f"an outside agent of capability {node.capability!r}" if node else "somebody"
                )
                if node and node.step.agent:
                    agent = f"agent {node.step.agent!r}"
                return f"{agent} to report task {child}, for {since}{until}"
        return None


class ExecutionInfo(BaseModel):
    """One line of a list of executions."""

    model_config = ConfigDict(frozen=True)

    id: str
    workflow: str
    version: str
    status: str
    created: str
    ended: str | None = None
    duration_ms: int
    error: str | None = None
    attributes: Mapping[str, Any] = Field(default_factory=dict)
    parent: str | None = None
    origin: Origin | None = None
    degraded: bool = Field(False, description="completed with holes")


def instant(ms: int) -> str:
    """ms since the epoch -> ISO 8601 in UTC with ms."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def execution_info(found: Found, now: int) -> ExecutionInfo:
    return ExecutionInfo(
        id=found.id,
        workflow=found.workflow,
        version=found.version,
        status=found.status.value,
        created=instant(found.created),
        ended=instant(found.ended) if found.ended else None,
        duration_ms=found.duration(now),
        error=found.error,
        attributes=dict(found.attributes),
        parent=found.parent,
        origin=Origin.of(found.origin),
        degraded=found.degraded,
    )


def execution_context(
    journal: Journal,
    plans: Plans,
    execution: str,
    depth: Depth = lambda queue: None,
    placing: Placing | None = None,
) -> ExecutionContext:
    """Read an execution. Raises NotFound. ``depth``: asked of the queues that hold its steps;
    ``placing``: where those are whose plan does not say."""
    whole = journal.whole(execution)
    record, fields, history = whole.record, whole.fields, whole.history
    try:
        plan: Plan | None = plans.get(record.plan)
    except NotFound:
        plan = None
    paused = _pause(history) if record.status is ExecutionStatus.PAUSED else None
    branches = _paused_branches(record, fields, history)
    waits = Waits(
        journal.clock(),
        _served(journal) if not record.status.ended else {},
        str(paused or ""),
        depth,
        branches,
        partial(placing.place, plan, execution) if placing and plan and plan.is_placed else None,
    )
    fields = _without_items(fields, plan)
    waits = replace(waits, limited=_limited(journal, execution, fields, waits.now))
    seen = [
        _step(record, path, events, fields, plan, waits)
        for path, events in _by_path(history).items()
        if path in fields
    ]
    steps = _works_below(seen + _unseen(record, seen, fields, plan, waits))
    return ExecutionContext(
        id=record.id,
        workflow=record.workflow,
        version=record.version,
        canary=_canary(journal, record) if whole.canaries else None,
        status=record.status.value,
        created=instant(record.created),
        ended=instant(record.ended) if record.ended else None,
        begins=instant(record.at) if record.at else None,
        waits=_not_begun(journal, record, waits),
        paused=paused,
        paused_branches=branches,
        cancelling=Cancelling.of(record),
        attributes=dict(record.attributes),
        priority=record.priority,
        project=record.project or None,
        parent=record.parent,
        origin=Origin.of(record.origin),
        input=record.input,
        output=record.output,
        variables=dict(record.variables),
        error=dict(record.error) if record.error else None,
        degraded=bool(record.holes) and record.status is ExecutionStatus.COMPLETED,
        holes=[HoleInfo(**vars(hole)) for holes in record.holes.values() for hole in holes],
        steps=steps,
        metrics=_metrics(record, seen, history, waits.now),
        usage=UsageInfo.of(record.used) if record.used else None,
        trace_id=_trace_id(record) if journal.settings.tracing != "off" else None,
    )


def _trace_id(record: Record) -> str:
    above = TraceContext.of(record.trace)
    return f"{above.trace if above is not None else trace_of(record.id):032x}"


def _limited(
    journal: Journal, execution: str, fields: Mapping[str, str], now: int
) -> dict[str, str]:
    """For which limits tokens wait, by their paths."""
    states = {p: StepState.loads(text) for p, text in fields.items() if p[0] not in "=!?"}
    return {
        path: why_limited(journal, execution, path, now)
        for path, state in states.items()
        if state.waits_for_limits
    }


def _canary(journal: Journal, record: Record) -> float | None:
    """The percentage that gets the version of this one, if that is the canary."""
    _, canary = journal.choices(record.workflow)
    return canary.percent if canary is not None and canary.version == record.version else None


def _not_begun(journal: Journal, record: Record, waits: Waits) -> str | None:
    """Why an execution has not begun, in one line; None where it has."""
    if record.status is ExecutionStatus.QUEUED:
        return _queued(journal, record)
    if record.status is not ExecutionStatus.SCHEDULED:
        return None
    return f"begins at {instant(record.at)}, in {seconds(record.at - waits.now)}"


def _queued(journal: Journal, record: Record) -> str:
    """Which gate has no slot for it, who has them, and how many go before it."""
    for gate in record.slots.gates if record.slots is not None else ():
        ahead = journal.place_in(gate, record.id)
        if ahead is None:
            continue
        held = [place.execution for place in journal.read_gate(gate.id)[0]]
        shown = ", ".join(held[:HOLDERS_SHOWN])
        more = f" and {len(held) - HOLDERS_SHOWN} more" if len(held) > HOLDERS_SHOWN else ""
        since = journal.begun_of(held[0]) if held else None
        when = f" since {instant(since)}" if since is not None else ""
        return f"{gate.name(record.workflow)} held by {shown}{more}{when}, {ahead} before it"
    return "it has its slots, or asks for them; a worker goes on"


def _by_path(history: Iterable[HistoryEntry]) -> dict[str, list[HistoryEntry]]:
    """Events of each path, paths in the order in which they were first heard of."""
    found: dict[str, list[HistoryEntry]] = {}
    for entry in history:
        if entry.path:
            found.setdefault(entry.path, []).append(entry)
    return found


def _without_items(fields: dict[str, str], plan: Plan | None) -> dict[str, str]:
    """The fields, without most steps of items: a map may have had thousands."""
    if plan is None or not any(node.mapped for node in plan.nodes()):
        return fields
    shown = {}
    room = ITEMS_SHOWN
    for name, text in fields.items():
        of_item = name[0] not in "=!?" and _is_of_item(plan, name)
        if not of_item:
            shown[name] = text
        elif room and StepState.loads(text).status in (*LIVE, StepStatus.FAILED):
            room -= 1
            shown[name] = text
    return shown


def _is_of_item(plan: Plan, path: str) -> bool:
    if "[" not in path:
        return False
    try:
        return any(plan.scope(scope).item_of for scope in scopes_up(split(subject_of(path))[0]))
    except KeyError:
        return False


def _at_work(state: StepState) -> int:
    """Items, or branches, whose turn has come and that have not ended."""
    ended = state.total - state.left
    return state.opened - state.waits - ended if state.status is StepStatus.JOINING else 0


def _items(state: StepState) -> dict[str, int]:
    running = _at_work(state)
    return {
        "total": state.total,
        "succeeded": state.succeeded,
        "failed": state.failed,
        "running": running,
        "waiting": state.left - running if state.status in LIVE else 0,
    }


def _works_below(steps: list[StepExecution]) -> list[StepExecution]:
    """The steps in their order, the works of rungs right below the step that they are for."""
    works: dict[str, list[StepExecution]] = {}
    for step in steps:
        if in_rung(step.path):
            works.setdefault(subject_of(step.path), []).append(step)
    if not works:
        return steps
    own = [step for step in steps if not in_rung(step.path)]
    return [each for step in own for each in (step, *works.get(step.path, ()))]


def _unseen(
    record: Record,
    seen: list[StepExecution],
    fields: Mapping[str, str],
    plan: Plan | None,
    waits: Waits,
) -> list[StepExecution]:
    """Steps that were dispatched and of which nothing was heard yet."""
    known = {step.path for step in seen}
    return [
        _step(record, path, [], fields, plan, waits)
        for path in sorted(fields)
        if path[0] not in "=!?" and path not in known
    ]


def _step(
    record: Record,
    path: str,
    events: list[HistoryEntry],
    fields: Mapping[str, str],
    plan: Plan | None,
    waits: Waits,
) -> StepExecution:
    execution, state = record.id, StepState.loads(fields[path])
    node, address = _node(plan, path, record), record.addresses.get(path)
    live = state.status in LIVE
    beat = record.beats.get(path) if live else None
    escalation = _escalation(record, path, plan, waits.now, state)
    claimed = [entry for entry in events if entry.event == "claimed"]
    started = claimed[0].at if claimed else (events[0].at if events else state.since)
    outside = live and state.status is StepStatus.EXTERNAL
    begun = claimed or not live or outside or state.status is StepStatus.CALLING
    attempts = state.attempt if begun else 0
    if state.status in (StepStatus.DISPATCHED, StepStatus.RETRYING, StepStatus.POLLING):
        attempts = state.attempt - 1
    if state.status is StepStatus.SKIPPED:
        attempts = 0
    worker = _worker(state, claimed)
    called = node is not None and node.type is StepType.SUBWORKFLOW and attempts
    child = _child(execution, path, state.attempt, events) if called else ""
    task = str(TaskId(execution, path, state.attempt)) if outside else ""
    failure = fields.get(f"!{path}") if state.status is not StepStatus.COMPLETED else None
    asked = ""
    if state.status is StepStatus.ESCALATED and escalation is not None:
        asked = _asked(record, escalation, fields, plan, waits)
    return StepExecution(
        path=path,
        step=subject_of(path).rpartition("/")[2].partition("#")[0],
        type=node.type.value if node else StepType.TASK.value,
        capability=(node.capability or None) if node else None,
        status=state.status.value,
        attempts=attempts,
        started=instant(started) if claimed or not live or started else None,
        ended=None if live else instant(state.since),
        duration_ms=(waits.now if live else state.since) - started if claimed or not live else None,
        worker=worker,
        error=_json(failure),
        fallback=_fallback(state, events),
        child=child or None,
        task=task or None,
        progress=beat.progress if beat is not None else None,
        heartbeat=instant(beat.at) if beat is not None else None,
        waiting_for=waits.at(path, node if live else None).why(
            state,
            node,
            child or task,
            _listens(fields.get(f"?{path}")),
            beat,
            _broken(events),
            asked,
        )
        if live
        else None,
        routed=routed_by(address.as_dict()) if address is not None and address.rules else None,
        rung=rung_title(plan, path),
        escalation=escalation,
        resolution=_resolution(record, path, live),
        usage=UsageInfo.of(record.usage[path]) if path in record.usage else None,
        items=_items(state) if node is not None and node.mapped is not None else None,
    )


def _resolution(record: Record, path: str, live: bool) -> Resolved | None:
    """Of a step that is tried again, what its branches said before says nothing any more."""
    found = record.resolutions.get(path)
    return None if found is None or live else Resolved.model_validate(found)


def _node(plan: Plan | None, path: str, record: Record) -> Node | None:
    """The step, or the work of a rung, where its messages go."""
    try:
        address = record.addresses.get(subject_of(path))
        return plan.node(path, address) if plan is not None else None
    except (KeyError, IndexError):
        return None


def _escalation(
    record: Record, path: str, plan: Plan | None, now: int, state: StepState
) -> EscalationStatus | None:
    found = record.escalations.get(path)
    # That of a branch that was cancelled is open for ever.
    ended = state.since if state.status is not StepStatus.ESCALATED else 0
    if found is None:
        return None
    return escalation_status(record.id, path, found, plan, now, ended)


def _asked(
    record: Record,
    found: EscalationStatus,
    fields: Mapping[str, str],
    plan: Plan | None,
    waits: Waits,
) -> str:
    """Who is asked about an escalated step, or what its rung does."""
    work, until = found.work or "", record.escalations[found.path].until
    working = None
    if work in fields:
        state = StepState.loads(fields[work])
        beat = record.beats.get(work)
        working = replace(waits, paused="").why(state, _node(plan, work, record), "", "", beat)
    left = seconds(until - waits.now) if until else ""
    return why_escalated(found, rung_title(plan, work) or "", working, left)


def _broken(events: list[HistoryEntry]) -> Mapping[str, Any] | None:
    """What was told last, if it is that the breaker of its capability is open."""
    return events[-1].detail if events and events[-1].event == "breaker_open" else None


def _fallback(state: StepState, events: list[HistoryEntry]) -> str | None:
    """What completed its last attempt, if that was a fallback."""
    if state.status is not StepStatus.COMPLETED:
        return None
    told = [e for e in events if e.event == "fallback" and e.attempt == state.attempt]
    if told:
        return str(told[-1].detail["by"])
    helped = events and events[-1].event == "resolved" and events[-1].detail["decision"]
    return "capability" if helped == "fallback" else None


def _worker(state: StepState, claimed: list[HistoryEntry]) -> str | None:
    """Who has the step, or had it when it ended, as its last claim tells."""
    owner = state.owner
    if owner and "/" not in owner and claimed:
        owner = str(claimed[-1].detail.get("worker", ""))
    return owner.rsplit("/", 2)[0] or None


def _child(execution: str, path: str, attempt: int, events: list[HistoryEntry]) -> str:
    """The child of a call; of one that a fork kept, as its event tells it."""
    told = [e.detail["child"] for e in events if e.attempt == attempt and "child" in e.detail]
    return str(told[-1]) if told else Call(execution, path, attempt).child


def _listens(subscription: str | None) -> str:
    if subscription is None or subscription.startswith((MARK, INBOX_MARK)):
        return ""
    name, correlation = json.loads(subscription)
    return repr(name) if correlation is None else f"{name!r} of {correlation!r}"


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _pause(history: Iterable[HistoryEntry]) -> Pause | None:
    """The last pause that the history tells of."""
    told = [entry for entry in history if entry.event == "paused"]
    return _as_pause(told[-1]) if told else None


def _as_pause(entry: HistoryEntry) -> Pause:
    by, reason = (str(entry.detail.get(key, "")) for key in ("by", "reason"))
    return Pause(at=instant(entry.at), by=by, reason=reason)


def _paused_branches(
    record: Record, fields: Mapping[str, str], history: Iterable[HistoryEntry]
) -> dict[str, Pause]:
    """The branches that are paused, and in which a step lives; one that has ended keeps its
    pause, for nobody."""
    if not record.pauses or record.status.ended:
        return {}
    live = {
        branch
        for path, text in fields.items()
        if path[0] not in "=!?" and StepState.loads(text).status in LIVE
        for branch in pauses_over(record.pauses, path)
    }
    told = {e.detail.get("branch"): e for e in history if e.event == "branch_paused"}
    return {
        branch: _as_pause(told[branch]) if branch in told else Pause(at=instant(since))
        for branch, since in sorted(record.pauses.items())
        if branch in live
    }


def seconds(ms: int) -> str:
    return f"{max(ms, 0) / 1000:.1f} s"


def _served(journal: Journal) -> dict[str, list[str]]:
    """Queue -> the live workers that serve it."""
    found: dict[str, list[str]] = {}
    for worker in journal.live_workers():
        own = queues_of_agent(str(worker.get("name") or worker["id"]))
        for queue in (*worker.get("queues", ()), *own):
            found.setdefault(queue, []).append(worker.get("name") or worker["id"])
    return found


def nobody_serves(queue: str) -> str:
    agent = agent_of_queue(queue)
    if agent is not None:
        return f"no live agent is called {agent!r}; start it: orch worker --name {agent}"
    return f"no live worker serves {queue!r}; start one: celery -A worker worker -Q {queue}"


def unserved(journal: Journal, plan: Plan) -> dict[str, str]:
    """Capability -> queue, of those steps of a plan that no live worker serves."""
    served = _served(journal)
    return {
        capability: queue for capability, queue in plan.capabilities.items() if queue not in served
    }


def _metrics(
    record: Record, steps: list[StepExecution], history: list[HistoryEntry], now: int
) -> ExecutionMetrics:
    steps = [step for step in steps if step.rung is None]
    return ExecutionMetrics(
        duration=record.duration(now),
        step_count=len(steps),
        completed_steps=sum(s.status == StepStatus.COMPLETED for s in steps),
        task_count=sum(s.type == StepType.TASK for s in steps),
        error_count=sum(e.event in ("failed", "retrying", "lost") for e in history),
        retry_count=sum(e.event in ("retrying", "lost") for e in history),
    )
