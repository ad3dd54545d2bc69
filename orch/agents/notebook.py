"""The memory of a project, as the code of a step sees it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any


class Notebook:
    """`context.memory`. This one, of a context that a test makes, forgets at once."""

    def store(
        self,
        content: str,
        tags: Sequence[str] = (),
        data: Any = None,
        *,
        private: bool = False,
        related: Sequence[str] = (),
        confidence: float = 1.0,
        keep: float | timedelta | None = None,
    ) -> None:
        """As `Context.remember`."""
        del content, tags, data, private, related, confidence, keep

    def search(self, *, limit: int = 50, **filters: Any) -> list[Any]:
        """At most ``limit`` records of the project, the newest first, and of the private ones
        those that the role of the step's capability sees. They count as read.

        ``filters``: `text`, `prefix`, `tag`, `agent`, `source`, `since`, `until`,
        `min_confidence`, as `Orchestrator.search_memory` takes them. Raises InputError,
        Unreachable.
        """
        del limit, filters
        return []
