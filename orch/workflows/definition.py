"""What a user writes: the pydantic models of a workflow definition.

Keys may be camelCase (as in JSON) or snake_case (as in Python); both load, camelCase is
what is written. Unknown keys are errors. Times are milliseconds unless a field says otherwise.
A version is the hash of the canonical JSON, so a stored definition never changes.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

from orch.budget import Budget
from orch.errors import ErrorClass, SettingsError
from orch.limits import RateLimit
from orch.workflows.failing import CLASS_PREFIX
from orch.workflows.ladder import EscalationPath, Ladder, PathName, Span
from orch.workflows.model import (
    AgentName,
    CapabilityName,
    Milliseconds,
    Model,
    Name,
    Priority,
    StepId,
    VersionSpec,
)
from orch.workflows.rules import MessageRule

ConcurrencyPolicy = Literal["queue", "reject", "cancel-previous"]
AttributeName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=64)
]

ErrorHandlingLevel = Literal["minimal", "standard", "aggressive"]


def _known_class(name: str) -> str:
    if name.startswith(CLASS_PREFIX) and name.removeprefix(CLASS_PREFIX) not in list(ErrorClass):
        raise ValueError(f"{name!r} is no class of errors; they are {', '.join(ErrorClass)}")
    return name


def _known_rate(text: str) -> str:
    try:
        RateLimit.parse(text)
    except SettingsError as exc:
        raise ValueError(f"{exc.message}; {exc.hint}") from None
    return text


ErrorName = Annotated[str, AfterValidator(_known_class)]
"""Name of an error, `class:` and a class of errors, or `*` for any."""

ERROR_HANDLERS = "errorHandlers"
"""First part of the path of a step that an error handler runs; no step may be called so."""


COMPENSATIONS = "compensations"
"""First part of the path of a step that undoes another one; no step may be called so."""


class StepType(StrEnum):
    TASK = "task"  # a capability, or a Celery task, does something
    SUBWORKFLOW = "subworkflow"  # another workflow runs as an execution of its own
    PARALLEL = "parallel"  # branches run at the same time and are joined
    MAP = "map"  # the same steps for every item of a list
    DECISION = "decision"  # an expression chooses the next step
    WAIT = "wait"  # nothing happens until an instant
    EVENT = "event"  # waits for a named event, or emits one
    LOOP = "loop"  # steps are repeated while a condition holds


class RetryPolicy(Model):
    """When a failed attempt is tried again."""

    max_attempts: Annotated[int, Field(ge=1)] | None = None
    """Tries in all, the first included; without it: until it succeeds."""
    interval: Annotated[int, Field(ge=0)] = 1000
    """Pause before the second attempt, ms."""
    backoff_rate: Annotated[float, Field(ge=1)] = 1.0
    """Factor by which each further pause is longer."""
    strategy: Literal["none", "linear", "exponential"] | None = None
    """`none`: no pause grows; `linear`: by `interval` each time; `exponential`: by
    `backoffRate`, 2 if that is not given. Without it, `backoffRate` alone says."""
    max_interval: Milliseconds | None = None
    """The longest pause, ms."""
    jitter: bool = False
    """Whether a pause is drawn between half of its length and the whole."""
    retry_on: list[ErrorName] = Field(default_factory=lambda: ["*"])
    """Names of the errors that are tried again, or classes as `class:transient`; `*` is any."""
    abort_on: list[ErrorName] = Field(default_factory=list)
    """Names of the errors that are never tried again, or classes as `class:permanent`."""


class ErrorAction(Model):
    """`onError` in its long form: which errors go to which step."""

    errors: list[ErrorName] = Field(default_factory=lambda: ["*"])
    """Names of the errors that are taken, or classes as `class:conflict`; `*` is any."""
    next: StepId
    """The step, of the same scope, that goes on."""


class ErrorHandler(Model):
    """Takes the errors that no `onError` took."""

    error: ErrorName = "*"
    """Name of the error, or a class as `class:permanent`; `*` is any."""
    handler: Name
    """A step of this workflow (the run goes on there), else a workflow, else a capability
    (they run, then the execution ends as failed)."""
    retry: RetryPolicy | None = None
    """For a handler that is a capability."""


class Compensation(Model):
    """What undoes a step that completed, when its execution is cancelled."""

    capability: CapabilityName
    """What does it."""
    input: JsonValue = None
    """What the capability gets; `$.output` is the output of the step that is undone."""
    queue: str | None = None
    """The queue, where it is not named like the capability."""
    retry: RetryPolicy | None = None
    timeout: Milliseconds | None = None
    """How long one attempt may take, ms."""


class CachedOutput(Model):
    """The last output that was good, if it is still good enough."""

    max_age: Span
    """How old it may be: ms, or a text like `1h`."""
    by: Literal["input", "capability"] = "input"
    """That of the same input, or of the capability, whatever its input was."""


class StepFallback(Model):
    """What stands in for the output when the attempts are used up."""

    capability: CapabilityName | None = None
    """Another capability does the step."""
    queue: str | None = None
    """The queue of that, where it is not named like it."""
    input: JsonValue = None
    """What that gets; without it, the input of the step. `$.error` is the failure."""
    cached: CachedOutput | None = None
    value: JsonValue = None
    """A constant, for when nothing is cached; without `cached` it may be null."""
    errors: list[ErrorName] = Field(default_factory=lambda: ["*"])
    """Names of the errors for which it stands in, or classes as `class:transient`; `*` is any."""

    @model_validator(mode="after")
    def _one(self) -> StepFallback:
        constant = self.cached is not None or self.value is not None
        if self.capability is not None and constant:
            raise ValueError("takes a `capability`, or `cached` and `value`; found both")
        if self.capability is None and (self.queue is not None or self.input is not None):
            raise ValueError("`queue` and `input` are those of a `capability`, and there is none")
        return self


class Branches(Model):
    """An expression, and the step for each of its values."""

    expression: str
    branches: dict[str, StepId]
    """Value of the expression, as text, to the id of a step."""
    default: StepId | None = None
    """The step for every other value."""


class Branch(Model):
    """One branch of a `parallel`."""

    name: str | None = None
    steps: Annotated[list[WorkflowStep], Field(min_length=1)]


class Tolerance(Model):
    """How many members may fail: a count, or a percentage of them."""

    count: Annotated[int, Field(ge=0)] | None = None
    percentage: Annotated[float, Field(ge=0, le=100)] | None = None


class AtLeast(Model):
    at_least: Annotated[int, Field(ge=1)]


ResolvePolicy = Literal["first", "latest", "priority", "vote", "human"]


class Resolution(Model):
    """Which of the outputs of several branches counts, where they may contradict one another."""

    policy: ResolvePolicy
    """`first`: of the branch that succeeds first; `latest`: of the one that ended last;
    `priority`: of the first in their order that succeeded; `vote`: what most of them say;
    `human`: what all of them say, and else somebody is asked."""
    need: Annotated[int, Field(ge=1)] | None = None
    """Of `vote`: how many must say the same; without it, more than half of all."""
    by: str | None = None
    """Of `vote` and `human`: what is compared, an expression of `$.output`; without it, the
    whole output."""

    @model_validator(mode="after")
    def _fits_its_policy(self) -> Resolution:
        if self.need is not None and self.policy != "vote":
            raise ValueError(f"`need` is for the policy `vote`; found it beside `{self.policy}`")
        if self.by is not None and self.policy not in ("vote", "human"):
            raise ValueError(
                f"`by` is for the policies `vote` and `human`, which compare outputs; found it "
                f"beside `{self.policy}`"
            )
        return self


class Vote(Model):
    """A task is done several times, each time by itself, and what most say counts."""

    of: Annotated[int, Field(ge=2, le=100)]
    """How many do it."""
    need: Annotated[int, Field(ge=1)] | None = None
    """How many must say the same; without it, more than half of them."""
    by: str | None = None
    """What is compared, an expression of `$.output`; without it, the whole output."""


class ParallelExecution(Model):
    branches: Annotated[list[Branch], Field(min_length=1)]
    join: Literal["all", "any", "quorum"] | AtLeast = "all"
    """`all` branches must succeed; the first that fails ends the step."""
    tolerate: Tolerance | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    """Branches at the same time; the others wait for their turn."""
    resolve: ResolvePolicy | Resolution | None = None
    """Which of the outputs is that of the step; without it, all of them are."""

    @property
    def resolution(self) -> Resolution | None:
        """`resolve` in its long form."""
        if isinstance(self.resolve, str):
            return Resolution(policy=self.resolve)
        return self.resolve


class MapExecution(Model):
    items: str | list[JsonValue]
    as_: Annotated[str, Field(alias="as")] = "item"
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    """Items at the same time, 16 if it is not given."""
    steps: list[WorkflowStep] | None = None
    capability: CapabilityName | None = None
    input: JsonValue = None
    collect: str | None = None
    batch: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Items that a worker does from one message at most; `auto`: as many as a time slice allows."""
    tolerate: Tolerance | None = None
    name: str | None = None


class LoopExecution(Model):
    while_: Annotated[str | None, Field(alias="while")] = None
    until: str | None = None
    max_iterations: Annotated[int, Field(ge=1)] = 1000
    steps: Annotated[list[WorkflowStep], Field(min_length=1)]


class Poll(Model):
    capability: CapabilityName
    input: JsonValue = None
    interval: Milliseconds = 1000
    backoff_rate: Annotated[float, Field(ge=1)] = 1.0
    max_interval: Milliseconds | None = None
    max_attempts: Annotated[int, Field(ge=1)] | None = None


class WaitCondition(Model):
    """Exactly one of `duration`, `until`, `cron`, or `poll` with `until`."""

    duration: int | str | None = None
    """Milliseconds, an ISO 8601 duration (`PT1H30M`), or an expression that gives either."""
    until: str | None = None
    """An ISO 8601 instant, or an expression that gives one."""
    cron: str | None = None
    """The next instant that a cron text names; it may hold expressions."""
    timezone: str | None = None
    """Beside `cron`: the IANA time zone that it is meant in, or an expression; UTC without it."""
    poll: Poll | None = None

    @model_validator(mode="after")
    def _one(self) -> WaitCondition:
        given = [n for n in ("duration", "until", "cron") if getattr(self, n) is not None]
        if self.poll is not None:
            if given != ["until"]:
                raise ValueError("`poll` takes `until`, a condition, and nothing else beside it")
        elif len(given) != 1:
            raise ValueError(
                f"takes one of `duration`, `until`, `cron`; found {', '.join(given) or 'none'}"
            )
        if self.timezone is not None and self.cron is None:
            raise ValueError("`timezone` says where a `cron` is meant, and there is none")
        return self


class EventDefinition(Model):
    name: str
    action: Literal["wait", "emit"] = "wait"
    match: str | None = None
    correlation: str | None = None
    payload: JsonValue = None
    timeout: Milliseconds | None = None
    on_timeout: StepId | None = None


class SubworkflowCall(Model):
    name: Name
    version: str | None = None


class StepLimit(Model):
    """How often a step may begin, and how many of it may be at work, over all workers."""

    name: Name | None = None
    """What is limited: all steps that give this name share it. Without it, this step alone, in
    all executions of the workflow."""
    key: str | None = None
    """An expression: each of its values is limited by itself; null is not limited."""
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many may be at work at a time."""
    rate_limit: Annotated[str, AfterValidator(_known_rate)] | None = None
    """How often one may begin: `50/s`, `100/m`, `50/s burst 100`."""

    @model_validator(mode="after")
    def _one(self) -> StepLimit:
        if self.concurrency is None and self.rate_limit is None:
            raise ValueError("takes `concurrency`, `rateLimit`, or both; found neither")
        return self


class WorkflowStep(Model):
    """A node of a definition. The field named like the type holds what the type needs."""

    id: StepId
    name: str | None = None
    type: StepType = StepType.TASK
    description: str | None = None
    agent: AgentName | None = None
    """One agent that must do it; without it, any that serves the capability."""
    backup: list[AgentName] = Field(default_factory=list, max_length=20)
    """Agents that do it where the one in `agent` does not live, or is drained; the first that
    does."""
    affinity: str | None = Field(None, min_length=1, max_length=2000)
    """A key: steps with the same one go to one agent while it lives. An expression, or a text with
    expressions; null: any agent."""
    capability_version: VersionSpec | None = None
    """Only agents whose version of the capability is in this range do it: `>=2,<3`."""
    capability: CapabilityName | None = None
    """What does it: the name of a capability, which is the name of its queue."""
    task: CapabilityName | None = None
    """Instead of a capability: the name of an existing Celery task."""
    queue: str | None = None
    """The queue, where it is not named like the capability or task."""
    priority: Priority | None = None
    """How urgent its message is, 0 to 9; the highest goes first. Without it, that of the
    execution."""
    external: bool = False
    """Whether somebody outside of the workers does it, and reports what it came to."""
    input: JsonValue = None
    """What the capability gets: values, in which strings may be expressions."""
    output: dict[str, str] | str | None = None
    """Variables that the step sets: name to expression (a single name takes `$.output`)."""
    condition: str | None = None
    """The step is skipped unless this expression is true."""
    retry: RetryPolicy | None = None
    timeout: Milliseconds | None = None
    """How long one attempt may take, ms."""
    schedule_timeout: Milliseconds | None = None
    """How long an attempt may wait for a worker, ms; then it fails as `ScheduleTimeout`."""
    heartbeat_timeout: Milliseconds | None = None
    """How long an attempt may go without `context.heartbeat()`, ms; then it fails as
    `HeartbeatTimeout`."""
    resources: dict[Name, Annotated[int, Field(ge=1, le=1_000_000)]] | None = None
    """What it holds while it is at work: name of a resource to the units that it takes."""
    limits: list[StepLimit] | None = None
    """How often it may begin, and how many may be at work, over all workers."""
    handoff: Literal["auto", "off"] | None = None
    """`off`: always sent as a message of its own; `auto`: the worker that ends the step before
    may go on with it. Without it, what the workflow says."""
    delivery: Literal["at_least_once", "at_most_once"] = "at_least_once"
    """`at_most_once`: an attempt whose worker died, or that ran out of time, is not tried
    again: it fails as `Interrupted`, since its effect may have happened."""
    next: StepId | Branches | None = None
    """The step that follows; without it, the scope ends here."""
    parallel: ParallelExecution | None = None
    map: MapExecution | None = None
    loop: LoopExecution | None = None
    decision: Branches | None = None
    wait: WaitCondition | None = None
    event: EventDefinition | None = None
    subworkflow: SubworkflowCall | str | None = None
    compensate: Compensation | None = None
    """What undoes it, if it completed and its execution is cancelled."""
    vote: Vote | None = None
    """Several agents do the task, each by itself, and what most of them say is its output."""
    output_schema: dict[str, JsonValue] | None = None
    """JSON Schema of the output: what misses it fails as `InvalidOutput`."""
    fallback: StepFallback | None = None
    """What stands in for the output of a task or a poll when its attempts are used up; without
    it, what is declared with the capability."""
    on_error: StepId | ErrorAction | list[ErrorAction] | None = None
    """Where the run goes when the last attempt failed."""
    escalation: Ladder | None = None
    """Who is asked when it has failed for good and no `onError` takes it: a ladder, or the name
    of a path; `[]`: nobody."""
    budget: Budget | None = None
    """The most that all of its attempts may use together."""

    def _fits_its_agents(self) -> None:
        """What says which agent does it is for what an agent does. Raises ValueError."""
        polls = self.wait is not None and self.wait.poll is not None
        works = (self.type is StepType.TASK and not self.external) or polls
        for name in ("affinity", "capability_version"):
            if getattr(self, name) is not None and not works:
                raise ValueError(f"`{to_camel(name)}` is for tasks that workers do, and for polls")
            if getattr(self, name) is not None and self.agent is not None:
                raise ValueError(
                    f"`agent` names an agent, and `{to_camel(name)}` chooses: keep one"
                )
        if self.backup and self.agent is None:
            raise ValueError("`backup` stands in for an `agent`, and none is named")
        if self.capability_version is not None and self.task is not None:
            raise ValueError("a Celery `task` has no `capabilityVersion`")

    @model_validator(mode="after")
    def _fits_its_type(self) -> WorkflowStep:
        if self.type is StepType.TASK:
            if (self.capability is None) == (self.task is None):
                raise ValueError("a task names either a `capability` or a Celery `task`")
            if self.external and (self.capability is None or self.schedule_timeout is not None):
                raise ValueError(
                    "an `external` task names a `capability`, and waits in no queue: it takes "
                    "neither a Celery `task` nor `scheduleTimeout`"
                )
        elif getattr(self, self.type.value) is None:
            raise ValueError(f"a step of type `{self.type}` needs the field `{self.type}`")
        if self.fallback is not None:
            polls = self.wait is not None and self.wait.poll is not None
            if self.external or not (self.type is StepType.TASK or polls):
                raise ValueError("`fallback` is for tasks that workers do, and for polls")
            if polls and self.fallback.cached is not None:
                raise ValueError("a poll has no output to be `cached`: give its `fallback` a value")
        self._fits_its_agents()
        if self.vote is not None and self.type is not StepType.TASK:
            raise ValueError(
                "`vote` is for tasks; of steps that are more than a task, write the branches of a "
                "`parallel` with `resolve: vote`"
            )
        if self.budget is not None and (self.external or not self._is_work):
            raise ValueError("`budget` is for tasks that workers do, and for polls")
        if self.compensate is not None and self.type is StepType.DECISION:
            raise ValueError("a decision does nothing that `compensate` could undo")
        for kind in StepType:
            if kind is not StepType.TASK and kind is not self.type and getattr(self, kind.value):
                raise ValueError(
                    f"the field `{kind}` does not belong to a step of type `{self.type}`"
                )
        if self.external and self.type is not StepType.TASK:
            raise ValueError(f"`external` is for tasks: nobody reports a {self.type}")
        if self.type is not StepType.TASK and (self.wait is None or self.wait.poll is None):
            for name in ("schedule_timeout", "heartbeat_timeout"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"`{to_camel(name)}` is for tasks and polls: {self.type} has "
                        f"no attempt that a worker takes"
                    )
        return self

    @property
    def _is_work(self) -> bool:
        """Whether workers do it: a task, or a poll."""
        polls = self.wait is not None and self.wait.poll is not None
        return self.type is StepType.TASK or polls

    def error_actions(self) -> list[ErrorAction]:
        """`onError` in its long form."""
        if self.on_error is None:
            return []
        if isinstance(self.on_error, str):
            return [ErrorAction(next=self.on_error)]
        return list(self.on_error) if isinstance(self.on_error, list) else [self.on_error]

    def output_mapping(self) -> dict[str, str]:
        """`output` in its long form."""
        if isinstance(self.output, str):
            return {self.output: "$.output"}
        return self.output or {}


class Trigger(Model):
    """An event that starts an execution of the workflow, once for each event."""

    event: Name
    """The name of the event."""
    match: str | None = None
    """Which events are meant: an expression that reads the payload as `$.event`."""
    correlation: str | None = None
    """Only events with this correlation, literally; without it, any."""
    input: JsonValue = "$.event"
    """The input of the execution: values, in which strings may be expressions."""


class Concurrency(Model):
    """How many executions with the same key may be active at a time."""

    key: str
    """What is told from the input, as `$.input.customer`; null: no limit holds."""
    limit: Annotated[int, Field(ge=1)] = 1
    policy: ConcurrencyPolicy = "queue"
    """What becomes of one more: it waits for its turn, is refused, or takes the place of those
    before it, which are cancelled."""


class MaxActive(Model):
    """How many executions of a workflow may be active at a time."""

    limit: Annotated[int, Field(ge=1)]
    policy: Literal["queue", "reject"] = "queue"


class WorkflowDefinition(Model):
    """A workflow, as its author wrote it. Immutable; its version is the hash of its content."""

    name: Name
    description: str | None = None
    version: str | None = None
    """A label for people; the engine goes by the hash."""
    input: dict[str, JsonValue] | None = None
    """JSON Schema of the input."""
    output: dict[str, JsonValue] | None = None
    """JSON Schema of the output."""
    result: JsonValue = None
    """What an execution gives: values, in which strings may be expressions.
    Without it, the output of the step that ended it."""
    steps: Annotated[list[WorkflowStep], Field(min_length=1)]
    error_handlers: list[ErrorHandler] = Field(default_factory=list)
    escalation: Ladder | None = None
    """Who is asked when a step fails for good that has no ladder of its own, and no error handler
    takes it."""
    escalation_paths: dict[PathName, EscalationPath] = Field(default_factory=dict)
    """Ladders by their names, and which errors take them."""
    message_rules: list[MessageRule] = Field(default_factory=list)
    """What is done to the messages of its steps, in order: where they go, and with which input."""
    triggers: list[Trigger] = Field(default_factory=list)
    """Events that start an execution of the latest version."""
    timeout_ms: Milliseconds | None = None
    """How long an execution may take, ms."""
    priority: Priority = 0
    """How urgent its executions are, 0 to 9; the highest goes first."""
    attributes: Annotated[dict[AttributeName, str | int | float | bool], Field(max_length=32)] = (
        Field(default_factory=dict)
    )
    """What executions are found by: name to value, in which texts may be expressions of the
    input. An attribute that is null is left out."""
    concurrency: Concurrency | None = None
    """How many executions with the same key, `one per customer`, may be active at a time."""
    max_active: Annotated[int, Field(ge=1)] | MaxActive | None = None
    """How many executions of the workflow may be active at a time; more wait for their turn."""
    error_handling_level: ErrorHandlingLevel | None = None
    """What is done about failures that nobody says more about; without it, what the setting
    says."""
    budget: Budget | None = None
    """The most that the steps of an execution may use together."""
    handoff: Literal["auto", "off"] | None = None
    """Whether the worker that ends a step may go on with the next one itself; without it, what
    the setting says."""
    tags: list[str] = Field(default_factory=list)

    def canonical(self) -> str:
        """The JSON that is stored and hashed: sorted keys, camelCase, no defaults, no blanks."""
        content = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def content_hash(self) -> str:
        """The version: the first 12 hex digits of the SHA-256 of `canonical()`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]


Branch.model_rebuild()
MapExecution.model_rebuild()
LoopExecution.model_rebuild()
WorkflowStep.model_rebuild()
WorkflowDefinition.model_rebuild()
