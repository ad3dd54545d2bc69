"""Finding workflows by name, and defining them.

A name is looked for in this order: what was defined in Redis, the setting `workflow_dir`,
the library of the package. A file's name is its stem.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from orch.control.canaries import Canaries
from orch.control.plans import Plans
from orch.control.versions import WorkflowVersion, find_version, versions_of
from orch.errors import InvalidWorkflow, NotFound
from orch.journal.versions import Canary
from orch.settings import Settings
from orch.workflows.calls import callee
from orch.workflows.canary import is_chosen
from orch.workflows.definition import StepType, WorkflowDefinition
from orch.workflows.gates import is_gated
from orch.workflows.limits import LimitName
from orch.workflows.loading import (
    Parameters,
    filled,
    find_beside,
    library_definition,
    library_names,
    load_definition,
    loads,
    save_definition,
)
from orch.workflows.plan import Plan
from orch.workflows.validation import (
    Finding,
    ValidationResult,
    errors_in,
    validate_definition,
    validate_document,
)
from orch.workflows.validation.review.subject import Known

logger = logging.getLogger(__name__)

MOST_OTHERS = 100
"""Plans of versions that are not the latest, which are remembered."""


class Workflow(BaseModel):
    """A stored definition. ``key`` is the name under which it is started."""

    model_config = ConfigDict(frozen=True)

    key: str
    version: str
    definition: WorkflowDefinition
    warnings: tuple[Finding, ...] = ()


class WorkflowInfo(BaseModel):
    """One line of a list of workflows. ``source``: redis | directory | library."""

    model_config = ConfigDict(frozen=True)

    key: str
    name: str
    version: str
    description: str | None
    source: str


BELIEVED = 10.0
"""Seconds for which a process believes which version starts get, where nobody says that this has
changed: who changes it may die before he can."""

MOST_CHOICES = 8192
"""Of those that a process keeps: one for each workflow and partition."""


@dataclass(frozen=True)
class Choice:
    """Which version starts get, as it was read. ``word``: of `choices_at`; ``until``: seconds."""

    word: str
    latest: str | None
    canary: Canary | None
    until: float

    def version_for(self, key: str, execution: str) -> str | None:
        """The version of the canary, where it gets that; None: the latest."""
        canary = self.canary
        if canary is None or not execution or not is_chosen(key, execution, canary.percent):
            return None
        return canary.version


class Catalog:
    """The workflows that can be started by name. Safe to use from several threads."""

    def __init__(self, settings: Settings, plans: Plans) -> None:
        self.settings = settings
        self.journal = plans.journal
        self.plans = plans
        self.canaries = Canaries(plans.journal)
        self._stored: dict[str, Plan] = {}
        self._others: dict[tuple[str, str], Plan] = {}
        self._choices: dict[tuple[str, int], Choice] = {}

    def define(
        self,
        key: str,
        definition: WorkflowDefinition | Mapping[str, Any] | str,
        *,
        beside: Path | None = None,
        by: str | None = None,
        canary: float | None = None,
        parameters: Parameters = None,
    ) -> Workflow:
        """Check a definition and store it as the latest version of ``key``.

        A text is YAML (or JSON, which is YAML). ``beside``: a file or directory in whose
        directory other workflows are looked for. ``by``: who defines it, by default the user
        of this process. ``canary``: it is not the latest yet; so many percent of the new
        executions get it. ``parameters``: what it is filled in with.
        Raises LoadError, InvalidWorkflow with all findings, NotSupportedYet.
        """
        if isinstance(definition, str):
            definition = loads(definition, source=f"workflow {key!r}", parameters=parameters)
        elif not isinstance(definition, WorkflowDefinition):
            definition = filled(definition, f"workflow {key!r}", None, parameters)
        made, findings = self._checked(key, definition, beside)
        handlers = self.handlers_of(made, beside)
        if canary is None:
            plan = self._stored[key] = self.plans.store(key, made, handlers, by)
        else:
            plan = self.plans.pin(made, handlers)
            self.canaries.add(key, made, canary, by)
        if beside is not None:
            self._define_called(plan, beside)
        warnings = tuple(f for f in findings if f.severity != "error")
        return Workflow(key=key, version=made.content_hash(), definition=made, warnings=warnings)

    def _checked(
        self, key: str, definition: WorkflowDefinition | Mapping[str, Any], beside: Path | None
    ) -> tuple[WorkflowDefinition, list[Finding]]:
        known = self._known(beside)
        if isinstance(definition, WorkflowDefinition):
            made: WorkflowDefinition | None = definition
            findings = validate_definition(definition, **known)
        else:
            made, findings = validate_document(definition, **known)
        errors = errors_in(findings)
        if errors or made is None:
            listed = "\n".join(f"  {f.path}: {f.message}" for f in errors)
            raise InvalidWorkflow(
                f"workflow {key!r} has {len(errors)} error{'s'[: len(errors) != 1]}:\n{listed}",
                findings=findings,
                hint=next((f.hint for f in errors if f.hint), ""),
            )
        return made, findings

    def _known(self, beside: Path | None) -> Known:
        """What a definition may name."""
        found = self.plans.escalations
        return {
            "known_workflows": self._known_names(beside),
            "known_paths": list(found.paths) if found is not None else [],
            "known_queues": self.settings.inbox_queues or None,
            "known_declared": self.journal.declared_capabilities(),
            "known_outside": list(self.journal.registered_agents()),
            "known_agents": self._known_agents(),
            "known_resources": self._known_resources(),
        }

    def _known_agents(self) -> list[str]:
        live = (str(said.get("name") or said["id"]) for said in self.journal.live_workers())
        return sorted({*live, *self.journal.known_agents(), *self.journal.registered_agents()})

    def _known_resources(self) -> dict[str, int]:
        defined = self.journal.read_resources().items()
        return self.settings.resources | {
            LimitName.parse(name).name: capacity for name, (capacity, _) in defined
        }

    def check(self, key: str, definition: Mapping[str, Any]) -> WorkflowDefinition:
        """A definition that could be defined. Raises InvalidWorkflow with all findings."""
        return self._checked(key, definition, None)[0]

    def validate(
        self,
        definition: WorkflowDefinition | Mapping[str, Any],
        *,
        beside: Path | None = None,
        parameters: Parameters = None,
    ) -> ValidationResult:
        """All findings of a definition; nothing is stored."""
        known = self._known(beside)
        if isinstance(definition, WorkflowDefinition):
            return ValidationResult(validate_definition(definition, **known))
        try:
            definition = filled(definition, "the definition", None, parameters)
        except InvalidWorkflow as error:
            return ValidationResult(error.findings)
        return ValidationResult(validate_document(definition, **known)[1])

    def load(
        self,
        path: Path | str,
        *,
        key: str | None = None,
        by: str | None = None,
        canary: float | None = None,
        parameters: Parameters = None,
    ) -> Workflow:
        """Define the workflow of a file under the file's stem, or ``key``."""
        path, made = Path(path), load_definition(path, parameters)
        return self.define(key or path.stem, made, beside=path, by=by, canary=canary)

    def save(self, workflow: Workflow | str, path: Path | str) -> Path:
        """Write a workflow to a .yaml or .json file."""
        found = self.get(workflow) if isinstance(workflow, str) else workflow
        save_definition(found.definition, Path(path))
        return Path(path)

    def get(self, key: str) -> Workflow:
        """The latest version of a workflow. Raises NotFound, naming those that are there."""
        version = self.journal.latest_version(key)
        if version is not None:
            return Workflow(key=key, version=version, definition=self.plans.definition(version))
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
            try:
                found[path.stem] = _info(path.stem, load_definition(path), "directory")
            except InvalidWorkflow as error:  # as a file of steps is, or one that needs parameters
                logger.info("%s is not listed: %s", path, error.message)
        for key, version in self.journal.workflows().items():
            found[key] = _info(key, self.plans.definition(version), "redis")
        return [found[key] for key in sorted(found)]

    def versions(self, key: str) -> list[WorkflowVersion]:
        """The versions of a workflow, newest first. Raises NotFound."""
        self.get(key)
        return versions_of(self.journal, key)

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

    def _define_called(self, plan: Plan, beside: Path) -> None:
        """The workflows that it calls and that stand beside it come along with it."""
        for node in plan.nodes():
            if node.type is not StepType.SUBWORKFLOW:
                continue
            name = callee(node).name
            path = find_beside(beside, name)
            if path is None or callee(node).version is not None:
                continue
            definition = load_definition(path)
            known = self._stored.get(name)
            if known is None or known.version != definition.content_hash():
                self.define(name, definition, beside=path)

    def _find_handler(self, key: str, beside: Path | None) -> WorkflowDefinition | None:
        if beside is not None and (path := find_beside(beside, key)) is not None:
            return load_definition(path)
        version = self.journal.latest_version(key)
        if version is not None:
            return self.plans.definition(version)
        return self._find_file(key)

    def _find_file(self, key: str) -> WorkflowDefinition | None:
        directory = self.settings.workflow_dir
        if directory is not None and (path := find_beside(directory, key)) is not None:
            return load_definition(path)
        return library_definition(key)

    def _directory_files(self) -> Sequence[Path]:
        directory = self.settings.workflow_dir
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

    def plan(self, key: str, version: str | None = None, execution: str = "") -> Plan:
        """The plan of a version (the latest), stored with the handlers of this moment.

        ``version``: its hash, the beginning of it, or the label that its author gave it.
        ``execution``: the id that it is for; if no version is named, it may get the canary.
        Raises NotFound, InvalidWorkflow and other errors of definitions.
        """
        chosen = self._read_choice(key, execution)
        if version is None:
            version = chosen.version_for(key, execution)
        known = self._at_hand(key, chosen.latest, version)
        if known is not None:
            return known
        if version is not None and version != chosen.latest:
            return self._pinned(key, find_version(self.journal, key, version))
        definition = self.get(key).definition
        # Not as the latest: somebody may have defined a newer one since it was read.
        plan = self.plans.pin(definition, self.handlers_of(definition, None))
        self._stored[key] = plan
        return plan

    def believed(self, key: str, execution: str) -> tuple[Plan, str] | None:
        """The plan that a start of ``key`` gets as far as this process knows, and the word by which
        Redis knows whether that still holds; None: it has to read.

        It reads where starts are counted: they take a slot before Redis could say that word.
        """
        chosen = self._choices.get((key, self.journal.keys.partition(execution)))
        if chosen is None or time.monotonic() >= chosen.until:
            return None
        version = chosen.version_for(key, execution)
        plan = self._at_hand(key, chosen.latest, version)
        if plan is None and version is not None:
            plan = self._others.get((key, version))
        return None if plan is None or is_gated(plan.definition) else (plan, chosen.word)

    def _read_choice(self, key: str, execution: str) -> Choice:
        partition = self.journal.keys.partition(execution)
        until = time.monotonic() + BELIEVED
        found = Choice(*self.journal.choices_at(key, partition), until)
        if len(self._choices) >= MOST_CHOICES:
            self._choices.clear()
        self._choices[key, partition] = found
        return found

    def _at_hand(self, key: str, latest: str | None, version: str | None) -> Plan | None:
        """The plan of the latest version, if that is what is asked for, and it is at hand."""
        known = self._stored.get(key)
        if known is not None and latest == known.version and version in (None, latest):
            return known
        return None

    def _pinned(self, key: str, version: str) -> Plan:
        if (key, version) not in self._others:
            if len(self._others) == MOST_OTHERS:
                self._others.clear()
            definition = self.plans.definition(version)
            plan = self.plans.pin(definition, self.handlers_of(definition, None))
            self._others[key, version] = plan
        return self._others[key, version]


def _info(key: str, definition: WorkflowDefinition, source: str) -> WorkflowInfo:
    return WorkflowInfo(
        key=key,
        name=definition.name,
        version=definition.content_hash(),
        description=definition.description,
        source=source,
    )
