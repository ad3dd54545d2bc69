"""Which happenings a webhook can be told of, and which one wants. Pure.

`execution.failed`, `escalation.raised` and the like, and `event.NAME` for what is triggered. A
pattern may have `*`.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from orch.workflows.life import WORDS
from orch.workflows.notices import EVENTS

EVENT_MARK = "event."
"""Begins the type of an event that somebody triggered."""

LIFE_MARK = "execution."
"""Begins the type of what became of an execution as a whole."""

TYPES = (*(f"{LIFE_MARK}{word}" for word in WORDS), *(f"escalation.{event}" for event in EVENTS))
"""All that are not events of their users'."""


def is_heard(pattern: str, type: str) -> bool:
    return fnmatchcase(type, pattern)


def any_hears(patterns: Iterable[str], type: str) -> bool:
    return any(is_heard(pattern, type) for pattern in patterns)


def can_be_heard(pattern: str) -> bool:
    """Whether anything that is told fits: a pattern of none is a mistake."""
    if any(is_heard(pattern, type) for type in TYPES):
        return True
    begins = pattern.partition("*")[0]
    return begins.startswith(EVENT_MARK) and pattern != EVENT_MARK
