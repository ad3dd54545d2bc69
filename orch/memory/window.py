"""The records that an analysis looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Window:
    """Records with their ids, as they are stored, the newest first, that were written from
    ``since`` on and before ``until``, ms. ``complete``: these are all."""

    since: int
    until: int
    records: Sequence[tuple[str, dict[str, Any]]]
    complete: bool
