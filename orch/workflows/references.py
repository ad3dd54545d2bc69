"""References: what stands for the results of a map that are too large to be carried around.

The results stay where the items left them, in the journal of the execution, and are read page
by page. A reference is the JSON object ``{"$results": {"execution", "path"}, "length", "bytes"}``,
so that ``.length`` is the same of it as of the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orch.workflows.view import PAGE

KEY = "$results"


@dataclass(frozen=True)
class Reference:
    """The results of the map at ``path``. ``bytes``: of JSON, all of them."""

    execution: str
    path: str
    length: int
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        place = {"execution": self.execution, "path": self.path}
        return {KEY: place, "length": self.length, "bytes": self.bytes}

    def pages(self, path: str) -> dict[str, tuple[str, int, int]]:
        """The items of a map at ``path`` over them: page -> map, first, how many. See `pages_of`.

        The script that opens the map copies them; they never leave Redis.
        """
        return {
            f"{path}/{first // PAGE}": (self.path, first, min(PAGE, self.length - first))
            for first in range(0, self.length, PAGE)
        }


def parse_reference(value: Any) -> Reference | None:
    """None: it is none."""
    match value:
        case {"$results": {"execution": str(e), "path": str(p)}, "length": int(n), "bytes": int(b)}:
            return Reference(e, p, n, b)
    return None
