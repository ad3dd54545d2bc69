"""Tasks of a plan: ids, estimates, what must be done before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from orch.errors import StepError

Priority = Literal["low", "medium", "high", "critical"]

_WORDS: dict[str, Priority] = {
    **dict.fromkeys(("low", "minor", "later"), "low"),
    **dict.fromkeys(("medium", "normal", "standard", ""), "medium"),
    **dict.fromkeys(("high", "major", "important"), "high"),
    **dict.fromkeys(("critical", "urgent", "highest", "blocker"), "critical"),
}
_ORDER: tuple[Priority, ...] = ("low", "medium", "high", "critical")
_FACTORS = {"small": 1.0, "medium": 1.5, "large": 2.0}


def priority_of(given: str | int | None) -> Priority:
    """A priority as one of four words; of a number, 0 to 9, the highest goes first.

    Raises StepError `InvalidInput` for another word.
    """
    if given is None:
        return "medium"
    if isinstance(given, int):
        if not 0 <= given <= 9:
            raise StepError("InvalidInput", f"a `priority` is 0 to 9, or a word; found {given}")
        return _ORDER[min(given // 3, 3)]
    found = _WORDS.get(given.strip().lower())
    if found is None:
        raise StepError(
            "InvalidInput",
            f"there is no priority {given!r}",
            hint="there are `low`, `medium`, `high` and `critical`, and 0 to 9",
        )
    return found


class Tasks:
    """Collects the tasks of a plan. Hours are for a small project; others take longer."""

    def __init__(self, complexity: str, priority: Priority) -> None:
        self._factor = _FACTORS.get(complexity, 1.0)
        self._priority = priority
        self.all: list[dict[str, Any]] = []

    def add(self, name: str, capability: str, hours: float, after: Sequence[str] = ()) -> str:
        """The id of a new task; `after`: ids of those that must be done before."""
        id = f"T{len(self.all) + 1}"
        self.all.append(
            {
                "id": id,
                "title": name,
                "capability": capability,
                "hours": round(hours * self._factor, 1),
                "dependsOn": list(after),
                "priority": self._priority,
            }
        )
        return id

    @property
    def hours(self) -> float:
        """All of them, one after the other."""
        return round(sum(float(task["hours"]) for task in self.all), 1)
