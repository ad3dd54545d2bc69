"""Variables as bits of an integer: what the steps set, and what is known on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orch.workflows.graph import Step


@dataclass
class Flow:
    """Variables as bits: what may, and what must, be set when a run comes to a step."""

    may: dict[Step, int] = field(default_factory=dict)
    must: dict[Step, int] = field(default_factory=dict)

    def come(self, step: Step, may: int, must: int) -> bool:
        """Note one more way to a step; answers whether that says anything new."""
        before = (self.may.get(step), self.must.get(step))
        self.may[step] = (before[0] or 0) | may
        self.must[step] = must if before[1] is None else before[1] & must
        return before != (self.may[step], self.must[step])


@dataclass
class Variables:
    """The variables of a workflow, and which steps set them."""

    bits: dict[str, int] = field(default_factory=dict)  # name -> number of its bit
    own: dict[Step, int] = field(default_factory=dict)  # that the step's output mapping sets
    inner: dict[Step, int] = field(default_factory=dict)  # that steps within it set
    flow: Flow = field(default_factory=Flow)

    def names(self, bits: int) -> list[str]:
        return [name for name, bit in self.bits.items() if bits >> bit & 1] if bits else []

    def written(self) -> int:
        return any_of(self.own.values())


def any_of(sets: Iterable[int]) -> int:
    found = 0
    for each in sets:
        found |= each
    return found


def all_of(sets: list[int]) -> int:
    found = sets[0] if sets else 0
    for each in sets:
        found &= each
    return found
