"""A handle on one execution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar

from orch.control.attempts import Attempt
from orch.control.logs import LoggedLine
from orch.control.manager import WorkflowManager
from orch.control.migration import Migrated
from orch.control.status import ExecutionContext
from orch.control.waiting import Looks
from orch.errors import ExecutionFailed, WaitTimeout
from orch.journal.journal import HistoryEntry
from orch.journal.records import Ending
from orch.workflows.state import ExecutionStatus

T = TypeVar("T")


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
        While Redis is away it is waited for, too, for `redis_patience`; then raises Unreachable.
        """
        return self._waited(timeout, self._if_ended)

    def result(self, timeout: float | None = None) -> Any:
        """Block until it has ended, as `wait`, and give its output.

        Raises ExecutionFailed where it failed or was cancelled, else as `wait`.
        """
        return output_of(self, self._waited(timeout, self._ending))

    def _waited(self, timeout: float | None, look: Callable[[Looks, bool], T | None]) -> T:
        looks = self._manager.looks(self.id, timeout)
        with closing(looks.in_thread()) as each:
            for told in each:
                if (found := look(looks, told)) is not None:
                    return found
        raise not_ended(self, timeout)

    def _if_ended(self, looks: Looks, told: bool = False) -> ExecutionContext | None:
        """Its status if it has ended. ``told``: it seems so."""

        def look() -> ExecutionContext | None:
            if not told and not self._manager.ended(self.id):
                return None
            found = self.status()
            return found if ExecutionStatus(found.status).ended else None

        return self._manager.journal.patiently(look, looks.patience)

    def _ending(self, looks: Looks, told: bool = False) -> Ending | None:
        """How it has ended, if it has."""
        journal = self._manager.journal
        return journal.patiently(lambda: journal.ending(self.id), looks.patience)

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


def output_of(execution: Execution, ending: Ending) -> Any:
    """Its output; raises ExecutionFailed where it has none."""
    if ending.status is ExecutionStatus.COMPLETED:
        return ending.output
    name, message = ending.error.get("name"), ending.error.get("message")
    raise ExecutionFailed(
        f"execution {execution.id} {_ENDED[ending.status]}: {name}: {message}",
        status=ending.status.value,
        error=ending.error,
        hint=f"`orch status {execution.id}` shows its steps",
    )


_ENDED = {ExecutionStatus.FAILED: "failed", ExecutionStatus.CANCELLED: "was cancelled"}


def not_ended(execution: Execution, timeout: float | None) -> WaitTimeout:
    context = execution.status()
    waiting = "; ".join(f"{p}: {why}" for p, why in context.waiting_for.items()) or context.waits
    return WaitTimeout(
        f"execution {execution.id} has not ended within {timeout:g} s ({waiting or 'running'})",
        hint=f"it goes on; `orch status {execution.id}` shows it",
    )
