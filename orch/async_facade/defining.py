"""Workflows: defined, found, and their versions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orch.async_facade.base import Base
from orch.control.comparison import Comparison
from orch.control.filters import Instant
from orch.control.manager import Workflow, WorkflowInfo
from orch.control.versions import WorkflowVersion
from orch.facade.defining import Definition
from orch.journal.versions import Canary
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.validation import ValidationResult


class Defining(Base):
    """Workflows: defined, found, and their versions."""

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
    ) -> ValidationResult:
        return await asyncio.to_thread(self.sync.validate_workflow, definition, parameters)
