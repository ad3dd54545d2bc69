"""The facade that a user imports. It delegates, and holds no logic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from orch.control.archive import Archived
from orch.control.bulk import Asked
from orch.control.comparison import Comparison
from orch.control.external import ExternalTask
from orch.control.filters import Filters, Instant
from orch.control.forking import Again
from orch.control.manager import Started, Workflow, WorkflowInfo, WorkflowManager
from orch.control.migration import Migrated
from orch.control.runtime import Runtime
from orch.control.search import ExecutionPage
from orch.control.status import ExecutionContext
from orch.control.subscription import (
    AsyncSubscription,
    EventFilter,
    ExecutionEvent,
    Listener,
    Subscription,
)
from orch.control.transfer import Exported, Imported
from orch.control.triggers import Told
from orch.control.versions import WorkflowVersion
from orch.control.workers import WorkerProcesses
from orch.errors import OrchError, WaitTimeout
from orch.journal.journal import HistoryEntry
from orch.journal.versions import Canary
from orch.server import find_server
from orch.settings import Settings, load_settings
from orch.workflows.comparing import Difference
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.starts import StartGiven
from orch.workflows.validation import Finding

Definition = WorkflowDefinition | Mapping[str, Any] | str
"""A model, its content as a mapping, or YAML or JSON text."""


class Execution:
    """A handle on one execution: its ``id``, and what can be asked of it."""

    def __init__(
        self,
        manager: WorkflowManager,
        id: str,
        *,
        existed: bool = False,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._manager = manager
        self.id = id
        self.existed = existed
        self.warnings = warnings

    def status(self) -> ExecutionContext:
        return self._manager.status(self.id)

    def wait(self, timeout: float | None = None) -> ExecutionContext:
        """Block until it has ended. ``timeout`` in seconds; raises WaitTimeout.

        The answer is read from Redis 5 ms to 100 ms after the end.
        """
        limit = None if timeout is None else time.monotonic() + timeout
        pause = 0.005
        while not self._manager.ended(self.id):
            if limit is not None and time.monotonic() >= limit:
                raise _timeout(self, timeout)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        return self.status()

    def history(self) -> list[HistoryEntry]:
        return self._manager.history(self.id)

    def results(self, path: str) -> Iterator[Any]:
        """What the map, or the parallel step, at ``path`` gave, one after the other.

        Results that are too large to stand in an output are read page by page. Raises NotFound,
        InputError.
        """
        return self._manager.results(self.id, path)

    def pause(self, reason: str = "", *, branch: str | None = None, by: str | None = None) -> bool:
        """As `Orchestrator.pause_workflow`."""
        return self._manager.steering.pause(self.id, reason, branch=branch, by=by)

    def resume(
        self,
        input: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        branch: str | None = None,
        by: str | None = None,
    ) -> bool:
        """As `Orchestrator.resume_workflow`."""
        return self._manager.steering.resume(self.id, input, reason=reason, branch=branch, by=by)

    def cancel(
        self, reason: str = "", *, grace: float | None = None, by: str | None = None
    ) -> bool:
        """As `Orchestrator.stop_workflow`."""
        return self._manager.steering.cancel(self.id, reason, grace=grace, by=by)

    def terminate(self, reason: str = "", *, by: str | None = None) -> bool:
        """As `Orchestrator.terminate_workflow`."""
        return self._manager.steering.terminate(self.id, reason, by=by)

    def retry(self, reason: str = "", *, by: str | None = None) -> bool:
        """As `Orchestrator.retry_workflow`."""
        return self._manager.steering.retry(self.id, reason, by=by)

    def skip(
        self, path: str, output: Any = None, *, reason: str = "", by: str | None = None
    ) -> bool:
        """As `Orchestrator.skip_step`."""
        return self._manager.steering.skip(self.id, path, output, reason=reason, by=by)

    def migrate(
        self,
        version: str | None = None,
        mapping: Mapping[str, str] | None = None,
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        """As `Orchestrator.migrate_workflow`."""
        migrate = self._manager.migration.migrate
        return migrate(self.id, version, mapping, by=by, reason=reason, dry_run=dry_run)

    def modify(
        self,
        changes: Sequence[Mapping[str, Any]],
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        """As `Orchestrator.modify_workflow`."""
        modify = self._manager.migration.modify
        return modify(self.id, changes, by=by, reason=reason, dry_run=dry_run)

    def __repr__(self) -> str:
        return f"Execution({self.id!r})"


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
        ``options``: ``delay`` or ``at``, ``deadline``, ``attributes``; see `StartGiven`.
        Raises NotFound, InputError, Unreachable.
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
        self, capability: str | None = None, *, limit: int | None = None
    ) -> list[ExternalTask]:
        """Tasks that wait for somebody outside, with their inputs; the longest waiting first."""
        return self.manager.external.list(capability, limit=limit)

    def complete_task(self, task: str, output: Any = None, *, by: str | None = None) -> bool:
        """Report that a task is done. False: it is not there yet, the report is kept for it."""
        return self.manager.external.complete(task, output, by=by)

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
        return self.manager.external.fail(task, error, message, retryable=retryable, by=by)

    def heartbeat_task(self, task: str, progress: Any = None) -> None:
        """Say that the work on a task goes on. Raises NotAllowed: stop working on it."""
        self.manager.external.heartbeat(task, progress)

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
                raise _timeout(self._execution, timeout)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        return await self.status()

    async def history(self) -> list[HistoryEntry]:
        return await asyncio.to_thread(self._execution.history)

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
        self, capability: str | None = None, *, limit: int | None = None
    ) -> list[ExternalTask]:
        return await asyncio.to_thread(self.sync.list_tasks, capability, limit=limit)

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


def _timeout(execution: Execution, timeout: float | None) -> WaitTimeout:
    context = execution.status()
    waiting = "; ".join(f"{p}: {why}" for p, why in context.waiting_for.items()) or context.waits
    return WaitTimeout(
        f"execution {execution.id} has not ended within {timeout:g} s ({waiting or 'running'})",
        hint=f"it goes on; `orch status {execution.id}` shows it",
    )
