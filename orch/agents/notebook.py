"""The memory of a project, as the code of a step sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Notebook:
    """`context.memory`. This one, of a context that a test makes, forgets at once."""

    def store(self, content: str, tags: Sequence[str] = (), data: Any = None) -> None:
        """As `Context.remember`."""
        del content, tags, data

    def search(self, *, limit: int = 50, **filters: Any) -> list[Any]:
        """At most ``limit`` records of the project, the newest first.

        ``filters``: `text`, `prefix`, `tag`, `agent`, `source`, `since`, `until`, as
        `Orchestrator.search_memory` takes them. Raises InputError, Unreachable.
        """
        del limit, filters
        return []
