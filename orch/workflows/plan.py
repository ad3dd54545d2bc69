"""Definition -> Plan: scopes, nodes, successors, handlers, and what each step reads.

A plan is what a worker needs at each step, computed once per version. Its parts are:

scope   a list of steps that follow one another: the workflow itself (``""``), a branch of a
        parallel (``build/0``), an iteration of a loop (``poll[7]``), an item of a map
        (``resize[17]``), an error handler (``errorHandlers/0``)
node    a step in its scope, with its expressions compiled
path    where a token stands: scope, step and, in a cycle, the lap: ``build/0/lint#2``. A lap
        counts how often the cycle that holds the step was entered from behind, so that each
        visit has a path of its own; the first lap is not written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from pydantic import JsonValue

from orch.errors import DefinitionError, NotSupportedYet
from orch.workflows.agents import agent_queue
from orch.workflows.compensating import compensated_path, compensation_path, in_compensation
from orch.workflows.definition import (
    ERROR_HANDLERS,
    AtLeast,
    Branches,
    ErrorAction,
    ErrorHandler,
    EventDefinition,
    LoopExecution,
    MapExecution,
    ParallelExecution,
    Poll,
    RetryPolicy,
    StepType,
    Tolerance,
    WaitCondition,
    WorkflowDefinition,
    WorkflowStep,
)
from orch.workflows.expressions import (
    Compiled,
    Expression,
    compile_value,
    parse_expression,
    truthy,
)
from orch.workflows.failing import class_in, is_meant
from orch.workflows.ladder import (
    AUTO,
    BUILTIN_PATHS,
    EscalationPath,
    Escalations,
    FallbackRung,
    Ladder,
    Rung,
    people_of,
)
from orch.workflows.resolving import CONFLICT, Resolver, voted
from orch.workflows.rungs import MARK as RUNG_MARK
from orch.workflows.rungs import RungName, in_rung, rung_of, subject_of
from orch.workflows.triggers import TriggerPolicy

ROOT = ""
TASK_PREFIX = "orch."
KNOWN_PATHS = 8192
"""Paths of which a process keeps what follows from them alone."""

LANES = 16
"""Items of a map at the same time, where its `maxConcurrency` does not say."""
OWN_FALLBACK = "_fallback"
"""The ladder of one rung that a step with `fallback: {capability}` has before its own."""

HUMAN_APPROVAL = "human_approval"
"""The capability of a step that a person does, in the inbox."""

EVENT_TIMEOUT = "EventTimeout"
STEP_TIMEOUT = "StepTimeout"
SCHEDULE_TIMEOUT = "ScheduleTimeout"
HEARTBEAT_TIMEOUT = "HeartbeatTimeout"
DAY = 24 * 3600 * 1000
RETRIED = frozenset({StepType.TASK, StepType.SUBWORKFLOW})
"""Types whose attempts may be tried again."""

_INSTANCE = re.compile(r"#\d+|\[\d+\]")  # what a path says beyond the definition
_ITERATION = re.compile(r"(.+)\[(\d+)\]")
_CAPABILITY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")

Reads = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Choice:
    """A compiled `decision`, or a `next` that depends on an expression."""

    expression: Expression
    branches: Mapping[str, str]
    default: str | None

    @classmethod
    def of(cls, branches: Branches) -> Choice:
        return cls(parse_expression(branches.expression), branches.branches, branches.default)

    def targets(self) -> Iterator[str]:
        yield from self.branches.values()
        if self.default is not None:
            yield self.default


@dataclass(frozen=True)
class JoinPolicy:
    """When a parallel step, or a map, is decided.

    ``need``: branches that must succeed, then the others are cancelled; 0: all must end.
    ``tolerated``: branches that may fail; -1: any number. ``plain``: the default, in which the
    first failure is the failure of the step. ``lanes``: branches at the same time, if not all.
    ``resolver``: which output counts; of a vote, ``need`` branches must say the same.
    """

    need: int
    tolerated: int
    plain: bool
    lanes: int = 0
    resolver: Resolver | None = None

    @classmethod
    def of(cls, parallel: ParallelExecution) -> JoinPolicy:
        total = len(parallel.branches)
        match parallel.join:
            case "all":
                need = 0
            case "any":
                need = 1
            case "quorum":
                need = total // 2 + 1
            case AtLeast(at_least=count):
                need = count
        tolerate = parallel.tolerate
        resolver = Resolver.of(parallel)
        decides = resolver is not None and resolver.decides
        if resolver is not None and decides:
            need = resolver.need
        tolerated = tolerated_of(tolerate, total, -1 if need or decides else 0)
        most = parallel.max_concurrency or total
        lanes = most if most < total else 0
        plain = not need and not decides and tolerate is None
        return cls(need, tolerated, plain=plain, lanes=lanes, resolver=resolver)

    def ballot(self, output: Any) -> str:
        """For what a branch with this output is counted; '': for nothing."""
        return self.resolver.ballot(output) if self.resolver is not None else ""

    @property
    def ballots(self) -> dict[str, int] | None:
        """Those of a step that begins, where they are counted."""
        return {} if self.resolver is not None and self.resolver.tallies else None

    @classmethod
    def of_items(cls, tolerate: Tolerance | None, total: int) -> JoinPolicy:
        """Of a map over ``total`` items, which are known only at run time."""
        return cls(0, tolerated_of(tolerate, total, 0), plain=tolerate is None)


def tolerated_of(tolerate: Tolerance | None, total: int, otherwise: int) -> int:
    """How many of ``total`` may fail."""
    if tolerate is not None and tolerate.count is not None:
        return tolerate.count
    if tolerate is not None and tolerate.percentage is not None:
        return int(total * tolerate.percentage / 100)
    return otherwise


@dataclass(frozen=True)
class MapPolicy:
    """What is done for each item of a map.

    ``lanes``: items at the same time. ``batch``: items from one message at the most, 0: as many
    as a time slice allows.
    """

    items: Compiled
    as_: str
    lanes: int
    collect: Expression | None
    name: Compiled | None
    tolerate: Tolerance | None
    batch: int

    @classmethod
    def of(cls, mapped: MapExecution) -> MapPolicy:
        return cls(
            compile_value(mapped.items),
            mapped.as_,
            mapped.max_concurrency or LANES,
            parse_expression(mapped.collect) if mapped.collect else None,
            compile_value(mapped.name) if mapped.name else None,
            mapped.tolerate,
            0 if mapped.batch == "auto" else mapped.batch,
        )

    def end_reads(self) -> Iterator[tuple[str, ...]]:
        """What is read when an item ends, well or not."""
        if self.collect is not None:
            yield from (read for read in self.collect.reads if read[0] != "output")
        if self.name is not None:
            yield from self.name.reads


@dataclass(frozen=True)
class PollPolicy:
    """How often a capability is asked: `until` is looked at after each check."""

    until: Expression
    asked: Poll

    @classmethod
    def of(cls, wait: WaitCondition) -> PollPolicy | None:
        if wait.poll is None or wait.until is None:
            return None
        return cls(parse_expression(wait.until), wait.poll)

    def pause(self, checks: int) -> int:
        """Ms before the next check, when so many have been made; at most a day, or the limit."""
        asked = self.asked
        limit = asked.max_interval or max(DAY, asked.interval)
        try:
            return int(min(float(limit), asked.interval * asked.backoff_rate ** (checks - 1)))
        except OverflowError:
            return limit


@dataclass(frozen=True)
class EventPolicy:
    """What a step listens for, or emits."""

    asked: EventDefinition
    match: Compiled | None
    correlation: Compiled | None
    payload: Compiled

    @classmethod
    def of(cls, event: EventDefinition) -> EventPolicy:
        return cls(
            event,
            compile_value(event.match) if event.match is not None else None,
            compile_value(event.correlation) if event.correlation is not None else None,
            compile_value(event.payload),
        )

    @property
    def emits(self) -> bool:
        return self.asked.action == "emit"

    def reads(self) -> Reads:
        found = self.payload.reads
        for each in (self.match, self.correlation):
            found |= each.reads if each is not None else frozenset()
        return found


@dataclass(frozen=True)
class LoopPolicy:
    """`while` is asked before each iteration, `until` after it."""

    while_: Expression | None
    until: Expression | None
    most: int

    @classmethod
    def of(cls, loop: LoopExecution) -> LoopPolicy:
        return cls(
            parse_expression(loop.while_) if loop.while_ else None,
            parse_expression(loop.until) if loop.until else None,
            loop.max_iterations,
        )

    def reads(self) -> Iterator[tuple[str, ...]]:
        for expression in (self.while_, self.until):
            if expression is not None:
                yield from expression.reads


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
        return self.type is StepType.TASK and self.condition is None and self.is_work

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


class Plan:
    """The compiled form of one version, with the workflows that handle its errors.

    ``key`` names the plan: the version, or a hash of it, of its handlers' versions and of
    ``retry``, the policy of tasks that have none, and of ``escalations``.
    Raises NotSupportedYet when a step uses what this release cannot run.
    """

    def __init__(
        self,
        definition: WorkflowDefinition,
        *,
        key: str | None = None,
        handlers: Mapping[str, WorkflowDefinition] | None = None,
        retry: RetryPolicy | None = None,
        escalations: Escalations | None = None,
    ) -> None:
        self.definition = definition
        self.retry = retry
        self.escalations = escalations or Escalations()
        self.version = definition.content_hash()
        self.key = key or self.version
        self.scopes: dict[str, Scope] = {}
        self._nodes: dict[str, Node] = {}
        self._compensations: dict[str, Node] = {}
        self._works: dict[str, Node] = {}
        self._paths: dict[str, tuple[EscalationPath, Expression | None]] = {}
        for name, found in (
            *self.escalations.paths.items(),
            *definition.escalation_paths.items(),
        ):
            self._paths[name] = found, parse_expression(found.when) if found.when else None
        self._add_scope(ROOT, definition.steps)
        for index, handler in enumerate(definition.error_handlers):
            self._add_handler(index, handler, handlers or {})
        self.triggers = tuple(TriggerPolicy.of(trigger) for trigger in definition.triggers)
        self.result = compile_value(definition.result) if definition.result is not None else None
        self.attributes = compile_value(definition.attributes) if definition.attributes else None
        rule = definition.concurrency
        self.concurrency_key = compile_value(rule.key) if rule is not None else None
        self._reads: dict[str, Reads] = {}
        self._uses_previous: dict[str, bool] = {}
        self.fields: dict[str, tuple[str, ...]] = {}  # path -> what is read there: `fields_for`

    # --- finding one's way ---------------------------------------------------------------

    def node(self, path: str) -> Node:
        """The node of a path, laps left aside. Raises KeyError when there is none."""
        key = _static(path)
        if in_rung(key):
            return self._work(key)
        return self._compensations[key] if in_compensation(key) else self._nodes[key]

    def compensation_of(self, path: str) -> Node | None:
        """What undoes the step at ``path``; None: nothing does."""
        return self._compensations.get(compensation_path(_static(path)))

    def compensates(self, path: str = "") -> bool:
        """Whether the step at ``path``, or one within it, is ever undone; without it: any."""
        key = compensation_path(_static(path))
        return any(
            not path or found == key or found.startswith(f"{key}/") for found in self._compensations
        )

    def nodes(self) -> Iterable[Node]:
        return self._nodes.values()

    def scope(self, scope_path: str) -> Scope:
        return self.scopes[_static(scope_path)]

    def is_quiet(self, path: str) -> bool:
        """Whether the step is all that is done for an item of a map.

        What goes well there at once leaves nothing behind but the item's result: ten thousand
        items are one line of the history, not twenty thousand.
        """
        if in_compensation(path) or in_rung(path):
            return False
        scope = self.scope(split(path)[0])
        if scope.item_of is None or len(scope.nodes) != 1 or not scope.entry.plain:
            return False
        return scope.entry.step.compensate is None

    def follow(self, path: str, target: str) -> str:
        """The path at which ``target`` stands when it follows the step at ``path``.

        Inside a cycle a step back (or to itself) begins the next lap; leaving it, or
        entering one, begins at the first. Each lap only goes forward, so paths never repeat.
        """
        scope_path, own = split(path)
        step_id, lap = split_lap(own)
        scope = self.scope(scope_path)
        cycle = scope.cycles.get(target)
        if cycle is None or scope.cycles.get(step_id) != cycle:
            return join_path(scope_path, target)
        back = scope.nodes[target].index <= scope.nodes[step_id].index
        return join_path(scope_path, target, lap + 1 if back else lap)

    def handler_for(self, name: str, error_class: str = "") -> tuple[int, ErrorHandler] | None:
        """The first handler that takes an error of this name, and of this class."""
        for index, handler in enumerate(self.definition.error_handlers):
            if handler.error == name or is_meant((handler.error,), name, error_class):
                return index, handler
        return None

    @cached_property
    def capabilities(self) -> dict[str, str]:
        """Capability (or Celery task) -> queue, of every step that a worker must serve."""
        nodes = (*self.nodes(), *self._compensations.values())
        found = {n.capability: n.queue for n in nodes if n.is_work}
        for rung in self._rungs():
            if rung.fallback is not None:
                name = rung.fallback.capability
                found.setdefault(name, rung.fallback.queue or name)
        return found

    def is_handed_on(self, node: Node, otherwise: str) -> bool:
        """Whether a worker may go on with the step without a message of its own.

        The nearest word counts; ``otherwise``: that of the settings.
        """
        return (node.step.handoff or self.definition.handoff or otherwise) == "auto"

    @cached_property
    def has_time_limits(self) -> bool:
        """Whether an attempt of any step ends at its `timeout` or `heartbeatTimeout`."""
        nodes = (*self.nodes(), *self._compensations.values())
        if any(n.step.timeout or n.step.heartbeat_timeout for n in nodes):
            return True
        return any(rung.fallback and rung.fallback.timeout for rung in self._rungs())

    # --- who is asked when it fails ------------------------------------------------------

    def ladder(self, path: str, name: str) -> tuple[Rung, ...]:
        """The rungs of a named path; of the step's own ladder where ``name`` is empty.

        Of a compensation: the people whom that of its step asks. Raises KeyError where there is no
        such path.
        """
        other = self.node(path).step.fallback if name == OWN_FALLBACK else None
        if other is not None and other.capability is not None:
            found = {"capability": other.capability, "queue": other.queue, "input": other.input}
            return (Rung(fallback=FallbackRung(**found)),)
        if in_compensation(path):
            return people_of(self.ladder(compensated_path(path), name))
        if name:
            return tuple(self.escalation_paths()[name].ladder)
        own = self.node(path).step.escalation
        if own is None:
            own = self.definition.escalation
        if own is None:
            own = self.escalations.ladder
        return tuple(own) if isinstance(own, list) else ()

    def rung(self, path: str, name: str, number: int) -> Rung | None:
        """The rung of that number, from 1, of what `ladder` finds; None: there is none."""
        try:
            return self.ladder(path, name)[number - 1] if number else None
        except (KeyError, IndexError):
            return None

    def escalation_paths(self) -> dict[str, EscalationPath]:
        """All named paths: those of the workflow, of the settings, and the built-in ones."""
        return BUILTIN_PATHS | {name: path for name, (path, _) in self._paths.items()}

    def ladder_for(
        self, path: str, error: Mapping[str, Any], context: Mapping[str, Any], asked: str = ""
    ) -> tuple[str, tuple[Rung, ...]] | None:
        """Who is asked about an error of the step at ``path``: the name of the path, and its rungs.

        ``asked``: the path that the error itself names. None: nobody is. The nearest word counts:
        the error's, the step's, that of an `errorHandlers` entry, the rules of the paths, the
        workflow's, that of the settings.
        """
        node = self.node(compensated_path(path))
        if asked and (asked == OWN_FALLBACK or asked in self.escalation_paths()):
            return asked, self.ladder(path, asked)
        if node.step.escalation is not None:
            return self._ladder_of(path, node.step.escalation, error, context)
        handled = self.handler_for(str(error.get("name")), class_in(error))
        handled = None if in_compensation(path) else handled
        asked_within = node.is_composite and not self._is_own(node, error)
        if asked_within or handled or in_handler(path):
            return None
        chosen = self._chosen(self._paths, error, context)
        if chosen is not None:
            return chosen, self.ladder(path, chosen)
        for ladder in (self.definition.escalation, self.escalations.ladder):
            if ladder is not None:
                return self._ladder_of(path, ladder, error, context)
        return None

    @staticmethod
    def _is_own(node: Node, error: Mapping[str, Any]) -> bool:
        """Whether nobody was asked yet about an error of a step that only holds others: its
        branches contradict one another, or they are voters, who ask nobody."""
        if node.policy is None or node.policy.resolver is None:
            return False
        return error.get("name") == CONFLICT or node.step.vote is not None

    def may_escalate(self, path: str) -> bool:
        """Whether anybody may be asked about the step at ``path``, or is by its nature."""
        node = self.node(compensated_path(subject_of(path)))
        if in_rung(path) or node.is_approval or node.step.escalation or other_capability(node):
            return True
        resolves = node.policy is not None and node.policy.resolver is not None
        if node.step.escalation is not None or (node.is_composite and not resolves):
            return False
        return self.asks_somebody

    @cached_property
    def asks_somebody(self) -> bool:
        """Whether the workflow, or the settings, have a ladder for steps without one."""
        asks = self.definition.escalation or self.escalations.ladder
        return bool(asks or any(found.chooses for found, _ in self._paths.values()))

    def _ladder_of(
        self, path: str, ladder: Ladder, error: Mapping[str, Any], context: Mapping[str, Any]
    ) -> tuple[str, tuple[Rung, ...]] | None:
        if not isinstance(ladder, str):
            return ("", tuple(ladder)) if ladder else None
        known = {name: (found, None) for name, found in BUILTIN_PATHS.items()} | self._paths
        name = ladder if ladder != AUTO else self._chosen(known, error, context)
        return (name, self.ladder(path, name)) if name in known else None

    def _chosen(
        self,
        paths: Mapping[str, tuple[EscalationPath, Expression | None]],
        error: Mapping[str, Any],
        context: Mapping[str, Any],
    ) -> str | None:
        """The first path whose rule takes the error: those of the workflow before the others."""
        own = self.definition.escalation_paths
        for name in sorted(paths, key=lambda name: name not in own):
            path, when = paths[name]
            if not path.chooses:
                continue
            kind = class_in(error)
            named = is_meant(path.errors, str(error.get("name")), kind)
            if (path.errors or path.classes) and not (named or kind in path.classes):
                continue
            if when is None or truthy(when.evaluate(context)):
                return name
        return None

    @cached_property
    def reassigns(self) -> bool:
        """Whether a rung may give a step to another agent."""
        return any(rung.reassign is not None for rung in self._rungs())

    def _rungs(self) -> Iterator[Rung]:
        """All rungs of the definition and the settings."""
        ladders = [self.definition.escalation, self.escalations.ladder]
        ladders += [node.step.escalation for node in self.nodes()]
        ladders += [path.ladder for path, _ in self._paths.values()]
        for ladder in ladders:
            if isinstance(ladder, list):
                yield from ladder
        for node in self.nodes():
            if other_capability(node):
                yield from self.ladder(node.key, OWN_FALLBACK)

    def _work(self, key: str) -> Node:
        """What is done in a rung for a step: made when it is first asked for."""
        found = self._works.get(key)
        if found is None:
            path = subject_of(key)
            node, name = self.node(path), rung_of(key)
            rungs = () if name.capability else self.ladder(path, name.ladder)
            if not name.capability and not 0 < name.number <= len(rungs):
                raise KeyError(key)
            rung = rungs[name.number - 1] if rungs else None
            found = _make_work(node, key, rung, name)
            if not name.agent:
                self._works[key] = found
        return found

    # --- what a step reads ---------------------------------------------------------------

    def reads(self, path: str) -> Reads:
        """All that must be known to run the step and to decide what follows it."""
        node = self.node(path)
        if in_compensation(path):
            return node.input.reads
        if in_rung(path):
            return node.input.reads | self.reads(subject_of(path))
        if node.key not in self._reads:
            found = set(node.input.reads)
            again = [node] if node.loop else []
            found |= node.poll.until.reads if node.poll else set()
            found |= node.event.reads() if node.event else set()
            self._read_on(found, *again, *self._after(node), *self._on_failure(node))
            self._reads[node.key] = frozenset(found)
        return self._reads[node.key]

    def entry_reads(self, path: str) -> Reads:
        """All that must be known to enter the step, and to decide what follows at once."""
        node = self.node(path)
        found: set[tuple[str, ...]] = set()
        self._read_on(found, node, *self._on_failure(node))
        return frozenset(found)

    def uses_previous_output(self, scope_path: str) -> bool:
        """Whether a step of the scope reads ``$.output`` of the step before it."""
        scope = self.scope(scope_path)
        if scope.key not in self._uses_previous:
            self._uses_previous[scope.key] = any(
                read[0] == "output"
                for node in scope.nodes.values()
                for read in self._reads_before_run(node)
            )
        return self._uses_previous[scope.key]

    def _reads_before_run(self, node: Node) -> Reads:
        found = node.input.reads
        if node.condition is not None:
            found |= node.condition.reads | _if_skipped(node)
        if node.choice is not None:
            found |= node.choice.expression.reads
        if node.mapped is not None:
            found |= node.mapped.items.reads
        if node.wait is not None:
            found |= node.wait.reads
        if node.event is not None:
            found |= node.event.reads()
        return found

    def _read_on(self, found: set[tuple[str, ...]], *ahead: tuple[str, ...] | Node) -> None:
        """Add reads to ``found``, and what is read on entering the nodes among ``ahead``.

        It goes on behind steps that may be passed without a worker. A loop, not a recursion:
        hundreds of steps with a condition may follow one another.
        """
        todo = list(ahead)
        seen: set[str] = set()
        while todo:
            at = todo.pop()
            if not isinstance(at, Node):
                found.add(at)
            elif at.key not in seen:
                seen.add(at.key)
                todo += self._on_entry(at)

    def _on_entry(self, node: Node) -> Iterator[tuple[str, ...] | Node]:
        """What entering a step reads, and the nodes to which it may lead at once."""
        for expression in (node.condition, node.choice.expression if node.choice else None):
            if expression is not None:
                yield from expression.reads
                yield from self._after(node)
        yield from _if_skipped(node)
        if node.wait is not None:
            yield from node.wait.reads
        if node.event is not None:
            yield from node.event.reads()
        if node.loop is not None:
            yield from node.loop.reads()
            yield from self._after(node)
        if node.mapped is not None:
            yield from node.mapped.items.reads
            yield from self._after(node)  # an empty list is done at once; items are entered later
        else:
            for branch in node.branches:
                yield self.scopes[branch].entry
        if node.external or node.is_approval:
            yield from node.input.reads
        if not node.plain:
            yield from self._on_failure(node)

    def _after(self, node: Node) -> Iterator[tuple[str, ...] | Node]:
        for _, value in node.output:
            yield from (read for read in value.reads if read[0] != "output")
        if isinstance(node.next, Choice):
            yield from node.next.expression.reads
        for target in node.targets():
            yield self.scopes[node.scope].nodes[target]
        if node.scope == ROOT and node.next is None and self.result is not None:
            yield from self.result.reads
        yield from self._at_item_end(node)

    def _at_item_end(self, node: Node) -> Iterator[tuple[str, ...]]:
        item_of = self.scopes[node.scope].item_of
        if item_of is not None:
            yield from item_of.end_reads()

    def _on_failure(self, node: Node) -> Iterator[tuple[str, ...] | Node]:
        for action in node.on_error:
            yield self.scopes[node.scope].nodes[action.next]
        yield from self._at_item_end(node)
        if node.scope == ROOT and self.definition.error_handlers:
            root = self.scopes[ROOT].nodes
            for index, handler in enumerate(self.definition.error_handlers):
                yield root.get(handler.handler) or self.scopes[handler_scope(index)].entry
            yield from (("input",), ("cause",))
        for _, when in self._paths.values():
            if when is not None:
                yield from when.reads

    # --- building ------------------------------------------------------------------------

    def _add_handler(
        self, index: int, handler: ErrorHandler, workflows: Mapping[str, WorkflowDefinition]
    ) -> None:
        if handler.handler in self.scopes[ROOT].nodes:
            return
        workflow = workflows.get(handler.handler)
        if workflow is not None:
            self._add_scope(handler_scope(index), workflow.steps)
            return
        if not _CAPABILITY.fullmatch(handler.handler):
            raise DefinitionError(
                f"error handler {handler.handler!r} is no step of the workflow and no workflow "
                f"that is known, and cannot be the name of a capability",
                hint="define that workflow first, or put its file beside this one",
            )
        step = WorkflowStep(
            id=handler.handler,
            capability=handler.handler,
            retry=handler.retry,
            input="$.input",
        )
        self._add_scope(handler_scope(index), [step])

    def _add_scope(
        self, key: str, steps: Iterable[WorkflowStep], item_of: MapPolicy | None = None
    ) -> None:
        nodes = {step.id: self._make_node(key, index, step) for index, step in enumerate(steps)}
        # A failure leads from any step to a handler, so handlers take part in the cycles.
        handlers = [
            handler.handler
            for handler in self.definition.error_handlers
            if key == ROOT and handler.handler in nodes
        ]
        self.scopes[key] = Scope(key, nodes, find_cycles(nodes, handlers), item_of)
        self._nodes.update({node.key: node for node in nodes.values()})

    def _make_node(self, scope: str, index: int, step: WorkflowStep) -> Node:
        step = voted(step)
        _refuse_what_does_not_run(step)
        key = join_path(scope, step.id)
        if step.compensate is not None and not in_compensation(key):
            own = compensation_path(key)
            self._compensations[own] = self._make_node(split(own)[0], 0, _undoing(step))
        branches: list[str] = []
        if step.parallel is not None:
            for number, branch in enumerate(step.parallel.branches):
                branches.append(join_path(key, str(number)))
                self._add_scope(branches[-1], branch.steps)
        if step.loop is not None:
            branches.append(key)
            self._add_scope(key, step.loop.steps)
        mapped = MapPolicy.of(step.map) if step.map is not None else None
        if step.map is not None:
            branches.append(key)
            self._add_scope(key, item_steps(step, step.map), mapped)
        return Node(
            key=key,
            scope=scope,
            step=step,
            index=index,
            input=compile_value(_input_of(step)),
            output=tuple((n, compile_value(v)) for n, v in step.output_mapping().items()),
            condition=parse_expression(step.condition) if step.condition else None,
            choice=Choice.of(step.decision) if step.decision else None,
            wait=_compile_wait(step),
            next=Choice.of(step.next) if isinstance(step.next, Branches) else step.next,
            on_error=(*_on_timeout(step), *step.error_actions()),
            branches=tuple(branches),
            policy=JoinPolicy.of(step.parallel) if step.parallel else None,
            loop=LoopPolicy.of(step.loop) if step.loop else None,
            mapped=mapped,
            poll=PollPolicy.of(step.wait) if step.wait else None,
            event=EventPolicy.of(step.event) if step.event else None,
            default_retry=self.retry,
        )


def item_steps(step: WorkflowStep, mapped: MapExecution) -> list[WorkflowStep]:
    """The steps for an item; the short form is one task that is called like the map."""
    if mapped.steps:
        return mapped.steps
    return [
        WorkflowStep(id=step.id, capability=mapped.capability, input=mapped.input, queue=step.queue)
    ]


def _undoing(step: WorkflowStep) -> WorkflowStep:
    """The task that a compensation is."""
    assert step.compensate is not None
    asked = {n: getattr(step.compensate, n) for n in type(step.compensate).model_fields}
    return WorkflowStep(id=step.id, **asked)


def other_capability(node: Node) -> str | None:
    """What does the step when its own capability has failed for good."""
    return node.step.fallback.capability if node.step.fallback is not None else None


def _make_work(node: Node, key: str, rung: Rung | None, name: RungName) -> Node:
    """The step at ``node``, done once more: by its own capability, or by another one."""
    capability = name.capability
    asked: dict[str, Any] = {"retry": None, "priority": node.step.priority}
    input = node.input
    if rung is not None and rung.fallback is not None:
        fallback = rung.fallback
        asked |= {"capability": fallback.capability, "queue": fallback.queue, "task": None}
        asked["agent"] = None
        asked |= {"timeout": fallback.timeout, "schedule_timeout": None, "heartbeat_timeout": None}
        asked["retry"] = _policy(fallback.max_attempts, fallback.interval)
        if fallback.input is not None:
            input = compile_value(fallback.input)
    elif rung is not None and rung.retry is not None:
        retry = rung.retry
        asked["retry"] = RetryPolicy(
            max_attempts=retry.max_attempts,
            interval=retry.interval,
            backoff_rate=retry.backoff_rate,
            max_interval=retry.max_interval,
        )
    elif rung is not None and rung.reassign is not None and name.agent:
        asked["agent"] = name.agent
    elif capability:
        asked |= {"capability": capability, "queue": None, "task": None, "agent": None}
    elif rung is not None and rung.human is not None:
        asked["retry"] = node.step.retry  # a person let it be tried again
    dropped = ("condition", "output", "next", "on_error", "compensate", "escalation")
    step = node.step.model_copy(update={**dict.fromkeys(dropped), **asked, "external": False})
    return Node(
        key=key,
        scope=node.scope,
        step=step,
        index=node.index,
        input=input,
        output=(),
        condition=None,
        choice=None,
        wait=None,
        next=None,
        on_error=(),
    )


def _policy(attempts: int, interval: int) -> RetryPolicy:
    return RetryPolicy(max_attempts=attempts, interval=interval)


def _on_timeout(step: WorkflowStep) -> Iterator[ErrorAction]:
    """`onTimeout` of an event: an error action like any other, which is asked first."""
    if step.event is not None and step.event.on_timeout is not None:
        yield ErrorAction(errors=[EVENT_TIMEOUT], next=step.event.on_timeout)


def _input_of(step: WorkflowStep) -> JsonValue:
    return step.wait.poll.input if step.wait is not None and step.wait.poll else step.input


def _compile_wait(step: WorkflowStep) -> Compiled | None:
    if step.wait is None or step.wait.poll is not None:
        return None
    wait = step.wait
    if wait.cron is not None:
        return compile_value([wait.cron, wait.timezone])
    return compile_value(wait.duration if wait.duration is not None else wait.until)


def _refuse_what_does_not_run(step: WorkflowStep) -> None:
    missing = []
    polls = step.wait is not None and step.wait.poll is not None
    if step.type not in RETRIED and not polls and step.retry is not None:
        missing.append(f"retry of a {step.type}")
    still = step.type in (StepType.WAIT, StepType.DECISION, StepType.EVENT) and not polls
    if still and step.timeout is not None:
        missing.append(f"timeout of a {step.type}")
    if missing:
        raise NotSupportedYet(
            f"step {step.id!r} uses {', '.join(missing)}, which this release validates "
            f"but does not run yet",
            hint="leave it out, or wait for the release that brings it",
        )


def find_cycles(nodes: Mapping[str, Node], handlers: Iterable[str] = ()) -> dict[str, int]:
    """Number the strongly connected components with a cycle in them (Tarjan 1972, iterative).

    ``handlers`` are steps to which every other step may lead.
    """
    edges = {
        step_id: [
            target
            for target in (
                *node.targets(),
                *(action.next for action in node.on_error),
                *(handler for handler in handlers if handler != step_id),
            )
            if target in nodes
        ]
        for step_id, node in nodes.items()
    }
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    cycles: dict[str, int] = {}

    for root in nodes:
        if root in order:
            continue
        work = [(root, iter(edges[root]))]
        order[root] = low[root] = len(order)
        stack.append(root)
        on_stack.add(root)
        while work:
            current, targets = work[-1]
            for target in targets:
                if target not in order:
                    order[target] = low[target] = len(order)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(edges[target])))
                    break
                if target in on_stack:
                    low[current] = min(low[current], order[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[current])
                if low[current] == order[current]:
                    _close_component(current, edges, stack, on_stack, cycles)
    return cycles


def _close_component(
    root: str,
    edges: Mapping[str, list[str]],
    stack: list[str],
    on_stack: set[str],
    cycles: dict[str, int],
) -> None:
    members = []
    while True:
        member = stack.pop()
        on_stack.discard(member)
        members.append(member)
        if member == root:
            break
    if len(members) > 1 or root in edges[root]:
        number = max(cycles.values(), default=0) + 1
        cycles.update(dict.fromkeys(members, number))


def join_path(scope_path: str, step_id: str, lap: int = 1) -> str:
    own = step_id if lap == 1 else f"{step_id}#{lap}"
    return f"{scope_path}/{own}" if scope_path else own


@lru_cache(KNOWN_PATHS)
def split(path: str) -> tuple[str, str]:
    """``build/0/lint#2`` -> (``build/0``, ``lint#2``); the work of a rung stands in the scope of
    its step: ``build/0/lint/~1`` -> (``build/0``, ``lint/~1``)."""
    step, mark, rung = path.partition(RUNG_MARK)
    scope_path, _, own = step.rpartition("/")
    return scope_path, own + mark + rung


def split_lap(own: str) -> tuple[str, int]:
    """``lint#2`` -> (``lint``, 2)."""
    step_id, _, lap = own.partition("#")
    return step_id, int(lap) if lap else 1


@lru_cache(KNOWN_PATHS)
def join_of(scope_path: str) -> tuple[str, int] | None:
    """The step around a scope, and which branch, iteration or item of it it is; else None."""
    if (iteration := _ITERATION.fullmatch(scope_path)) is not None:
        return iteration.group(1), int(iteration.group(2))
    parent, _, number = scope_path.rpartition("/")
    if not parent or (in_handler(scope_path) and parent == ERROR_HANDLERS):
        return None
    return parent, int(number)


def iteration_path(path: str, number: int) -> str:
    """The scope of one iteration of the loop, or item of the map, at ``path``; the first is 0."""
    return f"{path}[{number}]"


def is_below(path: str, step: str) -> bool:
    """Whether ``path`` stands in a branch, an iteration or an item of the step at ``step``."""
    return path.startswith((f"{step}/", f"{step}["))


@lru_cache(KNOWN_PATHS)
def _static(path: str) -> str:
    """The path without laps and iterations: the key of a node or a scope."""
    return _INSTANCE.sub("", path) if "#" in path or "[" in path else path


def in_handler(path: str) -> bool:
    return path.startswith(ERROR_HANDLERS + "/")


def _if_skipped(node: Node) -> Reads:
    """A skipped step hands on the output before it: to the end of its scope, or to its `next`."""
    handed_on = node.condition is not None and not isinstance(node.next, str)
    return frozenset({("output",)}) if handed_on else frozenset()


def handler_scope(index: int) -> str:
    return f"{ERROR_HANDLERS}/{index}"
