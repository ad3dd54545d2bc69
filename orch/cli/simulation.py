"""The command simulate."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.inputs import read_input, read_json, read_parameters
from orch.cli.options import InputFile, Inputs, Json, Sets
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.control.simulation import SimulatedMessage, Simulation


def simulate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The definition to try.")],
    mocks: Annotated[
        Optional[Path],
        typer.Option(
            "--mocks",
            metavar="FILE",
            help="JSON: what each step gives, how often it fails, what people decide.",
        ),
    ] = None,
    sets: Sets = None,
    inputs: Inputs = None,
    input_file: InputFile = None,
    as_json: Json = False,
) -> None:
    """Run a workflow with mocked capabilities on a virtual clock.

    A wait of a month takes no time. Nothing is stored, and nothing outside is touched.
    """
    from orch.cli.files import called_beside, checked_definition, handlers_beside

    settings = Connect().settings()
    definition = checked_definition(file, settings, read_parameters(sets))
    given = _read_mocks(mocks) if mocks is not None else None
    value = read_input(inputs, input_file)
    from orch.control.simulation import simulate as run_simulation

    workflows = called_beside(definition, file, settings)
    handlers: dict[str, Any] = {}
    for each in (definition, *workflows.values()):
        handlers |= handlers_beside(each, file, settings)
    found = run_simulation(
        definition,
        key=file.stem,
        handlers=handlers,
        workflows=workflows,
        input=value,
        mocks=given,
        settings=settings,
    )
    if as_json:
        output.print_json(found.as_dict())
    else:
        _print(found)
    raise typer.Exit(0 if found.status == "completed" else 1)


def _read_mocks(file: Path) -> dict[str, Any]:
    """The mocks in a file. Raises InputError for a key that means nothing."""
    from orch.control.mocks import Mocks

    mocks = read_json(file, "the mocks")
    if not isinstance(mocks, dict):
        raise InputError(
            f"the mocks in {file} are no object", hint='for example: {"fail": {"fetch": 2}}'
        )
    known = list(Mocks.model_fields)
    for key in mocks:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise InputError(
                f"the mocks in {file} have an unknown key {key!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}",
            )
    return mocks


def _told(message: SimulatedMessage) -> str:
    at, rules = output.duration(message.at_ms), ", ".join(message.rules) or "no rule"
    attempt = f" #{message.attempt}" if message.attempt > 1 else ""
    queue = f" (queue {message.queue})" if message.queue != message.capability else ""
    urgent = f", priority {message.priority}" if message.priority else ""
    what = json.dumps(message.input, ensure_ascii=False)
    return f"{at}  {message.path}{attempt}  {rules}: {message.capability}{queue}{urgent}  {what}"


def _print(found: Simulation) -> None:
    from orch.cli.progress import describe
    from orch.journal.journal import HistoryEntry

    rows = [
        (output.duration(step.at_ms), step.path, step.attempt, step.outcome) for step in found.steps
    ]
    output.table(("at", "path", "attempt", "outcome"), rows)
    output.line()
    for message in found.messages:
        output.line(_told(message))
    for change in found.escalations:
        told = HistoryEntry(change.at_ms, change.event, change.path, 0, change.detail)
        at = output.duration(change.at_ms)
        output.line("  ".join(filter(None, (at, change.path, change.event, describe(told)))))
    for start in found.triggered:
        what = f"cannot: {start.error}" if start.error else json.dumps(start.input)
        at = output.duration(start.at_ms)
        output.line(f"{at}  event {start.event} would start {start.workflow}: {what}")
    output.line(found.status)
    if found.error:
        output.line(f"{found.error.get('name')}: {found.error.get('message')}")
    if found.output is not None:
        output.print_json(found.output)
