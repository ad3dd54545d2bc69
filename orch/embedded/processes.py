"""What a process asks of another, or of the kernel."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO


def read_line(pipe: IO[bytes], deadline: float) -> str | None:
    """The line that comes through `pipe`, "" at its end, None if nothing comes in time."""
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(pipe.fileno(), 4096)
            received += chunk
            if not chunk or received.endswith(b"\n"):
                return received.decode(errors="replace").strip()
    return None


def die_with_parent() -> Callable[[], None] | None:
    """For the child between fork and exec: SIGTERM when the keeper dies. Linux only.

    Elsewhere a server whose keeper was killed lives on until the next `acquire` evicts it.
    """
    if sys.platform != "linux":
        return None
    keeper = os.getpid()
    prctl = ctypes.CDLL(None).prctl
    set_pdeathsig = 1  # PR_SET_PDEATHSIG in linux/prctl.h

    def arm() -> None:
        prctl(set_pdeathsig, signal.SIGTERM)
        if os.getppid() != keeper:  # died before the call
            os._exit(1)

    return arm


def works_in(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:
        # No /proc (macOS): trust the lock file, whose content is the pid of who locked it.
        return not Path("/proc/self").exists()
