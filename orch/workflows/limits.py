"""What a step wants before it may begin, of limits that hold over all workers; and its place among
those that wait.

A limit has a name by which all workers know it: what it limits, and of a limit by key the value of
the key: `resource gpu`, `rate capability:llm`, `concurrency limit:orders/pay acme`. Parts of a name
are quoted, so that it holds no other spaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from orch.errors import ErrorClass
from orch.limits import UNITS, Limit, RateLimit
from orch.workflows.definition import StepLimit
from orch.workflows.expressions import Compiled, compile_value
from orch.workflows.outcome import Failed, Failure
from orch.workflows.state import encode

RESOURCE, CONCURRENCY, RATE = "resource", "concurrency", "rate"
CAPABILITY, NAMED = "capability", "limit"

LIMITS_MARK = "limits:"
"""Stands where else an execution stands, in the watch: the limits are looked at as a whole."""

KEY_LENGTH = 100
"""Characters of a key that stand in a name; of a longer one its hash does."""

UNKNOWN_RESOURCE = "UnknownResource"
RESOURCE_EXCEEDED = "ResourceExceeded"


@dataclass(frozen=True)
class Want:
    """``units`` of a limit. ``size``: of a `concurrency` how many may be at work; of a `rate` the
    ms between two starts, and ``burst`` how many may begin at once after a rest; a resource has
    its capacity in Redis. ``counted``: how it is used is recorded.
    """

    name: str
    kind: str
    units: int = 1
    size: float = 0
    burst: int = 1
    counted: bool = True

    def as_list(self) -> list[Any]:
        """As scripts take it."""
        size = int(self.size) if self.size == int(self.size) else self.size
        return [self.name, self.kind, self.units, size, self.burst, int(self.counted)]

    @classmethod
    def of(cls, found: Sequence[Any]) -> Want:
        name, kind, units, size, burst, counted = found
        return cls(name, kind, int(units), float(size), int(burst), bool(counted))

    @classmethod
    def resource(cls, name: str, units: int) -> Want:
        return cls(resource_name(name), RESOURCE, units)


@dataclass(frozen=True)
class LimitPolicy:
    """One of the `limits` of a step, compiled."""

    asked: StepLimit
    key: Compiled | None

    @classmethod
    def of(cls, asked: StepLimit) -> LimitPolicy:
        return cls(asked, compile_value(asked.key) if asked.key is not None else None)

    def wants(self, workflow: str, step: str, seen: Mapping[str, Any]) -> list[Want]:
        """None where its key is null: then the step is not limited by it. Raises StepError."""
        key = None if self.key is None else key_of(self.key.evaluate(seen))
        if self.key is not None and key is None:
            return []
        about = f"{NAMED}:{quote(self.asked.name or f'{workflow}/{step}', safe='/')}"
        return _wants(about, key, self.asked.rate_limit, self.asked.concurrency)


def wants_of_capability(capability: str, limit: Limit, given: Any) -> list[Want]:
    """What every call of a capability wants. ``given``: its arguments, where it has a key."""
    key = None
    if limit.key is not None:
        key = key_of(_at(given, limit.key))
        if key is None:
            return []
    return _wants(f"{CAPABILITY}:{quote(capability)}", key, limit.rate_limit, limit.concurrency)


def wants_of_resources(resources: Mapping[str, int]) -> list[Want]:
    return [Want.resource(name, units) for name, units in sorted(resources.items())]


def distinct(wants: Iterable[Want]) -> list[Want]:
    """Those of a key before those of all, so that one waits where the fewest do."""
    found = {want.name: want for want in wants}
    return sorted(found.values(), key=lambda want: (want.counted, want.kind == RATE))


def _wants(about: str, key: str | None, rate: str | None, concurrency: int | None) -> list[Want]:
    behind = about if key is None else f"{about} {_quoted(key)}"
    found = []
    if concurrency is not None:
        name = f"{CONCURRENCY} {behind}"
        found.append(Want(name, CONCURRENCY, size=concurrency, counted=key is None))
    if rate is not None:
        parsed, name = RateLimit.parse(rate), f"{RATE} {behind}"
        found.append(Want(name, RATE, size=parsed.pause, burst=parsed.burst, counted=key is None))
    return found


def key_of(value: Any) -> str | None:
    """The text of a key: 5 and 5.0 are one; None: there is none."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return encode(value)


def _quoted(key: str) -> str:
    if len(key) > KEY_LENGTH:
        key = "#" + hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:32]
    return quote(key, safe="", errors="surrogatepass") or "''"


def _at(given: Any, place: str) -> Any:
    """A value among arguments, by the names that lead to it."""
    for name in place.split("."):
        given = given.get(name) if isinstance(given, Mapping) else None
    return given


def rate_text(want: Want) -> str:
    """A rate as it would be written: `50/s`."""
    for unit, ms in UNITS.items():
        count = ms / want.size
        if count >= 1 or unit == "d":
            text = f"{round(count, 3):g}/{unit}"
            return text if want.burst == 1 else f"{text} burst {want.burst}"
    return ""


def resource_name(resource: str) -> str:
    return f"{RESOURCE} {quote(resource, safe='')}"


@dataclass(frozen=True)
class LimitName:
    """``about``: capability, limit or resource; ``key``: the value by which it is limited."""

    kind: str
    about: str
    name: str
    key: str | None = None

    @classmethod
    def parse(cls, text: str) -> LimitName:
        kind, rest, *key = text.split(" ")
        if kind == RESOURCE:
            return cls(kind, RESOURCE, unquote(rest))
        about, _, name = rest.partition(":")
        found = unquote(key[0], errors="surrogatepass") if key else None
        return cls(kind, about, unquote(name), "" if found == "''" else found)

    def __str__(self) -> str:
        of = f"{self.about} {self.name!r}"
        return of if self.key is None else f"{of} for {self.key!r}"


def rank_of(asked: int, priority: int, level: int) -> str:
    """The place of a request among those of its tenant: the smallest is first.

    ``asked``: when, ms. A level of priority counts as much as ``level`` ms of waiting, so whoever
    waits for long enough goes before the most urgent that comes later.
    """
    return f"{max(asked - priority * level, 0):015d}"


def refused(word: str, name: str, units: int, capacity: int, about: Failure) -> Failed:
    """Why a step can never have what it wants. ``about``: but for its name, message and class."""
    resource = LimitName.parse(name).name
    if word == "UNKNOWN":
        error = UNKNOWN_RESOURCE
        message = (
            f"step {about.step!r} takes {units} of resource {resource!r}, which is not defined; "
            f"define it: orch resources define {resource} {units}"
        )
    else:
        error = RESOURCE_EXCEEDED
        message = (
            f"step {about.step!r} takes {units} of resource {resource!r}, whose capacity is "
            f"{capacity}; take fewer, or define more of it"
        )
    data = {"resource": resource, "units": units, "capacity": capacity}
    failure = Failure(
        error,
        message,
        about.step,
        about.path,
        about.attempt,
        data,
        said_class=ErrorClass.PERMANENT.value,
    )
    return Failed(failure, retryable=False)
