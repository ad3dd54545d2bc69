"""The parent of a server: it starts it, starts it again, and ends it after its last use."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

from orch.embedded.address import free_port, url_of
from orch.embedded.files import Files
from orch.embedded.locks import RETRY_PAUSE, open_lock, release_lock, take_lock
from orch.embedded.logs import note
from orch.embedded.processes import die_with_parent, works_in
from orch.embedded.program import configuration
from orch.embedded.resp import command, listens
from orch.embedded.signals import Alarm

LINGER = 2.0
"""Seconds that the server outlives its last user, so that commands in a row share one."""

_TICK = 0.25
_EVICTION_TIMEOUT = 5.0
_SHUTDOWN_TIMEOUT = 10.0
_SILENCE = 60.0  # seconds for which a server that loads its data may not come to say so
_SHORTEST_BACK_OFF = 0.1
_LONGEST_BACK_OFF = 5.0
_LONG_LIFE = 10.0  # seconds after which a server's death is a new trouble, not the same


class Keeper:
    """The parent of a server: the loop in a detached process."""

    def __init__(self, files: Files, binary: Path) -> None:
        self._files = files
        self._binary = binary
        self._server: subprocess.Popen[bytes] | None = None
        self._state = files.read_state()
        self._keeper_lock = open_lock(files.keeper_lock)
        self._users_lock = open_lock(files.users_lock)
        self._last_use = (0, time.monotonic())
        self._ready = False
        self._reported = False
        self._spawned_at = self._start_at = self._heard_at = 0.0
        self._back_off = _SHORTEST_BACK_OFF

    def run(self) -> None:
        """Serve until nobody uses the server, or it cannot be started at all."""
        if not self._take_office():
            self._report("busy")
            return
        self._alarm = Alarm()
        try:
            # Before anything else: an older server may still answer at the address in there.
            self._retract()
            failure = self._serve()
        except OSError as exc:
            failure = str(exc)
        self._retire()
        self._report(f"failed {failure}" if failure else "busy")

    def _take_office(self) -> bool:
        # Tried for a second: whoever asks "does a keeper live?" holds the lock for an instant.
        deadline = time.monotonic() + 1
        while not take_lock(self._keeper_lock):
            if time.monotonic() > deadline:
                return False
            time.sleep(RETRY_PAUSE)
        return True

    def _serve(self) -> str:
        """Keep a server running; "" when it is no longer needed, else why it does not start."""
        self._spawn()
        while not self._alarm.told_to_end and not self._is_unused():
            if self._server is None:
                if time.monotonic() >= self._start_at:
                    self._spawn_again()
            elif self._server.poll() is not None:
                if not self._reported:
                    return f"the server ended with status {self._server.returncode}"
                self._bury()
            elif not self._ready:
                self._look()
            self._alarm.sleep(_TICK if self._ready else RETRY_PAUSE)
        return ""

    def _look(self) -> None:
        # Patient: a loading server looks at its clients only now and then.
        port = self._state["port"]
        reply = command(port, self._state["password"], "PING", timeout=LINGER)
        now = time.monotonic()
        if reply == b"+PONG":
            self._publish()
            return
        if reply.startswith(b"-LOADING"):
            self._heard_at = now
        elif now - self._heard_at >= _SILENCE or not listens(port):
            return
        # Counts as use: whoever waits gives up after a timeout and tries again, and would
        # never get a server whose load takes longer than that.
        self._last_use = (self._last_use[0], now)

    def _bury(self) -> None:
        """Note the server's death, and when to start it again."""
        assert self._server is not None
        note(f"the server ended with status {self._server.returncode}; starting it again")
        self._server, self._ready = None, False
        if time.monotonic() - self._spawned_at > _LONG_LIFE:
            self._back_off = _SHORTEST_BACK_OFF
        self._wait_longer()

    def _spawn_again(self) -> None:
        try:
            self._spawn()
        except OSError as exc:
            note(f"the server does not start: {exc}")
            self._wait_longer()

    def _wait_longer(self) -> None:
        self._start_at = time.monotonic() + self._back_off
        self._back_off = min(2 * self._back_off, _LONGEST_BACK_OFF)

    def _spawn(self) -> None:
        self._files.redis.mkdir(mode=0o700, exist_ok=True)
        self._spawned_at = self._heard_at = time.monotonic()
        lock = open_lock(self._files.server_lock)
        try:
            self._evict(lock)
            self._state = {
                "port": free_port(self._state.get("port")),
                "password": self._state.get("password") or secrets.token_hex(24),
            }
            with self._files.server_log.open("ab") as log:
                self._server = subprocess.Popen(
                    [self._binary, "-"],  # the configuration by stdin: no password in any list
                    cwd=self._files.redis,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),
                    preexec_fn=die_with_parent(),  # safe: this process has one thread
                )
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(self._server.pid).encode(), 0)
        finally:
            os.close(lock)  # from here on the server's copy alone holds it
        assert self._server.stdin is not None
        with contextlib.suppress(OSError), self._server.stdin as config:  # ended already: poll says
            config.write(configuration(self._state, appendonly=True))

    def _evict(self, lock: int) -> None:
        """Get the server's lock: end a server that a killed keeper has left behind.

        On Linux it has had its SIGTERM when its keeper died. It is ended, not adopted: only a
        parent learns of its child's death at once, and two ways of keeping would be one too many.
        """
        if take_lock(lock):
            return
        if self._state:
            command(self._state["port"], self._state["password"], "SHUTDOWN")
        start = time.monotonic()
        killed = False
        while not take_lock(lock):
            waited = time.monotonic() - start
            if waited > _EVICTION_TIMEOUT:
                raise TimeoutError(f"an older server still holds {self._files.server_lock}")
            if waited > _EVICTION_TIMEOUT / 2 and not killed:
                killed = True  # frozen, or lost in a script
                pid = int(os.pread(lock, 32, 0) or b"0")
                if pid and works_in(pid, self._files.redis):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(RETRY_PAUSE)

    def _publish(self) -> None:
        assert self._server is not None
        self._ready = True
        port, password = self._state["port"], self._state["password"]
        self._files.write_state(
            {
                "url": url_of(port, password),
                "port": port,
                "password": password,
                "keeper": os.getpid(),
                "server": self._server.pid,
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
        )
        self._report("ready")

    def _report(self, line: str) -> None:
        """Tell the process that started us, once; then let its pipe go."""
        if self._reported:
            return
        self._reported = True
        with contextlib.suppress(OSError):
            os.write(1, " ".join(line.split()).encode() + b"\n")
        os.dup2(2, 1)

    def _is_unused(self) -> bool:
        """Whether to end. If so, `users.lock` is held, and nobody can come any more."""
        if not self._files.is_current(self._users_lock, self._files.users_lock):
            note("the data directory was removed or replaced")
            return True
        if not take_lock(self._users_lock):
            self._last_use = (0, time.monotonic())
            return False
        # A use shorter than a tick is seen by the file's time, which users touch.
        touched = os.fstat(self._users_lock).st_mtime_ns
        if touched != self._last_use[0]:
            self._last_use = (touched, time.monotonic())
        if time.monotonic() - self._last_use[1] >= LINGER:
            return True
        release_lock(self._users_lock)
        return False

    def _retire(self) -> None:
        with contextlib.suppress(OSError):
            self._retract()
        if self._server is not None:
            self._server.terminate()  # Valkey answers SIGTERM as it does SHUTDOWN: it saves
            try:
                self._server.wait(_SHUTDOWN_TIMEOUT)
            except subprocess.TimeoutExpired:
                note("the server did not end by itself; killing it")
                self._server.kill()
                self._server.wait()
        # In this order: who gets past users.lock must find no keeper.
        os.close(self._keeper_lock)
        os.close(self._users_lock)

    def _retract(self) -> None:
        """Say that no server runs; port and password stay, so that the next one has them too."""
        if self._state and self._files.is_current(self._keeper_lock, self._files.keeper_lock):
            self._files.write_state({key: self._state[key] for key in ("port", "password")})
