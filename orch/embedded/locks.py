"""Locks of the kernel on files: they go with the process that holds them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where find_binary() refuses before any lock is asked for
    fcntl = None  # type: ignore[assignment]

RETRY_PAUSE = 0.02
"""Seconds between two looks at a lock that is held, or at a server that starts."""


def open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def take_lock(fd: int, *, shared: bool = False) -> bool:
    """Lock an open file if that needs no waiting; whether it is locked now."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def release_lock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)


@contextlib.contextmanager
def try_lock(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock on `path` if it is free; gives whether it was."""
    fd = open_lock(path)
    try:
        mine = take_lock(fd, shared=shared)
        try:
            yield mine
        finally:
            # Unlock, not only close: another thread may have forked meanwhile, and the child's
            # copy of the descriptor would hold the lock for the child's life.
            if mine:
                release_lock(fd)
    finally:
        os.close(fd)
