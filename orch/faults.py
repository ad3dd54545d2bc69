"""Places where a test may let a process die: `fault("settled")`.

Armed by the setting `fault_point`, ``NAME:FILE``: the process that comes to NAME first, and
can make FILE, kills itself with SIGKILL. Without the setting a call costs one comparison.
"""

from __future__ import annotations

import os
import signal

_armed: tuple[str, str] | None = None


def arm(setting: str | None) -> None:
    global _armed
    _armed = None
    if setting:
        name, _, file = setting.partition(":")
        _armed = (name, file)


def fault(name: str) -> None:
    if _armed is None or _armed[0] != name:
        return
    try:
        os.close(os.open(_armed[1], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
