"""Executions: paused, ended, tried again, changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from orch.async_facade.base import Base
from orch.control.migration import Migrated


class Steering(Base):
    """Executions: paused, ended, tried again, changed."""

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
