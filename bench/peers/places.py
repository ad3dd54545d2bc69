"""Where the peers are installed, and what they need of the machine. Standard library only."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
VENV = ROOT / ".venv-peers"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
RESTATE_PACKAGE = "@restatedev/restate-server@1.7.12"


def leashed(command: list[str]) -> list[str]:
    """The same command, which ends with this process; to be started as a group's leader."""
    return [sys.executable, "-S", str(ROOT / "bench" / "leash.py"), str(os.getpid()), *command]


def restate_server() -> str | None:
    """The server's program itself; npm's wrapper would be one process more."""
    found = glob.glob(str(VENV / "node_modules/@restatedev/restate-server-*/bin/restate-server"))
    return found[0] if found else shutil.which("restate-server")


def postgres() -> Path | None:
    """The directory of PostgreSQL's programs, of the newest version."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=len)
    path = os.pathsep.join([*found[::-1], os.environ.get("PATH", "")])
    program = shutil.which("initdb", path=path)
    return Path(program).resolve().parent if program else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
