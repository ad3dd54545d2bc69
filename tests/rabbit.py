"""A RabbitMQ of a test run's own: node name, ports, data, cookie and epmd, all below one directory.

It ends with the run, also where that is killed. Debian's service of the same program is neither
needed nor touched.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection

from tests.ports import free_port

ROOT = Path(__file__).parent.parent
PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/rabbitmq/sbin")
"""Where the program itself is: what Debian has on the path wants to be root, and changes users."""

VHOSTS = 40
"""Virtual hosts that are there from the start, one for each test: `rabbitmqctl` takes seconds."""

START = 90.0
"""Seconds within which it answers, on a busy machine."""

USER, PASSWORD = "orch", "secret"


def find_program() -> str | None:
    """The program, where Erlang and it are installed."""
    path = os.pathsep.join([*PLACES, os.environ.get("PATH", "")])
    found = shutil.which("rabbitmq-server", path=path)
    return found if found and shutil.which("epmd") else None


def needed() -> str:
    """The program. Without it a test is skipped, but fails in continuous integration."""
    found = find_program()
    if found is None:
        reason = "rabbitmq-server is not installed: scripts/install_test_needs.sh installs it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Rabbit:
    """A node, on one port for life, which may be killed. Its data stays."""

    def __init__(self, directory: Path, program: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self._program = program
        self._vhosts = iter(range(VHOSTS))
        self._environment = self._write(free_port(), free_port())
        self._epmd = self._spawn(["epmd", "-port", self._environment["ERL_EPMD_PORT"]])
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def _write(self, epmd: int, dist: int) -> dict[str, str]:
        """Its configuration; the environment in which it runs."""
        here = self.directory
        (here / "definitions.json").write_text(json.dumps(definitions()))
        (here / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"load_definitions = {here / 'definitions.json'}\n"
            "vm_memory_high_watermark.absolute = 1GB\n"
            "disk_free_limit.absolute = 1MB\n"
        )
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(here),  # with the cookie
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"orch{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(dist),
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_LOG_BASE": str(here),
            "RABBITMQ_LOGS": str(here / "rabbit.log"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "plugins"),
            "RABBITMQ_ALLOW_INPUT": "1",  # it is the process itself, and no shell that waits for it
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput +sbwt none +sbwtdcpu none",
        }

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        leash = [sys.executable, "-S", str(ROOT / "bench" / "leash.py"), str(os.getpid())]
        with (self.directory / "out").open("ab") as out:
            return subprocess.Popen(
                [*leash, *command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self.process = self._spawn([self._program])
        limit = time.monotonic() + START
        while not self.answers():
            assert self.process.poll() is None, f"RabbitMQ has ended: {self._last_words()}"
            assert time.monotonic() < limit, f"RabbitMQ does not answer: {self._last_words()}"
            time.sleep(0.1)

    def _last_words(self) -> str:
        return (self.directory / "out").read_text(errors="replace")[-2000:]

    def answers(self) -> bool:
        try:
            with Connection(self.url(vhost_name(0)), connect_timeout=2) as connection:
                connection.connect()
        except Exception:  # of the transport, while it starts
            return False
        return True

    def vhost(self) -> str:
        """The URL of a virtual host that nobody has used yet."""
        return self.url(vhost_name(next(self._vhosts)))

    def url(self, vhost: str) -> str:
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{vhost}"

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        for process in (self.process, self._epmd):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def vhost_name(number: int) -> str:
    return f"test{number}"


def definitions() -> dict[str, object]:
    """A user, and virtual hosts that are his; read when it starts for the first time."""
    salt = b"salt"  # https://www.rabbitmq.com/docs/passwords#computing-password-hash
    hashed = base64.b64encode(salt + hashlib.sha256(salt + PASSWORD.encode()).digest()).decode()
    names = [vhost_name(number) for number in range(VHOSTS)]
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    algorithm = "rabbit_password_hashing_sha256"
    return {
        "users": [
            {"name": USER, "password_hash": hashed, "hashing_algorithm": algorithm, "tags": []}
        ],
        "vhosts": [{"name": name} for name in names],
        "permissions": [{"user": USER, "vhost": name, **everything} for name in names],
    }


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Rabbit]:
    """A node for the time of a ``with`` block. Skips or fails where the program is missing."""
    rabbit = Rabbit(directory, needed())
    try:
        yield rabbit
    finally:
        rabbit.close()
