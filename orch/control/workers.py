"""Worker processes that a command or a script starts for itself, and that end with it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import SecretStr

from orch.errors import OrchError
from orch.journal.journal import Journal, open_redis
from orch.settings import Settings

PARENT_VARIABLE = "ORCH_PARENT_PID"
"""Names the process that a worker ends with; the warden watches it."""

NOT_INHERITED = frozenset({"ORCH_INCARNATION", "ORCH_REDIS_URL"})
"""What the environment says of us and not of our workers; what they need is set anew."""

_numbers = itertools.count()
"""For node names: two workers of one name would answer each other's control messages."""

_LONG_LIFE = 10.0  # seconds after which a worker's death is a new trouble, not the same
_SHORTEST_BACK_OFF = 0.5
_LONGEST_BACK_OFF = 30.0


@dataclass
class _Life:
    """One worker's: when it began, how long its successor waits, and until when."""

    begun: float
    pause: float = 0.0
    due: float | None = None


class WorkerProcesses:
    """Celery workers as child processes, for the time of a ``with`` block.

    ``count`` workers of ``concurrency`` slots each; ``queues``: what they serve, by default
    all that they have code for; ``include``: modules or .py files with capabilities;
    ``pool``: prefork | threads | solo; ``events``: whether Flower sees their tasks. They end
    with the block, and also when this process is killed. Their log goes to ``log``, by default
    a temporary file.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        *,
        count: int = 1,
        concurrency: int = 2,
        pool: str = "prefork",
        queues: Sequence[str] = (),
        include: Sequence[str] = (),
        log: Path | None = None,
        loglevel: str = "WARNING",
        environment: dict[str, str] | None = None,
        events: bool = False,
    ) -> None:
        self.settings = settings
        self.url = url
        self.count = count
        self.concurrency = concurrency
        self.pool = pool
        self.queues = list(queues)
        self.include = [*settings.include, *include]
        self.loglevel = loglevel
        self.environment = environment or {}
        self.events = events
        self.log = log or _new_log()
        self._keep_log = log is not None
        self.processes: list[subprocess.Popen[bytes]] = []
        self._lives: list[_Life] = []

    def start(self, timeout: float = 30.0) -> WorkerProcesses:
        """Start them and wait until each has said that it lives. Raises OrchError."""
        try:
            with self.log.open("ab") as log:
                for _ in range(self.count):
                    self.processes.append(self._spawn(log))
                    self._lives.append(_Life(time.monotonic()))
            self._wait_until_alive(timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(f"orch{next(_numbers)}-{os.getpid()}@%h"),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def tend(self) -> list[str]:
        """Start those that died again; a sentence for each death. To be called often.

        One that dies soon waits longer each time, from 0.5 s to 30 s.
        """
        said, now = [], time.monotonic()
        for slot, (process, life) in enumerate(zip(self.processes, self._lives, strict=True)):
            if process.poll() is None:
                continue
            if life.due is None:
                soon = now - life.begun < _LONG_LIFE
                longer = min(max(life.pause * 2, _SHORTEST_BACK_OFF), _LONGEST_BACK_OFF)
                life.pause = longer if soon else _SHORTEST_BACK_OFF
                life.due = now + life.pause
                said.append(
                    f"worker {process.pid} ended with {process.returncode}; "
                    f"another one is started in {life.pause:g} s"
                )
            elif now >= life.due:
                with self.log.open("ab") as log:
                    self.processes[slot] = self._spawn(log)
                life.begun, life.due = now, None
        return said

    def command(self, name: str) -> list[str]:
        """The command line of one worker."""
        command = [sys.executable, "-m", "celery", "-A", "orch.tasks.entry", "worker"]
        command += ["-n", name, "-c", str(self.concurrency), "-P", self.pool]
        command += ["-l", self.loglevel, "--without-gossip", "--without-mingle"]
        command += ["--without-heartbeat"]
        command += ["-E"] if self.events else []
        return [*command, "-Q", ",".join(self.queues)] if self.queues else command

    def _environment(self) -> dict[str, str]:
        declared = ("breakers", "fallbacks")
        given = self.settings.model_dump(
            mode="json", exclude_unset=True, exclude_none=True, exclude=set(declared)
        )
        for name in given:
            value = getattr(self.settings, name)
            if isinstance(value, SecretStr):  # its dump is stars
                given[name] = value.get_secret_value()
        for name in declared:
            each = getattr(self.settings, name)
            if each:
                given[name] = json.dumps({key: found.as_dict() for key, found in each.items()})
        own = {f"ORCH_{name.upper()}": _written(value) for name, value in given.items()}
        own |= {"ORCH_INCLUDE": ",".join(self.include), PARENT_VARIABLE: str(os.getpid())}
        if self.settings.redis_url or self.settings.use_local_redis:
            own["ORCH_REDIS_URL"] = self.url
        else:
            # By its directory, not by its URL: a worker then is a user of the embedded server,
            # which so outlives this process until the steps under way are settled.
            own["ORCH_DATA_DIR"] = str(self.settings.data_dir.resolve())
        inherited = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
        return {**inherited, **own, **self.environment}

    def _wait_until_alive(self, timeout: float) -> None:
        redis = open_redis(self.url)
        journal = Journal(redis, self.settings, url=self.url)
        limit = time.monotonic() + timeout
        try:
            while True:
                alive = {worker["pid"] for worker in journal.live_workers()}
                if alive >= {process.pid for process in self.processes}:
                    return
                dead = [p for p in self.processes if p.poll() is not None]
                if dead or time.monotonic() > limit:
                    error = OrchError(self._sentence(dead), hint=f"the whole log: {self.log}")
                    if dead and dead[0].returncode in (2, 4):
                        error.exit_code = dead[0].returncode  # as `orch.tasks.entry` chose it
                    raise error
                time.sleep(0.05)
        finally:
            redis.close()

    def _sentence(self, dead: list[Any]) -> str:
        tail = self.log.read_text(errors="replace").strip().splitlines()[-8:]
        self._keep_log = True
        what = f"ended with {dead[0].returncode}" if dead else "did not come up in time"
        return f"a worker {what}:\n" + "\n".join(f"  {line}" for line in tail)

    def stop(self, grace: float = 10.0) -> None:
        """End them: running steps may finish within ``grace`` seconds."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        limit = time.monotonic() + grace
        for process in self.processes:
            try:
                process.wait(max(0.1, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if not self._keep_log:
            self.log.unlink(missing_ok=True)

    def __enter__(self) -> WorkerProcesses:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _written(value: Any) -> str:
    """A setting as the environment holds it."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _new_log() -> Path:
    handle, name = tempfile.mkstemp(prefix="orch-workers-", suffix=".log")
    os.close(handle)
    return Path(name)
