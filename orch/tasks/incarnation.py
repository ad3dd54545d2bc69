"""Who a worker is: one id for each start of one, shared with the processes of its pool."""

from __future__ import annotations

import os
import secrets
import socket
from itertools import count

VARIABLE = "ORCH_INCARNATION"

_calls = count(secrets.randbits(16))
"""Numbers of the calls of one process; it begins anywhere, as another process of this id may have
been here before."""

MARK = 8
"""Letters of a message's id by which a worker knows it again."""


def current_incarnation() -> str:
    """The id of this worker, made at the first call in its main process.

    Children that are forked inherit it with the module; those that are spawned find it in
    the environment, which counts only if their parent wrote it.
    """
    global _current
    if _current is None:
        _current = _inherited() or _new()
    return _current


def owner_of(incarnation: str, message: str = "") -> str:
    """Who holds an attempt: the worker, the process, and a word for this one call.

    ``message``: the id of the message whose worker went on to it, if the message is not for it.
    """
    from_message = f"-{message[:MARK]}" if message else ""
    return f"{incarnation}/{os.getpid()}/{next(_calls) & 0xFFFF:04x}{from_message}"


def message_of(owner: str) -> str:
    """The first letters of the message from which an owner went on; '' if it did not."""
    return owner.rpartition("/")[2].partition("-")[2]


def parse_owner(owner: str) -> tuple[str, int]:
    """(incarnation, pid) of an owner."""
    incarnation, pid, _ = owner.rsplit("/", 2)
    return incarnation, int(pid)


def _inherited() -> str | None:
    incarnation, _, pid = os.environ.get(VARIABLE, "").rpartition("@")
    return incarnation if incarnation and pid == str(os.getppid()) else None


def _new() -> str:
    made = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
    os.environ[VARIABLE] = f"{made}@{os.getpid()}"
    return made


_current: str | None = None
