"""Run a definition with mocked capabilities on a virtual clock.

The plan, the transitions, the journal and its scripts are the real ones, on a private server;
only the capabilities, the broker and the time are not. A month's wait takes no time.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from orch.control.addresses import node_at
from orch.control.advance import Advancer
from orch.control.advance.committing import Committing
from orch.control.mocks import Mocks, found_in, mock_names, parse_mocks, tries_again
from orch.control.people import Decided, People
from orch.control.plans import Plans
from orch.control.starting import checked_input, make_start
from orch.control.triggers import NotTriggered, Triggered
from orch.embedded import ephemeral
from orch.errors import InputError, NotFound, OrchError, StepError
from orch.journal.journal import Claimed, HistoryEntry, Journal, milliseconds, open_redis
from orch.settings import Settings
from orch.workflows.calls import Call
from orch.workflows.compensating import compensated_path, in_compensation
from orch.workflows.definition import RetryPolicy, WorkflowDefinition
from orch.workflows.escalation import INBOX_MARK
from orch.workflows.events import Occurrence
from orch.workflows.external import MARK
from orch.workflows.node import Node
from orch.workflows.notices import execution_of
from orch.workflows.outcome import Completed, Failed, Failure, Outcome
from orch.workflows.plan import Plan
from orch.workflows.preparing import prepare_call
from orch.workflows.rungs import in_rung, subject_of
from orch.workflows.state import StepState, StepStatus, encode
from orch.workflows.triggers import TriggerPolicy, input_for
from orch.workflows.validation import check_input
from orch.workflows.view import View, context_of, fields_for, with_output

FAR = 10 * 365 * 24 * 3600 * 1000
"""Ms; further away than anything that is simulated."""

MOST_REMINDERS = 3
"""Reminders of what nobody will ever decide."""

MOST_EVENTS = 100_000
"""A simulation that does more than this never ends by itself."""


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
class SimulatedChange:
    """What happened to an escalated step, as the history tells it; `until` is ms, too."""

    path: str
    at_ms: int
    event: str
    detail: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        found = {"path": self.path, "at_ms": self.at_ms, "event": self.event}
        return {**found, "detail": dict(self.detail)}


@dataclass(frozen=True)
class SimulatedMessage:
    """The message of an attempt, as rules have made it: which of them took it, where it goes, and
    its input. ``at_ms``: when the attempt began, ms since the start."""

    path: str
    attempt: int
    at_ms: int
    rules: Sequence[str]
    capability: str
    queue: str
    agent: str | None
    priority: int
    input: Any

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "rules": list(self.rules)}


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

    ``triggered``: what its events would start, which is told and not run. ``escalations``: the
    rungs, reminders, decisions and resolutions of its escalated steps, the oldest first.
    ``messages``: those of steps for which there are rules, in the order of their attempts.
    """

    status: str
    output: Any
    variables: Mapping[str, Any]
    error: Mapping[str, Any] | None
    steps: Sequence[SimulatedStep] = field(default_factory=list)
    triggered: Sequence[SimulatedStart] = field(default_factory=list)
    escalations: Sequence[SimulatedChange] = field(default_factory=list)
    messages: Sequence[SimulatedMessage] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        found = {
            "status": self.status,
            "output": self.output,
            "variables": dict(self.variables),
            "steps": [step.as_dict() for step in self.steps],
        }
        if self.triggered:
            found["triggered"] = [start.as_dict() for start in self.triggered]
        if self.escalations:
            found["escalations"] = [change.as_dict() for change in self.escalations]
        if self.messages:
            found["messages"] = [message.as_dict() for message in self.messages]
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

    Ladders run on the virtual clock, and people decide what ``mocks`` say. Rules for messages find
    in the memory what ``mocks`` say.

    ``handlers``: the workflows that errorHandlers name. ``workflows``: those that are called by
    a `subworkflow`, whose steps are run and listed behind the path of the step that calls.
    ``retry``: of tasks that have none, instead of what ``settings`` say, which are those of
    failures and messages alone: `retry_strategy` and its kin, `error_handling_level`,
    `error_classes`, `escalation`, `escalation_paths`, `message_rules`.
    Raises InputError for mocks that fit no step, input that misses the schema, and where nobody
    emits or decides what a step waits for; NotSupportedYet; NoServer.
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
            simulator._people = People(simulator.mocks.decisions)
            return simulator.run(plan, key, input)
        finally:
            redis.close()


OBEYED = (
    "retry_strategy",
    "max_retries",
    "retry_interval",
    "error_handling_level",
    "error_classes",
    "escalation",
    "escalation_paths",
    "message_rules",
)
"""Settings that a simulation goes by."""


def _settings(given: Settings | None) -> Settings:
    """Settings of the journal, without environment and files: nothing is looked at in between.

    ``given``: whose settings of failures and messages they have.
    """
    return Settings.model_construct(
        **{
            name: f.get_default(call_default_factory=True)
            for name, f in Settings.model_fields.items()
        }
        | ({name: getattr(given, name) for name in OBEYED} if given else {})
        | {"dispatch_grace": FAR / 1000, "recheck_interval": FAR / 1000}
    )


_Todo = tuple[int, int, tuple[Plan, str, str], Claimed | None, Outcome | Decided | None]
"""When, in which order, (plan, execution, path), what was claimed, and what came of it; or what
somebody decides."""


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
        self._people = People({})
        self._tries: dict[tuple[str, str], int] = {}
        self.advancer.tell = self._told
        self.advancer.start_triggered = self._would_start
        self.advancer.gated = False
        self._triggered: list[SimulatedStart] = []
        self._messages: list[SimulatedMessage] = []
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
            if isinstance(outcome, Decided):
                self._decide(own, path, outcome)
            elif claimed is None or outcome is None:
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
            outcome = self._outcome(plan, task.path, shown, claimed, plan.node(task.path))
            at = self.now + self._duration(mock_names(plan, task.path, shown))
            token = (plan, task.execution, task.path)
            heapq.heappush(self._todo, (at, next(self._order), token, claimed, outcome))
            begun = True
        return begun

    def _duration(self, names: Sequence[str]) -> int:
        return found_in(self.mocks.durations, names) or 0

    def _told(self, event: str, notice: str) -> None:
        """People hear that they are asked; what they will decide is known at once."""
        self.journal.leave_notice(notice, None)
        execution = execution_of(notice)
        path = notice[len(execution) + 1 :].rpartition(":")[0]
        record = self.journal.read_escalation(execution, path)
        key = self.journal.plan_of(execution)
        if event not in ("raised", "rung") or record is None or key is None:
            return
        if not record.open or not record.queue or record.work:
            return
        plan = self.plans.get(key)
        decided = self._people.ask(mock_names(plan, path, self._prefix(execution) + path), record)
        if decided is not None:
            at, token = self.now + decided.decision.after, (plan, execution, path)
            heapq.heappush(self._todo, (at, next(self._order), token, None, decided))

    def _decide(self, execution: str, path: str, decided: Decided) -> None:
        if not decided.holds(self.journal.read_escalation(execution, path)):
            return  # the next rung has taken over: it is too late
        try:
            self.advancer.rule(execution, path, decided.ruling(self.now))
        except OrchError as error:
            shown, word = self._prefix(execution) + path, decided.decision.decision
            raise InputError(
                f"the decision {word!r} about step {shown!r} is refused: {error.message}",
                hint=error.hint,
            ) from error

    def _listening(self) -> list[tuple[str, str]]:
        keys = self.journal.keys
        members = [
            str(member).rsplit(" ", 2)
            for partition in range(keys.partitions)
            for member in self.journal.redis.zrange(keys.listening(partition), 0, -1)
            if not str(member).startswith((MARK, INBOX_MARK))
        ]
        return [(execution, path) for _, execution, path in members]

    def _say_what_is_waited_for(self, execution: str) -> None:
        waiting = [
            name[1:]
            for name, wanted in self.journal.steps(execution).items()
            if name.startswith("?") and not wanted.startswith((MARK, INBOX_MARK))
        ]
        if waiting:
            raise InputError(
                f"nobody emits the event that {', '.join(waiting)} waits for",
                hint="give it a payload under `events` of the mocks, or a `timeout`",
            )
        asked = [
            f"{self._prefix(each.execution)}{each.path} in queue {each.escalation.queue!r}"
            for each in self.journal.open_escalations()
            if each.escalation.queue and not each.escalation.work
        ]
        if asked:
            raise InputError(
                f"nobody decides what is asked of people: {', '.join(asked)}",
                hint="say what they do under `decisions` of the mocks, or give it a `within`",
            )
        self.now += FAR

    def _deliver(self, plan: Plan, execution: str, path: str) -> None:
        node = node_at(self.journal, plan, execution, path)
        shown = self._prefix(execution) + path
        duration = self._duration(mock_names(plan, path, shown))
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
        outcome = self._outcome(plan, path, shown, claimed, node)
        at, token = self.now + duration, (plan, execution, path)
        heapq.heappush(self._todo, (at, next(self._order), token, claimed, outcome))

    def _prefix(self, execution: str) -> str:
        """What stands before the paths of an execution: those of the steps that called it."""
        family = self.journal.read_family(execution)
        if family is None or family.parent is None:
            return ""
        return f"{self._prefix(family.parent.execution)}{family.parent.path}/"

    def _outcome(self, plan: Plan, path: str, shown: str, claimed: Claimed, node: Node) -> Outcome:
        attempt = claimed.state.attempt
        names = mock_names(plan, path, shown)
        name = self.mocks.failure(names, self._count(plan, path, claimed))
        try:
            if name is None or node.rules is not None:
                self._make_input(plan, path, shown, claimed, node)
        except StepError as error:
            return Failed(Failure(error.name, error.message, node.id, path, attempt))
        if name is not None:
            message = f"attempt {attempt} of {node.id} fails, as mocked"
            return Failed(Failure(name, message, node.id, path, attempt))
        checks = found_in(self.mocks.polls, names)
        if node.poll is not None and checks is not None:
            return Completed(checks[min(claimed.state.total, len(checks) - 1)])
        return Completed(found_in(self.mocks.outputs, names))

    def _make_input(self, plan: Plan, path: str, shown: str, claimed: Claimed, node: Node) -> None:
        """See whether it can be made, and note what rules have made. Raises StepError."""
        view = self._seen(claimed.view, path)
        if node.rules is None:
            node.input.evaluate(context_of(view, path))
            return
        found = prepare_call(plan, node, view, path, self._recall)
        self._messages.append(
            SimulatedMessage(
                path=shown,
                attempt=claimed.state.attempt,
                at_ms=self.now - self.begun,
                rules=found.taken,
                capability=node.capability,
                queue=node.queue,
                agent=node.step.agent,
                priority=found.message.priority,
                input=found.message.input,
            )
        )

    def _recall(self, name: str, sought: Mapping[str, Any]) -> list[Any]:
        found = found_in(self.mocks.memory, (name, name.rpartition(".")[2]))
        return list(found or ())[: int(sought["limit"])]

    def _count(self, plan: Plan, path: str, claimed: Claimed) -> int:
        """Which attempt this is: what a rung tries again is counted on from the step's own."""
        subject, own = subject_of(path), claimed.state.attempt
        known = claimed.view.execution, subject
        if not in_rung(path):
            self._tries[known] = own
            return own
        if not tries_again(plan, path):
            return own
        self._tries[known] = self._tries.get(known, 0) + 1
        return self._tries[known]

    def _seen(self, view: View, path: str) -> View:
        if not in_compensation(path):
            return view
        undone = compensated_path(subject_of(path))
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
            case StepStatus.ESCALATED:
                self._look_at_escalated(execution, path, state)
            case _:
                pass

    def _look_at_escalated(self, execution: str, path: str, state: StepState) -> None:
        record = self.journal.read_escalation(execution, path)
        if record is None:
            return
        decided = any(token[1:] == (execution, path) for _, _, token, _, _ in self._todo)
        stays = not (record.until or record.work or record.ends or decided)
        if stays and (not record.remind or record.reminders >= MOST_REMINDERS):
            return
        again = self.advancer.look_at_escalated(execution, path, state)
        if again is not None:
            self.journal.postpone(execution, path, state.dumps(), again)

    def _result(self, execution: str) -> Simulation:
        record = self.journal.record(execution)
        return Simulation(
            record.status.value,
            record.output,
            record.variables,
            record.error,
            [step for _, step in sorted(self._steps(execution), key=lambda found: found[0])],
            self._triggered,
            sorted(self._changes(execution), key=lambda change: change.at_ms),
            self._messages,
        )

    def _changes(self, execution: str, prefix: str = "") -> Iterator[SimulatedChange]:
        """What happened to escalated steps, those of children included."""
        for entry in self.journal.history(execution):
            if entry.event in _CHANGES:
                detail = dict(entry.detail)
                if "until" in detail:
                    detail["until"] -= self.begun
                at = entry.at - self.begun
                yield SimulatedChange(prefix + entry.path, at, entry.event, detail)
            elif entry.event == "calling":
                child = Call(execution, entry.path, entry.attempt).child
                yield from self._changes(child, f"{prefix}{entry.path}/")

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
        "asked",
    }
)
_CHANGES = frozenset(
    {"escalated", "asked", "rung", "reminded", "overdue", "inbox", "ruled", "resolved"}
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
    order: dict[tuple[str, int, bool], tuple[int, SimulatedStep]] = {}
    escalated: set[str] = set()
    for entry in history:
        attempt, at = max(entry.attempt, 1), entry.at - begun
        if entry.event == "escalated":
            escalated.add(entry.path)
        known = (entry.path, attempt, entry.path in escalated)
        if entry.path and entry.event in _BEGINNINGS:
            order.setdefault(known, (at, SimulatedStep(entry.path, attempt, 0, "running")))
        if entry.path and entry.event in _OUTCOMES:
            first = order.get(known, (at,))[0]
            outcome = _OUTCOMES[entry.event]
            order[known] = first, SimulatedStep(entry.path, attempt, at, outcome)
    return [found for found in order.values() if found[1].outcome != "running"]
