"""When health changes, and for what reasons."""

from __future__ import annotations

from collections.abc import Sequence

from orch.monitoring.metrics import Health, HealthReason
from orch.monitoring.watching.notes import Notes, State

SURE = 2
"""Observations in a row in which a reason is there, or is not, before it is told."""


def watch_health(state: State, found: Sequence[HealthReason], notes: Notes) -> None:
    """``state``: `reasons`: key -> [seen, missed, note, since, status, message]; `status`, `note`,
    `since`."""
    known = state.setdefault("reasons", {})
    now = {reason.key: reason for reason in found}
    for key in [*known]:
        if key not in now:
            _miss(known, key, notes)
    for key, reason in now.items():
        _see(known, key, reason, notes)
    told = [Health(each[4]) for each in known.values() if each[2]]
    _change(state, min(told, key=_order, default=Health.HEALTHY), known, notes)


def _order(status: Health) -> int:
    return [Health.UNHEALTHY, Health.DEGRADED, Health.HEALTHY].index(status)


def _see(known: State, key: str, reason: HealthReason, notes: Notes) -> None:
    seen, _, note, since, *_ = known.get(key) or (0, 0, "", notes.at)
    if seen + 1 == SURE:
        note = notes.add(
            "MONITOR",
            f"{reason.status.value}: {reason.message}; {reason.hint}",
            f"health:{reason.rule}",
            tags=["event:begins", f"rule:{reason.rule}", f"status:{reason.status.value}"],
            data={"since": since, **reason.model_dump(mode="json")},
        )
    known[key] = [seen + 1, 0, note, since, reason.status.value, reason.message]


def _miss(known: State, key: str, notes: Notes) -> None:
    seen, missed, note, since, status, message = known[key]
    if note and missed + 1 < SURE:
        known[key] = [seen, missed + 1, note, since, status, message]
        return
    del known[key]
    if not note:
        return
    rule = key.partition(" ")[0]
    seconds = (notes.at - since) // 1000
    notes.add(
        "MONITOR",
        f"no longer: {message}; it was so for {seconds} s",
        f"health:{rule}",
        tags=["event:ends", f"rule:{rule}"],
        related=[note],
        data={"since": since, "seconds": seconds},
    )


def _change(state: State, status: Health, known: State, notes: Notes) -> None:
    before = state.get("status", Health.HEALTHY.value)
    if status.value == before:
        state.setdefault("status", before)
        state.setdefault("since", notes.at)
        return
    told = {key: each for key, each in known.items() if each[2]}
    why = "; ".join(each[5] for each in list(told.values())[:3])
    state["note"] = notes.add(
        "MONITOR",
        f"health is {status.value}, and was {before}" + (f": {why}" if why else ""),
        "health",
        tags=["event:health", f"status:{status.value}"],
        related=[state.get("note"), *[each[2] for each in told.values()][:20]],
        data={"status": status.value, "before": before, "reasons": [*told]},
    )
    state["status"], state["since"] = status.value, notes.at
