"""The facade for coroutines: Redis is talked to in threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from orch.agents.assignments import Task, TaskAssignment
from orch.agents.coordinator import AgentBacklog, Candidate, DrainedAgent
from orch.agents.info import AgentCapability, AgentInfo
from orch.agents.outside import Given, Offered
from orch.control.archive import Archived
from orch.control.attempts import Attempt
from orch.control.breakers import BreakerInfo
from orch.control.bulk import Asked
from orch.control.comparison import Comparison
from orch.control.external import ExternalTask
from orch.control.filters import Instant
from orch.control.limits import LimitInfo
from orch.control.logs import LoggedLine
from orch.control.manager import Workflow, WorkflowInfo
from orch.control.migration import Migrated
from orch.control.schedules import ScheduleInfo, TickInfo
from orch.control.search import ExecutionPage
from orch.control.spending import DaySpending, ExecutionUsage
from orch.control.status import ExecutionContext
from orch.control.subscription import (
    AsyncSubscription,
    EventFilter,
    ExecutionEvent,
    Listener,
)
from orch.control.transfer import Exported, Imported
from orch.control.triggers import Told
from orch.control.versions import WorkflowVersion
from orch.errors import OrchError
from orch.escalation.inbox import InboxItem
from orch.escalation.manager import CLAIM_TIME, NOTHING
from orch.escalation.quarantine import QuarantinedStep
from orch.escalation.statistics import Statistics
from orch.execution import Execution, not_ended
from orch.journal.journal import HistoryEntry
from orch.journal.versions import Canary
from orch.memory.memory import MemoryFilters, MemoryStatistics
from orch.memory.record import MemoryRecord
from orch.monitoring.scaling import Aim, CapabilityLoad
from orch.orchestrator import Definition, Orchestrator
from orch.resources.advice import CapacityPlan
from orch.settings import Settings
from orch.workflows.comparing import Difference
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.schedule import Schedule
from orch.workflows.starts import StartGiven
from orch.workflows.validation import Finding


class AsyncExecution:
    """An `Execution` whose methods are coroutines."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.id = execution.id
        self.existed = execution.existed
        self.warnings = execution.warnings

    async def status(self) -> ExecutionContext:
        return await asyncio.to_thread(self._execution.status)

    async def wait(self, timeout: float | None = None) -> ExecutionContext:
        """As `Execution.wait`, without a thread that is held while it waits."""
        limit = None if timeout is None else time.monotonic() + timeout
        pause = 0.005
        while not await asyncio.to_thread(self._execution._manager.ended, self.id):
            if limit is not None and time.monotonic() >= limit:
                raise not_ended(self._execution, timeout)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        return await self.status()

    async def history(self) -> list[HistoryEntry]:
        return await asyncio.to_thread(self._execution.history)

    async def attempts(self, path: str) -> tuple[Attempt, ...]:
        return await asyncio.to_thread(self._execution.attempts, path)

    async def logs(
        self, path: str | None = None, level: str = "debug", *, follow: bool = False
    ) -> AsyncIterator[LoggedLine]:
        """As `Execution.logs`, for `async for`."""
        found = await asyncio.to_thread(self._execution.logs, path, level, follow=follow)
        while (line := await asyncio.to_thread(next, found, None)) is not None:
            yield line

    async def results(self, path: str) -> AsyncIterator[Any]:
        """As `Execution.results`, for `async for`."""
        found = await asyncio.to_thread(self._execution.results, path)
        end = object()
        while (each := await asyncio.to_thread(next, found, end)) is not end:
            yield each

    async def pause(
        self, reason: str = "", *, branch: str | None = None, by: str | None = None
    ) -> bool:
        return await asyncio.to_thread(self._execution.pause, reason, branch=branch, by=by)

    async def resume(
        self,
        input: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        branch: str | None = None,
        by: str | None = None,
    ) -> bool:
        return await asyncio.to_thread(
            self._execution.resume, input, reason=reason, branch=branch, by=by
        )

    async def cancel(
        self, reason: str = "", *, grace: float | None = None, by: str | None = None
    ) -> bool:
        return await asyncio.to_thread(self._execution.cancel, reason, grace=grace, by=by)

    async def terminate(self, reason: str = "", *, by: str | None = None) -> bool:
        return await asyncio.to_thread(self._execution.terminate, reason, by=by)

    async def retry(self, reason: str = "", *, by: str | None = None) -> bool:
        return await asyncio.to_thread(self._execution.retry, reason, by=by)

    async def skip(
        self, path: str, output: Any = None, *, reason: str = "", by: str | None = None
    ) -> bool:
        return await asyncio.to_thread(self._execution.skip, path, output, reason=reason, by=by)

    async def migrate(
        self,
        version: str | None = None,
        mapping: Mapping[str, str] | None = None,
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        migrate = self._execution.migrate
        return await asyncio.to_thread(
            migrate, version, mapping, by=by, reason=reason, dry_run=dry_run
        )

    async def modify(
        self,
        changes: Sequence[Mapping[str, Any]],
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        modify = self._execution.modify
        return await asyncio.to_thread(modify, changes, by=by, reason=reason, dry_run=dry_run)


class AsyncOrchestrator:
    """An `Orchestrator` whose methods are coroutines; Redis is talked to in threads."""

    def __init__(self, settings: Settings | None = None, **given: Any) -> None:
        self.sync = Orchestrator(settings, **given)

    async def define_workflow(
        self,
        name: str,
        definition: Definition,
        parameters: Mapping[str, Any] | None = None,
        *,
        by: str | None = None,
        canary: float | None = None,
    ) -> Workflow:
        define = self.sync.define_workflow
        return await asyncio.to_thread(define, name, definition, parameters, by=by, canary=canary)

    async def load_workflow(
        self,
        path: Path | str,
        parameters: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
    ) -> Workflow:
        return await asyncio.to_thread(self.sync.load_workflow, path, parameters, name=name)

    async def save_workflow(self, workflow: Workflow | str, path: Path | str) -> Path:
        return await asyncio.to_thread(self.sync.save_workflow, workflow, path)

    async def list_workflows(self) -> list[WorkflowInfo]:
        return await asyncio.to_thread(self.sync.list_workflows)

    async def list_versions(self, name: str) -> list[WorkflowVersion]:
        return await asyncio.to_thread(self.sync.list_versions, name)

    async def canary_workflow(
        self, name: str, version: str, percent: float, *, by: str | None = None
    ) -> Canary:
        return await asyncio.to_thread(self.sync.canary_workflow, name, version, percent, by=by)

    async def stop_canary(self, name: str) -> bool:
        return await asyncio.to_thread(self.sync.stop_canary, name)

    async def promote_canary(self, name: str) -> str:
        return await asyncio.to_thread(self.sync.promote_canary, name)

    async def compare_versions(
        self, name: str, *versions: str, since: Instant | None = None
    ) -> Comparison:
        return await asyncio.to_thread(self.sync.compare_versions, name, *versions, since=since)

    async def validate_workflow(
        self,
        definition: WorkflowDefinition | Mapping[str, Any],
        parameters: Mapping[str, Any] | None = None,
    ) -> list[Finding]:
        return await asyncio.to_thread(self.sync.validate_workflow, definition, parameters)

    async def start_workflow(
        self,
        name: str,
        input: Any = None,
        idempotency_key: str | None = None,
        *,
        version: str | None = None,
        **options: Unpack[StartGiven],
    ) -> AsyncExecution:
        start = self.sync.start_workflow
        return AsyncExecution(
            await asyncio.to_thread(
                lambda: start(name, input, idempotency_key, version=version, **options)
            )
        )

    async def start_workflows(self, requests: Iterable[Asked]) -> list[AsyncExecution | OrchError]:
        """As `Orchestrator.start_workflows`."""
        found = await asyncio.to_thread(self.sync.start_workflows, requests)
        return [each if isinstance(each, OrchError) else AsyncExecution(each) for each in found]

    async def rerun_workflow(self, id: str, input: Any = None, **given: Any) -> AsyncExecution:
        return AsyncExecution(
            await asyncio.to_thread(lambda: self.sync.rerun_workflow(id, input, **given))
        )

    async def fork_workflow(self, id: str, from_step: str, **given: Any) -> AsyncExecution:
        return AsyncExecution(
            await asyncio.to_thread(lambda: self.sync.fork_workflow(id, from_step, **given))
        )

    async def diff_executions(self, a: str, b: str) -> Difference:
        return await asyncio.to_thread(self.sync.diff_executions, a, b)

    async def trigger_event(self, event: str, payload: Any = None, **given: Any) -> Told:
        return await asyncio.to_thread(lambda: self.sync.trigger_event(event, payload, **given))

    async def events(
        self,
        filter: EventFilter | Mapping[str, Any] | None = None,
        *,
        since: str | None = None,
        follow: bool = True,
    ) -> AsyncSubscription:
        """As `Orchestrator.events`, for `async for event in await orchestrator.events()`."""
        return AsyncSubscription(
            await asyncio.to_thread(self.sync.events, filter, since=since, follow=follow)
        )

    async def subscribe_to_events(
        self,
        filter: EventFilter | Mapping[str, Any] | None,
        callback: Callable[[ExecutionEvent], Any],
        *,
        since: str | None = None,
    ) -> Listener:
        """As `Orchestrator.subscribe_to_events`: ``callback`` is called in a thread."""
        return await asyncio.to_thread(self.sync.subscribe_to_events, filter, callback, since=since)

    def execution(self, id: str) -> AsyncExecution:
        return AsyncExecution(self.sync.execution(id))

    async def get_execution_status(self, id: str) -> ExecutionContext:
        return await asyncio.to_thread(self.sync.get_execution_status, id)

    async def get_execution_history(self, id: str) -> list[HistoryEntry]:
        return await asyncio.to_thread(self.sync.get_execution_history, id)

    async def get_attempts(self, id: str, path: str) -> tuple[Attempt, ...]:
        return await asyncio.to_thread(self.sync.get_attempts, id, path)

    async def get_logs(
        self, id: str, path: str | None = None, level: str = "debug", *, follow: bool = False
    ) -> AsyncIterator[LoggedLine]:
        """As `Orchestrator.get_logs`."""
        async for line in self.execution(id).logs(path, level, follow=follow):
            yield line

    async def get_usage(self, id: str) -> ExecutionUsage:
        return await asyncio.to_thread(self.sync.get_usage, id)

    async def get_spending(self, project: str | None = None, *, days: int = 7) -> list[DaySpending]:
        return await asyncio.to_thread(self.sync.get_spending, project, days=days)

    async def set_budget(self, id: str, path: str | None = None, **given: Any) -> None:
        await asyncio.to_thread(lambda: self.sync.set_budget(id, path, **given))

    async def list_executions(self, **given: Any) -> ExecutionPage:
        return await asyncio.to_thread(lambda: self.sync.list_executions(**given))

    async def export_executions(
        self, target: Path | str | BinaryIO, ids: Sequence[str] | None = None, **given: Any
    ) -> Exported:
        return await asyncio.to_thread(lambda: self.sync.export_executions(target, ids, **given))

    async def import_executions(self, source: Path | str | BinaryIO) -> Imported:
        return await asyncio.to_thread(self.sync.import_executions, source)

    async def archive_executions(
        self, directory: Path | None = None, *, all: bool = False
    ) -> Archived:
        return await asyncio.to_thread(self.sync.archive_executions, directory, all=all)

    async def pause_workflow(
        self, id: str, reason: str = "", *, branch: str | None = None, by: str | None = None
    ) -> bool:
        return await asyncio.to_thread(self.sync.pause_workflow, id, reason, branch=branch, by=by)

    async def resume_workflow(
        self,
        id: str,
        input: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        branch: str | None = None,
        by: str | None = None,
    ) -> bool:
        return await asyncio.to_thread(
            self.sync.resume_workflow, id, input, reason=reason, branch=branch, by=by
        )

    async def stop_workflow(
        self, id: str, reason: str = "", *, grace: float | None = None, by: str | None = None
    ) -> bool:
        return await asyncio.to_thread(self.sync.stop_workflow, id, reason, grace=grace, by=by)

    async def terminate_workflow(self, id: str, reason: str = "", *, by: str | None = None) -> bool:
        return await asyncio.to_thread(self.sync.terminate_workflow, id, reason, by=by)

    async def retry_workflow(self, id: str, reason: str = "", *, by: str | None = None) -> bool:
        return await asyncio.to_thread(self.sync.retry_workflow, id, reason, by=by)

    async def skip_step(
        self, id: str, path: str, output: Any = None, *, reason: str = "", by: str | None = None
    ) -> bool:
        return await asyncio.to_thread(self.sync.skip_step, id, path, output, reason=reason, by=by)

    async def list_tasks(
        self,
        capability: str | None = None,
        *,
        agent: str | None = None,
        limit: int | None = None,
    ) -> list[ExternalTask]:
        found = self.sync.list_tasks
        return await asyncio.to_thread(found, capability, agent=agent, limit=limit)

    async def complete_task(self, task: str, output: Any = None, *, by: str | None = None) -> bool:
        return await asyncio.to_thread(self.sync.complete_task, task, output, by=by)

    async def fail_task(
        self,
        task: str,
        error: str = "TaskFailed",
        message: str = "",
        *,
        retryable: bool = True,
        by: str | None = None,
    ) -> bool:
        return await asyncio.to_thread(
            self.sync.fail_task, task, error, message, retryable=retryable, by=by
        )

    async def heartbeat_task(self, task: str, progress: Any = None) -> None:
        await asyncio.to_thread(self.sync.heartbeat_task, task, progress)

    async def list_escalations(
        self,
        queue: str | None = None,
        *,
        by: str | None = None,
        everything: bool = False,
        limit: int | None = None,
    ) -> list[InboxItem]:
        found = self.sync.list_escalations
        return await asyncio.to_thread(found, queue, by=by, everything=everything, limit=limit)

    async def get_escalation(self, id: str) -> InboxItem:
        return await asyncio.to_thread(self.sync.get_escalation, id)

    async def claim_escalation(
        self, id: str, *, seconds: float = CLAIM_TIME, by: str | None = None
    ) -> InboxItem:
        return await asyncio.to_thread(self.sync.claim_escalation, id, seconds=seconds, by=by)

    async def release_escalation(self, id: str, *, by: str | None = None) -> InboxItem:
        return await asyncio.to_thread(self.sync.release_escalation, id, by=by)

    async def delegate_escalation(
        self, id: str, to: str, *, seconds: float = CLAIM_TIME, by: str | None = None
    ) -> InboxItem:
        delegate = self.sync.delegate_escalation
        return await asyncio.to_thread(delegate, id, to, seconds=seconds, by=by)

    async def comment_escalation(self, id: str, text: str, *, by: str | None = None) -> InboxItem:
        return await asyncio.to_thread(self.sync.comment_escalation, id, text, by=by)

    async def decide_escalation(
        self,
        id: str,
        decision: str,
        value: Any = NOTHING,
        *,
        to: str = "",
        note: str = "",
        by: str | None = None,
    ) -> InboxItem:
        decide = self.sync.decide_escalation
        return await asyncio.to_thread(decide, id, decision, value, to=to, note=note, by=by)

    async def list_quarantine(self) -> list[QuarantinedStep]:
        return await asyncio.to_thread(self.sync.list_quarantine)

    async def replay_quarantined(self, id: str, *, reason: str = "", by: str | None = None) -> None:
        await asyncio.to_thread(self.sync.replay_quarantined, id, reason=reason, by=by)

    async def drop_quarantined(self, id: str, *, reason: str = "", by: str | None = None) -> None:
        await asyncio.to_thread(self.sync.drop_quarantined, id, reason=reason, by=by)

    async def escalation_statistics(self) -> Statistics:
        return await asyncio.to_thread(self.sync.escalation_statistics)

    async def store_memory(
        self, agent_role: str, project_id: str | None, content: str, **given: Any
    ) -> MemoryRecord:
        return await asyncio.to_thread(
            lambda: self.sync.store_memory(agent_role, project_id, content, **given)
        )

    async def search_memory(
        self, *, project: str | None = None, limit: int = 50, **filters: Unpack[MemoryFilters]
    ) -> list[MemoryRecord]:
        return await asyncio.to_thread(
            lambda: self.sync.search_memory(project=project, limit=limit, **filters)
        )

    async def get_memory(self, id: str, project: str | None = None) -> MemoryRecord:
        return await asyncio.to_thread(self.sync.get_memory, id, project)

    async def memory_statistics(self, project: str | None = None) -> MemoryStatistics:
        return await asyncio.to_thread(self.sync.memory_statistics, project)

    async def export_memory(
        self,
        target: Path | str | BinaryIO,
        *,
        project: str | None = None,
        **filters: Unpack[MemoryFilters],
    ) -> int:
        return await asyncio.to_thread(
            lambda: self.sync.export_memory(target, project=project, **filters)
        )

    async def get_scaling(
        self, capabilities: Sequence[str] = (), aim: Aim | None = None
    ) -> list[CapabilityLoad]:
        return await asyncio.to_thread(self.sync.get_scaling, capabilities, aim)

    async def list_agents(self, *, offline: bool = False) -> list[AgentInfo]:
        return await asyncio.to_thread(self.sync.list_agents, offline=offline)

    async def get_agent(self, agent: str) -> AgentInfo:
        return await asyncio.to_thread(self.sync.get_agent, agent)

    async def get_agent_capabilities(self, agent: str) -> list[AgentCapability]:
        return await asyncio.to_thread(self.sync.get_agent_capabilities, agent)

    async def find_agents_by_capability(self, capability: str) -> list[AgentInfo]:
        return await asyncio.to_thread(self.sync.find_agents_by_capability, capability)

    async def drain_agent(
        self,
        agent: str,
        *,
        stay: bool = False,
        reassign: bool = False,
        by: str | None = None,
        timeout: float | None = None,
    ) -> DrainedAgent:
        drain = self.sync.drain_agent
        return await asyncio.to_thread(
            drain, agent, stay=stay, reassign=reassign, by=by, timeout=timeout
        )

    async def resume_agent(self, agent: str) -> bool:
        return await asyncio.to_thread(self.sync.resume_agent, agent)

    async def choose_agent(
        self,
        capability: str,
        *,
        key: str = "",
        versions: str | None = None,
        failed: Collection[str] = (),
    ) -> list[Candidate]:
        choose = self.sync.choose_agent
        return await asyncio.to_thread(
            choose, capability, key=key, versions=versions, failed=failed
        )

    async def balance_agents(self, *, move: bool = False) -> list[AgentBacklog]:
        return await asyncio.to_thread(self.sync.balance_agents, move=move)

    async def drained_agents(self) -> list[DrainedAgent]:
        return await asyncio.to_thread(self.sync.drained_agents)

    async def register_agent(self, agent: Given, capabilities: Offered) -> str:
        return await asyncio.to_thread(self.sync.register_agent, agent, capabilities)

    async def unregister_agent(self, agent: str) -> None:
        await asyncio.to_thread(self.sync.unregister_agent, agent)

    async def heartbeat_agent(self, agent: str, load: float = 0.0) -> None:
        await asyncio.to_thread(self.sync.heartbeat_agent, agent, load)

    async def assign_task(self, agent: str | None, task: Task) -> TaskAssignment:
        return await asyncio.to_thread(self.sync.assign_task, agent, task)

    async def bulk_assign_tasks(self, tasks: Iterable[Task]) -> list[TaskAssignment]:
        return await asyncio.to_thread(self.sync.bulk_assign_tasks, tasks)

    async def get_task_status(self, task: str) -> TaskAssignment:
        return await asyncio.to_thread(self.sync.get_task_status, task)

    async def add_schedule(
        self,
        schedule: Schedule | Mapping[str, Any],
        *,
        replace: bool = False,
        by: str | None = None,
    ) -> ScheduleInfo:
        return await asyncio.to_thread(self.sync.add_schedule, schedule, replace=replace, by=by)

    async def list_schedules(self) -> Sequence[ScheduleInfo]:
        return await asyncio.to_thread(self.sync.list_schedules)

    async def get_schedule(self, name: str) -> ScheduleInfo:
        return await asyncio.to_thread(self.sync.get_schedule, name)

    async def get_schedule_ticks(self, name: str, limit: int = 20) -> Sequence[TickInfo]:
        return await asyncio.to_thread(self.sync.get_schedule_ticks, name, limit)

    async def get_next_instants(self, name: str, count: int = 10) -> Sequence[str]:
        return await asyncio.to_thread(self.sync.get_next_instants, name, count)

    async def pause_schedule(
        self, name: str, note: str = "", *, by: str | None = None
    ) -> ScheduleInfo:
        return await asyncio.to_thread(self.sync.pause_schedule, name, note, by=by)

    async def resume_schedule(
        self, name: str, note: str = "", *, by: str | None = None
    ) -> ScheduleInfo:
        return await asyncio.to_thread(self.sync.resume_schedule, name, note, by=by)

    async def trigger_schedule(self, name: str, *, by: str | None = None) -> TickInfo:
        return await asyncio.to_thread(self.sync.trigger_schedule, name, by=by)

    async def backfill_schedule(
        self, name: str, start: str, end: str, *, dry_run: bool = False, by: str | None = None
    ) -> Sequence[TickInfo]:
        backfill = self.sync.backfill_schedule
        return await asyncio.to_thread(backfill, name, start, end, dry_run=dry_run, by=by)

    async def remove_schedule(self, name: str) -> bool:
        return await asyncio.to_thread(self.sync.remove_schedule, name)

    async def list_limits(self) -> list[LimitInfo]:
        return await asyncio.to_thread(self.sync.list_limits)

    async def show_limit(self, name: str, key: str | None = None) -> list[LimitInfo]:
        return await asyncio.to_thread(self.sync.show_limit, name, key)

    async def list_resources(self) -> list[LimitInfo]:
        return await asyncio.to_thread(self.sync.list_resources)

    async def show_resource(self, name: str) -> LimitInfo:
        return await asyncio.to_thread(self.sync.show_resource, name)

    async def define_resource(self, name: str, capacity: int) -> LimitInfo:
        return await asyncio.to_thread(self.sync.define_resource, name, capacity)

    async def remove_resource(self, name: str) -> None:
        await asyncio.to_thread(self.sync.remove_resource, name)

    async def plan_capacity(
        self, resource: str, *, hours: int = 336, wait: float | None = None
    ) -> CapacityPlan:
        return await asyncio.to_thread(self.sync.plan_capacity, resource, hours=hours, wait=wait)

    async def optimize_allocation(self, *, hours: int = 336) -> list[CapacityPlan]:
        return await asyncio.to_thread(self.sync.optimize_allocation, hours=hours)

    async def list_breakers(self) -> list[BreakerInfo]:
        return await asyncio.to_thread(self.sync.list_breakers)

    async def show_breaker(self, name: str) -> BreakerInfo:
        return await asyncio.to_thread(self.sync.show_breaker, name)

    async def open_breaker(
        self, name: str, reason: str = "", *, seconds: float | None = None, by: str | None = None
    ) -> BreakerInfo:
        open_ = self.sync.open_breaker
        return await asyncio.to_thread(open_, name, reason, seconds=seconds, by=by)

    async def close_breaker(self, name: str, reason: str = "", *, by: str | None = None) -> bool:
        return await asyncio.to_thread(self.sync.close_breaker, name, reason, by=by)

    async def migrate_workflow(
        self,
        id: str,
        version: str | None = None,
        mapping: Mapping[str, str] | None = None,
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        migrate = self.sync.migrate_workflow
        return await asyncio.to_thread(
            migrate, id, version, mapping, by=by, reason=reason, dry_run=dry_run
        )

    async def modify_workflow(
        self,
        id: str,
        changes: Sequence[Mapping[str, Any]],
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        modify = self.sync.modify_workflow
        return await asyncio.to_thread(modify, id, changes, by=by, reason=reason, dry_run=dry_run)

    async def close(self) -> None:
        await asyncio.to_thread(self.sync.close)

    async def __aenter__(self) -> AsyncOrchestrator:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
