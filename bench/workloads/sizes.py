"""How much is run."""

from __future__ import annotations

from dataclasses import dataclass

Figures = dict[str, float]
"""Name of a metric -> what was found; infinite for what never came."""


@dataclass(frozen=True)
class Sizes:
    """A chain has ``links`` steps; a fan-out ``width`` and one behind. Times are seconds."""

    chains: int = 200
    links: int = 10
    spread: int = 100
    workers: int = 10
    fan_outs: int = 20
    width: int = 100
    items: int = 1000
    many_items: int = 10_000
    latencies: int = 30
    starts: int = 400  # the first thirty after a pause measure how the machine wakes
    bulk: int = 10_000
    bulk_canvases: int = 1000
    together: int = 100
    kept: int = 100
    watched: int = 20
    kills: int = 3
    patience: float = 20.0
    rest: float = 10.0
    idle: float = 61.0  # what is done once a minute is in it
    crowd: int = 100_000
    few: int = 100
    broad: int = 40
    narrow: int = 4
    turns: int = 7
    load: float = 60.0


QUICK = Sizes(
    chains=10,
    spread=4,
    workers=3,
    fan_outs=2,
    width=10,
    items=20,
    many_items=200,
    latencies=3,
    starts=5,
    bulk=200,
    bulk_canvases=20,
    together=10,
    kept=5,
    watched=2,
    kills=1,
    patience=1.0,
    rest=1.0,
    idle=1.0,
    crowd=1000,
    few=10,
    turns=2,
    load=2.0,
)
