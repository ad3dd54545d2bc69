"""What an execution has gone on without: it completes, and is degraded.

A hole is written by the transition that goes on over it, in a field of the record for each step,
beside the mark by which such executions are found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orch.workflows.state import encode

DEGRADED_FIELD = "degraded"
MOST_HOLES = 100
"""Holes of one step that are told one by one."""

_MARK = "d:"


@dataclass(frozen=True)
class Hole:
    """``path``: of the step that did not do what it should. ``why``: `tolerated`: it failed, and
    a join could do without; `skipped`: somebody said so; `fallback`: something else did it.
    ``error`` and ``message``: what it failed with, if it did. ``by``: who decided."""

    path: str
    why: str
    error: str = ""
    message: str = ""
    by: str = ""

    @classmethod
    def of(cls, path: str, why: str, error: Mapping[str, Any] | None = None, by: str = "") -> Hole:
        found = error or {}
        return cls(path, why, str(found.get("name", "")), str(found.get("message", "")), by)


def tolerated(path: str, failures: Sequence[Mapping[str, Any]]) -> list[Hole]:
    """The holes of a join: ``failures`` as in its output, with `index` and `error`."""
    holes = [
        Hole.of(str(failure["error"].get("path") or path), "tolerated", failure["error"])
        for failure in failures[:MOST_HOLES]
    ]
    more = len(failures) - MOST_HOLES
    if more > 0:
        holes.append(Hole(path, "tolerated", message=f"and {more} more"))
    return holes


def hole_fields(path: str, holes: Iterable[Hole]) -> dict[str, str]:
    """Fields of the record that say what the step at ``path`` has left open."""
    told = [asdict(hole) for hole in holes]
    if not told:
        return {}
    return {f"{_MARK}{path}": encode(told), DEGRADED_FIELD: "1"}


def load_holes(fields: Mapping[str, str]) -> dict[str, tuple[Hole, ...]]:
    """Path of a step -> its holes, from the fields of a record."""
    return {
        name.removeprefix(_MARK): tuple(Hole(**hole) for hole in json.loads(text))
        for name, text in sorted(fields.items())
        if name.startswith(_MARK)
    }
