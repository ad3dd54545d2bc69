"""The facade that a user imports. It delegates, and holds no logic."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from orch.agents.assignments import Assignments, Task, TaskAssignment, task_of
from orch.agents.coordinator import (
    AgentBacklog,
    AgentCoordinator,
    Candidate,
    DrainedAgent,
)
from orch.agents.info import AgentCapability, AgentInfo
from orch.agents.outside import Given, Offered
from orch.agents.registry import AgentRegistry
from orch.control.archive import Archived
from orch.control.attempts import Attempt
from orch.control.breakers import BreakerInfo
from orch.control.bulk import Asked
from orch.control.comparison import Comparison
from orch.control.external import ExternalTask
from orch.control.filters import Filters, Instant
from orch.control.forking import Again
from orch.control.limits import LimitInfo
from orch.control.logs import LoggedLine
from orch.control.manager import Started, Workflow, WorkflowInfo, WorkflowManager
from orch.control.migration import Migrated
from orch.control.runtime import Runtime
from orch.control.schedules import ScheduleInfo, TickInfo
from orch.control.search import ExecutionPage
from orch.control.spending import (
    DaySpending,
    ExecutionUsage,
    set_budget,
    spending,
    usage_of,
)
from orch.control.status import ExecutionContext
from orch.control.subscription import (
    EventFilter,
    ExecutionEvent,
    Listener,
    Subscription,
)
from orch.control.transfer import Exported, Imported
from orch.control.triggers import Told
from orch.control.versions import WorkflowVersion
from orch.control.workers import WorkerProcesses
from orch.errors import OrchError
from orch.escalation.inbox import InboxItem
from orch.escalation.manager import CLAIM_TIME, NOTHING, EscalationManager
from orch.escalation.quarantine import QuarantinedStep, QuarantineManager
from orch.escalation.statistics import Statistics
from orch.execution import Execution
from orch.journal.journal import HistoryEntry
from orch.journal.versions import Canary
from orch.memory.memory import Memory, MemoryFilters, MemoryStatistics
from orch.memory.record import MemoryRecord
from orch.monitoring.scaling import Aim, CapabilityLoad, Scaling
from orch.resources.advice import CapacityPlan
from orch.resources.manager import ResourceManager
from orch.server import find_server
from orch.settings import Settings, load_settings
from orch.workflows.comparing import Difference
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.schedule import Schedule
from orch.workflows.starts import StartGiven
from orch.workflows.validation import Finding

Definition = WorkflowDefinition | Mapping[str, Any] | str
"""A model, its content as a mapping, or YAML or JSON text."""


class Orchestrator:
    """Define workflows, start them, ask of them.

    Example::

        orchestrator = Orchestrator()
        orchestrator.load_workflow("hello.yaml")
        print(orchestrator.start_workflow("hello", {"name": "Ada"}).wait().output)

    Keyword arguments are settings (see `orch.settings.Settings`). Raises NoServer or
    Unreachable when there is no Redis, PartitionMismatch, SettingsError.
    """

    def __init__(self, settings: Settings | None = None, **given: Any) -> None:
        self.settings = settings or load_settings(**given)
        self.server = find_server(self.settings)
        self.runtime = Runtime(self.settings, self.server.url)
        self.runtime.journal.check()
        self.manager = WorkflowManager(self.runtime)
        self.escalations = EscalationManager(self.runtime)
        self.quarantine = QuarantineManager(self.runtime)
        self.registry = AgentRegistry(self.runtime)
        self.assignments = Assignments(self.manager, self.registry)
        self.memory = Memory(self.runtime.journal)
        self.agents = AgentCoordinator(self.runtime)
        self.resources = ResourceManager(self.runtime)

    def define_workflow(
        self,
        name: str,
        definition: Definition,
        parameters: Mapping[str, Any] | None = None,
        *,
        by: str | None = None,
        canary: float | None = None,
    ) -> Workflow:
        """Check a definition and store it under ``name``. Raises InvalidWorkflow.

        ``canary``: so many percent of the new executions get it, the others the latest as ever.

        ``parameters``: values for the `parameters` that it declares; what is stored is the
        definition filled in with them.
        """
        return self.manager.define(name, definition, by=by, canary=canary, parameters=parameters)

    def load_workflow(
        self,
        path: Path | str,
        parameters: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
    ) -> Workflow:
        """Define the workflow of a YAML, JSON or Python file under the file's stem, or ``name``.

        ``parameters`` as for `define_workflow`; the files that it includes lie beside it.
        """
        return self.manager.load(path, key=name, parameters=parameters)

    def save_workflow(self, workflow: Workflow | str, path: Path | str) -> Path:
        """Write a workflow to a .yaml or .json file."""
        return self.manager.save(workflow, path)

    def list_workflows(self) -> list[WorkflowInfo]:
        """Every workflow that can be started by name."""
        return self.manager.workflows()

    def list_versions(self, name: str) -> list[WorkflowVersion]:
        """The versions of a workflow, newest first, with when and by whom. Raises NotFound."""
        return self.manager.versions(name)

    def canary_workflow(
        self, name: str, version: str, percent: float, *, by: str | None = None
    ) -> Canary:
        """Let so many percent of the new executions get a version that is not the latest."""
        return self.manager.canaries.set(name, version, percent, by)

    def stop_canary(self, name: str) -> bool:
        """Let all new executions get the latest version again. False: there was no canary."""
        return self.manager.canaries.stop(name)

    def promote_canary(self, name: str) -> str:
        """Make the canary the latest version, which is answered. Raises NotFound."""
        return self.manager.canaries.promote(name)

    def compare_versions(
        self, name: str, *versions: str, since: Instant | None = None
    ) -> Comparison:
        """Statuses, failure rates, errors, durations and efforts of versions, side by side.

        Without ``versions``, of all that have executions. Raises NotFound, InputError.
        """
        return self.manager.compare(name, *versions, since=since)

    def validate_workflow(
        self,
        definition: WorkflowDefinition | Mapping[str, Any],
        parameters: Mapping[str, Any] | None = None,
    ) -> list[Finding]:
        """All findings of a definition; nothing is stored."""
        return self.manager.validate(definition, parameters=parameters)

    def start_workflow(
        self,
        name: str,
        input: Any = None,
        idempotency_key: str | None = None,
        *,
        version: str | None = None,
        **options: Unpack[StartGiven],
    ) -> Execution:
        """Start an execution. The same ``idempotency_key`` gives the same execution.

        ``version``: the hash of one, the beginning of it, or its label; by default the latest.
        ``options``: ``delay`` or ``at``, ``deadline``, ``attributes``, ``priority``,
        ``concurrency_key``, ``project``; see `StartGiven`.
        Raises NotFound, InputError, ConcurrencyRejected, Unreachable.
        """
        started = self.manager.start(
            name, input, idempotency_key=idempotency_key, version=version, **options
        )
        return self._handle(started)

    def start_workflows(self, requests: Iterable[Asked]) -> list[Execution | OrchError]:
        """Start many executions; what became of each, in order: its handle, or why it was refused.

        ``requests``: `StartRequest`, (name, input, options), or mappings of ``name``, ``input``,
        ``idempotency_key`` and options. One that is refused does not hold up the others.
        """
        return [
            each if isinstance(each, OrchError) else self._handle(each)
            for each in self.manager.start_many(requests)
        ]

    def _handle(self, started: Started) -> Execution:
        return Execution(
            self.manager, started.id, existed=started.existed, warnings=started.warnings
        )

    def rerun_workflow(self, id: str, input: Any = None, **given: Any) -> Execution:
        """Start an execution anew, as a new one; ``input``: None for the same.

        Keywords: ``version``, "same" or "latest"; ``idempotency_key``, ``reason``, ``by``.
        Raises NotFound, InputError.
        """
        return self._again(self.manager.forking.rerun(id, input, **given))

    def fork_workflow(
        self,
        id: str,
        from_step: str,
        *,
        variables: Mapping[str, Any] | None = None,
        input: Any = None,
        **given: Any,
    ) -> Execution:
        """Go on from a step as a new execution; what was done before the step is kept.

        ``from_step``: its path. ``variables`` are set on top of those of that point; ``input``:
        None for the same. Keywords as of `rerun_workflow`. Raises NotFound, InputError, and
        NotAllowed where it would not be exact.
        """
        forking = self.manager.forking
        return self._again(forking.fork(id, from_step, variables=variables, input=input, **given))

    def _again(self, again: Again) -> Execution:
        started = self.manager.start_again(again)
        return Execution(
            self.manager, started.id, existed=started.existed, warnings=started.warnings
        )

    def diff_executions(self, a: str, b: str) -> Difference:
        """How execution ``b`` differs from ``a``: `same`, and all that is different."""
        return self.manager.diff(a, b)

    def trigger_event(
        self,
        event: str,
        payload: Any = None,
        *,
        correlation: str | None = None,
        execution: str | None = None,
        id: str | None = None,
    ) -> Told:
        """Tell all that wait for ``event``, each exactly once; how many took it now.

        The workflows whose `triggers` name it are started, each once for each event: the answer
        is a number, whose ``started`` names the executions and whose ``not_triggered`` says
        which could not be, and why (a wrong input, a `match` that cannot be evaluated).
        With ``execution`` it is meant for that one alone. Then, or with a ``correlation``, it is
        kept for steps that come to it later. The same ``id`` is the same event, told once more.
        Raises NotFound, InputError.
        """
        return self.manager.trigger_event(
            event, payload, correlation=correlation, execution=execution, id=id
        )

    def events(
        self,
        filter: EventFilter | Mapping[str, Any] | None = None,
        *,
        since: str | None = None,
        follow: bool = True,
    ) -> Subscription:
        """What happens to executions, as an iterator: from now, or behind a position.

        ``since``: the `position` of an event, or ``"start"`` for all that is kept. Without
        ``follow`` it ends behind the last event instead of waiting for the next.
        Raises InputError, PositionLost.
        """
        return Subscription(self.runtime.journal, filter, since=since, follow=follow)

    def subscribe_to_events(
        self,
        filter: EventFilter | Mapping[str, Any] | None,
        callback: Callable[[ExecutionEvent], Any],
        *,
        since: str | None = None,
    ) -> Listener:
        """Call ``callback`` for each event, in a thread, until the listener is closed."""
        return Listener(self.events(filter, since=since), callback)

    def execution(self, id: str) -> Execution:
        """A handle on an execution that was started elsewhere."""
        return Execution(self.manager, id)

    def get_execution_status(self, id: str) -> ExecutionContext:
        """Raises NotFound."""
        return self.manager.status(id)

    def get_execution_history(self, id: str) -> list[HistoryEntry]:
        """Events, oldest first. Raises NotFound."""
        return self.manager.history(id)

    def get_attempts(self, id: str, path: str) -> tuple[Attempt, ...]:
        """The attempts of a step, the first one first. Raises NotFound."""
        return self.manager.attempts(id, path)

    def get_logs(
        self, id: str, path: str | None = None, level: str = "debug", *, follow: bool = False
    ) -> Iterator[LoggedLine]:
        """Lines that the steps of an execution logged by `context.log`, the oldest first.

        ``path``: only of this step, and of what is in it. ``level``: from this one on. ``follow``:
        wait for more until the execution has ended. Raises NotFound, InputError.
        """
        return self.execution(id).logs(path, level, follow=follow)

    def get_usage(self, id: str) -> ExecutionUsage:
        """Tokens and cost of an execution, and of its steps. Raises NotFound."""
        return usage_of(self.manager.journal, id)

    def get_spending(self, project: str | None = None, *, days: int = 7) -> list[DaySpending]:
        """Tokens and cost of all projects, or one, by day (UTC), the newest first; at most of 90
        days. Raises InputError."""
        return spending(self.manager.journal, project, days)

    def set_budget(
        self,
        id: str,
        path: str | None = None,
        *,
        cost: float | None = None,
        tokens: int | None = None,
        by: str | None = None,
        reason: str = "",
    ) -> None:
        """Change what an execution, or with ``path`` one of its steps, may use in all.

        It holds from the next attempt on; ``by`` and ``reason`` are for the history. Raises
        NotFound, InputError.
        """
        set_budget(self.manager.journal, id, path, cost=cost, tokens=tokens, by=by, reason=reason)

    def list_executions(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[Filters]
    ) -> ExecutionPage:
        """A page of executions, newest first, that all ``filters`` hold of: `workflow`,
        `status` (one or several), `tag`, `attribute` (name -> value), `since`, `until`,
        `capability`, `error`, `parent`, `version`; see `Filters`.

        The page is a list; its ``cursor`` gives the next one, and is None behind the last.
        What is started meanwhile does not move the pages. Raises InputError.
        """
        return self.manager.executions(limit=limit, cursor=cursor, **filters)

    def export_executions(
        self,
        target: Path | str | BinaryIO,
        ids: Sequence[str] | None = None,
        *,
        live: bool = False,
        **filters: Unpack[Filters],
    ) -> Exported:
        """Write executions as JSON lines, with the definitions that they need, to a file.

        Those of ``ids``, or all that ``filters`` find; a name that ends with .gz is compressed.
        Those that have not ended are left out and counted (named by id: NotAllowed), unless
        ``live``: then they are written as they are at one instant. Raises NotFound, InputError.
        """
        return self.manager.transfer.write(target, ids, filters, live=live)

    def import_executions(self, source: Path | str | BinaryIO) -> Imported:
        """Read ended executions back, to be looked at for the time of `retention`.

        Ids that are there are left alone, live ones left out, both are counted; a line that is
        wrong is told with its number, and the others are read all the same. Raises InputError.
        """
        return self.manager.transfer.read(source)

    def archive_executions(self, directory: Path | None = None, *, all: bool = False) -> Archived:
        """Archive what has been kept for `retention`, or, with ``all``, whatever has ended.

        ``directory``: by default the setting `archive_dir`. Raises ArchiveError, SettingsError.
        """
        return self.manager.archive(directory, all=all)

    # Each of these answers whether it was this call that did it, and may be repeated without
    # harm. They raise NotFound, and NotAllowed where the execution's state does not allow it.
    # ``by``: who asks, for the history; by default the user of this process.

    def pause_workflow(
        self, id: str, reason: str = "", *, branch: str | None = None, by: str | None = None
    ) -> bool:
        """Let nothing of an execution start any more; what runs may end.

        ``branch``: only in this one: the path of a branch (``build/0``), of an iteration or an
        item (``resize[17]``), or of a step that holds such (``build``). Everything else goes on.
        """
        return self.manager.steering.pause(id, reason, branch=branch, by=by)

    def resume_workflow(
        self,
        id: str,
        input: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        branch: str | None = None,
        by: str | None = None,
    ) -> bool:
        """Let a paused execution go on. ``input``: variables that are set before it does.

        ``branch``: let the branch that was paused under this path go on. What is paused by
        itself around it, or in it, stays so; so do paused branches when the whole is resumed.
        """
        return self.manager.steering.resume(id, input, reason=reason, branch=branch, by=by)

    def stop_workflow(
        self, id: str, reason: str = "", *, grace: float | None = None, by: str | None = None
    ) -> bool:
        """Cancel: nothing starts any more, what was done is compensated, then it ends.

        ``grace``: seconds that steps which run have to end; by default `cancel_grace`.
        """
        return self.manager.steering.cancel(id, reason, grace=grace, by=by)

    def terminate_workflow(self, id: str, reason: str = "", *, by: str | None = None) -> bool:
        """End an execution now: what its steps do is thrown away, nothing is compensated."""
        return self.manager.steering.terminate(id, reason, by=by)

    def retry_workflow(self, id: str, reason: str = "", *, by: str | None = None) -> bool:
        """Let a failed execution go on from the steps that failed."""
        return self.manager.steering.retry(id, reason, by=by)

    def skip_step(
        self, id: str, path: str, output: Any = None, *, reason: str = "", by: str | None = None
    ) -> bool:
        """Let a step count as completed with ``output``, whatever a worker does for it."""
        return self.manager.steering.skip(id, path, output, reason=reason, by=by)

    # Tasks of steps with `external: true`. ``task``: its id, EXECUTION:PATH:ATTEMPT, as
    # `list_tasks` gives it; without ATTEMPT, whichever is open. They raise NotFound, NotAllowed
    # for what comes too late, and its subclass AlreadyReported.

    def list_tasks(
        self,
        capability: str | None = None,
        *,
        agent: str | None = None,
        limit: int | None = None,
    ) -> list[ExternalTask]:
        """Tasks that wait for somebody outside, with their inputs; the longest waiting first.

        ``agent``: only those that it may do: that name it, or nobody.
        """
        return self.manager.external.list(capability, agent=agent, limit=limit)

    def complete_task(self, task: str, output: Any = None, *, by: str | None = None) -> bool:
        """Report that a task is done. False: it is not there yet, the report is kept for it."""
        return self.manager.external.complete(task_of(task), output, by=by)

    def fail_task(
        self,
        task: str,
        error: str = "TaskFailed",
        message: str = "",
        *,
        retryable: bool = True,
        by: str | None = None,
    ) -> bool:
        """Report that a task failed under the name ``error``. Answers as `complete_task`."""
        return self.manager.external.fail(task_of(task), error, message, retryable=retryable, by=by)

    def heartbeat_task(self, task: str, progress: Any = None) -> None:
        """Say that the work on a task goes on. Raises NotAllowed: stop working on it."""
        self.manager.external.heartbeat(task_of(task), progress)

    def migrate_workflow(
        self,
        id: str,
        version: str | None = None,
        mapping: Mapping[str, str] | None = None,
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        """Let an execution that lives, or failed, go on by another version (the latest).

        ``mapping``: step -> what it is called there. ``dry_run``: only say whether it fits.
        Raises NotFound, and NotAllowed with all that does not fit.
        """
        migrate = self.manager.migration.migrate
        return migrate(id, version, mapping, by=by, reason=reason, dry_run=dry_run)

    def modify_workflow(
        self,
        id: str,
        changes: Sequence[Mapping[str, Any]],
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        """Change the steps that are ahead of an execution, for it alone.

        Each change is one of ``{"insert": step, "after": id}``, ``{"insert": step, "before":
        id}``, ``{"replace": step}``, ``{"remove": id}``. Raises NotFound, NotAllowed, and
        InvalidWorkflow with all that stands against it.
        """
        modify = self.manager.migration.modify
        return modify(id, changes, by=by, reason=reason, dry_run=dry_run)

    def get_scaling(
        self, capabilities: Sequence[str] = (), aim: Aim | None = None
    ) -> list[CapabilityLoad]:
        """What waits for capabilities (all of them, by default), and how many workers that takes.

        ``aim``: what is wanted of the workers. Raises Unreachable.
        """
        return Scaling(self.runtime).read(capabilities, aim)

    # Agents. ``agent``: the id of one, or its name, with its host or without.

    def list_agents(self, *, offline: bool = False) -> list[AgentInfo]:
        """The agents that live, by their names; ``offline``: also those that are remembered."""
        return self.registry.list(offline=offline)

    def get_agent(self, agent: str) -> AgentInfo:
        """One of them, also where it is gone. Raises NotFound."""
        return self.registry.show(agent)

    def get_agent_capabilities(self, agent: str) -> list[AgentCapability]:
        """What an agent that lives offers, with versions and JSON Schemas. Raises NotFound."""
        return list(self.registry.capabilities(agent))

    def find_agents_by_capability(self, capability: str) -> list[AgentInfo]:
        """The agents that serve it and take work; those with the least load first, then those
        with the most success."""
        return self.registry.find(capability)

    def register_agent(self, agent: Given, capabilities: Offered) -> str:
        """Register an agent outside of Celery, or what is new of it; its id, which is its name.

        ``agent``: its name, or the fields of an `OutsideAgent`: with a ``url`` its tasks are
        posted to it, without one it asks for them. ``capabilities``: names, or mappings of
        ``name``, ``version``, ``input``, ``output`` and what else `AgentCapability` has.
        Raises InputError.
        """
        return self.registry.outside.register(agent, capabilities)

    def unregister_agent(self, agent: str) -> None:
        """Take an agent outside of Celery off the list. Raises NotFound."""
        self.registry.outside.unregister(agent)

    def heartbeat_agent(self, agent: str, load: float = 0.0) -> None:
        """Say that an agent outside lives, and its load, 0 to 1. Raises NotFound: register it."""
        self.registry.outside.heartbeat(agent, load)

    # Tasks outside of workflows. ``task``, where it is one: its id.

    def assign_task(self, agent: str | None, task: Task) -> TaskAssignment:
        """Give an agent a task: ``capability``, ``input``, and what else `AgentTask` has.

        Without ``agent``: to the one with the least load that serves the capability. Raises
        NotFound, InputError.
        """
        return self.assignments.assign(agent, task)

    def bulk_assign_tasks(self, tasks: Iterable[Task]) -> list[TaskAssignment]:
        """Give each to the ``agent`` that it names, else to whoever serves its capability and has
        the least load; all of them or, where one cannot be, none. Raises as `assign_task`."""
        return self.assignments.bulk(tasks)

    def get_task_status(self, task: str) -> TaskAssignment:
        """How a task stands, or a step of a workflow, by EXECUTION:PATH. Raises NotFound."""
        return self.assignments.status(task)

    # Schedules: executions that are started again and again, by whichever beat leads. They raise
    # NotFound where there is none of the name. ``by``: who does it; the user of this process.

    def add_schedule(
        self,
        schedule: Schedule | Mapping[str, Any],
        *,
        replace: bool = False,
        by: str | None = None,
    ) -> ScheduleInfo:
        """Write down a schedule; with ``replace`` also over one of the same name.

        Raises InputError for one that is none or has no instant to come, or where one of the name
        is there; NotFound for its workflow.
        """
        return self.manager.schedules.add(schedule, replace=replace, by=by)

    def list_schedules(self) -> Sequence[ScheduleInfo]:
        """All of them, by name."""
        return self.manager.schedules.list()

    def get_schedule(self, name: str) -> ScheduleInfo:
        """One of them."""
        return self.manager.schedules.get(name)

    def get_schedule_ticks(self, name: str, limit: int = 20) -> Sequence[TickInfo]:
        """What became of its latest instants, the latest first."""
        return self.manager.schedules.ticks(name, limit)

    def get_next_instants(self, name: str, count: int = 10) -> Sequence[str]:
        """Its next instants, ISO 8601."""
        return self.manager.schedules.next(name, count)

    def pause_schedule(self, name: str, note: str = "", *, by: str | None = None) -> ScheduleInfo:
        """Start nothing more of it until it is resumed."""
        return self.manager.schedules.pause(name, note, by=by)

    def resume_schedule(self, name: str, note: str = "", *, by: str | None = None) -> ScheduleInfo:
        """Go on; what passed meanwhile is not made up for."""
        return self.manager.schedules.resume(name, note, by=by)

    def trigger_schedule(self, name: str, *, by: str | None = None) -> TickInfo:
        """Start an execution of it now, whatever runs."""
        return self.manager.schedules.trigger(name, by=by)

    def backfill_schedule(
        self, name: str, start: str, end: str, *, dry_run: bool = False, by: str | None = None
    ) -> Sequence[TickInfo]:
        """Start those of its executions between two instants that were never started.

        Raises InputError for a time that is none, lies ahead, or has more than 10,000 instants.
        """
        return self.manager.schedules.backfill(name, start, end, dry_run=dry_run, by=by)

    def remove_schedule(self, name: str) -> bool:
        """Forget it, not its executions. False: there was none."""
        return self.manager.schedules.remove(name)

    # Circuit breakers. ``name``: of a capability. They raise NotFound where no worker has declared
    # a breaker of it.

    def list_breakers(self) -> list[BreakerInfo]:
        """Every breaker that workers have declared, and how it stands."""
        return self.manager.breakers.list()

    def show_breaker(self, name: str) -> BreakerInfo:
        """One breaker, with its latest changes."""
        return self.manager.breakers.show(name)

    def open_breaker(
        self, name: str, reason: str = "", *, seconds: float | None = None, by: str | None = None
    ) -> BreakerInfo:
        """Stop the calls of a capability: for so many seconds, or until it is closed."""
        return self.manager.breakers.open(name, reason, seconds=seconds, by=by)

    def close_breaker(self, name: str, reason: str = "", *, by: str | None = None) -> bool:
        """Let its calls through, and forget what was counted. False: it was closed."""
        return self.manager.breakers.close(name, reason, by=by)

    # The inbox. ``id``: EXECUTION:PATH; ``by``: who acts, by default the user of this process.
    # What is refused raises AlreadyDecided (with who decided), NotAllowed, NotFound, InputError.

    def list_escalations(
        self,
        queue: str | None = None,
        *,
        by: str | None = None,
        everything: bool = False,
        limit: int | None = None,
    ) -> list[InboxItem]:
        """What waits for people, the oldest first; ``everything``: also what a rung works on."""
        return self.escalations.list(queue, by=by, everything=everything, limit=limit)

    def get_escalation(self, id: str) -> InboxItem:
        """An escalation or approval, open or resolved."""
        return self.escalations.show(id)

    def claim_escalation(
        self, id: str, *, seconds: float = CLAIM_TIME, by: str | None = None
    ) -> InboxItem:
        """Take it on oneself for so long: nobody else decides it meanwhile."""
        return self.escalations.claim(id, seconds=seconds, by=by)

    def release_escalation(self, id: str, *, by: str | None = None) -> InboxItem:
        """Give a claim back."""
        return self.escalations.release(id, by=by)

    def delegate_escalation(
        self, id: str, to: str, *, seconds: float = CLAIM_TIME, by: str | None = None
    ) -> InboxItem:
        """Hand it to another queue of the inbox, or, as `@NAME`, to a person."""
        return self.escalations.delegate(id, to, seconds=seconds, by=by)

    def comment_escalation(self, id: str, text: str, *, by: str | None = None) -> InboxItem:
        """Say something about it."""
        return self.escalations.comment(id, text, by=by)

    def decide_escalation(
        self,
        id: str,
        decision: str,
        value: Any = NOTHING,
        *,
        to: str = "",
        note: str = "",
        by: str | None = None,
    ) -> InboxItem:
        """Decide by `retry`, `skip`, `reroute`, `compensate`, `abort`, or `answer` an approval."""
        return self.escalations.decide(id, decision, value, to=to, note=note, by=by)

    def escalation_statistics(self) -> Statistics:
        """How many are open, by age, class, capability and rung; how long it took."""
        return self.escalations.statistics()

    def list_quarantine(self) -> list[QuarantinedStep]:
        """Steps that killed their workers too often, with the input that they had."""
        return self.quarantine.list()

    def replay_quarantined(self, id: str, *, reason: str = "", by: str | None = None) -> None:
        """Try one again, after a fix. ``id``: EXECUTION:PATH. Raises NotFound, NotAllowed."""
        self.quarantine.replay(id, reason=reason, by=by)

    def drop_quarantined(self, id: str, *, reason: str = "", by: str | None = None) -> None:
        """Give one up. ``id``: EXECUTION:PATH. Raises NotFound, NotAllowed."""
        self.quarantine.drop(id, reason=reason, by=by)

    def store_memory(
        self,
        agent_role: str,
        project_id: str | None,
        content: str,
        *,
        tags: Sequence[str] = (),
        data: Any = None,
        related: Sequence[str] = (),
        confidence: float = 1.0,
        source: str = "",
        id: str | None = None,
    ) -> MemoryRecord:
        """Remember something; the record as it is kept.

        ``content`` begins with `ORCH:AREA: `. ``project_id``: None is that of the setting.
        ``related``: ids of other records; ``confidence``: 0 to 1; ``source``: what it tells of.
        ``id``: one of the caller's own; where the project has a record of it, that one is
        answered and nothing changes. Raises InputError.
        """
        return self.memory.store(
            agent_role,
            project_id,
            content,
            id=id,
            tags=tags,
            data=data,
            related=related,
            confidence=confidence,
            source=source,
        )

    def search_memory(
        self, *, project: str | None = None, limit: int = 50, **filters: Unpack[MemoryFilters]
    ) -> list[MemoryRecord]:
        """Records of one project that all ``filters`` hold of, the newest first: `text`,
        `prefix`, `tag` (one, or several), `agent`, `source`, `since`, `until`; see
        `MemoryFilters`. ``project``: None is that of the setting. Raises InputError."""
        return self.memory.search(project=project, limit=limit, **filters)

    def get_memory(self, id: str, project: str | None = None) -> MemoryRecord:
        """A record of one project. Raises NotFound."""
        return self.memory.get(id, project)

    def memory_statistics(self, project: str | None = None) -> MemoryStatistics:
        """How many records a project has, by area, agent and tag."""
        return self.memory.statistics(project)

    def export_memory(
        self,
        target: Path | str | BinaryIO,
        *,
        project: str | None = None,
        **filters: Unpack[MemoryFilters],
    ) -> int:
        """Write records as JSON lines, the newest first, to a file; how many. Raises InputError."""
        return self.memory.export(target, project=project, **filters)

    def drain_agent(
        self,
        agent: str,
        *,
        stay: bool = False,
        reassign: bool = False,
        by: str | None = None,
        timeout: float | None = None,
    ) -> DrainedAgent:
        """Have a worker take nothing new, finish what it has, and leave, or ``stay`` drained.

        ``agent``: its name, with its host or without. ``reassign``: steps that name it go to others
        meanwhile. ``timeout``: seconds to wait until it has left, or finished. Raises NotFound,
        InputError, WaitTimeout.
        """
        return self.agents.drain(agent, stay=stay, reassign=reassign, by=by, timeout=timeout)

    def resume_agent(self, agent: str) -> bool:
        """Have a drained worker take messages again. False: it was not drained."""
        return self.agents.resume(agent)

    def choose_agent(
        self,
        capability: str,
        *,
        key: str = "",
        versions: str | None = None,
        failed: Collection[str] = (),
    ) -> list[Candidate]:
        """The agents that serve a capability, the one that is chosen for ``key`` first.

        ``versions``: a range that its version must be in, `>=2,<3`. ``failed``: agents that are not
        to be chosen. Raises NotFound, InputError.
        """
        return self.agents.choose(capability, key=key, versions=versions, failed=failed)

    def balance_agents(self, *, move: bool = False) -> list[AgentBacklog]:
        """What waits for single agents; with ``move``, what others may do goes to them."""
        return self.agents.balance(move=move)

    def drained_agents(self) -> list[DrainedAgent]:
        """The workers that are to take nothing new."""
        return self.agents.drained()

    # Limits that hold over all workers, and resources. ``name``: of a capability, of a limit of
    # steps, or of a resource. They raise NotFound where there is none.

    def list_limits(self) -> list[LimitInfo]:
        """Every limit that is declared or in use, resources too, and how it stands."""
        return self.resources.views.list_all()

    def show_limit(self, name: str, key: str | None = None) -> list[LimitInfo]:
        """Those of this name, with the steps that hold it or wait. ``key``: of this one alone."""
        return self.resources.views.show(name, key)

    def list_resources(self) -> list[LimitInfo]:
        return self.resources.list_all()

    def show_resource(self, name: str) -> LimitInfo:
        """A resource, with the steps that hold it or wait for it."""
        return self.resources.show(name)

    def define_resource(self, name: str, capacity: int) -> LimitInfo:
        """There is so much of it from now on, whatever the settings say. Raises InputError."""
        return self.resources.define(name, capacity)

    def remove_resource(self, name: str) -> None:
        """There is no such resource any more: steps that take it fail."""
        self.resources.remove(name)

    def plan_capacity(
        self, resource: str, *, hours: int = 336, wait: float | None = None
    ) -> CapacityPlan:
        """How much of a resource is enough for its busiest hour, from how it was used.

        ``wait``: seconds that a step may wait on average; without it, a tenth of the mean hold.
        Raises NotFound, InputError.
        """
        return self.resources.plan_capacity(resource, hours=hours, wait=wait)

    def optimize_allocation(self, *, hours: int = 336) -> list[CapacityPlan]:
        """Limits and resources that are short, or of which less is enough; the worst first."""
        return self.resources.optimize_allocation(hours=hours)

    def workers(self, **given: Any) -> WorkerProcesses:
        """Worker processes that live as long as a ``with`` block; see WorkerProcesses."""
        return WorkerProcesses(self.settings, self.server.url, **given)

    def close(self) -> None:
        self.runtime.close()
        self.server.close()

    def __enter__(self) -> Orchestrator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
