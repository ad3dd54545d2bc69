"""How good what is remembered is. Pure."""

from __future__ import annotations

from collections.abc import Container, Sequence
from statistics import fmean, median
from typing import Any

from orch.memory.analysis import (
    AgeSpread,
    BrokenReference,
    ConfidenceSpread,
    Duplicates,
    QualityAnalysis,
)
from orch.memory.entries import TENTHS, tenth_of
from orch.memory.likeness import shape_of

MOST = 20
"""Broken references, and groups of duplicates, that are named."""

SHOWN = 10
"""Ids of a group that are named."""

Records = Sequence[tuple[str, dict[str, Any]]]


def quality(
    records: Records, looked_up: Sequence[str], named: int, there: Container[str], now: int
) -> QualityAnalysis:
    """``looked_up``: of all ``named`` ids those that were; ``there``: those that exist."""
    asked = set(looked_up)
    broken = [
        BrokenReference(id=id, missing=other)
        for id, record in records
        for other in record["related"]
        if other in asked and other not in there
    ]
    groups = _groups(records)
    return QualityAnalysis(
        records=len(records),
        confidence=_confidence([record["confidence"] for _, record in records]),
        age=_age([(now - record["created"]) / 1000 for _, record in records]),
        rated=sum("ratings" in record for _, record in records),
        without_source=sum(not record["source"] for _, record in records),
        without_tags=sum(not record["tags"] for _, record in records),
        references=len(looked_up),
        references_left=named - len(looked_up),
        broken=len(broken),
        broken_references=broken[:MOST],
        duplicates=sum(group.records - 1 for group in groups),
        duplicate_groups=groups[:MOST],
    )


def _groups(records: Records) -> list[Duplicates]:
    """The largest first."""
    shapes: dict[str, list[int]] = {}
    for number, (_, record) in enumerate(records):
        shapes.setdefault(shape_of(record["content"]), []).append(number)
    several = sorted((each for each in shapes.values() if len(each) > 1), key=len, reverse=True)
    return [
        Duplicates(
            records=len(group),
            content=records[group[0]][1]["content"],
            ids=[records[number][0] for number in group[:SHOWN]],
        )
        for group in several
    ]


def _confidence(values: Sequence[float]) -> ConfidenceSpread:
    spread = ConfidenceSpread()
    if not values:
        return spread
    for value in values:
        spread.tenths[min(tenth_of(value), TENTHS - 1)] += 1
    told = {"lowest": min(values), "highest": max(values), "tenths": spread.tenths}
    return ConfidenceSpread(mean=fmean(values), median=median(values), **told)


def _age(seconds: Sequence[float]) -> AgeSpread:
    if not seconds:
        return AgeSpread()
    return AgeSpread(youngest=min(seconds), median=median(seconds), oldest=max(seconds))
