"""The breaker of one capability, in a process that calls it."""

from __future__ import annotations

import logging
import threading
import time

from orch.breaker import Breaker
from orch.errors import OrchError
from orch.journal.breakers import bucket_of
from orch.journal.journal import Claimed, Journal
from orch.workflows.breaking import Standing, held_back, tells
from orch.workflows.node import Node
from orch.workflows.outcome import Failed, Failure, Outcome

logger = logging.getLogger(__name__)

BELIEVED = 1.0
"""Seconds for which a process believes that a breaker is closed, and keeps successes to itself."""

WHY_LIMIT = 300


class Guard:
    """Asks before a call, and tells after it.

    A breaker that is closed is asked once a second, and successes are told then; a failure is told
    at once. Where Redis is away it lets everything through: the attempt is claimed already.
    """

    def __init__(self, journal: Journal, capability: str, breaker: Breaker) -> None:
        self.journal = journal
        self.capability = capability
        self.breaker = breaker
        self._closed_until = 0.0
        self._told = 0.0
        self._calls: dict[int, list[int]] = {}
        self._probes: set[str] = set()
        self._lock = threading.Lock()

    def ask(self, node: Node, path: str, claim: Claimed) -> Outcome | None:
        """None: it may be called; else what becomes of the attempt."""
        if time.monotonic() < self._closed_until:
            return None
        attempt = attempt_of(claim.view.execution, path, claim.state.attempt)
        found = self._exchange(attempt, wants=True)
        if found is None or found.word == "CLOSED":
            return None
        if found.word == "PROBE":
            self._probes.add(attempt)
            return None
        failed = Failure("", "", node.id, path, claim.state.attempt)
        now = self.journal.clock()
        return held_back(self.capability, self.breaker, found, attempt, now, failed)

    def tell(self, path: str, claim: Claimed, outcome: Outcome) -> None:
        """What a call came to."""
        said = tells(outcome, self.breaker)
        if not said:
            return
        bucket = bucket_of(self.breaker, self.journal.clock())
        with self._lock:
            counted = self._calls.setdefault(bucket, [0, 0])
            counted[0] += 1
            counted[1] += said == "bad"
        attempt = ""
        if said == "bad" or self._probes:
            attempt = attempt_of(claim.view.execution, path, claim.state.attempt)
        probed = attempt in self._probes
        if said == "ok" and not probed and time.monotonic() < self._told + BELIEVED:
            return
        self._probes.discard(attempt)
        why = ""
        if isinstance(outcome, Failed):
            why = f"{outcome.failure.name}: {outcome.failure.message}"[:WHY_LIMIT]
        self._exchange(attempt, ended=said, why=why)

    def _exchange(
        self, attempt: str, *, wants: bool = False, ended: str = "", why: str = ""
    ) -> Standing | None:
        """None where Redis does not answer."""
        with self._lock:
            told, self._calls = self._calls, {}
        calls = [(bucket, *counted) for bucket, counted in told.items()]
        self._told = time.monotonic()
        try:
            found = self.journal.ask_breaker(
                self.capability,
                self.breaker,
                attempt,
                wants=wants,
                ended=ended,
                calls=[(bucket, count, failures) for bucket, count, failures in calls],
                why=why,
            )
        except OrchError as exc:
            logger.warning("the breaker of %r cannot be asked: %s", self.capability, exc)
            return None
        self._closed_until = self._told + BELIEVED if found.word == "CLOSED" else 0.0
        note_change(self.capability, found, why)
        return found


def attempt_of(execution: str, path: str, attempt: int) -> str:
    """The name under which an attempt holds a probe."""
    return f"{execution}/{path}#{attempt}"


def note_change(capability: str, standing: Standing, why: str) -> None:
    if standing.changed:
        because = f": {why}" if why else ""
        logger.warning("the breaker of %r is %s%s", capability, standing.changed, because)
