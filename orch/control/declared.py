"""What is declared of capabilities, as a process knows it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from orch.journal.journal import Journal
from orch.workflows.declared import Declared
from orch.workflows.definition import RetryPolicy

BELIEVED = 10.0
"""Seconds for which a process believes what it has read of the capabilities of others."""


class Declarations:
    """Finds it: a worker knows its own by their code, others read what was said of them last.

    A Redis that is away raises Unreachable.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._own: Mapping[str, Declared] = {}
        self._read: Mapping[str, Declared] = {}
        self._until = 0.0
        self.has_timeouts = False  # of any of our own

    def know(self, own: Mapping[str, Declared]) -> None:
        """Take these from the code of this process."""
        self._own = own
        self.has_timeouts = any(each.timeout is not None for each in own.values())

    def find(self, capability: str) -> Declared | None:
        known = self._own.get(capability)
        if known is not None:
            return known
        if time.monotonic() >= self._until:
            self._read = self.journal.declared_capabilities()
            self._until = time.monotonic() + BELIEVED
        return self._read.get(capability)

    def timeout(self, capability: str) -> int | None:
        """Ms for an attempt of a step that does not say."""
        found = self.find(capability)
        return None if found is None else found.timeout_ms

    def retry(self, capability: str) -> RetryPolicy | None:
        """When a failed attempt of a step that does not say is tried again."""
        found = self.find(capability)
        return None if found is None else found.retry
