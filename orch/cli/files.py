"""Definitions in files, and the ones beside them: all that needs no Redis."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orch.errors import DefinitionError, InvalidWorkflow, LoadError, NotSupportedYet
from orch.workflows.calls import called_names
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.loading import (
    Parameters,
    find_beside,
    library_definition,
    library_names,
    load_definition,
)
from orch.workflows.loading import load_document as _load_document
from orch.workflows.plan import Plan
from orch.workflows.validation import Finding, Severity, errors_in, validate_document

if TYPE_CHECKING:
    from orch.settings import Settings

SUFFIXES = (".yaml", ".yml", ".json", ".py")


def is_file(target: str) -> bool:
    """Whether an argument FILE|NAME means a file: by its look, or since it is one."""
    return target.endswith(SUFFIXES) or os.sep in target or Path(target).is_file()


def read_definition(path: Path, parameters: Parameters = None) -> WorkflowDefinition:
    """The definition in a file, by its structure alone. Raises LoadError, InvalidWorkflow."""
    with contextlib.redirect_stdout(sys.stderr):  # a .py file is run, and may print
        return load_definition(path, parameters)


def read_document(path: Path, parameters: Parameters = None) -> dict[str, Any]:
    with contextlib.redirect_stdout(sys.stderr):
        return _load_document(path, parameters)


def known_workflows(path: Path, settings: Settings) -> set[str]:
    """Names that a definition in ``path`` may call without any Redis."""
    known = set(library_names())
    for directory in (path.parent, settings.workflow_dir):
        if directory is not None and directory.is_dir():
            known |= {p.stem for p in directory.iterdir() if p.suffix in SUFFIXES[:3]}
    return known


def review(
    path: Path, settings: Settings, parameters: Parameters = None
) -> tuple[WorkflowDefinition | None, list[Finding]]:
    """The definition in a file and all findings; a file that is broken is a finding too."""
    try:
        document = read_document(path, parameters)
    except InvalidWorkflow as error:
        return None, error.findings
    except LoadError as error:
        where = f"line {error.line}, column {error.column}" if error.line else ""
        return None, [Finding(Severity.ERROR, where, error.message, error.hint)]
    except DefinitionError as error:
        return None, [Finding(Severity.ERROR, "", error.message, error.hint)]
    definition, findings = validate_document(
        document,
        known_workflows=known_workflows(path, settings),
        known_paths=settings.escalation_paths or (),
        known_queues=settings.inbox_queues or None,
        known_resources=settings.resources or None,
    )
    if definition is not None and not errors_in(findings):
        try:
            Plan(definition, handlers=handlers_beside(definition, path, settings))
        except NotSupportedYet as error:
            findings = [*findings, Finding(Severity.WARNING, "", error.message, error.hint)]
    return definition, findings


def checked_definition(
    path: Path, settings: Settings, parameters: Parameters = None
) -> WorkflowDefinition:
    """The definition in a file. Raises LoadError, and InvalidWorkflow with all findings."""
    document = read_document(path, parameters)
    definition, findings = validate_document(
        document,
        known_workflows=known_workflows(path, settings),
        known_paths=settings.escalation_paths or (),
        known_queues=settings.inbox_queues or None,
        known_resources=settings.resources or None,
    )
    errors = errors_in(findings)
    if definition is None or errors:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        listed = "\n".join(f"  {f.path or 'workflow'}: {f.message}" for f in errors)
        raise InvalidWorkflow(
            f"{path} is no valid workflow; {count}:\n{listed}",
            findings=findings,
            hint=next((f.hint for f in errors if f.hint), ""),
        )
    return definition


def handlers_beside(
    definition: WorkflowDefinition, path: Path, settings: Settings
) -> dict[str, WorkflowDefinition]:
    """The workflows that its error handlers name: beside the file, in `workflow_dir`, shipped."""
    steps = {step.id for step in definition.steps}
    found = {}
    for handler in definition.error_handlers:
        name = handler.handler
        if name in steps or name in found:
            continue
        workflow = _find_handler(name, path, settings)
        if workflow is not None:
            found[name] = workflow
    return found


def called_beside(
    definition: WorkflowDefinition, path: Path, settings: Settings
) -> dict[str, WorkflowDefinition]:
    """The workflows that it calls, and those that they call, found as handlers are."""
    found: dict[str, WorkflowDefinition] = {}
    todo = [definition]
    while todo:
        for name in called_names(todo.pop()):
            workflow = None if name in found else _find_handler(name, path, settings)
            if workflow is not None:
                found[name] = workflow
                todo.append(workflow)
    return found


def _find_handler(name: str, path: Path, settings: Settings) -> WorkflowDefinition | None:
    for directory in (path, settings.workflow_dir):
        if directory is not None and (file := find_beside(directory, name)) is not None:
            return read_definition(file)
    return library_definition(name)
