"""Forecasts that were made, and whether they came true."""

from __future__ import annotations

from typing import Any

from orch.monitoring.bands import confidence
from orch.monitoring.watching.notes import Notes, State

REMEMBERED = 50
"""Outcomes of the latest forecasts of a kind, which say how sure the next one is."""


class Forecasts:
    """``state``: kind -> outcomes, 1 or 0, the latest last."""

    def __init__(self, state: State, notes: Notes) -> None:
        self.state = state
        self.notes = notes

    def make(
        self, kind: str, subject: str, text: str, *, due: int, expected: float, **data: Any
    ) -> list[Any]:
        """What is kept of it until it can be checked: note, made, due, expected."""
        sure = confidence(self.state.get(kind, ()))
        note = self.notes.add(
            "PREDICT",
            text,
            subject,
            tags=["event:forecast", f"kind:{kind}"],
            confidence=sure,
            data={"due": due, "expected": round(expected, 3), **data},
        )
        return [note, self.notes.at, due, expected]

    def check(
        self, kind: str, subject: str, told: list[Any], came: float, off: float, what: str
    ) -> None:
        """``off``: by how much it may be wrong, and be right all the same. ``what``: the unit."""
        note, made, due, expected = told
        right = abs(came - expected) <= off
        self.state[kind] = [*self.state.get(kind, ()), int(right)][-REMEMBERED:]
        word = "came true" if right else "did not come true"
        self.notes.add(
            "PREDICT",
            f"a forecast of {subject} {word}: {expected:.0f} {what} were expected, and it is "
            f"{came:.0f}",
            subject,
            tags=["event:checked", f"kind:{kind}", f"came:{str(right).lower()}"],
            related=[note],
            data={"made": made, "due": due, "expected": round(expected, 3), "came": came},
        )
