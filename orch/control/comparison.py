"""How the versions of a workflow do, side by side, from the executions that are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, exp, lgamma, sqrt
from typing import Any

from orch.control.status import ExecutionInfo

FEW = 30
"""Below so many that ended, a rate says little."""

SURE = 0.05
"""A difference that chance makes less often than this is told as one."""


@dataclass(frozen=True)
class Effort:
    """What the history of an execution tells: attempts that were claimed, and tried again."""

    attempts: int
    retries: int


@dataclass(frozen=True)
class VersionFigures:
    """Executions of one version. Durations in ms, of those that completed.

    ``failure_rate``: of those that completed or failed; ``interval``: within which it lies with
    95 % confidence. ``attempts``, ``retries``: per execution that ended.
    """

    version: str
    label: str | None
    executions: int
    statuses: dict[str, int]
    failure_rate: float | None
    interval: tuple[float, float] | None
    errors: dict[str, int]
    p50: int | None
    p95: int | None
    attempts: float | None
    retries: float | None


@dataclass(frozen=True)
class Comparison:
    """``p_value``: how often chance alone makes the failure rates of two versions differ so
    much; ``notes`` are sentences about how far the figures carry."""

    workflow: str
    versions: list[VersionFigures]
    p_value: float | None = None
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def figures(
    version: str,
    label: str | None,
    found: Iterable[ExecutionInfo],
    efforts: Sequence[Effort],
) -> VersionFigures:
    """``efforts``: of those of ``found`` that have ended."""
    found = list(found)
    statuses = Counter(info.status for info in found)
    failed, ended = statuses["failed"], statuses["failed"] + statuses["completed"]
    took = sorted(info.duration_ms for info in found if info.status == "completed")
    errors = Counter(info.error or "?" for info in found if info.status == "failed")
    count = len(efforts)
    return VersionFigures(
        version,
        label,
        len(found),
        dict(sorted(statuses.items())),
        failed / ended if ended else None,
        wilson(failed, ended) if ended else None,
        dict(errors.most_common()),
        percentile(took, 50),
        percentile(took, 95),
        sum(e.attempts for e in efforts) / count if count else None,
        sum(e.retries for e in efforts) / count if count else None,
    )


def compared(workflow: str, versions: list[VersionFigures], notes: Iterable[str]) -> Comparison:
    told = list(notes)
    for each in versions:
        ended = _ended(each)
        if ended < FEW:
            told.append(f"{each.version}: {ended} ended: too few for its rate to say much")
    p_value = None
    if len(versions) == 2 and all(_ended(each) for each in versions):
        (one, a), (two, b) = (_counts(each) for each in versions)
        p_value = fisher_exact(one, a, two, b)
        differ = "differ by more than chance" if p_value < SURE else "may differ by chance alone"
        told.append(f"the failure rates {differ} (p = {p_value:.3g}, Fisher's exact test)")
    return Comparison(workflow, versions, p_value, told)


def _ended(each: VersionFigures) -> int:
    return sum(_counts(each))


def _counts(each: VersionFigures) -> tuple[int, int]:
    return each.statuses.get("failed", 0), each.statuses.get("completed", 0)


def percentile(ordered: Sequence[int], percent: float) -> int | None:
    """The nearest rank: the smallest value that is not below ``percent`` of all."""
    return ordered[max(ceil(len(ordered) * percent / 100) - 1, 0)] if ordered else None


def wilson(hits: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """The score interval of a rate (E. B. Wilson, JASA 22 (1927), 209-212); 95 % by default."""
    rate, square = hits / total, z * z
    middle = (rate + square / (2 * total)) / (1 + square / total)
    half = z / (1 + square / total) * sqrt(rate * (1 - rate) / total + square / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def fisher_exact(a: int, b: int, c: int, d: int) -> float:
    """Two-sided p of the table ((a, b), (c, d)): R. A. Fisher, J. R. Stat. Soc. 85 (1922).

    As in R, the tables with the same margins that are no likelier than this one count.
    """
    first, second, hits = a + b, c + d, a + c

    every = _log_choose(first + second, hits)

    def likelihood(x: int) -> float:
        return exp(_log_choose(first, x) + _log_choose(second, hits - x) - every)

    own = likelihood(a) * (1 + 1e-7)
    possible = range(max(0, hits - second), min(first, hits) + 1)
    return min(1.0, sum(p for p in map(likelihood, possible) if p <= own))


def _log_choose(total: int, chosen: int) -> float:
    return lgamma(total + 1) - lgamma(chosen + 1) - lgamma(total - chosen + 1)
