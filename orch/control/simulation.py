"""Run a definition with mocked capabilities on a virtual clock.

The plan, the transitions, the journal and its scripts are the real ones, on a private server;
only the capabilities, the broker and the time are not. A month's wait takes no time.
"""

from __future__ import annotations

import difflib
import heapq
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from orch.control.advance import Advancer
from orch.control.advance.committing import Committing
from orch.control.plans import Plans
from orch.control.starting import checked_input, make_start
from orch.control.triggers import NotTriggered, Triggered
from orch.embedded import ephemeral
from orch.errors import InputError, NotFound, OrchError, StepError
from orch.journal.journal import Claimed, HistoryEntry, Journal, milliseconds, open_redis
from orch.settings import Settings
from orch.workflows.calls import Call
from orch.workflows.compensating import compensated_path, compensation_path, in_compensation
from orch.workflows.definition import RetryPolicy, WorkflowDefinition
from orch.workflows.events import Occurrence
from orch.workflows.external import MARK
from orch.workflows.outcome import Completed, Failed, Failure, Outcome
from orch.workflows.plan import Node, Plan
from orch.workflows.state import StepState, StepStatus, encode
from orch.workflows.triggers import TriggerPolicy, input_for
from orch.workflows.validation import check_input
from orch.workflows.view import View, context_of, fields_for, with_output

FAR = 10 * 365 * 24 * 3600 * 1000
"""Ms; further away than anything that is simulated."""

MOST_EVENTS = 100_000
"""A simulation that does more than this never ends by itself."""


class Mocks(BaseModel):
    """What the mocked capabilities do, by step id or by path."""

    model_config = ConfigDict(extra="forbid")

    outputs: dict[str, JsonValue] = Field(default_factory=dict)
    """Output of a step; null where none is given."""
    fail: dict[str, Annotated[int, Field(ge=0)] | str] = Field(default_factory=dict)
    """`always`, or how many of the first attempts fail (N, or `first N`)."""
    errors: dict[str, str] = Field(default_factory=dict)
    """Name of the error under which a step fails; without `fail`, it always does."""
    events: dict[str, JsonValue] = Field(default_factory=dict)
    """Payload of the event that comes, from outside, as soon as a step waits for it."""
    polls: dict[str, Annotated[list[JsonValue], Field(min_length=1)]] = Field(default_factory=dict)
    """What each check of a poll gives; the last one is given again."""
    durations: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """How long an attempt takes, ms."""

    def failure(self, step: str, path: str, attempt: int) -> str | None:
        """Name of the error under which this attempt fails, if it does."""
        fails = self.fail.get(path, self.fail.get(step))
        name = self.errors.get(path, self.errors.get(step))
        if fails is None:
            return name
        first = None if fails == "always" else int(re.sub(r"^first ", "", str(fails)))
        return (name or "MockedFailure") if first is None or attempt <= first else None


@dataclass(frozen=True)
class SimulatedStep:
    """One attempt. ``at_ms``: when its outcome was known, ms since the start."""

    path: str
    attempt: int
    at_ms: int
    outcome: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "attempt": self.attempt,
            "at_ms": self.at_ms,
            "outcome": self.outcome,
        }


@dataclass(frozen=True)
class SimulatedStart:
    """A workflow that an event would start, and its input; or why it could not be.

    Of those that are at hand: the one that is simulated, and those that it calls.
    """

    workflow: str
    event: str
    at_ms: int
    input: Any = None
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        found = {"workflow": self.workflow, "event": self.event, "at_ms": self.at_ms}
        return {**found, "error": self.error} if self.error else {**found, "input": self.input}


@dataclass(frozen=True)
class Simulation:
    """How it went. ``steps`` stand in the order in which the attempts began.

    ``triggered``: what its events would start, which is told and not run.
    """

    status: str
    output: Any
    variables: Mapping[str, Any]
    error: Mapping[str, Any] | None
    steps: Sequence[SimulatedStep] = field(default_factory=list)
    triggered: Sequence[SimulatedStart] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        found = {
            "status": self.status,
            "output": self.output,
            "variables": dict(self.variables),
            "steps": [step.as_dict() for step in self.steps],
        }
        if self.triggered:
            found["triggered"] = [start.as_dict() for start in self.triggered]
        return {**found, "error": dict(self.error)} if self.error else found


def simulate(
    definition: WorkflowDefinition,
    *,
    key: str,
    handlers: Mapping[str, WorkflowDefinition] | None = None,
    workflows: Mapping[str, WorkflowDefinition] | None = None,
    input: Any = None,
    mocks: Mapping[str, Any] | Mocks | None = None,
    retry: RetryPolicy | None = None,
    settings: Settings | None = None,
) -> Simulation:
    """Run ``definition`` to its end. Events come from its own steps, or from ``mocks``.

    ``handlers``: the workflows that errorHandlers name. ``workflows``: those that are called by
    a `subworkflow`, whose steps are run and listed behind the path of the step that calls.
    ``retry``: of tasks that have none, instead of what ``settings`` say, which are those of
    failures alone: `retry_strategy` and its kin, `error_handling_level`, `error_classes`.
    Raises InputError for mocks that fit no step, or input that misses the schema;
    NotSupportedYet; NoServer.
    """
    if definition.input is not None and input is not None:
        check_input(definition, input)
    with ephemeral() as server:
        redis = open_redis(server.url)
        try:
            simulator = _Simulator(
                Journal(redis, _settings(settings), url=server.url),
                handlers or {},
                workflows or {},
                retry,
            )
            plan = simulator.store(key, definition)
            plans = [simulator.store(name, found) for name, found in (workflows or {}).items()]
            simulator.mocks = parse_mocks(mocks, plan, plans)
            simulator._events = dict(simulator.mocks.events)
            return simulator.run(plan, key, input)
        finally:
            redis.close()


OF_FAILURES = (
    "retry_strategy",
    "max_retries",
    "retry_interval",
    "error_handling_level",
    "error_classes",
)


def _settings(given: Settings | None) -> Settings:
    """Settings of the journal, without environment and files: nothing is looked at in between.

    ``given``: whose settings of failures they have.
    """
    return Settings.model_construct(
        **{
            name: f.get_default(call_default_factory=True)
            for name, f in Settings.model_fields.items()
        }
        | ({name: getattr(given, name) for name in OF_FAILURES} if given else {})
        | {"dispatch_grace": FAR / 1000, "recheck_interval": FAR / 1000}
    )


def parse_mocks(
    mocks: Mapping[str, Any] | Mocks | None, plan: Plan, called: Sequence[Plan] = ()
) -> Mocks:
    """Check mocks against the steps of a plan, and of those that it calls.

    Raises InputError with all that is wrong.
    """
    try:
        parsed = mocks if isinstance(mocks, Mocks) else Mocks.model_validate(mocks or {})
    except ValidationError as exc:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors()]
        raise InputError(
            "mocks are wrong: " + "; ".join(problems),
            hint=f"they are an object of {', '.join(f'`{each}`' for each in Mocks.model_fields)}",
        ) from exc
    known = {node.id for node in plan.nodes()} | _keys(plan)
    below = {node.id for each in called for node in each.nodes()}.union(*map(_keys, called))
    known |= below
    problems = []
    for kind in ("outputs", "events", "polls", "fail", "errors", "durations"):
        for step in getattr(parsed, kind):
            name = re.sub(r"#\d+|\[\d+\]", "", step)
            if name not in known and not any(name.endswith(f"/{each}") for each in below):
                near = difflib.get_close_matches(step, known, 1)
                guess = f"; did you mean {near[0]!r}?" if near else ""
                problems.append(f"`{kind}` names {step!r}, which is no step{guess}")
    problems += [
        f"`fail` of {step!r} is {value!r}; it is `always` or a count"
        for step, value in parsed.fail.items()
        if isinstance(value, str) and not re.fullmatch(r"always|(first )?\d+", value)
    ]
    if problems:
        raise InputError("mocks are wrong: " + "; ".join(problems))
    return parsed


def _mocked_as(path: str, node: Node) -> str:
    """The name by which mocks may name a step: a compensation is not the step that it undoes."""
    return path if in_compensation(path) else node.id


def _keys(plan: Plan) -> set[str]:
    """Where the steps of a plan stand, compensations included."""
    return {key for node in plan.nodes() for key in (node.key, compensation_path(node.key))}


_Todo = tuple[int, int, tuple[Plan, str, str], Claimed | None, Outcome | None]
"""When, in which order, (plan, execution, path), what was claimed, and what came of it."""


class _Simulator:
    """Plays broker, worker and warden, one event after the other."""

    def __init__(
        self,
        journal: Journal,
        handlers: Mapping[str, WorkflowDefinition],
        workflows: Mapping[str, WorkflowDefinition],
        retry: RetryPolicy | None = None,
    ) -> None:
        self.begun = self.now = milliseconds()
        self.journal = journal
        self.journal.clock = lambda: self.now
        self.journal.terse = False
        self.plans = Plans(journal, retry)
        self.advancer = Advancer(journal, self.plans, self._dispatch, self._find)
        self.handlers = handlers
        self.workflows = workflows
        self.mocks = Mocks()
        self._events: dict[str, Any] = {}
        self.advancer.start_triggered = self._would_start
        self.advancer.gated = False
        self._triggered: list[SimulatedStart] = []
        self._order = count()
        self._todo: list[_Todo] = []
        self._outside: set[tuple[str, str, int]] = set()

    def store(self, key: str, definition: WorkflowDefinition) -> Plan:
        named = {handler.handler for handler in definition.error_handlers}
        handlers = {name: found for name, found in self.handlers.items() if name in named}
        return self.plans.store(key, definition, handlers)

    def _find(self, key: str, version: str | None, execution: str) -> Plan:
        found = self.workflows.get(key)
        if found is None or version not in (None, found.content_hash()):
            what = f"workflow {key!r}" if version is None else f"version {version} of {key!r}"
            raise NotFound(f"no {what} beside the one that is simulated")
        return self.store(key, found)

    def _would_start(
        self, advancer: Committing, event: Occurrence, since: int | None, by: str
    ) -> Iterator[Triggered | NotTriggered]:
        """Note what an event would start; nothing is."""
        keys = [] if event.execution or since is not None else self.journal.triggered_by(event.name)
        for key in keys:
            version = self.journal.latest_version(key)
            definition = self.plans.definition(str(version))
            start = SimulatedStart(key, event.name, self.now - self.begun)
            try:
                given = input_for(map(TriggerPolicy.of, definition.triggers), event)
                if given is None:
                    continue
                text = checked_input(self.journal.settings, key, definition, given[0])
                start = replace(start, input=json.loads(text))
            except OrchError as error:
                start = replace(start, error=error.message)
            self._triggered.append(start)
        yield from ()

    def run(self, plan: Plan, key: str, input: Any) -> Simulation:
        execution = "simulated"
        start = make_start(self.journal, plan, key, execution, encode(input), gated=False)
        self.journal.start(start)
        assert start.transition is not None
        self.advancer.follow(plan, execution, start.transition)
        for _ in range(MOST_EVENTS):
            if not self._step(execution):
                return self._result(execution)
        raise InputError(
            f"the simulation of {key!r} did not end within {MOST_EVENTS} events",
            hint="does a step fail always and retry without `maxAttempts`, or a loop never leave?",
        )

    def _dispatch(self, plan: Plan, execution: str, paths: Sequence[str]) -> None:
        for path in paths:
            token = (plan, execution, path)
            heapq.heappush(self._todo, (self.now, next(self._order), token, None, None))

    def _step(self, execution: str) -> bool:
        """Let the next thing happen; False when the execution has ended."""
        status = self.journal.status(execution)
        if status is None or status.ended:
            return False
        due, tokens = self.journal.take_due(hold=FAR)
        for found, path in tokens:
            self._look_at(found, path)
        if self._send_mocked() or self._report_mocked():
            return True
        if tokens:
            return True
        if self._todo and (due is None or self._todo[0][0] <= due):
            self.now, _, (plan, own, path), claimed, outcome = heapq.heappop(self._todo)
            if claimed is None or outcome is None:
                self._deliver(plan, own, path)
            else:
                self.advancer.settle(plan, claimed.view, path, claimed.state, outcome)
        elif due is not None and due < self.begun + FAR:
            self.now = due
        else:
            self._say_what_is_waited_for(execution)
        return True

    def _send_mocked(self) -> bool:
        """Trigger the mocked events of the steps that wait for one now."""
        sent = False
        for name in list(self._events):
            for execution, path in self._listening():
                shown = self._prefix(execution) + path
                if name in (shown, path.rpartition("/")[2].partition("#")[0]):
                    payload = self._events.pop(name)
                    wanted = self.journal.subscription_of(execution, path)
                    assert wanted is not None
                    id = f"mocked {shown}"
                    self.advancer.trigger(Occurrence(id, wanted[0], payload, wanted[1], execution))
                    sent = True
                    break
        return sent

    def _report_mocked(self) -> bool:
        """Somebody outside begins with the tasks that are open, and ends as the mocks say."""
        begun = False
        for task in self.journal.open_tasks():
            known = (task.execution, task.path, task.state.attempt)
            if known in self._outside:
                continue
            self._outside.add(known)
            plan = self.plans.get(task.plan)
            view = self.journal.read_view(task.execution, fields_for(plan, task.path))
            shown = self._prefix(task.execution) + task.path
            claimed = Claimed(task.state, view)
            outcome = self._outcome(plan, task.path, shown, claimed)
            at = self.now + self._duration(plan.node(task.path).id, shown)
            token = (plan, task.execution, task.path)
            heapq.heappush(self._todo, (at, next(self._order), token, claimed, outcome))
            begun = True
        return begun

    def _duration(self, step: str, shown: str) -> int:
        return self.mocks.durations.get(shown, self.mocks.durations.get(step, 0))

    def _listening(self) -> list[tuple[str, str]]:
        keys = self.journal.keys
        members = [
            str(member).rsplit(" ", 2)
            for partition in range(keys.partitions)
            for member in self.journal.redis.zrange(keys.listening(partition), 0, -1)
            if not str(member).startswith(MARK)
        ]
        return [(execution, path) for _, execution, path in members]

    def _say_what_is_waited_for(self, execution: str) -> None:
        waiting = [
            name[1:]
            for name, wanted in self.journal.steps(execution).items()
            if name.startswith("?") and not wanted.startswith(MARK)
        ]
        if waiting:
            raise InputError(
                f"nobody emits the event that {', '.join(waiting)} waits for",
                hint="give it a payload under `events` of the mocks, or a `timeout`",
            )
        self.now += FAR

    def _deliver(self, plan: Plan, execution: str, path: str) -> None:
        node = plan.node(path)
        shown = self._prefix(execution) + path
        duration = self._duration(_mocked_as(path, node), shown)
        timeout = node.step.timeout
        late = timeout is not None and duration > timeout
        claimed = self.journal.claim(
            execution,
            path,
            owner="simulated/0/0",
            plan=plan.key,
            queue=node.queue,
            reads=fields_for(plan, path),
            lease=timeout if late and timeout is not None else FAR,
        )
        if not isinstance(claimed, Claimed):
            return
        outcome = self._outcome(plan, path, shown, claimed)
        at, token = self.now + duration, (plan, execution, path)
        heapq.heappush(self._todo, (at, next(self._order), token, claimed, outcome))

    def _prefix(self, execution: str) -> str:
        """What stands before the paths of an execution: those of the steps that called it."""
        family = self.journal.read_family(execution)
        if family is None or family.parent is None:
            return ""
        return f"{self._prefix(family.parent.execution)}{family.parent.path}/"

    def _outcome(self, plan: Plan, path: str, shown: str, claimed: Claimed) -> Outcome:
        node, attempt = plan.node(path), claimed.state.attempt
        step = _mocked_as(path, node)
        name = self.mocks.failure(step, shown, attempt)
        if name is not None:
            message = f"attempt {attempt} of {node.id} fails, as mocked"
            return Failed(Failure(name, message, node.id, path, attempt))
        try:
            node.input.evaluate(context_of(self._seen(claimed.view, path), path))
        except StepError as error:
            return Failed(Failure(error.name, error.message, node.id, path, attempt))
        checks = self.mocks.polls.get(shown, self.mocks.polls.get(node.id))
        if node.poll is not None and checks is not None:
            return Completed(checks[min(claimed.state.total, len(checks) - 1)])
        return Completed(self.mocks.outputs.get(shown, self.mocks.outputs.get(step)))

    def _seen(self, view: View, path: str) -> View:
        if not in_compensation(path):
            return view
        undone = compensated_path(path)
        return with_output(view, path, self.journal.read_output(view.execution, undone))

    def _look_at(self, execution: str, path: str) -> None:
        if not path:
            self.advancer.look_at_whole(execution)
            return
        found = self.journal.read_state(execution, path)
        key = self.journal.plan_of(execution)
        if found is not None and key is not None:
            timeout = self.plans.get(key).node(path).step.timeout
            self._look_at_state(execution, path, found[1], timeout or FAR)

    def _look_at_state(self, execution: str, path: str, state: StepState, timeout: int) -> None:
        match state.status:
            case StepStatus.RETRYING | StepStatus.POLLING:
                self.advancer.redispatch(execution, path, state)
            case StepStatus.WAITING:
                self.advancer.fire(execution, path, state)
            case StepStatus.JOINED | StepStatus.ENTERING:
                self.advancer.join(execution, path)
            case StepStatus.LISTENING:
                self.advancer.look_at_listening(execution, path, state)
            case StepStatus.RUNNING | StepStatus.JOINING | StepStatus.CALLING | StepStatus.EXTERNAL:
                if self.now - state.started >= timeout:
                    self.advancer.time_out(execution, path, state, timeout)
            case _:
                pass

    def _result(self, execution: str) -> Simulation:
        record = self.journal.record(execution)
        return Simulation(
            record.status.value,
            record.output,
            record.variables,
            record.error,
            [step for _, step in sorted(self._steps(execution), key=lambda found: found[0])],
            self._triggered,
        )

    def _steps(self, execution: str, prefix: str = "") -> list[tuple[int, SimulatedStep]]:
        """Each attempt and when it began; those of a child follow the step that called it.

        By their beginning alone they could not be ordered: much happens in the same instant.
        """
        found: list[tuple[int, SimulatedStep]] = []
        for at, step in attempts_of(self.journal.history(execution), self.begun):
            found.append((at, replace(step, path=prefix + step.path)))
            child = Call(execution, step.path, step.attempt).child
            if self.journal.status(child) is not None:
                found += self._steps(child, f"{prefix}{step.path}/")
        return found


_BEGINNINGS = frozenset(
    {
        "claimed",
        "forked",
        "mapping",
        "looping",
        "waiting",
        "calling",
        "listening",
        "emitting",
        "external",
        "decided",
        "skipped",
    }
)
_OUTCOMES = {
    "completed": "completed",
    "decided": "completed",
    "skipped": "skipped",
    "failed": "failed",
    "retrying": "failed",
    "polled": "completed",
    "lost": "lost",
    "cancelled": "cancelled",
}


def attempts_of(history: Sequence[HistoryEntry], begun: int) -> list[tuple[int, SimulatedStep]]:
    """When each attempt began, ms since ``begun``, and the attempt; in that order."""
    order: dict[tuple[str, int], tuple[int, SimulatedStep]] = {}
    for entry in history:
        attempt, at = max(entry.attempt, 1), entry.at - begun
        known = (entry.path, attempt)
        if entry.path and entry.event in _BEGINNINGS:
            order.setdefault(known, (at, SimulatedStep(entry.path, attempt, 0, "running")))
        if entry.path and entry.event in _OUTCOMES:
            first = order.get(known, (at,))[0]
            outcome = _OUTCOMES[entry.event]
            order[known] = first, SimulatedStep(entry.path, attempt, at, outcome)
    return [found for found in order.values() if found[1].outcome != "running"]
