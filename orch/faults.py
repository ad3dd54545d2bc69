"""Places where a test may let a process die: `fault("settled")`.

Armed by the setting `fault_point`, ``NAME:FILE`` or several with commas: the process that comes
to NAME first, and can make FILE, kills itself with SIGKILL; who deletes FILE arms it again.
Without the setting a call costs one look-up.
"""

from __future__ import annotations

import os
import signal

_armed: dict[str, str] = {}


def arm(setting: str | None) -> None:
    _armed.clear()
    for part in (setting or "").split(","):
        name, _, file = part.partition(":")
        if name:
            _armed[name] = file


def fault(name: str) -> None:
    if name not in _armed:
        return
    try:
        os.close(os.open(_armed[name], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
