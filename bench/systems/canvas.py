"""Plain Celery: ``stock``, with its defaults, and ``tuned``; see `bench.plain`."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import Any

from celery import chain, chord
from celery.result import GroupResult

from bench.peers.places import leashed
from bench.plain import URL_VARIABLE, VARIANT_VARIABLE, make_app
from bench.systems.base import PATIENCE, ROOT, OnRedis


class Canvas(OnRedis):
    """Celery without orch. A handle is the id of the result of a canvas."""

    shapes = frozenset({"chain", "fan_out", "map", "spread", "hold", "work"})

    def __init__(self, url: str, **given: Any) -> None:
        super().__init__(url, **given)
        self.app = make_app(self.name, self.url)
        self.noop = self.app.tasks["bench.noop"]
        self.hold = self.app.tasks["bench.hold"]
        self.work = self.app.tasks["bench.work"]
        self.workers: list[subprocess.Popen[bytes]] = []
        self.results: dict[str, Any] = {}

    def start(self) -> None:
        for number in range(self.count):
            self.workers.append(self._spawn(number))
        for queue in self.queues or ["celery"] * self.count:
            first = self.noop.si().set(queue=queue, ignore_result=False).delay()
            self.wait([first.id], 0.05, 60.0)

    def _spawn(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "bench.plain", "worker"]
        command += ["-n", f"{self.name}{number}-{os.getpid()}@%h"]
        command += ["-c", str(self.slots), "-P", "prefork", "-l", "WARNING"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        command += ["-Q", self.queues[number]] if self.queues else []
        environment = {**os.environ, URL_VARIABLE: self.url, VARIANT_VARIABLE: self.name}
        return subprocess.Popen(
            leashed(command),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop_workers(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
        self.workers = []
        self.app.backend._pending_results.concrete.clear()  # Celery itself keeps those of a chord
        self.prepare("", 0)
        self.app.close()

    def processes(self) -> list[int]:
        return [worker.pid for worker in self.workers]

    def prepare(self, shape: str, size: int) -> None:
        """Drop old results: each unsubscribes, which takes time, and needs its server."""
        self.results.clear()
        gc.collect()

    def begin(self, shape: str, size: int) -> str:
        result = self._apply(shape, size)
        self.results[result.id] = result
        return str(result.id)

    def _apply(self, shape: str, size: int) -> Any:
        last = self.noop.si().set(ignore_result=False)
        if shape in ("fan_out", "map"):
            return chord([self.noop.si() for _ in range(size)], last).apply_async()
        if shape in ("hold", "work"):
            task = self.hold if shape == "hold" else self.work
            links = [task.si() for _ in range(size)]
            links[-1].set(ignore_result=False)
            return chain(*links).apply_async()
        links = [*(self.noop.si() for _ in range(size - 1)), last]
        if shape == "spread":
            for link, queue in zip(links, self.queues, strict=True):
                link.set(queue=queue)
        return chain(*links).apply_async()

    def submit(self, size: int, times: int) -> float:
        """Start so many chains; the seconds that took."""
        begun = time.perf_counter()
        for _ in range(times):
            self.begin("chain", size)
        return time.perf_counter() - begun

    def is_done(self, handle: str) -> bool:
        return bool(self.redis.exists(f"celery-task-meta-{handle}"))

    def wait_for(self, handle: str) -> None:
        """At each word `get` reads the results before it: so it learns that a link of a chain has
        failed. Of a chord the last result says so, and reading 1,000 takes longer than it."""
        result = self.results[handle]
        is_chord = isinstance(result.parent, GroupResult)
        result.get(timeout=PATIENCE, follow_parents=not is_chord)

    def ended(self, handle: str) -> float:
        meta: Any = self.redis.get(f"celery-task-meta-{handle}")
        return datetime.fromisoformat(json.loads(meta)["date_done"]).timestamp()

    def keys_of(self, handle: str) -> list[str]:
        keys, result = [], self.results[handle]
        while result is not None:
            keys.append(f"celery-task-meta-{result.id}")
            result = result.parent
        return keys


class Stock(Canvas):
    name, title, number = "stock", "Celery, stock", 1
    never = "never"  # it acknowledges a message before its task runs: nothing is left of it


class Tuned(Canvas):
    name, title, number = "tuned", "Celery, tuned", 2
