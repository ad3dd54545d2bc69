"""A server for one process: private, empty, gone with it."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from orch.embedded.address import free_port, url_of
from orch.embedded.failures import OTHER_REDIS
from orch.embedded.logs import last_lines
from orch.embedded.processes import read_line
from orch.embedded.program import configuration, find_binary
from orch.embedded.resp import answers
from orch.errors import NoServer


@dataclass(frozen=True)
class Ephemeral:
    """A private server without persistence: its address, its pid and its directory."""

    url: str
    pid: int
    directory: Path


# The server must end with this process, also by kill -9. PR_SET_PDEATHSIG would be wrong here: it
# fires when the *thread* that forked ends, exists on Linux only, and setting it between fork and
# exec is unsafe in a process with threads. Hence a watchdog that waits for the end of a pipe which
# only this process (and its forks) can write to: a shell, since it starts in 2 ms where an
# interpreter takes 50. The server keeps descriptor 3, so that its death closes our end of stdout.
_WATCHDOG = """
"$1" "$2/server.conf" 3>&1 >"$2/server.log" 2>&1 </dev/null &
server=$!
trap '' HUP INT TERM
echo "$server"
exec >/dev/null 2>&1
read -r _
kill -9 "$server"
wait
rm -rf "${2:?}"
"""


@contextlib.contextmanager
def ephemeral(*, config: Sequence[str] = (), timeout: float = 5.0) -> Iterator[Ephemeral]:
    """Run a private, empty server in a temporary directory, for tests and simulations.

    `config` is further lines of the server's configuration, such as "maxmemory 8mb". The server
    ends with the context, or with this process and the children it forked, however they end.

    Raises `NoServer` if it does not answer within `timeout` seconds.
    """
    binary = find_binary()
    deadline = time.monotonic() + timeout
    for attempts_left in (2, 1, 0):  # another process may take the port before the server does
        with _ephemeral_once(binary, config) as (server, state, life):
            if failure := _wait_until_it_answers(state, life, deadline):
                lines = last_lines(server.directory / "server.log")
                if attempts_left and time.monotonic() < deadline:
                    continue
                raise NoServer(
                    f"a temporary Redis ({binary}) does not run: {failure}; its log:\n{lines}",
                    hint=f"repair what is said above, or {OTHER_REDIS}",
                )
            yield server
            return


@contextlib.contextmanager
def _ephemeral_once(
    binary: Path, config: Sequence[str]
) -> Iterator[tuple[Ephemeral, dict[str, Any], IO[bytes]]]:
    directory = Path(tempfile.mkdtemp(prefix="orch-redis-"))
    state: dict[str, Any] = {"port": free_port(), "password": secrets.token_hex(24)}
    fd = os.open(directory / "server.conf", os.O_WRONLY | os.O_CREAT, 0o600)
    with open(fd, "wb") as file:
        file.write(configuration(state, appendonly=False, more=config))
    with subprocess.Popen(
        ["/bin/sh", "-c", _WATCHDOG, "orch-watchdog", str(binary), str(directory)],
        cwd=directory,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as watchdog:
        assert watchdog.stdin is not None
        assert watchdog.stdout is not None
        try:
            pid = int(watchdog.stdout.readline())
            server = Ephemeral(url_of(state["port"], state["password"]), pid, directory)
            yield server, state, watchdog.stdout
        finally:
            # A line, not only the end of the pipe: a forked child may hold it open.
            with contextlib.suppress(OSError):
                watchdog.stdin.write(b"\n")


def _wait_until_it_answers(state: dict[str, Any], life: IO[bytes], deadline: float) -> str:
    """ "" when the server answers, else what is wrong; `life` ends when the server does."""
    while not answers(state["port"], state["password"], timeout=0.2):
        if read_line(life, time.monotonic() + 0.005) is not None:
            return "it ended"
        if time.monotonic() > deadline:
            return "it did not answer in time"
    return ""
