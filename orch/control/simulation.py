"""Run a definition with mocked capabilities on a virtual clock.

The plan, the transitions, the journal and its scripts are the real ones, on a private server;
only the capabilities, the broker and the time are not. A month's wait takes no time.
"""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from orch.control.advance import Advancer
from orch.control.plans import Plans
from orch.embedded import ephemeral
from orch.errors import InputError, StepError
from orch.journal.journal import Claimed, HistoryEntry, Journal, Start, milliseconds, open_redis
from orch.settings import Settings
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.outcome import Completed, Failed, Failure, Outcome
from orch.workflows.plan import Plan
from orch.workflows.state import ExecutionStatus, StepState, StepStatus, encode
from orch.workflows.transition import begin
from orch.workflows.validation import check_input
from orch.workflows.view import View, context_of, fields_for

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
class Simulation:
    """How it went. ``steps`` stand in the order in which the attempts began."""

    status: str
    output: Any
    variables: Mapping[str, Any]
    error: Mapping[str, Any] | None
    steps: Sequence[SimulatedStep] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        found = {
            "status": self.status,
            "output": self.output,
            "variables": dict(self.variables),
            "steps": [step.as_dict() for step in self.steps],
        }
        return {**found, "error": dict(self.error)} if self.error else found


def simulate(
    definition: WorkflowDefinition,
    *,
    key: str,
    handlers: Mapping[str, WorkflowDefinition] | None = None,
    input: Any = None,
    mocks: Mapping[str, Any] | Mocks | None = None,
) -> Simulation:
    """Run ``definition`` to its end. ``handlers``: the workflows that its errorHandlers name.

    Raises InputError for mocks that fit no step, or input that misses the schema;
    NotSupportedYet; NoServer.
    """
    if definition.input is not None and input is not None:
        check_input(definition, input)
    with ephemeral() as server:
        redis = open_redis(server.url)
        try:
            simulator = _Simulator(Journal(redis, _settings(), url=server.url))
            plan = simulator.plans.store(key, definition, dict(handlers or {}))
            simulator.mocks = parse_mocks(mocks, plan)
            return simulator.run(plan, key, input)
        finally:
            redis.close()


def _settings() -> Settings:
    """Settings of the journal, without environment and files: nothing is looked at in between."""
    return Settings.model_construct(
        **{
            name: f.get_default(call_default_factory=True)
            for name, f in Settings.model_fields.items()
        }
        | {"dispatch_grace": FAR / 1000, "recheck_interval": FAR / 1000}
    )


def parse_mocks(mocks: Mapping[str, Any] | Mocks | None, plan: Plan) -> Mocks:
    """Check mocks against the steps of a plan. Raises InputError with all that is wrong."""
    try:
        parsed = mocks if isinstance(mocks, Mocks) else Mocks.model_validate(mocks or {})
    except ValidationError as exc:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors()]
        raise InputError(
            "mocks are wrong: " + "; ".join(problems),
            hint="they are an object of `outputs`, `fail`, `errors`, `durations`",
        ) from exc
    known = {node.id for node in plan.nodes()} | {node.key for node in plan.nodes()}
    problems = []
    for kind in ("outputs", "fail", "errors", "durations"):
        for step in getattr(parsed, kind):
            if re.sub(r"#\d+|\[\d+\]", "", step) not in known:
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


class _Simulator:
    """Plays broker, worker and warden, one event after the other."""

    def __init__(self, journal: Journal) -> None:
        self.begun = self.now = milliseconds()
        self.journal = journal
        self.journal.clock = lambda: self.now
        self.journal.terse = False
        self.plans = Plans(journal)
        self.advancer = Advancer(journal, self.plans, self._dispatch)
        self.mocks = Mocks()
        self._order = count()
        self._todo: list[tuple[int, int, str, Claimed | None, Outcome | None]] = []

    def run(self, plan: Plan, key: str, input: Any) -> Simulation:
        execution = "simulated"
        transition = begin(plan, View(execution, key, input=input), self.now, FAR)
        timeout = plan.definition.timeout_ms
        self.journal.start(
            Start(
                id=execution,
                workflow=key,
                version=plan.definition.content_hash(),
                plan=plan.key,
                input=encode(input),
                transition=transition,
                deadline=self.now + timeout if timeout and not transition.end else 0,
            )
        )
        self.advancer.go_on(plan, execution, transition.dispatched, transition.joined)
        for _ in range(MOST_EVENTS):
            if not self._step(plan, execution):
                return self._result(execution)
        raise InputError(
            f"the simulation of {key!r} did not end within {MOST_EVENTS} events",
            hint="does a step fail always and retry without `maxAttempts`, or a loop never leave?",
        )

    def _dispatch(self, plan: Plan, execution: str, paths: Sequence[str]) -> None:
        for path in paths:
            heapq.heappush(self._todo, (self.now, next(self._order), path, None, None))

    def _step(self, plan: Plan, execution: str) -> bool:
        """Let the next thing happen; False when the execution has ended."""
        status = self.journal.status(execution)
        if status is None or status.ended:
            return False
        due, tokens = self.journal.take_due(hold=FAR)
        for _, path in tokens:
            self._look_at(plan, execution, path)
        if tokens:
            return True
        if self._todo and (due is None or self._todo[0][0] <= due):
            self.now, _, path, claimed, outcome = heapq.heappop(self._todo)
            if claimed is None or outcome is None:
                self._deliver(plan, execution, path)
            else:
                self.advancer.settle(plan, claimed.view, path, claimed.state, outcome)
        elif due is not None:
            self.now = due
        return True

    def _deliver(self, plan: Plan, execution: str, path: str) -> None:
        node = plan.node(path)
        duration = self.mocks.durations.get(path, self.mocks.durations.get(node.id, 0))
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
        outcome = self._outcome(plan, path, claimed)
        at = self.now + duration
        heapq.heappush(self._todo, (at, next(self._order), path, claimed, outcome))

    def _outcome(self, plan: Plan, path: str, claimed: Claimed) -> Outcome:
        node, attempt = plan.node(path), claimed.state.attempt
        name = self.mocks.failure(node.id, path, attempt)
        if name is not None:
            message = f"attempt {attempt} of {node.id} fails, as mocked"
            return Failed(Failure(name, message, node.id, path, attempt))
        try:
            node.input.evaluate(context_of(claimed.view, path))
        except StepError as error:
            return Failed(Failure(error.name, error.message, node.id, path, attempt))
        return Completed(self.mocks.outputs.get(path, self.mocks.outputs.get(node.id)))

    def _look_at(self, plan: Plan, execution: str, path: str) -> None:
        found = self.journal.read_state(execution, path) if path else None
        if not path:
            error = {
                "name": "ExecutionTimeout",
                "message": "the execution took longer than its `timeoutMs`",
            }
            self.journal.end(execution, ExecutionStatus.FAILED, error)
        elif found is not None:
            timeout = plan.node(path).step.timeout
            self._look_at_state(execution, path, found[1], timeout or FAR)

    def _look_at_state(self, execution: str, path: str, state: StepState, timeout: int) -> None:
        match state.status:
            case StepStatus.RETRYING:
                self.advancer.redispatch(execution, path, state)
            case StepStatus.WAITING:
                self.advancer.fire(execution, path, state)
            case StepStatus.JOINED | StepStatus.ENTERING:
                self.advancer.join(execution, path)
            case StepStatus.RUNNING | StepStatus.JOINING:
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
            attempts_of(self.journal.history(execution), self.begun),
        )


_BEGINNINGS = frozenset(
    {"claimed", "forked", "mapping", "looping", "waiting", "decided", "skipped"}
)
_OUTCOMES = {
    "completed": "completed",
    "decided": "completed",
    "skipped": "skipped",
    "failed": "failed",
    "retrying": "failed",
    "lost": "lost",
    "cancelled": "cancelled",
}


def attempts_of(history: Sequence[HistoryEntry], begun: int) -> list[SimulatedStep]:
    """One entry per attempt, in the order in which the attempts began."""
    order: dict[tuple[str, int], SimulatedStep] = {}
    for entry in history:
        attempt = max(entry.attempt, 1)
        known = (entry.path, attempt)
        if entry.path and entry.event in _BEGINNINGS:
            order.setdefault(known, SimulatedStep(entry.path, attempt, 0, "running"))
        if entry.path and entry.event in _OUTCOMES:
            outcome = _OUTCOMES[entry.event]
            order[known] = SimulatedStep(entry.path, attempt, entry.at - begun, outcome)
    return [step for step in order.values() if step.outcome != "running"]
