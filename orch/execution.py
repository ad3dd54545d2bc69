"""A handle on one execution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from orch.control.attempts import Attempt
from orch.control.logs import LoggedLine
from orch.control.manager import WorkflowManager
from orch.control.migration import Migrated
from orch.control.status import ExecutionContext
from orch.errors import WaitTimeout
from orch.journal.journal import HistoryEntry
from orch.workflows.state import ExecutionStatus


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

        Redis says so when it ends; where its ACL forbids that, the answer comes 5 to 100 ms later.
        """
        with closing(self._manager.looks(self.id, timeout).in_thread()) as looks:
            for told in looks:
                if told or self._manager.ended(self.id):
                    found = self.status()
                    if ExecutionStatus(found.status).ended:
                        return found
        raise not_ended(self, timeout)

    def history(self) -> list[HistoryEntry]:
        return self._manager.history(self.id)

    def attempts(self, path: str) -> tuple[Attempt, ...]:
        """Those of the step at ``path``, the first one first. Raises NotFound."""
        return self._manager.attempts(self.id, path)

    def logs(
        self, path: str | None = None, level: str = "debug", *, follow: bool = False
    ) -> Iterator[LoggedLine]:
        """As `Orchestrator.get_logs`."""
        return self._manager.logs(self.id, path, level, follow=follow)

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


def not_ended(execution: Execution, timeout: float | None) -> WaitTimeout:
    context = execution.status()
    waiting = "; ".join(f"{p}: {why}" for p, why in context.waiting_for.items()) or context.waits
    return WaitTimeout(
        f"execution {execution.id} has not ended within {timeout:g} s ({waiting or 'running'})",
        hint=f"it goes on; `orch status {execution.id}` shows it",
    )
