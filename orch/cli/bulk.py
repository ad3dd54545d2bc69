"""`orch start --many`: one execution for each line of a file."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orch.cli import output
from orch.errors import InputError, OrchError

if TYPE_CHECKING:
    from orch.orchestrator import Orchestrator
    from orch.workflows.starts import StartGiven

SHOWN = 20
"""Refused lines of which the reason is shown."""


def start_many(
    orchestrator: Orchestrator,
    key: str,
    file: Path,
    options: StartGiven,
    *,
    version: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Start ``key`` for each line; the exit code: 1 if some were refused.

    A line is an object with ``input``, and, where they differ, ``name``, ``idempotency_key``
    and options. ``options`` are those of a line that does not say otherwise.
    """
    given = {**options, "version": version}
    defaults = {name: value for name, value in given.items() if value is not None}
    ids: list[str] = []
    existed = 0
    refused: list[dict[str, Any]] = []
    numbers: list[int] = []

    def requests() -> Iterator[Any]:
        for number, text in _lines(file, advance):
            if text.strip():
                numbers.append(number)
                yield _request(text, key, defaults)

    with _progress(file, quiet) as advance:
        for count, each in enumerate(orchestrator.manager.start_many(requests())):
            if isinstance(each, OrchError):
                refused.append({"line": numbers[count], "message": each.message})
                continue
            existed += each.existed
            ids.append(each.id)
            if not as_json:
                output.line(each.id)
    for problem in refused[:SHOWN]:
        output.warn(f"line {problem['line']}: {problem['message']}")
    if len(refused) > SHOWN:
        output.warn(f"{len(refused) - SHOWN} more lines were refused; --json names them all")
    if as_json:
        output.print_json(
            {"started": len(ids) - existed, "existed": existed, "ids": ids, "refused": refused}
        )
    before = f", {existed} were there before" if existed else ""
    output.say(f"{len(ids) - existed} started{before}, {len(refused)} refused")
    return int(bool(refused))


def _request(text: str, key: str, defaults: dict[str, Any]) -> Any:
    """What a line asks for; an error, to be answered in its turn, where it cannot be read."""
    try:
        found = json.loads(text)
    except ValueError as error:
        return InputError(f"it is no JSON: {error}")
    if not isinstance(found, dict):
        return InputError('it is no object: write {"input": …}')
    return {"name": key, **defaults, **found}


def _lines(file: Path, advance: Callable[[int], None]) -> Iterator[tuple[int, str]]:
    try:
        with contextlib.ExitStack() as stack:
            lines = sys.stdin.buffer if str(file) == "-" else stack.enter_context(file.open("rb"))
            for number, line in enumerate(lines, 1):
                advance(len(line))
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
    except OSError as error:
        raise InputError(
            f"the starts cannot be read: {file}: {error.strerror}", hint="check the path"
        ) from error


@contextlib.contextmanager
def _progress(file: Path, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr over the bytes of the file, where stderr is a terminal."""
    if quiet or output.is_plain(sys.stderr) or not file.is_file():
        yield lambda size: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=output.console(sys.stderr), transient=True) as bar:
        task = bar.add_task("starting", total=file.stat().st_size)
        yield lambda size: bar.advance(task, size)
