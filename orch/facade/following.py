"""Executions: what they do, did and used, and how they are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from orch.control.archive import Archived
from orch.control.attempts import Attempt
from orch.control.filters import Filters
from orch.control.logs import LoggedLine
from orch.control.search import ExecutionPage
from orch.control.spending import DaySpending, ExecutionUsage, set_budget, spending, usage_of
from orch.control.status import ExecutionContext, ExecutionInfo
from orch.control.subscription import EventFilter, ExecutionEvent, Listener, Subscription
from orch.control.transfer import Exported, Imported
from orch.execution import Execution
from orch.facade.base import Base
from orch.journal.journal import HistoryEntry
from orch.monitoring.advice import Aim
from orch.monitoring.scaling import CapabilityLoad, Scaling


class Following(Base):
    """Executions: what they do, did and used, and how they are kept."""

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

    def list_active_executions(self, workflow: str | None = None) -> list[ExecutionInfo]:
        """All executions that have not ended, paused and scheduled ones too, newest first.

        ``workflow``: only those of this one.
        """
        return self.manager.active_executions(workflow)

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

    def get_scaling(
        self, capabilities: Sequence[str] = (), aim: Aim | None = None
    ) -> list[CapabilityLoad]:
        """What waits for capabilities (all of them, by default), and how many workers that takes.

        ``aim``: what is wanted of the workers. Raises Unreachable.
        """
        return Scaling(self.runtime).read(capabilities, aim)
