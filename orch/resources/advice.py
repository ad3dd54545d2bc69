"""How much of a limit is needed, from how it was used. Pure.

The wait for one of ``c`` units, where ``a`` of them are at work on average (the load, in erlangs),
is that of the queue M/M/c: the share that waits is Erlang C, and those that wait do so for the mean
hold / (c - a) on average (A. K. Erlang, 1917). It takes arrivals as independent of each other:
where they come in bursts, more is needed than it says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, Field

from orch.workflows.limits import CONCURRENCY, RATE, RESOURCE, LimitName

HOUR = 3_600_000

WAIT_SHARE = 0.1
"""Of the mean hold: how long a wait may be on average, where nobody says."""

SPARE = 0.5
"""A limit of which less than this share was ever held at once could be lower."""

SHORT = 0.1
"""A limit at which a larger share than this has waited could be higher."""


@dataclass(frozen=True)
class Usage:
    """How one limit was used in one or more hours. Waits and holds in ms; ``held``: ms that units
    were held, together."""

    uses: int = 0
    waits: int = 0
    waited: int = 0
    held: int = 0
    peak: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.uses + other.uses,
            self.waits + other.waits,
            self.waited + other.waited,
            self.held + other.held,
            max(self.peak, other.peak),
        )


class CapacityPlan(BaseModel):
    """What was used of a limit, and how much of it would be enough."""

    kind: str
    name: str
    allowed: float | None = Field(None, description="capacity, number at a time, or starts an hour")
    hours: int = Field(description="hours that were looked at")
    uses: int = 0
    waits: int = 0
    mean_wait_ms: int = Field(0, description="of those that waited")
    mean_hold_ms: int = 0
    peak: int = Field(0, description="most units that were held at once")
    load: float = Field(0, description="units at work on average, or starts, in the busiest hour")
    advised: int | None = Field(None, description="how much is enough for the busiest hour")
    advice: str = ""


def usages(hours: Iterable[Mapping[str, int]]) -> dict[str, list[Usage]]:
    """Name of a limit -> how it was used in each hour in which it was."""
    found: dict[str, list[Usage]] = {}
    for counted in hours:
        fields: dict[str, dict[str, int]] = {}
        for field, count in counted.items():
            what, _, name = field.partition(" ")
            fields.setdefault(name, {})[what] = count
        for name, of in fields.items():
            found.setdefault(name, []).append(Usage(**of))
    return found


def erlang_c(units: int, load: float) -> float:
    """The share of those that come who have to wait; 1 where they are too few for the load."""
    if load >= units:
        return 1.0
    blocked = 1.0
    for count in range(1, units + 1):  # Erlang B, which Erlang C follows from
        blocked = load * blocked / (count + load * blocked)
    return blocked * units / (units - load * (1 - blocked))


def mean_wait(units: int, load: float, hold: float) -> float:
    """How long one waits on average, of all that come; in what ``hold`` is given in."""
    if load >= units:
        return math.inf
    return erlang_c(units, load) * hold / (units - load)


def units_for(load: float, hold: float, wait: float) -> int:
    """The fewest units with which one waits no longer than ``wait`` on average."""
    units = max(int(load) + 1, 1)
    while mean_wait(units, load, hold) > wait:
        units += 1
    return units


def plan(
    name: str, allowed: float | None, hours: int, used: Iterable[Usage], wait: float | None = None
) -> CapacityPlan:
    """``allowed``: units, or of a rate starts in an hour. ``wait``: ms that one may wait on
    average; None: a tenth of the mean hold."""
    about, told = LimitName.parse(name), list(used)
    all_ = sum(told, Usage())
    found = CapacityPlan(kind=about.kind, name=about.name, allowed=allowed, hours=hours)
    if not all_.uses:
        found.advice = f"{about} was not used in {_hours(hours)}"
        return found
    found.uses, found.waits, found.peak = all_.uses, all_.waits, all_.peak
    found.mean_wait_ms = all_.waited // max(all_.waits, 1)
    found.mean_hold_ms = all_.held // all_.uses
    if about.kind == RATE:
        found.load = float(max(each.uses for each in told))
        found.advised = math.ceil(found.load)
        found.advice = _of_rate(about, found)
        return found
    found.load = round(max(each.held for each in told) / HOUR, 3)
    allowed_wait = WAIT_SHARE * found.mean_hold_ms if wait is None else wait
    found.advised = units_for(found.load, found.mean_hold_ms, max(allowed_wait, 1.0))
    found.advice = _of_units(about, found, allowed_wait)
    return found


def _of_units(about: LimitName, found: CapacityPlan, wait: float) -> str:
    waited = _waited(found)
    busiest = (
        f"{about}: in its busiest hour {found.load:g} of {_allowed(found)} were at work on "
        f"average, {found.peak} at the most, for {_seconds(found.mean_hold_ms)} each; {waited}; "
    )
    enough = f"{found.advised} would keep the mean wait below {_seconds(wait)}"
    if found.allowed is None or found.advised is None or found.advised == found.allowed:
        return busiest + (enough if found.allowed is None else "that is what such an hour takes")
    if found.advised > found.allowed:
        return busiest + enough
    if found.peak < SPARE * found.allowed:
        return busiest + f"{max(found.advised, found.peak)} would be enough"
    return busiest + "that is enough"


def _of_rate(about: LimitName, found: CapacityPlan) -> str:
    share = f", {found.load / found.allowed:.0%} of what is allowed" if found.allowed else ""
    said = f"{about}: {found.load:.0f} starts in its busiest hour{share}; {_waited(found)}; "
    if found.waits > SHORT * found.uses:
        return said + "a `burst`, or a higher rate, would let them begin sooner"
    return said + "that is enough"


def _allowed(found: CapacityPlan) -> str:
    return "?" if found.allowed is None else f"{found.allowed:g}"


def _waited(found: CapacityPlan) -> str:
    if not found.waits:
        return f"none of {found.uses} waited"
    return f"{found.waits} of {found.uses} waited, for {_seconds(found.mean_wait_ms)} on average"


def _hours(hours: int) -> str:
    return "the last hour" if hours == 1 else f"the last {hours} hours"


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.1f} s" if ms < 120_000 else f"{ms / 60_000:.1f} min"


def wants_change(found: CapacityPlan) -> bool:
    """Whether more is needed, or less would be enough."""
    if found.kind not in (RESOURCE, CONCURRENCY) or found.allowed is None:
        return found.kind == RATE and found.waits > SHORT * found.uses
    if not found.uses:
        return True
    short = (found.advised or 0) > found.allowed and found.waits > SHORT * found.uses
    return short or found.peak < SPARE * found.allowed
