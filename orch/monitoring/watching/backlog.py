"""Queues: whether they will ever be empty with what runs, and whether that came true."""

from __future__ import annotations

from orch.monitoring.bands import trend
from orch.monitoring.facts import Facts
from orch.monitoring.watching.forecasts import Forecasts
from orch.monitoring.watching.notes import State

KIND = "backlog"

KEPT = 10
"""Depths of a queue that are remembered."""

LEAST = 4
"""Depths that it takes to see where it goes."""

GROWS = 10
"""Messages by which it must have grown."""

AGREED = 0.8
"""Of the pairs of depths, the share that must go the same way."""

LONG = 600_000
"""Ms until it is empty that are worth a forecast."""

AHEAD = 10
"""Intervals, or rather the time between the depths, that a first forecast looks ahead; each one
after it looks twice as far."""

FARTHEST = 86_400_000


def watch_backlogs(state: State, facts: Facts, forecasts: Forecasts) -> None:
    """``state``: queue -> `d`: [[at, depth], …]; `told`: the forecast that is open; `ahead`: ms."""
    for queue in {*state, *(name for name, depth in facts.queues.items() if depth)}:
        depth = facts.queues.get(queue, 0)
        known = state.setdefault(queue, {})
        known["d"] = [*known.get("d", []), [facts.at, depth]][-KEPT:]
        told = known.get("told")
        if told is not None and facts.at >= told[2]:
            off = max(GROWS, 0.3 * max(told[3], depth))
            forecasts.check(KIND, f"queue {queue}", told, depth, off, "messages")
            told = known["told"] = None
        if told is None and depth:
            _look_ahead(known, queue, depth, facts, forecasts)
        elif told is None:
            del state[queue]


def _look_ahead(known: State, queue: str, depth: int, facts: Facts, forecasts: Forecasts) -> None:
    points = [(float(at), float(count)) for at, count in known["d"]]
    while points and points[0][1] == 0:
        points.pop(0)
    goes = trend(points) if len(points) >= LEAST else None
    if goes is None or goes.agreement < AGREED:
        known.pop("ahead", None)
        return
    between = (points[-1][0] - points[0][0]) / (len(points) - 1)
    ahead = min(known.get("ahead") or AHEAD * between, FARTHEST)
    expected = max(depth + goes.slope * ahead, 0.0)
    a_minute = 60_000 * goes.slope
    workers = len(facts.serving(queue))
    if goes.slope > 0 and depth - points[0][1] >= GROWS:
        text = (
            f"queue {queue} will not empty with what runs ({workers} workers): {depth} messages "
            f"wait, {a_minute:.1f} more a minute; in {minutes(ahead)} it will be {expected:.0f}"
        )
    elif goes.slope < 0 and depth / -goes.slope > LONG:
        text = (
            f"queue {queue} takes {minutes(depth / -goes.slope)} to empty with what runs "
            f"({workers} workers): {depth} messages wait, {-a_minute:.1f} fewer a minute"
        )
    else:
        return
    known["told"] = forecasts.make(
        KIND,
        f"queue {queue}",
        text,
        due=int(facts.at + ahead),
        expected=expected,
        queue=queue,
        depth=depth,
        workers=workers,
        a_minute=round(a_minute, 3),
    )
    known["ahead"] = 2 * ahead


def minutes(ms: float) -> str:
    """For people."""
    if ms < 120_000:
        return f"{ms / 1000:.0f} s"
    return f"{ms / 60_000:.0f} min" if ms < 7_200_000 else f"{ms / 3_600_000:.1f} h"
