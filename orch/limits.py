"""What is declared of limits: how often, and how many at a time, over all workers."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from orch.errors import SettingsError
from orch.tables import from_table

UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
"""Of rates: ms."""

_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(\d*)\s*([smhd])\s*(?:burst\s+(\d+)\s*)?")

MOST = 1_000_000
"""The highest rate in a second, burst, or number at a time."""


@dataclass(frozen=True)
class RateLimit:
    """``count`` starts in ``period`` ms, evenly; ``burst``: so many at once after a rest."""

    count: float
    period: int
    burst: int = 1

    @property
    def pause(self) -> float:
        """Ms between two starts."""
        return self.period / self.count

    @classmethod
    def parse(cls, text: Any) -> RateLimit:
        """Of `50/s`, `100/m`, `1/15m`, `50/s burst 100`. Raises SettingsError."""
        found = _RATE.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise _wrong("rate_limit", text, "a rate, such as '50/s', '100/m' or '50/s burst 100'")
        count, period = float(found[1]), int(found[2] or 1) * UNITS[found[3]]
        burst = int(found[4] or 1)
        if not 0 < count <= MOST or not 0 < period <= 366 * UNITS["d"]:
            raise _wrong("rate_limit", text, f"a rate above 0, at most {MOST}/s")
        if not 0 < burst <= MOST or count * 1000 / period > MOST:
            raise _wrong("rate_limit", text, f"a rate of at most {MOST}/s, a burst from 1 on")
        return cls(count, period, burst)

    def __str__(self) -> str:
        unit = max(
            (each for each in UNITS if self.period % UNITS[each] == 0), key=UNITS.__getitem__
        )
        many = self.period // UNITS[unit]
        text = f"{self.count:g}/{many if many > 1 else ''}{unit}"
        return text if self.burst == 1 else f"{text} burst {self.burst}"


@dataclass(frozen=True)
class Limit:
    """How a capability is limited, over all workers.

    rate_limit   how often a step of it may begin: `50/s`, `100/m`, `50/s burst 100`
    concurrency  how many may be at work at a time
    key          an argument of the capability, such as `customer` or `order.customer`: each of its
                 values is limited by itself

    Raises SettingsError.
    """

    rate_limit: str | None = None
    concurrency: int | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if self.rate_limit is not None:
            RateLimit.parse(self.rate_limit)
        if self.concurrency is not None:
            check_count("concurrency", self.concurrency)
        if self.key is not None and (not isinstance(self.key, str) or not self.key):
            raise _wrong("key", self.key, "the name of an argument, such as 'customer'")
        if self.rate_limit is None and self.concurrency is None:
            raise SettingsError(
                "a limit says neither `rate_limit` nor `concurrency`", hint="give one of them"
            )

    @classmethod
    def of(cls, given: Any) -> Limit:
        """Of what a settings file says. Raises SettingsError."""
        return from_table(cls, given, "limit")

    @property
    def rate(self) -> RateLimit | None:
        return None if self.rate_limit is None else RateLimit.parse(self.rate_limit)

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def check_count(name: str, found: Any) -> int:
    """A number at a time, or a capacity. Raises SettingsError."""
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= MOST:
        raise _wrong(name, found, f"a whole number from 1 to {MOST}")
    return found


def check_capacity(name: str, found: int) -> int:
    """A capacity of a resource. Raises ValueError."""
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= MOST:
        raise ValueError(
            f"the capacity of {name!r} is {found!r}, not a whole number from 1 to {MOST}"
        )
    return found


def _wrong(name: str, found: Any, wanted: str) -> SettingsError:
    return SettingsError(
        f"`{name}` of a limit is {found!r}, and should be {wanted}",
        hint="docs/limits.md has the fields, and how rates are written",
    )
