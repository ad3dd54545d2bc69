"""The right to the server of a data directory, and how a process gets it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from orch.embedded.failures import as_no_server, no_server
from orch.embedded.files import Files
from orch.embedded.locks import RETRY_PAUSE, open_lock, take_lock, try_lock
from orch.embedded.processes import read_line
from orch.embedded.program import find_binary
from orch.embedded.resp import answers

_TRIES = 2  # the second is for a port taken, or a process killed, during the first
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def acquire(data_dir: Path | str, *, timeout: float = 15.0) -> Lease:
    """Use the server of `data_dir`, and start it if it does not run.

    The server lives at least as long as the lease is open; an unclosed lease ends with the
    process. A forked child holds it too. `timeout` is in seconds and includes loading the data.

    Raises `NoServer` when no server binary is found, or it does not start in time.
    """
    return EmbeddedServer(Path(data_dir)).acquire(timeout=timeout)


class Lease:
    """The right to the server of a data directory. `url` is its address, password included."""

    def __init__(self, server: EmbeddedServer, users_lock: int, url: str) -> None:
        self.url = url
        self._server = server
        self._users_lock: int | None = users_lock

    def revive(self, *, timeout: float = 15.0) -> str:
        """Make sure that a keeper and a server run, and return the URL.

        For the retry loop of whoever lost the connection: safe at any time and from any thread,
        and under a millisecond when all is well. The URL is the same as before unless another
        program has taken the port, or the data directory was replaced.
        """
        if self._users_lock is None:
            raise ValueError("this lease is closed; acquire another")
        deadline = time.monotonic() + timeout
        with as_no_server(self._server.files):
            if not self._server.files.is_current(self._users_lock, self._server.files.users_lock):
                stale, self._users_lock = self._users_lock, self._server.hold(deadline)
                os.close(stale)
            self.url = self._server.ensure(deadline)
        return self.url

    def close(self) -> None:
        """Give the server up. It ends some two seconds after the last user has gone."""
        if self._users_lock is None:
            return
        # The time of the last use, for the keeper's linger. Then close, not unlock: unlocking
        # would take the lock from forked children too, which share the descriptor.
        with contextlib.suppress(OSError):
            os.utime(self._users_lock)
        os.close(self._users_lock)
        self._users_lock = None

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EmbeddedServer:
    """The server of one data directory, as its users see it.

    `binary` is the server program; by default `find_binary()` when one must be started.
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None) -> None:
        self.files = Files(data_dir.absolute())
        self._binary = binary

    def acquire(self, *, timeout: float = 15.0) -> Lease:
        """See the module's `acquire`."""
        if os.name == "nt":
            find_binary()
        deadline = time.monotonic() + timeout
        with as_no_server(self.files):
            users_lock = self.hold(deadline)
            try:
                url = self.ensure(deadline)
            except BaseException:
                os.close(users_lock)
                raise
        return Lease(self, users_lock, url)

    def hold(self, deadline: float) -> int:
        """Take the shared lock that says "in use", and return its descriptor."""
        while True:
            self.files.create()
            fd = open_lock(self.files.users_lock)
            while not take_lock(fd, shared=True):  # a keeper looks for users, or is ending
                if time.monotonic() > deadline:
                    os.close(fd)
                    self._fail("the one that was about to end did not end in time")
                time.sleep(RETRY_PAUSE)
            if self.files.is_current(fd, self.files.users_lock):
                os.utime(fd)
                return fd
            os.close(fd)  # the directory was removed meanwhile

    def ensure(self, deadline: float) -> str:
        """Return the URL of the running server; start a keeper first if there is none."""
        failures = 0
        while True:
            if url := self._running():
                return url
            with try_lock(self.files.start_lock) as mine:
                if mine and not self._keeper_lives():
                    word, _, what = self._start_keeper(deadline).partition(" ")
                    failures += word in ("failed", "")
                    if failures == _TRIES and what:
                        self._fail(what)
                    if failures == _TRIES:
                        self._fail("its keeper crashed", log=self.files.keeper_log)
            if time.monotonic() > deadline:
                self._fail("it did not answer in time; it may still be loading its data")
            time.sleep(RETRY_PAUSE)

    def _running(self) -> str | None:
        state = self.files.read_state()
        url = state.get("url")
        if url and self._keeper_lives() and answers(state["port"], state["password"]):
            return str(url)
        return None

    def _keeper_lives(self) -> bool:
        with try_lock(self.files.keeper_lock, shared=True) as free:
            return not free

    def _start_keeper(self, deadline: float) -> str:
        """Start a keeper; its first line: `ready`, `busy`, `failed <why>`; "" if it crashed."""
        command = [sys.executable, "-S", "-m", "orch.embedded", str(self.files.root)]
        with (
            self.files.keeper_log.open("ab") as log,
            subprocess.Popen(
                [*command, str(self._binary or find_binary())],
                cwd=_PACKAGE_ROOT,
                env={**os.environ, "PYTHONPATH": str(_PACKAGE_ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            ) as launcher,  # forks the keeper and ends, so that no zombie is left to us
        ):
            assert launcher.stdout is not None
            line = read_line(launcher.stdout, deadline)
            return "late" if line is None else line

    def _fail(self, what: str, *, log: Path | None = None) -> NoReturn:
        raise no_server(self.files, what, log or self.files.server_log)
