"""Executions: paused, ended, tried again, changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orch.control.migration import Migrated
from orch.facade.base import Base


class Steering(Base):
    """Executions: paused, ended, tried again, changed."""

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
