"""(plan, token, outcome) -> Transition: what an outcome means, decided before it is stored.

Nothing here asks Redis or a clock: `View` is what the journal said, ``now`` is given, and the
answer is a frozen value that one script commits. Decisions, conditions, output mappings and
waits that follow a step are decided here too, so that they cost no message.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from orch.errors import StepError
from orch.workflows.definition import RetryPolicy, StepType
from orch.workflows.durations import parse_duration, parse_instant
from orch.workflows.expressions import to_text, truthy
from orch.workflows.plan import (
    ROOT,
    Choice,
    Node,
    Plan,
    handler_scope,
    in_handler,
    join_of,
    join_path,
    split,
)
from orch.workflows.validation import check_output

MAX_INLINE_LAPS = 1000
"""Laps that one transition may begin; more is a cycle in which no step does anything."""


class StepStatus(StrEnum):
    DISPATCHED = "dispatched"  # a message should be on its way to a worker
    RUNNING = "running"  # a worker holds the attempt
    RETRYING = "retrying"  # the next attempt waits for its back-off
    WAITING = "waiting"  # a timer runs
    JOINING = "joining"  # a parallel step waits for its branches
    JOINED = "joined"  # all branches ended; what follows is to be decided
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"  # its condition was not true
    CANCELLED = "cancelled"  # its branch was ended by another one, or its execution was


LIVE = frozenset(
    {
        StepStatus.DISPATCHED,
        StepStatus.RUNNING,
        StepStatus.RETRYING,
        StepStatus.WAITING,
        StepStatus.JOINING,
        StepStatus.JOINED,
    }
)


class ExecutionStatus(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self not in (ExecutionStatus.RUNNING, ExecutionStatus.PAUSED)


@dataclass(frozen=True)
class StepState:
    """One field of the steps' hash. Instants are ms since the epoch, 0 means: not yet.

    Stored as a JSON array in the order of the fields, so that scripts can change it.
    """

    status: StepStatus
    attempt: int = 1
    failures: int = 0
    lost: int = 0  # attempts whose worker died, since the last that did not
    since: int = 0  # when the token came to its present status
    owner: str = ""
    started: int = 0  # of the current or last attempt
    total: int = 0  # branches of a parallel
    left: int = 0  # branches that have not ended

    def dumps(self) -> str:
        values: list[Any] = [
            self.status.value,
            self.attempt,
            self.failures,
            self.lost,
            self.since,
            self.owner,
            self.started,
        ]
        if self.total:
            values += [self.total, self.left]
        return encode(values)

    @classmethod
    def loads(cls, text: str | bytes) -> StepState:
        values = json.loads(text)
        return cls(StepStatus(values[0]), *values[1:])


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed; `$.error` in the steps that take it."""

    name: str
    message: str
    step: str = ""
    path: str = ""
    attempt: int = 0
    data: Any = None

    def as_dict(self) -> dict[str, Any]:
        found = {
            "name": self.name,
            "message": self.message,
            "step": self.step,
            "path": self.path,
            "attempt": self.attempt,
        }
        return found if self.data is None else {**found, "data": self.data}


@dataclass(frozen=True)
class Completed:
    """An attempt succeeded; ``output`` is JSON, ``text`` its encoding where it is known."""

    output: Any = None
    text: str | None = None


@dataclass(frozen=True)
class Failed:
    failure: Failure
    retryable: bool = True


@dataclass(frozen=True)
class Lost:
    """The worker that held the attempt is gone. ``poison``: it was one too many."""

    reason: str
    poison: bool = False


@dataclass(frozen=True)
class Branched:
    """The branches of a parallel step ended: (output, failure) of each, in order."""

    results: tuple[tuple[Any, Mapping[str, Any] | None], ...]


Outcome = Completed | Failed | Lost | Branched


@dataclass(frozen=True)
class View:
    """What the journal said of an execution, as far as the plan asked for it."""

    execution: str
    workflow: str
    input: Any = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)  # scope path -> last output
    errors: Mapping[str, Any] = field(default_factory=dict)  # scope path -> `$.error`
    cause: Mapping[str, Any] | None = None  # what the error handlers were called for


@dataclass(frozen=True)
class Open:
    """A step state to write. ``due``: when to look at it, ms; None: it is not live."""

    path: str
    state: StepState
    due: int | None = None


@dataclass(frozen=True)
class BranchEnd:
    """A branch of the parallel step at ``join`` ended, well or not."""

    join: str
    number: int
    ok: bool
    text: str  # JSON of the output, or of the failure


@dataclass(frozen=True)
class End:
    status: ExecutionStatus
    output: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Event:
    """One entry of the history: what happened to which attempt of which path."""

    word: str
    path: str = ""
    attempt: int = 0
    detail: Mapping[str, Any] | None = None

    def dumps(self, now: int) -> str:
        values: list[Any] = [now, self.word, self.path, self.attempt]
        if self.detail:
            values.append(self.detail)
        return encode(values)


@dataclass(frozen=True)
class Transition:
    """All that one script commits: nothing of it holds without the rest."""

    path: str
    state: StepState | None
    due: int | None = None  # of the path itself, if it stays live
    opens: tuple[Open, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()  # fields of the steps' hash: outputs and failures
    fields: tuple[tuple[str, str], ...] = ()  # fields of the record: variables and the like
    branch: BranchEnd | None = None
    end: End | None = None
    events: tuple[Event, ...] = ()
    cancels_below: bool = False  # whether the live tokens in its branches end with it

    @property
    def dispatched(self) -> tuple[str, ...]:
        """Paths that need a message now."""
        return tuple(o.path for o in self.opens if o.state.status is StepStatus.DISPATCHED)

    @property
    def joined(self) -> tuple[str, ...]:
        """Parallel steps opened here whose branches all ended at once."""
        return tuple(o.path for o in self.opens if o.state.status is StepStatus.JOINED)


def variable_field(name: str) -> str:
    return f"v:{name}"


def output_field(scope_path: str) -> str:
    return f"o:{scope_path}"


def error_field(scope_path: str) -> str:
    return f"e:{scope_path}"


WORKFLOW_FIELD = "workflow"
CAUSE_FIELD = "cause"
INPUT_FIELD = "input"
ALL_VARIABLES = "v*"
"""No field has this name: those of variables begin with `v:`, and one may be called `*`."""


def fields_for(plan: Plan, path: str) -> list[str]:
    """The fields of the record that a step at ``path`` needs, from the plan's static reads."""
    return _fields(plan.reads(path), split(path)[0])


def _fields(reads: frozenset[tuple[str, ...]], scope_path: str) -> list[str]:
    fields: set[str] = {WORKFLOW_FIELD}
    for read in reads:
        if read[0] == "input":
            fields.add(INPUT_FIELD)
        elif read[0] == "variables":
            fields.add(variable_field(read[1]) if len(read) > 1 else ALL_VARIABLES)
        elif read[0] == "output":
            fields.add(output_field(scope_path))
        elif read[0] == "cause":
            fields.add(CAUSE_FIELD)
        elif read[0] == "error":
            fields.update(error_field(scope) for scope in _scopes_up(scope_path))
    if in_handler(scope_path + "/"):
        fields.update((CAUSE_FIELD, INPUT_FIELD))
    return sorted(fields)


def _scopes_up(scope_path: str) -> list[str]:
    """The scope and those around it, innermost first."""
    found = [scope_path]
    while (up := join_of(found[-1])) is not None:
        found.append(split(up[0])[0])
    return found


def context_of(view: View, path: str) -> dict[str, Any]:
    """What expressions of the step at ``path`` see."""
    scope_path, own = split(path)
    context = {
        "input": view.input,
        "variables": view.variables,
        "output": view.outputs.get(scope_path),
        "error": next(
            (e for s in _scopes_up(scope_path) if (e := view.errors.get(s)) is not None), None
        ),
        "workflowName": view.workflow,
        "executionId": view.execution,
        "stepId": own.partition("#")[0],
    }
    if in_handler(path) and view.cause is not None:
        context["stepId"] = view.cause.get("step", "")
        context["input"] = {
            "error": view.cause,
            "workflow": view.workflow,
            "execution": view.execution,
            "step": view.cause.get("step", ""),
            "input": view.input,
        }
    return context


def begin(plan: Plan, view: View, now: int, grace: int) -> Transition:
    """The first transition of an execution: enter the first step."""
    move = _Move(plan, view, now, grace)
    entry = plan.scopes[ROOT].entry
    move.enter(entry, join_path(ROOT, entry.id))
    return move.transition("", None)


def decide(
    plan: Plan, view: View, path: str, state: StepState, outcome: Outcome, now: int, grace: int
) -> Transition:
    """What an outcome of the step at ``path``, whose state is ``state``, means."""
    node = plan.node(path)
    move = _Move(plan, view, now, grace)
    match outcome:
        case Lost(reason, poison):
            if not poison:
                return _attempt_again(
                    path,
                    replace(state, lost=state.lost + 1),
                    StepStatus.DISPATCHED,
                    now,
                    now + grace,
                    Event("lost", path, state.attempt, {"reason": reason}),
                )
            failure = Failure(
                "WorkerLost",
                f"{state.lost + 1} workers in a row died under step {node.id!r}; "
                f"the last: {reason}",
                node.id,
                path,
                state.attempt,
            )
            ended = replace(state, lost=state.lost + 1)
            move.note("lost", path, state.attempt, {"reason": reason, "poison": True})
            return move.fail_attempt(node, path, ended, failure)
        case Failed(failure, retryable):
            policy = node.retry
            failures = state.failures + 1
            if retryable and policy is not None and may_retry(policy, failure.name, failures):
                pause = retry_pause(policy, failures, f"{view.execution}/{path}#{failures}")
                detail = {"error": failure.as_dict(), "due": now + pause}
                return _attempt_again(
                    path,
                    replace(state, failures=failures, lost=0),
                    StepStatus.RETRYING,
                    now,
                    now + pause,
                    Event("retrying", path, state.attempt, detail),
                )
            failed = move.fail_attempt(node, path, replace(state, failures=failures), failure)
            return replace(failed, cancels_below=node.type is StepType.PARALLEL)
        case Completed(output, text):
            return move.complete_attempt(node, path, state, output, text)
        case Branched(results):
            return move.join(node, path, state, results)


def may_retry(policy: RetryPolicy, name: str, failures: int) -> bool:
    """Whether an attempt that failed as ``name``, the ``failures``-th, is followed by another."""
    if name in policy.abort_on:
        return False
    if "*" not in policy.retry_on and name not in policy.retry_on:
        return False
    return policy.max_attempts is None or failures < policy.max_attempts


def retry_pause(policy: RetryPolicy, failures: int, seed: str) -> int:
    """Pause in ms before the next attempt: interval * rate^(failures-1), at most max_interval.

    Jitter takes between half and all of it, drawn from ``seed``, so that a transition that is
    computed twice says the same.
    """
    limit = policy.max_interval or 24 * 3600 * 1000
    try:
        pause = min(float(limit), policy.interval * policy.backoff_rate ** (failures - 1))
    except OverflowError:
        pause = float(limit)
    if policy.jitter:
        pause *= 0.5 + 0.5 * (zlib.crc32(seed.encode()) / 0xFFFFFFFF)
    return int(pause)


def _attempt_again(
    path: str, state: StepState, status: StepStatus, now: int, due: int, event: Event
) -> Transition:
    again = replace(state, status=status, attempt=state.attempt + 1, since=now, owner="")
    return Transition(path, again, due=due, events=(event,))


def encode(value: Any) -> str:
    """Compact JSON that UTF-8 can carry: lone surrogates, legal in JSON, stay escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


class _Move:
    """Collects one transition while the flow goes from step to step.

    Variables and errors set on the way are seen by the expressions further on.
    """

    def __init__(self, plan: Plan, view: View, now: int, grace: int) -> None:
        self.plan = plan
        self.now = now
        self.grace = grace
        self.view = replace(
            view,
            variables=dict(view.variables),
            outputs=dict(view.outputs),
            errors=dict(view.errors),
        )
        self.opens: dict[str, Open] = {}
        self.texts: dict[str, str] = {}
        self.fields: dict[str, str] = {}
        self.events: list[Event] = []
        self.branch: BranchEnd | None = None
        self.end: End | None = None
        self.pending: list[tuple[Node, str]] = []  # steps to enter, the next one last
        self.laps = 0

    # --- from outside --------------------------------------------------------------------

    def complete_attempt(
        self, node: Node, path: str, state: StepState, output: Any, text: str | None
    ) -> Transition:
        if output is not None:
            self.texts[f"={path}"] = encode(output) if text is None else text
        completed = len(self.events)
        self.note("completed", path, state.attempt)
        try:
            self._set_variables(node, path, output)
        except StepError as error:
            self.events.pop(completed)
            self.texts.clear()
            return self.fail_attempt(node, path, state, self._failure(error, node, path))
        self.after(node, path, output)
        return self.transition(path, self._ended(state, StepStatus.COMPLETED))

    def fail_attempt(self, node: Node, path: str, state: StepState, failure: Failure) -> Transition:
        failure = replace(failure, attempt=state.attempt) if not failure.attempt else failure
        self.note("failed", path, state.attempt, {"error": failure.as_dict()})
        self.texts[f"!{path}"] = encode(failure.as_dict())
        self.route(node, path, failure.as_dict())
        return self.transition(path, self._ended(state, StepStatus.FAILED))

    def join(
        self,
        node: Node,
        path: str,
        state: StepState,
        results: tuple[tuple[Any, Mapping[str, Any] | None], ...],
    ) -> Transition:
        failed = [(i, failure) for i, (_, failure) in enumerate(results) if failure is not None]
        if not failed:
            output = {"results": [output for output, _ in results]}
            return self.complete_attempt(node, path, state, output, None)
        number, first = failed[0]
        error = {**first, "branch": node.step.parallel.branches[number].name or number}  # type: ignore[union-attr]
        self.note("failed", path, state.attempt, {"error": error})
        self.texts[f"!{path}"] = encode(error)
        self.route(node, path, error)
        return self.transition(path, self._ended(state, StepStatus.FAILED))

    def transition(self, path: str, state: StepState | None) -> Transition:
        """Follow the flow to where it rests, and give all that was collected."""
        while self.pending and self.end is None:
            self._enter_next()
        return Transition(
            path=path,
            state=state,
            opens=tuple(self.opens.values()),
            texts=tuple(self.texts.items()),
            fields=tuple(self.fields.items()),
            branch=self.branch,
            end=self.end,
            events=tuple(self.events),
        )

    def note(
        self, word: str, path: str = "", attempt: int = 0, detail: Mapping[str, Any] | None = None
    ) -> None:
        self.events.append(Event(word, path, attempt, detail))

    # --- the flow ------------------------------------------------------------------------

    def enter(self, node: Node, path: str) -> None:
        """The token comes to a step.

        It is entered in a loop (by `transition`), not from here: a flow may skip more steps in
        a row than Python allows calls to be nested.
        """
        self.pending.append((node, path))

    def _enter_next(self) -> None:
        node, path = self.pending.pop()
        if self.laps > MAX_INLINE_LAPS:
            self._give_up(node, path)
            return
        try:
            self._enter(node, path)
        except StepError as error:
            failure = self._failure(error, node, path).as_dict()
            self.opens[path] = Open(path, self._ended(self._fresh(), StepStatus.FAILED))
            self.texts[f"!{path}"] = encode(failure)
            self.note("failed", path, 1, {"error": failure})
            self.route(node, path, failure)

    def _enter(self, node: Node, path: str) -> None:
        context = context_of(self.view, path)
        if node.condition is not None and not truthy(node.condition.evaluate(context)):
            self.opens[path] = Open(path, self._ended(self._fresh(), StepStatus.SKIPPED))
            self.note("skipped", path)
            self._go_on(node, path, context.get("output"))
            return
        match node.type:
            case StepType.TASK:
                state = replace(self._fresh(), status=StepStatus.DISPATCHED)
                self.opens[path] = Open(path, state, self.now + self.grace)
            case StepType.DECISION:
                assert node.choice is not None
                self._decide(node, path, node.choice, context)
            case StepType.WAIT:
                self._wait(node, path, context)
            case StepType.PARALLEL:
                self._fork(node, path)
            case _:
                raise AssertionError(f"the plan let a step of type {node.type} through")

    def _decide(self, node: Node, path: str, choice: Choice, context: dict[str, Any]) -> None:
        value = choice.expression.evaluate(context)
        target = choose(choice, value)
        if target is None and isinstance(node.next, str):
            target = node.next
        if target is None:
            raise no_branch(node, choice, value)
        self._set_variables(node, path, value)
        self.opens[path] = Open(path, self._ended(self._fresh(), StepStatus.COMPLETED))
        self.note("decided", path, 1, {"value": to_text(value)[:100], "next": target})
        self._step_to(node, path, target)

    def _wait(self, node: Node, path: str, context: dict[str, Any]) -> None:
        assert node.wait is not None and node.step.wait is not None
        value = node.wait.evaluate(context)
        due = instant_of(node, value, self.now)
        state = replace(self._fresh(), status=StepStatus.WAITING, started=self.now)
        # An instant before 1970 is no score that says "live"; one that is past is due now.
        self.opens[path] = Open(path, state, max(due, self.now))
        self.note("waiting", path, 1, {"until": due})

    def _fork(self, node: Node, path: str) -> None:
        total = len(node.branches)
        state = replace(
            self._fresh(), status=StepStatus.JOINING, started=self.now, total=total, left=total
        )
        look = min(self.grace, node.step.timeout or self.grace)
        self.opens[path] = Open(path, state, self.now + look)
        self.note("forked", path, 1, {"branches": total})
        for number, branch in reversed(list(enumerate(node.branches))):
            entry = self.plan.scopes[branch].entry
            self.enter(entry, join_path(join_path(path, str(number)), entry.id))

    def after(self, node: Node, path: str, output: Any) -> None:
        """A step succeeded: its output is seen by the scope, and the token goes on."""
        scope_path = split(path)[0]
        if self.plan.uses_previous_output(scope_path):
            self.fields[output_field(scope_path)] = encode(output)
        self.view.outputs[scope_path] = output  # type: ignore[index]
        self._go_on(node, path, output)

    def _go_on(self, node: Node, path: str, output: Any) -> None:
        if isinstance(node.next, Choice) and node.type is not StepType.DECISION:
            try:
                value = node.next.expression.evaluate(context_of(self.view, path))
                target = choose(node.next, value)
                if target is None:
                    raise no_branch(node, node.next, value)
            except StepError as error:
                self.route(node, path, self._failure(error, node, path).as_dict())
                return
            self._step_to(node, path, target)
        elif isinstance(node.next, str):
            self._step_to(node, path, node.next)
        else:
            self._end_scope(split(path)[0], output)

    def _step_to(self, node: Node, path: str, target: str) -> None:
        following = self.plan.scopes[node.scope].nodes[target]
        self.laps += following.index <= node.index
        self.enter(following, self.plan.follow(path, target))

    def _end_scope(self, scope_path: str, output: Any) -> None:
        if scope_path == ROOT:
            self._end_execution(output)
        elif in_handler(scope_path + "/") and join_of(scope_path) is None:
            self._end_handled()
        else:
            self._end_branch(scope_path, True, encode(output))

    def _end_execution(self, output: Any) -> None:
        if self.plan.result is not None:
            context = context_of(self.view, ROOT)
            context["output"] = output
            try:
                output = self.plan.result.evaluate(context)
            except StepError as error:
                failure = Failure(error.name, f"`result` of the workflow: {error.message}")
                self._fail_execution(failure.as_dict())
                return
        if self.plan.definition.output is not None:
            misses = check_output(self.plan.definition, output)
            if misses:
                message = f"the output misses the workflow's schema: {'; '.join(misses)}"
                self._fail_execution(Failure("InvalidOutput", message).as_dict())
                return
        self.end = End(ExecutionStatus.COMPLETED, output=encode(output))
        self.note("ended", detail={"status": ExecutionStatus.COMPLETED.value})

    def _end_handled(self) -> None:
        """An error handler is done: it told somebody, but the work was not done."""
        self._fail_execution(dict(self.view.cause or {}))

    def _fail_execution(self, error: Mapping[str, Any]) -> None:
        self.end = End(ExecutionStatus.FAILED, error=encode(error))
        detail = {"status": ExecutionStatus.FAILED.value, "error": error}
        self.note("ended", detail=detail)

    def _end_branch(self, scope_path: str, ok: bool, text: str) -> None:
        up = join_of(scope_path)
        assert up is not None
        join, number = up
        opened = self.opens.get(join)
        if opened is None:
            self.branch = BranchEnd(join, number, ok, text)
            return
        # The parallel step is opened by this very transition, so the count is ours to keep.
        self.texts[f"{'=' if ok else '!'}{scope_path}"] = text
        left = opened.state.left - 1
        if not ok or left == 0:
            state = replace(opened.state, status=StepStatus.JOINED, left=left)
            self.opens[join] = Open(join, state, self.now + self.grace)
            self._cancel_below(join)
        else:
            self.opens[join] = replace(opened, state=replace(opened.state, left=left))

    def _cancel_below(self, join: str) -> None:
        self.pending = [step for step in self.pending if not step[1].startswith(f"{join}/")]
        for path, opened in list(self.opens.items()):
            if path.startswith(f"{join}/") and opened.state.status in LIVE:
                self.opens[path] = Open(path, self._ended(opened.state, StepStatus.CANCELLED))
                self.note("cancelled", path)

    # --- errors --------------------------------------------------------------------------

    def route(self, node: Node, path: str, error: dict[str, Any]) -> None:
        """Nothing more will be tried: find who takes the error."""
        scope_path = split(path)[0]
        for action in node.on_error:
            if "*" in action.errors or error["name"] in action.errors:
                self._take(scope_path, error)
                self.note("routed", path, 0, {"to": action.next})
                self._step_to(node, path, action.next)
                return
        if join_of(scope_path) is not None:
            self._end_branch(scope_path, False, encode(error))
        elif in_handler(path):
            self.note("handler_failed", path, 0, {"error": error})
            self._fail_execution(dict(self.view.cause or error))
        else:
            self._handle(path, error)

    def _handle(self, path: str, error: dict[str, Any]) -> None:
        found = self.plan.handler_for(error["name"])
        if found is None:
            self._fail_execution(error)
            return
        index, handler = found
        nodes = self.plan.scopes[ROOT].nodes
        target = nodes.get(handler.handler)
        if target is not None and target.id == split(path)[1].partition("#")[0]:
            self._fail_execution(error)  # a handler cannot handle its own failure
            return
        if target is not None and self._handled_before(error):
            return
        self.note("routed", path, 0, {"to": handler.handler, "handler": True})
        if target is not None:
            self._take(ROOT, error)
            self.fields[CAUSE_FIELD] = encode(error)
            self.enter(target, self.plan.follow(path, target.id))
            return
        self.fields[CAUSE_FIELD] = encode(error)
        self.view = replace(self.view, cause=error)
        scope = handler_scope(index)
        self._take(scope, error)
        entry = self.plan.scopes[scope].entry
        self.enter(entry, join_path(scope, entry.id))

    def _handled_before(self, error: dict[str, Any]) -> bool:
        """A handler step was already entered once: a failure on its way is final.

        Without this, a handler whose own steps fail would be entered for ever, and on paths
        that exist already.
        """
        if self.view.cause is None:
            return False
        self._fail_execution(error)
        return True

    def _take(self, scope_path: str, error: dict[str, Any]) -> None:
        self.view.errors[scope_path] = error  # type: ignore[index]
        self.fields[error_field(scope_path)] = encode(error)

    def _give_up(self, node: Node, path: str) -> None:
        """Nobody takes this error: what takes it may lie in the same cycle.

        It ends no more than the own scope, so that an execution never ends beside tokens that
        live in other branches.
        """
        failure = Failure(
            "EndlessDecision",
            f"the flow went back {MAX_INLINE_LAPS} times without a step that does anything; "
            f"the last is {node.id!r}",
            node.id,
            path,
        ).as_dict()
        scope_path = split(path)[0]
        if join_of(scope_path) is not None:
            self.laps = 0
            self._end_branch(scope_path, False, encode(failure))
        else:
            self._fail_execution(failure)

    def _failure(self, error: StepError, node: Node, path: str) -> Failure:
        return Failure(error.name, error.message, node.id, path, data=error.data)

    # --- small things --------------------------------------------------------------------

    def _set_variables(self, node: Node, path: str, output: Any) -> None:
        if not node.output:
            return
        context = context_of(self.view, path)
        context["output"] = output
        # All or none: a mapping that fails must not leave half of the variables set.
        values = [(name, value.evaluate(context)) for name, value in node.output]
        for name, found in values:
            self.view.variables[name] = found  # type: ignore[index]
            self.fields[variable_field(name)] = encode(found)

    def _fresh(self) -> StepState:
        return StepState(StepStatus.DISPATCHED, since=self.now)

    def _ended(self, state: StepState, status: StepStatus) -> StepState:
        return replace(state, status=status, since=self.now)


def choose(choice: Choice, value: Any) -> str | None:
    """The target for a value. Branches that are all of `true` and `false` go by truth."""
    if set(choice.branches) <= {"true", "false"}:
        value = truthy(value)
    text = "null" if value is None else to_text(value)
    return choice.branches.get(text, choice.default)


def no_branch(node: Node, choice: Choice, value: Any) -> StepError:
    return StepError(
        "NoBranch",
        f"{choice.expression.text!r} of step {node.id!r} is {encode(value)[:100]}, and none of "
        f"its branches ({', '.join(sorted(choice.branches))}) is; add it, or a `default`",
    )


def instant_of(node: Node, value: Any, now: int) -> int:
    """When a wait ends, ms. Raises StepError ``InvalidWait`` for what is no time."""
    assert node.step.wait is not None
    try:
        if node.step.wait.duration is not None:
            return now + parse_duration(value)
        return parse_instant(value)
    except ValueError as error:
        raise StepError("InvalidWait", f"wait of step {node.id!r}: {error}") from error
