"""Commands that make an execution of another one: rerun, fork; and diff, which compares two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, check_broker, find_execution
from orch.cli.inputs import parse_value, read_json, set_field
from orch.cli.option_groups import with_options
from orch.cli.options import (
    By,
    ExecutionId,
    IdempotencyKey,
    InputFile,
    Inputs,
    Json,
    Quiet,
    Reason,
    Timeout,
)
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.execution import Execution
    from orch.orchestrator import Orchestrator
    from orch.workflows.comparing import Change, Difference, StepChange

OfVersion = Annotated[
    str,
    typer.Option(
        "--version",
        metavar="same|latest",
        help="Of the workflow: the one that it ran, or the latest.",
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait for its end, and print as `run` does.")
]
SHOWN = 100
"""Characters of a value that a difference shows."""


@with_options
def rerun(
    id: ExecutionId,
    inputs: Inputs = None,
    input_file: InputFile = None,
    version: OfVersion = "same",
    idempotency_key: IdempotencyKey = None,
    reason: Reason = "",
    by: By = None,
    wait: Wait = False,
    timeout: Timeout = None,
    connect: Connect = Connect(),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Start an execution anew, as a new one, and print its id. --input changes fields."""
    with connect() as orchestrator:
        origin = find_execution(orchestrator, id)
        check_broker(orchestrator)
        made = orchestrator.rerun_workflow(
            origin,
            _input(orchestrator, origin, inputs, input_file),
            version=version,
            idempotency_key=idempotency_key,
            reason=reason,
            by=by,
        )
        _finish(orchestrator, made, wait, timeout, quiet, as_json)


@with_options
def fork(
    id: ExecutionId,
    path: Annotated[
        str,
        typer.Option("--from", metavar="PATH", help="The step, as `orch status` shows it."),
    ],
    variables: Annotated[
        Optional[list[str]],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A variable; a VALUE that is no JSON is text. May be repeated.",
        ),
    ] = None,
    inputs: Inputs = None,
    input_file: InputFile = None,
    version: OfVersion = "same",
    idempotency_key: IdempotencyKey = None,
    reason: Reason = "",
    by: By = None,
    wait: Wait = False,
    timeout: Timeout = None,
    connect: Connect = Connect(),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Go on from a step as a new execution; what was done before the step is kept.

    Prints the id of the new one. The old one stays as it is.
    """
    given = dict(_variable(pair) for pair in variables or ())
    with connect() as orchestrator:
        origin = find_execution(orchestrator, id)
        check_broker(orchestrator)
        made = orchestrator.fork_workflow(
            origin,
            path,
            variables=given,
            input=_input(orchestrator, origin, inputs, input_file),
            version=version,
            idempotency_key=idempotency_key,
            reason=reason,
            by=by,
        )
        _finish(orchestrator, made, wait, timeout, quiet, as_json)


def _input(
    orchestrator: Orchestrator, origin: str, pairs: list[str] | None, file: Path | None
) -> Any:
    """The input of the new one; None: that of its origin."""
    if not pairs:
        return None if file is None else read_json(file, "the input")
    if file is not None:
        value = read_json(file, "the input")
    else:
        value = orchestrator.runtime.journal.record(origin).input or {}
    if not isinstance(value, dict):
        raise InputError(
            "--input sets fields of an object, and the input is none",
            hint="give the whole input with --input-file",
        )
    for pair in pairs:
        set_field(value, pair)
    return value


def _variable(pair: str) -> tuple[str, Any]:
    name, equals, text = pair.partition("=")
    if not name or not equals:
        raise InputError(f"--set {pair!r} is not of the form name=value", hint="e.g. --set n=3")
    return name, parse_value(text)


def _finish(
    orchestrator: Orchestrator,
    made: Execution,
    wait: bool,
    timeout: float | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from orch.cli import executions

    if made.existed:
        output.say(f"execution {made.id} was started before with this idempotency key")
    for warning in made.warnings:
        output.warn(warning)
    if wait:
        ended = executions.watch(orchestrator, made.id, timeout=timeout, quiet=quiet)
        raise typer.Exit(executions.finish(made.status(), ended, timeout, as_json=as_json))
    if as_json:
        context = made.status()
        origin = context.origin.model_dump(mode="json") if context.origin else None
        output.print_json(
            {
                "id": made.id,
                "workflow": context.workflow,
                "version": context.version,
                "origin": origin,
                "existed": made.existed,
                "warnings": list(made.warnings),
            }
        )
    else:
        output.line(made.id)


# --- diff ----------------------------------------------------------------------------------------


@with_options
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="An execution.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The one that it is compared with.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Show steps without a difference, too.")
    ] = False,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Compare two executions: definition, input, variables, steps, output.

    Exit code 0 where there is no difference, else 1; durations are shown and make none.
    """
    with connect() as orchestrator:
        found = orchestrator.diff_executions(
            find_execution(orchestrator, a), find_execution(orchestrator, b)
        )
    if as_json:
        output.print_json(found.as_dict())
    else:
        _print(found, everything)
    raise typer.Exit(0 if found.same else 1)


def _print(found: Difference, everything: bool) -> None:
    took = tuple(output.duration(ms) for ms in found.duration_ms)
    rows: list[tuple[object, ...]] = [
        (name, *pair, "" if pair[0] == pair[1] else "≠")
        for name, pair in (
            ("workflow", found.workflow),
            ("version", found.version),
            ("status", found.status),
        )
    ]
    output.table(("", found.a, found.b, ""), [*rows, ("duration", *took, "")])
    for title, changes in (
        ("definition", found.definition),
        ("input", found.input),
        ("variables", found.variables),
    ):
        _print_changes(title, changes)
    steps = [step for step in found.steps if everything or not step.same]
    if steps:
        output.line()
        output.table(("step", "status", "attempts", "duration", "difference"), map(_row, steps))
    _print_changes("output", found.output)
    _print_changes("error", found.error)
    if found.same:
        output.line("\nno difference")


def _print_changes(title: str, changes: list[Change]) -> None:
    if not changes:
        return
    output.line(f"\n{title}")
    output.table(("at", "a", "b", ""), [(c.at, *_sides(c), "") for c in changes])


def _sides(change: Change) -> tuple[str, str]:
    return (
        "-" if change.only == "b" else _short(change.a),
        "-" if change.only == "a" else _short(change.b),
    )


def _row(step: StepChange) -> tuple[object, ...]:
    took = tuple(output.duration(ms) or "-" for ms in step.duration_ms)
    told = [f"only in {step.only}"] if step.only else []
    for what, changes in (("output", step.output), ("error", step.error)):
        for change in changes:
            a, b = _sides(change)
            told.append(f"{what}{change.at.removeprefix('$')}: {a} → {b}")
    return (
        step.path,
        _pair(*step.status),
        _pair(*step.attempts),
        " → ".join(took),
        "; ".join(told),
    )


def _pair(a: object, b: object) -> str:
    return str(a) if a == b else f"{'-' if a is None else a} → {'-' if b is None else b}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
