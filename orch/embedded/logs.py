"""The logs of server and keeper."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

_LOG_LIMIT = 1_000_000


def note(text: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)


def trim(log: Path) -> None:
    """Set a long log aside, as `<name>.1`."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_name(f"{log.name}.1"))


def last_lines(log: Path, count: int = 6) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in lines[-count:])
