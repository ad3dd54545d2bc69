"""Why there is no server, in one sentence that ends with its log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from orch.embedded.files import Files
from orch.embedded.logs import last_lines
from orch.errors import NoServer

OTHER_REDIS = "set ORCH_REDIS_URL=redis://host:6379/0 to use a Redis that runs elsewhere"


@contextlib.contextmanager
def as_no_server(files: Files) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise no_server(files, str(exc), files.server_log) from exc


def no_server(files: Files, what: str, log: Path) -> NoServer:
    lines = last_lines(log)
    tail = f"; {log.name} ends with:\n{lines}" if lines else ""
    return NoServer(
        f"the embedded Redis of {files.root} does not run: {what}{tail}",
        hint=f"repair what is said above, or {OTHER_REDIS}",
    )
