"""WorkflowManager: definitions are found, checked and stored; executions are started.

A name is looked for in this order: what was defined in Redis, the setting `workflow_dir`,
the library of the package. A file's name is its stem.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from orch.app import BROKER_AWAY, queue_depth
from orch.control.runtime import Runtime
from orch.control.status import (
    ExecutionContext,
    ExecutionInfo,
    execution_context,
    execution_info,
    unserved,
)
from orch.control.steering import Steering
from orch.errors import InputError, InvalidWorkflow, NotFound
from orch.faults import fault
from orch.journal.journal import HistoryEntry, Start
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.loading import (
    find_beside,
    library_definition,
    library_names,
    load_definition,
    loads,
    save_definition,
)
from orch.workflows.plan import Plan
from orch.workflows.state import encode
from orch.workflows.transition import begin
from orch.workflows.validation import (
    Finding,
    check_input,
    errors_in,
    validate_definition,
    validate_document,
)
from orch.workflows.view import View

START_PATIENCE = 5.0
"""Seconds for which a start is repeated while Redis is away."""


@dataclass(frozen=True)
class Workflow:
    """A stored definition. ``key`` is the name under which it is started."""

    key: str
    version: str
    definition: WorkflowDefinition
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class WorkflowInfo:
    """One line of a list of workflows. ``source``: redis | directory | library."""

    key: str
    name: str
    version: str
    description: str | None
    source: str


@dataclass(frozen=True)
class Started:
    """An execution that was started, or was there already. ``warnings`` are sentences."""

    id: str
    workflow: str
    version: str
    existed: bool = False
    warnings: tuple[str, ...] = ()


@dataclass
class _Served:
    at: float = float("-inf")
    plans: dict[str, tuple[str, ...]] = field(default_factory=dict)


class WorkflowManager:
    """Defines and starts workflows in the Redis of ``runtime``."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.plans = runtime.plans
        self.steering = Steering(runtime)
        self._stored: dict[str, Plan] = {}
        self._served = _Served()

    # --- definitions -------------------------------------------------------------------------

    def define(
        self,
        key: str,
        definition: WorkflowDefinition | Mapping[str, Any] | str,
        *,
        beside: Path | None = None,
    ) -> Workflow:
        """Check a definition and store it as the latest version of ``key``.

        A text is YAML (or JSON, which is YAML). ``beside``: a file or directory in whose
        directory other workflows are looked for.
        Raises LoadError, InvalidWorkflow with all findings, NotSupportedYet.
        """
        if isinstance(definition, str):
            definition = loads(definition, source=f"workflow {key!r}")
        made, findings = self._checked(key, definition, beside)
        plan = self.plans.store(key, made, self.handlers_of(made, beside))
        self._stored[key] = plan
        warnings = tuple(f for f in findings if f.severity != "error")
        return Workflow(key, made.content_hash(), made, warnings)

    def _checked(
        self, key: str, definition: WorkflowDefinition | Mapping[str, Any], beside: Path | None
    ) -> tuple[WorkflowDefinition, list[Finding]]:
        known = self._known_names(beside)
        if isinstance(definition, WorkflowDefinition):
            made: WorkflowDefinition | None = definition
            findings = validate_definition(definition, known_workflows=known)
        else:
            made, findings = validate_document(definition, known_workflows=known)
        errors = errors_in(findings)
        if errors or made is None:
            listed = "\n".join(f"  {f.path}: {f.message}" for f in errors)
            raise InvalidWorkflow(
                f"workflow {key!r} has {len(errors)} error{'s'[: len(errors) != 1]}:\n{listed}",
                findings=findings,
                hint=next((f.hint for f in errors if f.hint), ""),
            )
        return made, findings

    def validate(
        self, definition: WorkflowDefinition | Mapping[str, Any], *, beside: Path | None = None
    ) -> list[Finding]:
        """All findings of a definition; nothing is stored."""
        known = self._known_names(beside)
        if isinstance(definition, WorkflowDefinition):
            return validate_definition(definition, known_workflows=known)
        return validate_document(definition, known_workflows=known)[1]

    def load(self, path: Path | str) -> Workflow:
        """Define the workflow of a file under the file's stem."""
        path = Path(path)
        return self.define(path.stem, load_definition(path), beside=path)

    def save(self, workflow: Workflow | str, path: Path | str) -> Path:
        """Write a workflow to a .yaml or .json file."""
        found = self.get(workflow) if isinstance(workflow, str) else workflow
        save_definition(found.definition, Path(path))
        return Path(path)

    def get(self, key: str) -> Workflow:
        """The latest version of a workflow. Raises NotFound, naming those that are there."""
        version = self.journal.latest_version(key)
        if version is not None:
            return Workflow(key, version, self.plans.definition(version))
        definition = self._find_file(key)
        if definition is None:
            names = ", ".join(sorted(self._known_names(None))) or "none"
            raise NotFound(
                f"no workflow {key!r}; there are: {names}",
                hint=f"define it: `orch define {key}.yaml`, or name the file itself",
            )
        return self.define(key, definition)

    def workflows(self) -> list[WorkflowInfo]:
        """Every workflow that can be started by name."""
        found: dict[str, WorkflowInfo] = {}
        for key in library_names():
            if (definition := library_definition(key)) is not None:
                found[key] = _info(key, definition, "library")
        for path in self._directory_files():
            found[path.stem] = _info(path.stem, load_definition(path), "directory")
        for key, version in self.journal.workflows().items():
            found[key] = _info(key, self.plans.definition(version), "redis")
        return [found[key] for key in sorted(found)]

    def handlers_of(
        self, definition: WorkflowDefinition, beside: Path | None
    ) -> dict[str, WorkflowDefinition]:
        """The workflows that its error handlers name; other names are steps or capabilities."""
        steps = {step.id for step in definition.steps}
        found = {}
        for handler in definition.error_handlers:
            if handler.handler in steps or handler.handler in found:
                continue
            workflow = self._find_handler(handler.handler, beside)
            if workflow is not None:
                found[handler.handler] = workflow
        return found

    def _find_handler(self, key: str, beside: Path | None) -> WorkflowDefinition | None:
        if beside is not None and (path := find_beside(beside, key)) is not None:
            return load_definition(path)
        version = self.journal.latest_version(key)
        if version is not None:
            return self.plans.definition(version)
        return self._find_file(key)

    def _find_file(self, key: str) -> WorkflowDefinition | None:
        directory = self.runtime.settings.workflow_dir
        if directory is not None and (path := find_beside(directory, key)) is not None:
            return load_definition(path)
        return library_definition(key)

    def _directory_files(self) -> Sequence[Path]:
        directory = self.runtime.settings.workflow_dir
        if directory is None or not directory.is_dir():
            return []
        return sorted(p for p in directory.iterdir() if p.suffix in (".yaml", ".yml", ".json"))

    def _known_names(self, beside: Path | None) -> set[str]:
        known = set(library_names()) | set(self.journal.workflows())
        known |= {path.stem for path in self._directory_files()}
        if beside is not None:
            folder = beside if beside.is_dir() else beside.parent
            known |= {p.stem for p in folder.iterdir() if p.suffix in (".yaml", ".yml", ".json")}
        return known

    # --- executions --------------------------------------------------------------------------

    def start(self, key: str, input: Any = None, *, idempotency_key: str | None = None) -> Started:
        """Start an execution of the latest version of ``key``.

        The same ``idempotency_key`` gives the same execution for as long as it is kept.
        Raises NotFound, InputError, NotSupportedYet, Unreachable.
        """
        plan = self._plan(key)
        text = self._checked_input(key, plan.definition, input)
        execution = execution_id(key, idempotency_key)
        now = self.journal.clock()
        view = View(execution, key, input=json.loads(text))
        transition = begin(plan, view, now, self.journal.grace)
        timeout = plan.definition.timeout_ms
        start = Start(
            id=execution,
            workflow=key,
            version=plan.version,
            plan=plan.key,
            input=text,
            transition=transition,
            deadline=now + timeout if timeout and not transition.end else 0,
            idempotency_key=idempotency_key,
        )
        started = self.journal.patiently(lambda: self.journal.start(start), START_PATIENCE)
        # Without a key the id is ours alone: it exists because a reply was lost on the way.
        if not started and idempotency_key is not None:
            record = self.journal.record(execution)
            return Started(execution, record.workflow, record.version, existed=True)
        fault("started")
        self.runtime.advancer.go_on(plan, execution, transition.dispatched, transition.joined)
        return Started(execution, key, plan.version, warnings=self._warnings(plan))

    def _plan(self, key: str) -> Plan:
        """The plan of the latest version, stored with the handlers of this moment."""
        version = self.journal.latest_version(key)
        known = self._stored.get(key)
        if known is not None and version == known.version:
            return known
        definition = self.get(key).definition
        plan = self.plans.store(key, definition, self.handlers_of(definition, None))
        self._stored[key] = plan
        return plan

    def _checked_input(self, key: str, definition: WorkflowDefinition, input: Any) -> str:
        if definition.input is not None:
            check_input(definition, {} if input is None else input)
        try:
            text = encode(input)
            json.dumps(input, allow_nan=False)
        except (TypeError, ValueError) as exc:
            raise InputError(f"the input of workflow {key!r} is not JSON: {exc}") from exc
        limit = self.runtime.settings.output_limit
        if len(text.encode()) > limit:
            raise InputError(
                f"the input of workflow {key!r} has {len(text.encode())} bytes of JSON, and "
                f"{limit} are allowed",
                hint="store it elsewhere and pass its place, or raise ORCH_OUTPUT_LIMIT",
            )
        return text

    def _warnings(self, plan: Plan) -> tuple[str, ...]:
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

    def status(self, execution: str) -> ExecutionContext:
        return execution_context(self.journal, self.plans, execution)

    def why(self, execution: str) -> ExecutionContext:
        """As `status`, with the depths of the queues in which its steps lie."""
        app = self.runtime.app

        def depth(queue: str) -> int | None:
            try:
                with app.connection_for_read() as connection:
                    return queue_depth(app, queue, connection)
            except BROKER_AWAY:
                return None

        return execution_context(self.journal, self.plans, execution, cache(depth))

    def ended(self, execution: str) -> bool:
        """Whether an execution has ended. Raises NotFound."""
        status = self.journal.status(execution)
        if status is None:
            self.journal.record(execution)  # raises, with the sentence
        return status is not None and status.ended

    def executions(
        self, *, limit: int = 50, status: str | None = None, workflow: str | None = None
    ) -> list[ExecutionInfo]:
        """The latest executions, newest first."""
        wide = limit if status is None and workflow is None else max(limit, 10_000)
        now = self.journal.clock()
        found = []
        for record in self.journal.executions(wide):
            if status is not None and record.status != status:
                continue
            if workflow is not None and record.workflow != workflow:
                continue
            found.append(execution_info(record, now))
            if len(found) == limit:
                break
        return found

    def history(self, execution: str) -> list[HistoryEntry]:
        """Events, oldest first. Raises NotFound."""
        if self.journal.status(execution) is None:
            self.journal.record(execution)
        return self.journal.history(execution)

    def cancel(self, execution: str, reason: str = "", *, by: str | None = None) -> bool:
        """End an execution now. False: it had ended before. Raises NotFound."""
        return self.steering.cancel(execution, reason, by=by)


def execution_id(key: str, idempotency_key: str | None) -> str:
    """16 hex digits: random, or a hash of the workflow's name and the caller's key."""
    if idempotency_key is None:
        return secrets.token_hex(8)
    return hashlib.sha256(f"{key}\0{idempotency_key}".encode()).hexdigest()[:16]


def _info(key: str, definition: WorkflowDefinition, source: str) -> WorkflowInfo:
    return WorkflowInfo(
        key, definition.name, definition.content_hash(), definition.description, source
    )
