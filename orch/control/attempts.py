"""The attempts of a step, as the history tells them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from orch.errors import ErrorClass
from orch.journal.records import HistoryEntry
from orch.workflows.failing import class_in

_FAILING = frozenset({"retrying", "failed"})
_ENDING = frozenset({"completed", "skipped", "cancelled", "released", *_FAILING})


@dataclass(frozen=True)
class Attempt:
    """One try of a step.

    ``outcome``: `running` | `completed` | `failed` | `lost` (with its worker) | `released` |
    `deferred` (by a breaker) | `cancelled` | `skipped`. ``error``, ``error_class``, ``message``:
    why it failed, or was lost; else ''. ``started``, ``ended``: ms since the epoch; 0: never
    taken, not over. ``worker``: who took it, or reported it.
    """

    attempt: int
    outcome: str
    error: str = ""
    error_class: str = ""
    message: str = ""
    started: int = 0
    ended: int = 0
    worker: str = ""

    def as_dict(self) -> dict[str, Any]:
        found = asdict(self)
        return {("class" if name == "error_class" else name): found[name] for name in found}


def attempts_of(history: Iterable[HistoryEntry], path: str) -> tuple[Attempt, ...]:
    """Those of the step at ``path``, the first one first; none of a step that had none."""
    found: dict[int, Attempt] = {}
    for entry in history:
        if entry.path == path and entry.attempt:
            before = found.get(entry.attempt, Attempt(entry.attempt, "running"))
            after = _told(before, entry)
            if after is not None:
                found[entry.attempt] = after
    return tuple(found[number] for number in sorted(found))


def _told(attempt: Attempt, entry: HistoryEntry) -> Attempt | None:
    """What an entry says of an attempt; None: nothing."""
    detail = entry.detail
    match entry.event:
        case "claimed":
            worker = str(detail.get("worker", "")).rsplit("/", 2)[0]
            return replace(attempt, outcome="running", started=entry.at, worker=worker)
        case "limited":
            return replace(attempt, outcome="limited")
        case "external":
            return replace(attempt, started=entry.at)
        case "reported":
            return replace(attempt, worker=str(detail.get("by", "")))
        case "lost":
            return replace(
                attempt,
                outcome="lost",
                error="WorkerLost",
                error_class=ErrorClass.TRANSIENT.value,
                message=str(detail.get("reason", "")),
                ended=entry.at,
            )
        case word if word in _FAILING:
            error = detail.get("error") or {}
            return replace(
                attempt,
                outcome="failed",
                error=str(error.get("name", "")),
                error_class=class_in(error),
                message=str(error.get("message", "")),
                ended=entry.at,
            )
        case "breaker_open":
            return replace(attempt, outcome="deferred", ended=entry.at)
        case word if word in _ENDING:
            return replace(attempt, outcome=word, ended=entry.at)
    return None
