"""What is declared of the circuit breaker of a capability."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from orch.errors import ErrorClass, SettingsError
from orch.tables import from_table

WAIT, FAIL, FALLBACK = "wait", "fail", "fallback"


@dataclass(frozen=True)
class Breaker:
    """When the calls of a capability are stopped, by all workers, and when they are tried again.

    failure_rate  share of the calls in the window that must have failed for it to open, (0, 1]
    window        seconds over which calls are counted
    minimum       calls in the window below which it stays closed, whatever they came to
    open_for      seconds for which it is open before the first probe is let through
    probes        attempts that are let through at a time then; it closes when so many went well
    when_open     what becomes of an attempt: it waits (`wait`), fails as `BreakerOpen` (`fail`), or
                  a fallback takes its place (`fallback`), where there is one, else it waits
    ignore        names of errors that say nothing of the service

    Raises SettingsError.
    """

    failure_rate: float = 0.5
    window: float = 60.0
    minimum: int = 10
    open_for: float = 30.0
    probes: int = 1
    when_open: str = WAIT
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check("failure_rate", self.failure_rate, "a number above 0, at most 1", 0, 1)
        _check("window", self.window, "seconds, from 1 to 86400", 0.999, 86_400)
        _check("open_for", self.open_for, "seconds, from 0.1 to 86400", 0.099, 86_400)
        _check("minimum", self.minimum, "a whole number from 1 on", 0, 10**9, whole=True)
        _check("probes", self.probes, "a whole number from 1 to 100", 0, 100, whole=True)
        if self.when_open not in (WAIT, FAIL, FALLBACK):
            wanted = f"`{WAIT}`, `{FAIL}` or `{FALLBACK}`"
            raise _wrong("when_open", self.when_open, wanted)
        names: Any = self.ignore
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise _wrong("ignore", names, "a list of names of errors")
        classes = [name[len("class:") :] for name in names if name.startswith("class:")]
        if any(each not in list(ErrorClass) for each in classes):
            raise _wrong("ignore", names, f"`class:` and one of {', '.join(ErrorClass)}")
        object.__setattr__(self, "ignore", tuple(names))

    @classmethod
    def of(cls, given: Any) -> Breaker:
        """Of what a settings file says. Raises SettingsError."""
        return from_table(cls, given, "breaker")

    @classmethod
    def loads(cls, text: str) -> Breaker:
        return cls(**json.loads(text))

    def dumps(self) -> str:
        return json.dumps(self.as_dict(), separators=(",", ":"))

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ignore": list(self.ignore)}


def _check(
    name: str, found: Any, wanted: str, above: float, most: float, *, whole: bool = False
) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(found, bool) or not isinstance(found, kinds) or not above < found <= most:
        raise _wrong(name, found, wanted)


def _wrong(name: str, found: Any, wanted: str) -> SettingsError:
    return SettingsError(
        f"`{name}` of a breaker is {found!r}, and should be {wanted}",
        hint="docs/breakers.md has the fields and their defaults",
    )
