"""How many workers a capability needs. Pure: figures in, advice out.

By Little's law (J. D. C. Little, 1961) the calls under way are the rate at which they come times
how long they take; what has piled up is to be gone within a target time on top of that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orch.errors import InputError

TARGET = 30.0
"""Seconds within which a queue is to be empty."""


@dataclass(frozen=True)
class Load:
    """What is known of a capability.

    depth     steps that wait in its queue
    busy      steps that run
    slots     steps that its workers can run at the same time
    workers   how many serve it
    duration  seconds that a call takes, on average; None: none has ended yet
    rate      calls that end per second; None: as `duration`
    """

    depth: int
    busy: int = 0
    slots: int = 0
    workers: int = 0
    duration: float | None = None
    rate: float | None = None


@dataclass(frozen=True)
class Aim:
    """What is wanted of the workers.

    ``target``: seconds within which a queue is to be empty. ``slots``: of a worker; None: as many
    as those have that there are. ``least``, ``most``: workers. Raises InputError for what nobody
    can want.
    """

    target: float = TARGET
    slots: int | None = None
    least: int = 0
    most: int | None = None

    def __post_init__(self) -> None:
        if not self.target > 0:
            raise InputError(
                f"a target of {self.target:g} s cannot be met", hint="give more than 0 seconds"
            )
        if self.slots is not None and self.slots < 1:
            raise InputError(
                f"a worker with {self.slots} slots does nothing", hint="give 1 or more"
            )
        if self.most is not None and self.most < self.least:
            raise InputError(
                f"at least {self.least} workers and at most {self.most} cannot both be",
                hint="let the least be no more than the most",
            )


def drain_time(load: Load) -> float | None:
    """Seconds until its queue is empty, if nothing more comes; None: never, or nobody knows."""
    if not load.depth:
        return 0.0
    if not load.slots or load.duration is None:
        return None
    return load.depth * load.duration / load.slots


def slots_needed(load: Load, target: float) -> float | None:
    """Slots that keep up with what comes, and empty the queue within ``target`` seconds; None:
    its calls have not been timed yet."""
    if load.duration is None:
        return None
    under_way = max((load.rate or 0.0) * load.duration, load.busy)
    return under_way + load.depth * load.duration / target


def advised_workers(
    loads: Sequence[Load],
    *,
    target: float,
    per_worker: int,
    least: int = 0,
    most: int | None = None,
) -> int:
    """How many workers of ``per_worker`` slots, which serve all of some capabilities, empty their
    queues within ``target`` seconds.

    Where calls have not been timed yet: one, if something is to be done, or those that there are.
    """
    some = any(load.depth or load.busy for load in loads)
    needed = [slots_needed(load, target) for load in loads]
    known = sum(slots for slots in needed if slots is not None)
    wanted = max(math.ceil(round(known / per_worker, 3)), int(some))
    for load, slots in zip(loads, needed, strict=True):
        if slots is None and (load.depth or load.busy):
            wanted = max(wanted, load.workers)
    wanted = max(wanted, least)
    return wanted if most is None else min(wanted, most)
