"""Breakers of capabilities: how they stand, and opened or closed by hand."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from orch.breaker import Breaker
from orch.control.status import instant
from orch.control.user import current_user
from orch.errors import InputError, NotFound
from orch.journal.breakers import Counted
from orch.journal.journal import Journal

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


class BreakerChange(BaseModel):
    """What became of a breaker: `opened`, `reopened` after a probe, or `closed`."""

    at: str
    change: str
    by: str | None = Field(None, description="who did it by hand")
    reason: str | None = Field(None, description="the latest failure, or what was said by hand")


class BreakerInfo(BaseModel):
    """One breaker. Instants are ISO 8601 in UTC."""

    capability: str
    state: str = Field(description="closed, open or half_open")
    since: str | None = Field(None, description="when it opened")
    until: str | None = Field(None, description="when it is probed; None while it is open: by hand")
    by: str | None = Field(None, description="who opened it by hand")
    reason: str | None = None
    calls: int = Field(0, description="in the window, while it is closed")
    failures: int = 0
    rate: float | None = Field(None, description="share of failures; None without calls")
    probes: int = Field(0, description="attempts that hold a probe")
    declared: dict[str, Any] = Field(default_factory=dict, description="its fields")
    changes: list[BreakerChange] = Field(default_factory=list, description="the latest first")


class Breakers:
    """Asked, and steered, through the journal. ``name``: of a capability.

    Every method may raise Unreachable; those that take a name NotFound, where no worker has
    declared a breaker of it.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def list(self) -> list[BreakerInfo]:
        declared = self.journal.declared_breakers()
        found = zip(declared.items(), self.journal.read_breakers(declared), strict=True)
        return [self._info(name, breaker, counted) for (name, breaker), counted in found]

    def show(self, name: str) -> BreakerInfo:
        """With its latest changes."""
        declared = {name: self._declared(name)}
        found = self._info(name, declared[name], self.journal.read_breakers(declared)[0])
        found.changes = [
            BreakerChange(
                at=instant(each.at),
                change=each.word,
                by=each.by or None,
                reason=each.why or None,
            )
            for each in self.journal.breaker_changes(name)
        ]
        return found

    def open(
        self,
        name: str,
        reason: str = "",
        *,
        seconds: float | None = None,
        by: str | None = None,
    ) -> BreakerInfo:
        """Let nothing through: for so many seconds, or until it is closed. Raises InputError."""
        self._declared(name)
        if seconds is not None and not 0 < seconds <= 365 * 86_400:
            raise InputError(
                f"a breaker cannot be opened for {seconds:g} seconds",
                hint="give more than 0 and at most a year, or nothing: until it is closed",
            )
        until = 0 if seconds is None else self.journal.clock() + int(seconds * 1000)
        who = by or current_user()
        self.journal.switch_breaker(name, opens=True, until=until, by=who, why=reason)
        return self.show(name)

    def close(self, name: str, reason: str = "", *, by: str | None = None) -> bool:
        """Let everything through, and forget what was counted. False: it was closed."""
        self._declared(name)
        who = by or current_user()
        return self.journal.switch_breaker(name, opens=False, by=who, why=reason)

    def _declared(self, name: str) -> Breaker:
        declared = self.journal.declared_breakers()
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise NotFound(
                f"capability {name!r} has no breaker; those that workers have declared: {known}",
                hint=f"`@capability({name!r}, breaker=Breaker())`, or [breakers.{name}] in "
                f"orch.toml, and start a worker",
            )
        return declared[name]

    def _info(self, name: str, breaker: Breaker, counted: Counted) -> BreakerInfo:
        over = bool(counted.until) and counted.until <= self.journal.clock()
        state = CLOSED if not counted.since else HALF_OPEN if over else OPEN
        return BreakerInfo(
            capability=name,
            state=state,
            since=instant(counted.since) if counted.since else None,
            until=instant(counted.until) if counted.until else None,
            by=counted.by or None,
            reason=counted.why or None,
            calls=counted.calls,
            failures=counted.failures,
            rate=counted.failures / counted.calls if counted.calls else None,
            probes=len(counted.probes),
            declared=breaker.as_dict(),
        )
