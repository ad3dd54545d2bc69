"""Ageing: what has waited in its queue for long becomes as urgent as what has just come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rise:
    """``level``: at which a message is to be sent now; None: at none. ``next``: how old the token
    is at its next rise, ms; 0: there is none."""

    level: int | None
    next: int


def rise_of(priority: int, age: int, worth: int, highest: int, window: int) -> Rise:
    """What becomes of a token of ``priority`` that has waited for ``age`` ms.

    ``worth``: ms of waiting that count as much as a level, 0: none do. ``highest``: the level above
    which nobody is, so that there is nobody to overtake. ``window``: ms behind the instant of a
    rise in which the token is looked at once: nobody has to know what was sent before.
    """
    if not worth or priority >= highest:
        return Rise(None, 0)
    risen = age // worth
    due = risen > 0 and priority + risen <= highest and age - risen * worth < window
    following = (risen + 1) * worth if priority + risen < highest else 0
    return Rise(priority + risen if due else None, following)
