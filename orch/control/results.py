"""The results of a map, wherever they are kept, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from orch.errors import InputError, NotFound
from orch.journal.journal import Journal
from orch.workflows.references import parse_reference


def iterate(journal: Journal, value: Any) -> Iterator[Any]:
    """Of `results`, a list or what stands for it. Raises InputError, NotFound, Unreachable."""
    found = parse_reference(value)
    if found is not None:
        return journal.read_results(found.execution, found.path, found.length)
    if isinstance(value, list):
        return iter(value)
    raise InputError(
        f"{json.dumps(value)[:60]} is neither a list nor stands for the results of a map",
        hint="give `$.output.results` of a map, as it is",
    )


def results_of(journal: Journal, execution: str, path: str) -> Iterator[Any]:
    """What the map, or the parallel step, at ``path`` gave: null where there is nothing.

    Raises NotFound, InputError.
    """
    text = journal.output_of(execution, path)
    if text is None:
        journal.record(execution)
        raise NotFound(
            f"step {path!r} of execution {execution} has no output",
            hint=f"`orch status {execution}` shows its steps; a map has one when it has completed",
        )
    output = json.loads(text)
    if not isinstance(output, dict) or "results" not in output:
        raise InputError(f"step {path!r} of execution {execution} is no map and no parallel step")
    return iterate(journal, output["results"])
