"""Starts that are like others before them, and how those are written."""

from __future__ import annotations

from orch.control.starting import begins_alike, make_start
from orch.journal.journal import Journal, Start
from orch.journal.start_template import StartTemplate
from orch.workflows.frozen import changed
from orch.workflows.plan import Plan

MOST_TEMPLATES = 1000
"""Of starts; a few kB each."""


class Alike:
    """The templates of a process."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._known: dict[tuple[str, str, str], StartTemplate | None] = {}

    def template(self, plan: Plan, key: str, word: str) -> StartTemplate | None:
        """Of starts of ``key`` that get ``plan`` as ``word`` says, and no options; None: of these
        each may be different, or is told outside."""
        if self.journal.tells_of_start(key):
            return None
        known = (plan.key, key, word)
        if known not in self._known:
            if len(self._known) >= MOST_TEMPLATES:
                self._known.clear()
            self._known[known] = self._made(plan, key, word) if begins_alike(plan) else None
        return self._known[known]

    def _made(self, plan: Plan, key: str, word: str) -> StartTemplate | None:
        def make(execution: str, now: int, input: str) -> Start:
            start = make_start(self.journal, plan, key, execution, input, now=now)
            return changed(start, word=word)

        return self.journal.start_template(make)
