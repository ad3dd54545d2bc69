"""A node: a step in its scope, with its expressions compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from orch.workflows.agents import agent_queue
from orch.workflows.definition import ErrorAction, RetryPolicy, StepType, WorkflowStep
from orch.workflows.expressions import Compiled, Expression
from orch.workflows.limits import LimitPolicy
from orch.workflows.policies import (
    Choice,
    EventPolicy,
    JoinPolicy,
    LoopPolicy,
    MapPolicy,
    PollPolicy,
    Reads,
)
from orch.workflows.ranges import VersionRange
from orch.workflows.ruleset import Rules

TASK_PREFIX = "orch."

HUMAN_APPROVAL = "human_approval"
"""The capability of a step that a person does, in the inbox."""

EVENT_TIMEOUT = "EventTimeout"
STEP_TIMEOUT = "StepTimeout"
SCHEDULE_TIMEOUT = "ScheduleTimeout"
HEARTBEAT_TIMEOUT = "HeartbeatTimeout"


@dataclass(frozen=True)
class Node:
    """A step in its scope. ``key`` is its path without laps."""

    key: str
    scope: str
    step: WorkflowStep
    index: int
    input: Compiled
    output: tuple[tuple[str, Compiled], ...]
    condition: Expression | None
    choice: Choice | None
    wait: Compiled | None
    next: str | Choice | None
    on_error: tuple[ErrorAction, ...]
    branches: tuple[str, ...] = ()  # keys of the scopes within it
    policy: JoinPolicy | None = None
    loop: LoopPolicy | None = None
    mapped: MapPolicy | None = None
    poll: PollPolicy | None = None
    event: EventPolicy | None = None
    default_retry: RetryPolicy | None = None
    affinity: Compiled | None = None
    rules: Rules | None = None  # for its messages
    limits: tuple[LimitPolicy, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether it says itself that it must reserve something before it begins."""
        return bool(self.limits or self.step.resources)

    @property
    def id(self) -> str:
        return self.step.id

    @property
    def type(self) -> StepType:
        return self.step.type

    @cached_property
    def capability(self) -> str:
        """Name of the capability, or of the Celery task, that does it; empty for other types."""
        asked = self.poll.asked.capability if self.poll else ""
        return self.step.capability or self.step.task or asked

    @cached_property
    def is_work(self) -> bool:
        """Whether a worker is sent a message to do it."""
        if self.poll is not None:
            return True
        return self.type is StepType.TASK and not self.external and not self.is_approval

    @property
    def is_approval(self) -> bool:
        """Whether a person does it, in the inbox."""
        return self.step.capability == HUMAN_APPROVAL and not self.external

    @property
    def is_composite(self) -> bool:
        """Whether it does nothing itself: the steps within it do."""
        return self.type in (StepType.PARALLEL, StepType.MAP, StepType.LOOP)

    @property
    def external(self) -> bool:
        """Whether somebody outside of the workers does it."""
        return self.step.external

    @cached_property
    def queue(self) -> str:
        if self.step.agent is not None:
            return agent_queue(self.step.agent)
        return self.common_queue

    @cached_property
    def is_placed(self) -> bool:
        """Whether its queue may have to be chosen when its message is sent."""
        return self.roams or (self.is_work and self.step.agent is not None)

    @cached_property
    def roams(self) -> bool:
        """Whether which agent does it is decided each time that it is sent."""
        step = self.step
        return self.is_work and bool(step.affinity or step.capability_version or step.backup)

    @cached_property
    def versions(self) -> VersionRange | None:
        """Those of its capability that may do it; None: any."""
        asked = self.step.capability_version
        return VersionRange(asked) if asked is not None else None

    @property
    def common_queue(self) -> str:
        """The queue of all agents that do it, also where one of them alone is to."""
        return self.step.queue or self.capability

    @cached_property
    def task_name(self) -> str:
        """Name of the Celery task that carries it."""
        return TASK_PREFIX + self.capability

    @cached_property
    def plain(self) -> bool:
        """Whether entering it takes nothing but a message: no expression decides about it."""
        asks = self.condition is not None or self.routes
        return self.type is StepType.TASK and not asks and self.is_work

    @property
    def routes(self) -> bool:
        """Whether rules may choose where its messages go."""
        return self.rules is not None and self.rules.routes

    @property
    def names_agent(self) -> bool:
        """Whether rules may send its messages to one agent."""
        routes = (rule.asked.route for rule in self.rules.every()) if self.rules else ()
        return any(route is not None and route.agent is not None for route in routes)

    @property
    def input_reads(self) -> Reads:
        """What its input is made of, by its mapping and by the rules for its messages."""
        return self.input.reads if self.rules is None else self.input.reads | self.rules.reads

    def schedule_limit(self, now: int) -> int:
        """When an attempt that is dispatched now must have been taken, ms; 0: whenever."""
        return now + self.step.schedule_timeout if self.step.schedule_timeout else 0

    def silence_limit(self, now: int) -> int:
        """When an attempt that begins now is over, or must have been heard of, ms; 0: never."""
        limits = (self.step.timeout, self.step.heartbeat_timeout)
        return min((now + limit for limit in limits if limit), default=0)

    @property
    def retry(self) -> RetryPolicy | None:
        """When a failed attempt is tried again; the plan's default is for work without its own.

        What may run once at most is tried again only where its author says so.
        """
        if self.step.retry is not None or not (self.is_work or self.external):
            return self.step.retry
        return None if self.step.delivery == "at_most_once" else self.default_retry

    def limit_reads(self) -> set[tuple[str, ...]]:
        """What the keys of its limits read."""
        keys = (policy.key for policy in self.limits)
        return {read for key in keys if key is not None for read in key.reads}

    def targets(self) -> Iterator[str]:
        """Ids of all steps of the scope that may follow when the step succeeds."""
        if self.choice is not None:
            yield from self.choice.targets()
        if isinstance(self.next, Choice):
            yield from self.next.targets()
        elif self.next is not None:
            yield self.next


@dataclass(frozen=True)
class Scope:
    """Steps that follow one another; the first is where it begins."""

    key: str
    nodes: Mapping[str, Node]
    cycles: Mapping[str, int] = field(default_factory=dict)
    """Step id -> number of the cycle that holds it; steps outside of cycles are missing."""
    item_of: MapPolicy | None = None
    """The map, if these are the steps for an item."""

    @property
    def entry(self) -> Node:
        return next(iter(self.nodes.values()))


def other_capability(node: Node) -> str | None:
    """What does the step when its own capability has failed for good."""
    return node.step.fallback.capability if node.step.fallback is not None else None
