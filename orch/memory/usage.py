"""Which records are read, and which never. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from orch.control.status import instant
from orch.memory.analysis import AreaUse, ReadRecord, UsageAnalysis

MOST = 20
"""Records, and tags and agents, that are named."""

Use = tuple[int, int | None]
"""How often a record was read, and when last, ms."""


def usage(records: Sequence[tuple[str, dict[str, Any]]], uses: Sequence[Use]) -> UsageAnalysis:
    """``uses``: of each record, in the same order."""
    whole = _summed(uses)
    by: dict[str, dict[str, list[Use]]] = {
        name: defaultdict(list) for name in ("area", "agent", "tag")
    }
    for (_, record), use in zip(records, uses, strict=True):
        by["area"][record["area"]].append(use)
        by["agent"][record["agent_role"]].append(use)
        for tag in record["tags"]:
            by["tag"][tag].append(use)
    read = [(use, told) for use, told in zip(uses, records, strict=True) if use[0]]
    read.sort(key=lambda each: (-each[0][0], -(each[0][1] or 0)))
    return UsageAnalysis(
        records=len(records),
        read=whole.read,
        never_read=len(records) - whole.read,
        reads=whole.reads,
        last_read=whole.last_read,
        most_read=[
            ReadRecord(
                id=id, content=record["content"], reads=use[0], last_read=_told(use[1])
            )
            for use, (id, record) in read[:MOST]
        ],
        by_area=_largest(by["area"]),
        by_agent=_largest(by["agent"]),
        by_tag=_largest(by["tag"]),
    )  # fmt: skip


def _largest(uses: dict[str, list[Use]]) -> dict[str, AreaUse]:
    """The most read ones first, then those with most records."""
    found = {name: _summed(each) for name, each in uses.items()}
    ordered = sorted(found.items(), key=lambda each: (-each[1].reads, -each[1].records, each[0]))
    return dict(ordered[:MOST])


def _summed(uses: Iterable[Use]) -> AreaUse:
    every = list(uses)
    return AreaUse(
        records=len(every),
        read=sum(count > 0 for count, _ in every),
        reads=sum(count for count, _ in every),
        last_read=_told(max((last for _, last in every if last is not None), default=None)),
    )


def _told(ms: int | None) -> str | None:
    return None if ms is None else instant(ms)
