"""What histories tell of the steps of a workflow. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orch.journal.records import HistoryEntry
from orch.monitoring.metrics import StepMetrics
from orch.workflows.paths import key_of

_GIVEN_BACK = frozenset({"limited", "released", "breaker_open", "cancelled"})


@dataclass
class _Told:
    """Of one step, whatever branch or lap it stood in."""

    completed: int = 0
    failed: int = 0
    attempts: int = 0
    repeats: int = 0
    took: int = 0
    timed: int = 0
    begun: dict[tuple[int, str], int] = field(default_factory=dict)

    def metrics(self) -> StepMetrics:
        count = self.completed + self.failed
        return StepMetrics(
            count=count,
            average_duration=self.took / self.timed if self.timed else None,
            error_rate=self.failed / count if count else None,
            retry_rate=self.repeats / self.attempts if self.attempts else None,
        )


def step_metrics(histories: Iterable[Iterable[HistoryEntry]]) -> dict[str, StepMetrics]:
    """By the key of the step, its path without laps and items.

    Steps in items of a map are left out: of items that go well at once a history has no line.
    """
    told: dict[str, _Told] = {}
    for number, history in enumerate(histories):
        for entry in history:
            if entry.path and entry.attempt and "[" not in entry.path:
                _tell(told.setdefault(key_of(entry.path), _Told()), number, entry)
    for each in told.values():
        each.begun.clear()
    found = {key: each.metrics() for key, each in sorted(told.items())}
    return {key: each for key, each in found.items() if each.count or each.retry_rate is not None}


def _tell(step: _Told, number: int, entry: HistoryEntry) -> None:
    token = (number, entry.path)
    match entry.event:
        case "claimed":
            step.attempts += 1
            step.repeats += entry.attempt > 1
            step.begun[token] = entry.at
        case "completed":
            step.completed += 1
            begun = step.begun.pop(token, None)
            if begun is not None:
                step.took += entry.at - begun
                step.timed += 1
        case "failed":
            step.failed += 1
            step.begun.pop(token, None)
        case word if word in _GIVEN_BACK:
            if step.begun.pop(token, None) is not None:
                step.attempts -= 1
                step.repeats -= entry.attempt > 1
