"""The people of a simulation: what they decide when they are asked, as the mocks say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orch.control.mocks import Decision
from orch.workflows.escalation import Escalation, Ruling


@dataclass(frozen=True)
class Decided:
    """What somebody will do about an escalation, unless it has moved on by then."""

    decision: Decision
    asked: tuple[int, int, int]

    def holds(self, record: Escalation | None) -> bool:
        """Whether it is still what they were asked about."""
        return record is not None and record.open and _asked(record) == self.asked

    def ruling(self, now: int) -> Ruling:
        found = self.decision
        return Ruling(
            found.decision,
            found.by,
            now,
            value=found.value,
            given="input" in found.model_fields_set,
            target=found.to,
            note=found.note,
        )


class People:
    """Each decision is for one time that somebody is asked about the step, in their order."""

    def __init__(self, decisions: Mapping[str, Sequence[Decision]]) -> None:
        self._left = {name: list(listed) for name, listed in decisions.items()}

    def ask(self, names: Sequence[str], record: Escalation) -> Decided | None:
        """What comes of it that they are asked; None: nobody decides. ``names``: of the step."""
        listed = next((self._left[name] for name in names if self._left.get(name)), [])
        for decision in listed:
            if decision.queue in ("", record.queue):
                listed.remove(decision)
                return Decided(decision, _asked(record))
        return None


def _asked(record: Escalation) -> tuple[int, int, int]:
    return record.rung, record.since, record.works
