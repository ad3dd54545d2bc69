"""How many escalations are open, and how long it takes until somebody deals with one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from orch.escalation.inbox import InboxItem

AGES = (("< 1 h", 3600), ("< 4 h", 4 * 3600), ("< 1 d", 86_400), ("< 7 d", 7 * 86_400))
OLDER = ">= 7 d"


class Statistics(BaseModel):
    """Counts of those that are open; seconds of those that were resolved in the last 30 days."""

    open: int
    by_age: dict[str, int] = Field(default_factory=dict)
    by_class: dict[str, int] = Field(default_factory=dict)
    by_capability: dict[str, int] = Field(default_factory=dict)
    by_rung: dict[str, int] = Field(default_factory=dict)
    resolved: int = 0
    by_decision: dict[str, int] = Field(default_factory=dict)
    mean_to_acknowledge: float | None = Field(None, description="seconds")
    mean_to_resolve: float | None = Field(None, description="seconds")


def statistics_of(
    items: Sequence[InboxItem],
    capabilities: Sequence[str],
    resolved: Iterable[Mapping[str, Any]],
    now: int,
) -> Statistics:
    """``capabilities``: of the steps of ``items``, in their order. ``resolved``: notices of
    resolved escalations, as the journal keeps them."""
    done = list(resolved)
    seen = [each["acknowledged"] - each["raised"] for each in done if each.get("acknowledged")]
    took = [each["at"] - each["raised"] for each in done]
    return Statistics(
        open=len(items),
        by_age=_counted(_age(item, now) for item in items),
        by_class=_counted(_class_of(item) for item in items),
        by_capability=_counted(
            capability or item.step for item, capability in zip(items, capabilities, strict=True)
        ),
        by_rung=_counted(_rung(item) for item in items),
        resolved=len(done),
        by_decision=_counted(str(each.get("decision")) for each in done),
        mean_to_acknowledge=_mean(seen),
        mean_to_resolve=_mean(took),
    )


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


def _age(item: InboxItem, now: int) -> str:
    raised = datetime.fromisoformat(item.raised).astimezone(UTC).timestamp()
    age = now / 1000 - raised
    return next((name for name, most in AGES if age < most), OLDER)


def _class_of(item: InboxItem) -> str:
    return "approval" if item.error is None else str(item.error.get("class") or "unknown")


def _rung(item: InboxItem) -> str:
    if item.error is None:
        return "approval"
    return f"{item.rung} {item.kind}" + (f" {item.queue}" if item.queue else "")


def _mean(values: Sequence[int]) -> float | None:
    return round(sum(values) / len(values) / 1000, 3) if values else None
