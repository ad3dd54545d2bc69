"""Commands about definitions: validate, graph, schema, define, workflows."""

from __future__ import annotations

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.option_groups import with_options
from orch.cli.options import By, Json, Sets, Target

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.control.manager import Workflow
    from orch.orchestrator import Orchestrator
    from orch.workflows.definition import WorkflowDefinition
    from orch.workflows.plan import Plan
    from orch.workflows.validation import Finding

MOST_WARNINGS = 2
"""Findings that are shown by commands that are about something else."""


class GraphFormat(StrEnum):
    MERMAID = "mermaid"
    CANVAS = "canvas"
    JSON = "json"


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Definitions to check.")],
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Say all that is wrong with definitions. Needs no Redis.

    Exit code 2 when one of them has errors; warnings alone are no reason.
    """
    from orch.cli.files import review
    from orch.cli.inputs import read_parameters
    from orch.workflows.validation import errors_in

    settings = Connect().settings()
    parameters = read_parameters(sets)
    reviews = [(file, review(file, settings, parameters)[1]) for file in files]
    valid = {file: not errors_in(findings) for file, findings in reviews}
    if as_json:
        objects = [
            {"file": str(file), "valid": valid[file], "findings": [f.as_dict() for f in findings]}
            for file, findings in reviews
        ]
        if len(objects) == 1:
            del objects[0]["file"]
        output.print_json(objects if len(objects) > 1 else objects[0])
    else:
        for file, findings in reviews:
            _print_findings(file, findings, valid[file])
    raise typer.Exit(0 if all(valid.values()) else 2)


def _print_findings(file: Path, findings: list[Finding], valid: bool) -> None:
    for finding in findings:
        # The message of a broken file begins with its place, and shows the line.
        broken = finding.message.startswith(str(file))
        where = "" if broken else f"{finding.path or 'workflow'}: "
        output.line(f"{file}: {finding.severity}: {where}{finding.message}")
        if finding.hint:
            output.line(f"    hint: {finding.hint}")
    output.line(f"{file}: {'valid' if valid else 'not valid'}")


@with_options
def graph(
    target: Target,
    format: Annotated[GraphFormat, typer.Option("--format", "-f", help="What to print.")] = (
        GraphFormat.MERMAID
    ),
    sets: Sets = None,
    remember: Annotated[
        bool, typer.Option("--remember", help="Keep the flowchart of NAME in the memory.")
    ] = False,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Draw a workflow: as a Mermaid flowchart, as its Celery canvas, or as nodes and edges.

    A file needs no Redis.
    """
    parameters = parameters_for(target, sets)
    if remember:
        _remember_graph(target, connect)
    if format is GraphFormat.CANVAS:
        from orch.cli.canvas import as_objects, draw, segments

        found = segments(_plan_of(target, parameters, connect))
        if as_json:
            output.print_json(as_objects(found))
        else:
            output.line(draw(found))
        return
    from orch.workflows.graph import as_json as graph_json
    from orch.workflows.graph import mermaid

    definition = _definition_of(target, parameters, connect)
    if as_json or format is GraphFormat.JSON:
        output.print_json(graph_json(definition))
    else:
        output.line(mermaid(definition).rstrip("\n"))


def _remember_graph(target: str, connect: Connect) -> None:
    from orch.cli.files import is_file
    from orch.errors import InputError

    if is_file(target):
        raise InputError(
            f"--remember keeps the graph of a workflow that is defined, and {target} is a file",
            hint=f"`orch define {target}`, then name it",
        )
    with connect() as orchestrator:
        record = orchestrator.remember_graph(target)
    output.say(f"remembered as {record.id}")


def parameters_for(target: str, sets: list[str] | None) -> dict[str, str]:
    """The parameters of FILE|NAME. Raises InputError where NAME is given some."""
    from orch.cli.files import is_file
    from orch.cli.inputs import read_parameters
    from orch.errors import InputError

    found = read_parameters(sets)
    if found and not is_file(target):
        raise InputError(
            f"--set fills in a file, and {target!r} is the name of a workflow",
            hint=f"`orch define FILE --set ... --name {target}` makes a version of it",
        )
    return found


def _definition_of(target: str, parameters: dict[str, str], connect: Connect) -> WorkflowDefinition:
    from orch.cli.files import is_file, read_definition

    if is_file(target):
        return read_definition(Path(target), parameters)
    with connect() as orchestrator:
        return orchestrator.manager.get(target).definition


def _plan_of(target: str, parameters: dict[str, str], connect: Connect) -> Plan:
    from orch.cli.files import checked_definition, handlers_beside, is_file
    from orch.workflows.plan import Plan

    if is_file(target):
        settings = connect.settings()
        definition = checked_definition(Path(target), settings, parameters)
        return Plan(definition, handlers=handlers_beside(definition, Path(target), settings))
    with connect() as orchestrator:
        definition = orchestrator.manager.get(target).definition
        return Plan(definition, handlers=orchestrator.manager.handlers_of(definition, None))


def schema(as_json: Json = False) -> None:
    """Print the JSON Schema of the definition language, for editors."""
    from orch.workflows.validation import json_schema

    output.print_json(json_schema())


@with_options
def define(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The definition to store.")],
    name: Annotated[
        Optional[str],
        typer.Option(
            "--name", "--as", metavar="NAME", help="Store it under NAME, not the file's stem."
        ),
    ] = None,
    by: By = None,
    canary: Annotated[
        Optional[float],
        typer.Option(
            "--canary",
            metavar="PERCENT",
            help="Let so many of the new executions get it, and the others the latest as before.",
        ),
    ] = None,
    sets: Sets = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Store a definition, so that it can be started by its name."""
    from orch.cli.inputs import read_parameters

    parameters = read_parameters(sets)
    with connect() as orchestrator:
        workflow = store(orchestrator, file, name, by, canary, parameters)
    if as_json:
        warnings = [finding.as_dict() for finding in workflow.warnings]
        output.print_json({"name": workflow.key, "version": workflow.version, "warnings": warnings})
    else:
        output.line(f"{workflow.key} {workflow.version}")


def store(
    orchestrator: Orchestrator,
    file: Path,
    name: str | None = None,
    by: str | None = None,
    canary: float | None = None,
    parameters: dict[str, str] | None = None,
) -> Workflow:
    """Define the workflow of a file, with those beside it in reach; warnings on stderr."""
    with contextlib.redirect_stdout(sys.stderr):  # a .py file is run, and may print
        workflow = orchestrator.manager.load(
            file, key=name, by=by, canary=canary, parameters=parameters
        )
    for finding in workflow.warnings[:MOST_WARNINGS]:
        output.say(f"{file}: {finding}")
    if len(workflow.warnings) > MOST_WARNINGS:
        more = len(workflow.warnings) - MOST_WARNINGS
        output.say(f"{file}: {more} more; `orch validate {file}` shows them")
    return workflow


@with_options
def workflows(connect: Connect = Connect(), as_json: Json = False) -> None:
    """List the workflows that can be started by name."""
    with connect() as orchestrator:
        found = orchestrator.list_workflows()
    if as_json:
        output.print_json(
            [
                {
                    "key": info.key,
                    "name": info.name,
                    "version": info.version,
                    "description": info.description,
                    "source": info.source,
                }
                for info in found
            ]
        )
        return
    rows = [(info.key, info.version, info.source, _short(info.description)) for info in found]
    output.table(("workflow", "version", "source", "description"), rows)


def _short(text: str | None) -> str:
    first = " ".join((text or "").split())
    return first if len(first) <= 60 else f"{first[:59].rstrip()}…"
