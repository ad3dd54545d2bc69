"""How long the capabilities of this process take."""

from __future__ import annotations

QUICK = 0.005
"""Seconds; what takes longer is worth a message of its own, so that others may do it meanwhile."""

BRIEF = 0.001
"""Seconds; what takes less may have others wait for it."""

WEIGHT = 0.2
"""Of the latest call in the mean."""

_means: dict[str, float] = {}


def note_pace(capability: str, seconds: float) -> None:
    mean = _means.get(capability)
    _means[capability] = seconds if mean is None else mean + WEIGHT * (seconds - mean)


def is_brief(capability: str) -> bool:
    """As `is_quick`, of next to no time."""
    mean = _means.get(capability)
    return mean is not None and mean < BRIEF


def is_quick(capability: str) -> bool:
    """Whether its calls are known to take a moment; not known: False."""
    mean = _means.get(capability)
    return mean is not None and mean < QUICK
