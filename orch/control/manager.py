"""WorkflowManager: executions are started, asked of, and ended."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Unpack

from orch.app import BROKER_AWAY, queue_depth
from orch.control.alike import Alike
from orch.control.archive import Archive, Archived
from orch.control.attempts import Attempt, attempts_of
from orch.control.breakers import Breakers
from orch.control.bulk import Asked, Bulk
from orch.control.catalog import Catalog, Workflow, WorkflowInfo
from orch.control.comparing import diff
from orch.control.comparison import Comparison, Effort, compared, figures
from orch.control.external import ExternalTasks
from orch.control.filters import Filters, Instant
from orch.control.forking import Again, Forking
from orch.control.logs import LoggedLine, read_logs
from orch.control.migration import Migration
from orch.control.results import results_of
from orch.control.runtime import Runtime
from orch.control.schedules import Schedules
from orch.control.search import ExecutionPage, Search
from orch.control.starting import (
    START_PATIENCE,
    Started,
    check_json,
    checked_input,
    execution_id,
    make_start,
)
from orch.control.status import (
    ExecutionContext,
    ExecutionInfo,
    execution_context,
    unserved,
)
from orch.control.steering import Steering
from orch.control.transfer import Transfer
from orch.control.triggers import Told
from orch.control.versions import find_version
from orch.control.waiting import Looks
from orch.errors import InputError, NotFound, OrchError, SettingsError
from orch.faults import fault
from orch.journal.journal import ChoicesChanged, HistoryEntry, Start
from orch.journal.wire import Command
from orch.workflows.comparing import Difference
from orch.workflows.events import Occurrence
from orch.workflows.frozen import changed
from orch.workflows.plan import Plan
from orch.workflows.starts import StartGiven, start_options
from orch.workflows.state import ExecutionStatus
from orch.workflows.transition import entry_path

__all__ = ["Started", "Workflow", "WorkflowInfo", "WorkflowManager", "execution_id"]

ACTIVE = tuple(status for status in ExecutionStatus if not status.ended)

MOST_COMPARED = 5000
"""Executions of each version that a comparison reads."""


@dataclass
class _Served:
    at: float = float("-inf")
    plans: dict[str, tuple[str, ...]] = field(default_factory=dict)


class WorkflowManager(Catalog):
    """Defines and starts workflows in the Redis of ``runtime``."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.settings, runtime.plans)
        self.runtime = runtime
        self.steering = Steering(runtime)
        self.search = Search(self.journal, self.plans)
        self.transfer = Transfer(self.journal, self.search)
        self.external = ExternalTasks(runtime)
        self.breakers = Breakers(runtime.journal)
        self.schedules = Schedules(self)
        self.forking = Forking(runtime, self)
        self.migration = Migration(runtime, self)
        self._served = _Served()
        self._alike = Alike(runtime.journal)

    # --- executions --------------------------------------------------------------------------

    def start(
        self,
        key: str,
        input: Any = None,
        *,
        idempotency_key: str | None = None,
        version: str | None = None,
        **given: Unpack[StartGiven],
    ) -> Started:
        """Start an execution of ``key``, of its latest version or the one that is named.

        ``given``: as `StartGiven` says.

        ``version``: a hash, the beginning of one, or a label; see `Catalog.plan`.
        The same ``idempotency_key`` gives the same execution for as long as it is kept.
        Raises NotFound, InputError, ConcurrencyRejected, NotSupportedYet, Unreachable.
        """
        execution = execution_id(key, idempotency_key)
        if version is None and idempotency_key is None:
            believed = self.believed(key, execution)
            if believed is not None:
                plan, word = believed
                with suppress(ChoicesChanged, InputError):  # an input may fit what is new
                    started = self._start_alike(plan, key, execution, input, given, word)
                    return started or self.start_plan(
                        plan, key, execution, input, None, given, word
                    )
        plan = self.plan(key, version, execution)
        return self.start_plan(plan, key, execution, input, idempotency_key, given)

    def start_plan(
        self,
        plan: Plan,
        key: str,
        execution: str,
        input: Any,
        idempotency_key: str | None,
        given: StartGiven,
        word: str = "-",
    ) -> Started:
        """Start an execution of a plan that is stored. Raises as `start`.

        ``word``: of `Catalog.believed`, by which the plan was chosen; then also ChoicesChanged.
        """
        text = checked_input(self.settings, key, plan.definition, input)
        start = make_start(
            self.journal,
            plan,
            key,
            execution,
            text,
            idempotency_key=idempotency_key,
            options=start_options(self.journal.clock(), self.runtime.below_caller(given)),
        )
        return self._start(plan, start if word == "-" else changed(start, word=word))

    def _start_alike(
        self, plan: Plan, key: str, execution: str, input: Any, given: StartGiven, word: str
    ) -> Started | None:
        """As `start_plan`, of one like others before it; None: it is not, as far as is known."""
        runtime = self.runtime
        if runtime.tracing is not None or any(value is not None for value in given.values()):
            return None
        template = self._alike.template(plan, key, word)
        if template is None:
            return None
        text = checked_input(self.settings, key, plan.definition, input)
        fault("admitted")
        path, priority = entry_path(plan), plan.definition.priority
        behind = runtime.first_message(plan, execution, (path,), priority)
        self.journal.patiently(
            lambda: self.journal.start_alike(template, execution, text, behind), START_PATIENCE
        )
        fault("started")
        if not behind:
            runtime.advancer.apply(plan, execution, (path,), priority)
        return Started(execution, key, plan.version, warnings=self.warnings(plan))

    def start_again(self, again: Again) -> Started:
        """Start what `Forking` has made of another execution."""
        return self._start(again.plan, again.start)

    def _start(self, plan: Plan, start: Start) -> Started:
        gating = self.runtime.advancer.gating
        self.journal.patiently(lambda: gating.admit(start), START_PATIENCE)
        fault("admitted")
        behind = self._first_message(plan, start)
        started = self.journal.patiently(lambda: self.journal.start(start, behind), START_PATIENCE)
        execution = start.id
        # Without a key the id is ours alone: it exists because a reply was lost on the way.
        if not started and start.idempotency_key is not None:
            gating.take_back(start.id, start.slots)
            record = self.journal.record(execution)
            return Started(execution, record.workflow, record.version, existed=True)
        if self.runtime.tracing is not None and not behind:
            self.runtime.tracing.note_start(start)
        fault("started")
        if start.status is ExecutionStatus.QUEUED:
            self.runtime.advancer.begin(execution)
        elif start.transition is not None and behind:
            self.runtime.advancer.behind(plan, execution, start.transition)
        elif start.transition is not None:
            self.runtime.advancer.follow(plan, execution, start.transition, priority=start.priority)
        return Started(execution, start.workflow, plan.version, warnings=self.warnings(plan))

    def _first_message(self, plan: Plan, start: Start) -> Sequence[Command]:
        """What is sent with the start, in one write. With a key, the execution may be there
        already, and a message of it would be one too many."""
        if start.idempotency_key is not None or start.status is not ExecutionStatus.RUNNING:
            return ()
        if start.transition is None:
            return ()
        if self.runtime.tracing is not None:
            self.runtime.tracing.note_start(start)
        paths = start.transition.dispatched
        return self.runtime.first_message(plan, start.id, paths, start.priority)

    def start_many(self, given: Iterable[Asked]) -> Iterator[Started | OrchError]:
        """Start many; what became of each, in order, as it is known. See `Bulk.start`."""
        return Bulk(self).start(given)

    def warnings(self, plan: Plan) -> tuple[str, ...]:
        """A sentence per capability that nobody serves; asked of Redis once in two seconds."""
        if time.monotonic() - self._served.at > 2.0:
            self._served = _Served(time.monotonic())
        if plan.key not in self._served.plans:
            self._served.plans[plan.key] = tuple(
                f"no live worker serves capability {capability!r}: its steps will wait; start "
                f"one with `celery -A worker worker -Q {queue}`"
                for capability, queue in unserved(self.journal, plan).items()
            )
        return self._served.plans[plan.key]

    def trigger_event(
        self,
        name: str,
        payload: Any = None,
        *,
        correlation: str | None = None,
        execution: str | None = None,
        id: str | None = None,
    ) -> Told:
        """Hand an event to all that wait for it, and start what it triggers. See Orchestrator."""
        if execution is not None and self.ended(execution):
            return Told(0)
        check_json(self.settings, f"the payload of event {name!r}", payload)
        event = Occurrence(id or secrets.token_hex(16), name, payload, correlation, execution or "")
        return self.runtime.advancer.trigger(event)

    def status(self, execution: str) -> ExecutionContext:
        placing = self.runtime.placing
        return execution_context(self.journal, self.plans, execution, placing=placing)

    def why(self, execution: str) -> ExecutionContext:
        """As `status`, with the depths of the queues in which its steps lie."""
        app = self.runtime.app

        def depth(queue: str) -> int | None:
            try:
                with app.connection_for_read() as connection:
                    return queue_depth(app, queue, connection)
            except BROKER_AWAY:
                return None

        placing = self.runtime.placing
        return execution_context(self.journal, self.plans, execution, cache(depth), placing)

    def ended(self, execution: str) -> bool:
        """Whether an execution has ended. Raises NotFound."""
        status = self.journal.status(execution)
        if status is None:
            self.journal.record(execution)  # raises, with the sentence
        return status is not None and status.ended

    def looks(self, execution: str, timeout: float | None) -> Looks:
        """When to ask `ended`, until it has."""
        channel = self.journal.keys.record(execution)
        return Looks(self.runtime.ends, channel, timeout, self.settings.redis_patience)

    def executions(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[Filters]
    ) -> ExecutionPage:
        """A page of executions, newest first. See `Orchestrator.list_executions`."""
        return self.search.page(limit, cursor, filters)

    def active_executions(self, workflow: str | None = None) -> list[ExecutionInfo]:
        """See `Orchestrator.list_active_executions`."""
        return self.search.every({"workflow": workflow, "status": ACTIVE})

    def archive(self, directory: Path | None = None, *, all: bool = False) -> Archived:
        """See `Orchestrator.archive_executions`."""
        directory = directory or self.settings.archive_dir
        if directory is None:
            raise SettingsError(
                "no directory for the archive was named",
                hint="name one, or set ORCH_ARCHIVE_DIR, best for the workers too",
            )
        archive = Archive(self.journal, directory)
        held = archive.hold()
        return replace(archive.run(all=all), held=held)

    def compare(self, key: str, *versions: str, since: Instant | None = None) -> Comparison:
        """The versions of a workflow side by side; those that have executions, if none is named.

        ``since``: of executions that were started then or later. Raises NotFound, InputError.
        """
        listed = {each.version: each.label for each in self.versions(key)}
        named = [find_version(self.journal, key, asked) for asked in versions]
        started = {version for name, version in self.journal.kinds() if name == key}
        compared_ = []
        notes = []
        for version in named or [v for v in listed if v in started]:
            page = self.executions(limit=MOST_COMPARED, workflow=key, version=version, since=since)
            if page.cursor is not None:
                notes.append(f"{version}: the latest {MOST_COMPARED} executions alone were read")
            efforts = self._efforts([info.id for info in page if info.ended])
            compared_.append(figures(version, listed.get(version), page, efforts))
        return compared(key, compared_, notes)

    def _efforts(self, executions: Sequence[str]) -> list[Effort]:
        found = []
        for history in filter(None, self.journal.histories(executions)):
            words = Counter(entry.event for entry in history)
            found.append(Effort(words["claimed"], words["retrying"] + words["lost"]))
        return found

    def history(self, execution: str) -> list[HistoryEntry]:
        """Events, oldest first. Raises NotFound."""
        if self.journal.status(execution) is None:
            self.journal.record(execution)
        return self.journal.history(execution)

    def attempts(self, execution: str, path: str) -> tuple[Attempt, ...]:
        """Of a step, the first one first. Raises NotFound, also where there is no such step."""
        found = attempts_of(self.history(execution), path)
        if not found and self.journal.read_state(execution, path) is None:
            raise NotFound(
                f"execution {execution} has no step {path!r}, or has not come to it",
                hint=f"`orch status {execution}` shows its steps",
            )
        return found

    def results(self, execution: str, path: str) -> Iterator[Any]:
        """As `results_of`."""
        return results_of(self.journal, execution, path)

    def logs(
        self, execution: str, path: str | None = None, level: str = "debug", *, follow: bool = False
    ) -> Iterator[LoggedLine]:
        """As `read_logs`."""
        return read_logs(self.journal, execution, path, level, follow=follow)

    def diff(self, a: str, b: str) -> Difference:
        """How execution ``b`` differs from ``a``. Raises NotFound."""
        return diff(self.journal, self.plans, a, b)

    def cancel(self, execution: str, reason: str = "", *, by: str | None = None) -> bool:
        """Begin to cancel an execution. False: it had ended before. Raises NotFound."""
        return self.steering.cancel(execution, reason, by=by)
