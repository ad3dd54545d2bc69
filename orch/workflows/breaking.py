"""What an open breaker does to an attempt, and what an attempt says of a service."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

from orch.breaker import FAIL, FALLBACK, Breaker
from orch.errors import ErrorClass
from orch.workflows.failing import is_meant
from orch.workflows.outcome import Completed, Deferred, Failed, Failure, Outcome

BREAKER_OPEN = "BreakerOpen"

OF_THE_SERVICE = (ErrorClass.TRANSIENT, ErrorClass.RESOURCE, ErrorClass.UNKNOWN)
"""Classes of errors that a service may get over by itself."""

LONGEST = 60_000
"""Ms after which a step that waits looks again, however long the breaker is to be open: somebody
may have closed it by hand."""

SPREAD = 10_000
"""Ms over which those that wait come back, at the most."""


@dataclass(frozen=True)
class Standing:
    """What a breaker answered. Instants in ms; ``until`` 0: until somebody closes it.

    ``word``: CLOSED, OPEN, HALF_OPEN, PROBE. ``first``: who asked should be the next probe.
    ``changed``: what it has just become: opened, reopened, closed, or ''.
    """

    word: str
    until: int = 0
    since: int = 0
    first: bool = False
    changed: str = ""

    @property
    def lets_through(self) -> bool:
        return self.word in ("CLOSED", "PROBE")


def tells(outcome: Outcome, breaker: Breaker) -> str:
    """What an outcome says of the service: 'ok', 'bad', or '' if nothing."""
    match outcome:
        case Completed():
            return "ok"
        case Failed(failure, retryable):
            kind = failure.error_class
            if failure.name == BREAKER_OPEN or is_meant(breaker.ignore, failure.name, kind):
                return ""
            return "bad" if retryable and kind in OF_THE_SERVICE else ""
    return ""


def held_back(
    capability: str, breaker: Breaker, standing: Standing, attempt: str, now: int, failed: Failure
) -> Outcome:
    """What becomes of an attempt that the breaker does not let through.

    ``attempt``: where and which it is, by which its pause is drawn. ``failed``: how it fails,
    but for its name, message and data.
    """
    detail: dict[str, Any] = {"capability": capability, "since": standing.since}
    if standing.until > now:
        detail["until"] = standing.until
    message = f"the breaker of capability {capability!r} is open: its calls failed too often"
    failure = replace(
        failed,
        name=BREAKER_OPEN,
        message=message,
        data=detail,
        said_class=ErrorClass.TRANSIENT.value,
    )
    if breaker.when_open == FAIL:
        return Failed(failure)
    replaced = failure if breaker.when_open == FALLBACK else None
    return Deferred(due_after(breaker, standing, attempt, now), detail, replaced)


def due_after(breaker: Breaker, standing: Standing, attempt: str, now: int) -> int:
    """When a step that waits asks again, ms.

    The first of those that were sent away come when a probe may be made, the others spread behind
    them, so that a thousand do not come at once; where probes are on their way, within that time.
    """
    open_for = int(breaker.open_for * 1000)
    spread = max(500, min(open_for // 2, SPREAD))
    share = zlib.crc32(attempt.encode()) / 0xFFFFFFFF
    if standing.word == "HALF_OPEN":
        return now + spread // 4 + int(share * spread)
    over = standing.until or now + open_for
    over = min(max(over, now + 50), now + max(open_for, LONGEST))
    return over if standing.first and standing.until else over + int(share * spread)
