"""Workflows: defined, found, and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orch.control.comparison import Comparison
from orch.control.filters import Instant
from orch.control.manager import Workflow, WorkflowInfo
from orch.control.versions import WorkflowVersion
from orch.facade.base import Base
from orch.journal.versions import Canary
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.validation import ValidationResult

Definition = WorkflowDefinition | Mapping[str, Any] | str
"""A model, its content as a mapping, or YAML or JSON text."""


class Defining(Base):
    """Workflows: defined, found, and their versions."""

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
    ) -> ValidationResult:
        """All findings of a definition, a list, and whether it is ``valid``; nothing is stored."""
        return self.manager.validate(definition, parameters=parameters)
