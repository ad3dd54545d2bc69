"""Sends messages of tokens that have waited for long once more, at a higher level."""

from __future__ import annotations

import time

from orch.control.runtime import Runtime
from orch.journal.journal import Journal
from orch.workflows.ageing import rise_of
from orch.workflows.plan import Plan
from orch.workflows.state import StepState

KNOWN = 5.0
"""Seconds for which it is believed which levels are in use."""


class Ageing:
    """Used by one warden's thread. The message of before stays in its queue; whichever is taken
    second is dropped by the claim. At most nine are sent for a token, and none where everybody is
    as urgent, or where the broker does not keep its levels in the journal's Redis."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal: Journal = runtime.journal
        self._worth = int(runtime.settings.priority_ageing * 1000)
        self._highest = 0
        self._asked = float("-inf")

    def rise(self, plan: Plan, execution: str, path: str, state: StepState, pause: int) -> int:
        """Send it again if it has risen; when to look at it again, ms, at the latest after
        ``pause``."""
        now = self.journal.clock()
        highest = self._levels() if self._worth else 0
        if not highest:
            return now + pause
        own = plan.node(path).step.priority
        priority = self.journal.priority_of(execution) if own is None else own
        age = now - state.since
        found = rise_of(priority, age, self._worth, highest, self.journal.grace)
        if found.level is not None:
            self.runtime.raise_priority(plan, execution, path, found.level)
        if not found.next:
            return now + pause
        return min(now + pause, max(state.since + found.next, now + 1))

    def _levels(self) -> int:
        """The highest level that was ever used; 0: nobody uses any."""
        if self.runtime.lists is not None and time.monotonic() - self._asked > KNOWN:
            self._asked = time.monotonic()
            used = self.journal.read(self.journal.redis.smembers, self.journal.keys.priorities())
            self._highest = max((int(level) for level in used), default=0)
        return self._highest
