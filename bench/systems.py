"""The systems that are compared: each has a worker of two slots and a database of its own.

All worker processes live through the whole run; those that are not measured are idle.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from celery import chain, chord
from redis import Redis

from bench.plain import URL_VARIABLE, VARIANT_VARIABLE, make_app
from orch import Orchestrator
from orch.control.workers import WorkerProcesses
from orch.journal.journal import open_redis

SLOTS = 2
TICKS = os.sysconf("SC_CLK_TCK")
HERE = Path(__file__).parent


def database(url: str, number: int) -> str:
    """The URL of another database of the same Redis."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and its children so far; 0 where there is no /proc."""
    total = 0.0
    pids = [pid]
    while pids:
        current = pids.pop()
        try:
            fields = Path(f"/proc/{current}/stat").read_text().rpartition(")")[2].split()
            pids += [
                int(child)
                for child in Path(f"/proc/{current}/task/{current}/children").read_text().split()
            ]
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


class System(ABC):
    """One contestant. A handle is what a client keeps of what it started."""

    name: str
    number: int

    def __init__(self, url: str) -> None:
        self.url = database(url, self.number)
        self.redis: Redis = open_redis(self.url)
        self.redis.flushdb()

    @abstractmethod
    def start_workers(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def worker_pid(self) -> int: ...

    @abstractmethod
    def chain(self, length: int) -> Any:
        """Start a chain of no-op steps."""

    @abstractmethod
    def fan_out(self, width: int) -> Any:
        """Start no-op steps side by side and one more behind them."""

    @abstractmethod
    def is_done(self, handle: Any) -> bool: ...

    @abstractmethod
    def keys_of(self, handle: Any) -> list[str]:
        """The keys that are left of it when it is done."""

    def shared_bytes(self) -> int:
        """Bytes of the keys that all executions share and that grow with them."""
        return 0

    def wait(self, handles: list[Any], pause: float, timeout: float = 300.0) -> None:
        """Until all are done; one command per look, ``pause`` seconds between two of them."""
        limit = time.monotonic() + timeout
        for handle in handles:
            while not self.is_done(handle):
                if time.monotonic() > limit:
                    raise TimeoutError(f"{self.name}: not done within {timeout:g} s")
                time.sleep(pause)

    def bytes_of(self, keys: list[str]) -> int:
        return sum(self.redis.memory_usage(key, samples=0) or 0 for key in keys)


class Plain(System):
    """Celery without orch."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.app = make_app(self.name, self.url)
        self.noop = self.app.tasks["bench.noop"]
        self.process: subprocess.Popen[bytes] | None = None

    def start_workers(self) -> None:
        command = [sys.executable, "-m", "celery", "-A", "bench.plain", "worker"]
        command += ["-n", f"{self.name}-{os.getpid()}@%h", "-c", str(SLOTS), "-P", "prefork"]
        command += ["-l", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        environment = {**os.environ, URL_VARIABLE: self.url, VARIANT_VARIABLE: self.name}
        self.process = subprocess.Popen(
            command,
            cwd=HERE.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.wait([self.chain(1)], 0.05, timeout=30.0)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
        self.app.close()
        self.redis.close()

    def worker_pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def chain(self, length: int) -> Any:
        links = [self.noop.si() for _ in range(length - 1)]
        return chain(*links, self.noop.si().set(ignore_result=False)).apply_async()

    def fan_out(self, width: int) -> Any:
        body = self.noop.si().set(ignore_result=False)
        return chord([self.noop.si() for _ in range(width)], body).apply_async()

    def is_done(self, handle: Any) -> bool:
        return bool(self.redis.exists(f"celery-task-meta-{handle.id}"))

    def keys_of(self, handle: Any) -> list[str]:
        ids = []
        while handle is not None:
            ids.append(f"celery-task-meta-{handle.id}")
            handle = handle.parent
        return ids


class Stock(Plain):
    name, number = "stock", 1


class Tuned(Plain):
    name, number = "tuned", 2


class Orch(System):
    """Durable workflows, every step over the broker."""

    name, number = "orch", 0

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.orchestrator = Orchestrator(redis_url=self.url, builtins=False)
        self.journal = self.orchestrator.runtime.journal
        self.workers: WorkerProcesses | None = None
        self.defined: set[str] = set()

    def start_workers(self) -> None:
        self.workers = self.orchestrator.workers(
            concurrency=SLOTS, include=["bench.capabilities"], environment={"ORCH_BUILTINS": "0"}
        )
        self.workers.start()

    def stop(self) -> None:
        if self.workers is not None:
            self.workers.stop()
        self.orchestrator.close()
        self.redis.close()

    def worker_pid(self) -> int:
        assert self.workers is not None
        return self.workers.processes[0].pid

    def chain(self, length: int) -> str:
        name = f"chain{length}"
        if name not in self.defined:
            self._define(name, [_step(f"s{i}", f"s{i + 1}") for i in range(length - 1)], length)
        return self.orchestrator.start_workflow(name).id

    def fan_out(self, width: int) -> str:
        name = f"fan{width}"
        if name not in self.defined:
            branches = [{"steps": [_step(f"b{i}")]} for i in range(width)]
            fork = {"id": "fork", "type": "parallel", "parallel": {"branches": branches}}
            self._define(name, [{**fork, "next": "s1"}], 2)
        return self.orchestrator.start_workflow(name).id

    def _define(self, name: str, steps: list[dict[str, Any]], length: int) -> None:
        steps = [*steps, _step(f"s{length - 1}")]
        self.orchestrator.define_workflow(name, {"name": name, "steps": steps})
        self.defined.add(name)

    def is_done(self, handle: str) -> bool:
        return self.redis.hget(self.journal.keys.record(handle), "status") == "completed"

    def keys_of(self, handle: str) -> list[str]:
        keys = self.journal.keys
        return [keys.record(handle), keys.steps(handle), keys.history(handle)]

    def shared_bytes(self) -> int:
        keys = self.journal.keys
        shared = [make(n) for n in range(keys.partitions) for make in (keys.index, keys.watch)]
        return self.bytes_of(shared)


def _step(id: str, following: str | None = None) -> dict[str, Any]:
    return {"id": id, "capability": "noop", **({"next": following} if following else {})}


SYSTEMS: tuple[type[System], ...] = (Stock, Tuned, Orch)
