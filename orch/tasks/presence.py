"""What a worker publishes of itself beside its signs of life: what it offers, and what it did."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from orch.journal.agents import PROFILE_KEPT, Sums
from orch.journal.journal import Journal
from orch.tasks.tally import current_tally

TOLD_EVERY = 5.0
"""Seconds between two times that what it did is kept, if it did anything."""

RENEWED_EVERY = 60.0
"""Seconds after which it is kept in any case, with what the worker offers: so one that did nothing,
and was killed before, is not remembered."""

assert RENEWED_EVERY * 1000 < PROFILE_KEPT / 2


class Presence:
    """Used by the thread of one warden alone.

    ``offered``: the capabilities that it has code for, and what is known of each. ``about``: name,
    type and host of the worker.
    """

    def __init__(
        self,
        journal: Journal,
        incarnation: str,
        offered: Mapping[str, Any],
        about: Mapping[str, Any],
    ) -> None:
        self.journal = journal
        self.incarnation = incarnation
        self.offered = offered
        self.about = about
        self._digest = ""
        self._told: Sums = (0, 0, 0.0)
        self._told_at = float("-inf")
        self._renewed_at = float("-inf")

    def said(self) -> dict[str, Any]:
        """What its signs of life say of it; what these name is there before them."""
        if not self._digest:
            self._digest = self.journal.keep_profile(self.offered)
            self._renewed_at = time.monotonic()
        return {"type": self.about.get("type", ""), "profile": self._digest}

    def tell(self, *, last: bool = False) -> None:
        """Keep what the worker did, if it is time for it. ``last``: it ends now."""
        now = time.monotonic()
        renews = last or now - self._renewed_at >= RENEWED_EVERY
        if not renews and now - self._told_at < TOLD_EVERY:
            return
        self._told_at = now
        sums = self._sums()
        if not renews and sums == self._told:
            return
        keep = int(self.journal.settings.agent_retention * 1000)
        name = str(self.about.get("name") or self.incarnation)
        self.journal.tell_agent(name, self.incarnation, sums, self.about, keep)
        if renews and not last:
            self._digest = self.journal.keep_profile(self.offered)
            self._renewed_at = now
        self._told = sums

    def _sums(self) -> Sums:
        found = current_tally().read().values()
        calls, failures = sum(each.calls for each in found), sum(each.failures for each in found)
        return calls, failures, round(sum(each.seconds for each in found), 3)
