"""What a peer's own process does: it starts the peer, is its client, and answers the bench.

Questions come as lines of JSON, ``{"do": "run", "shape": "chain", "size": 10, "times": 200}``,
and so do the answers. Runs in the peers' environment: nothing of orch is imported.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOLD = 0.1
HOLDERS = "BENCH_HOLDERS"
"""Names the file to which a step of the shape `hold` writes its process."""


class Driver(ABC):
    """One peer. All that it starts is a child of this process."""

    @abstractmethod
    def start(self, url: str, folder: Path) -> None:
        """Start its server and workers. ``url``: the common Redis; ``folder``: for its files."""

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def begin(self, shape: str, size: int) -> Any: ...

    @abstractmethod
    def wait(self, handles: list[Any]) -> None: ...

    @abstractmethod
    def stored(self) -> int:
        """Bytes that it keeps by now."""

    def run(self, shape: str, size: int, times: int) -> dict[str, Any]:
        handles, starts = [], []
        begun = before = time.perf_counter()
        for _ in range(times):
            handles.append(self.begin(shape, size))
            starts.append(1000 * (time.perf_counter() - before))
            before = time.perf_counter()
        self.wait(handles)
        return {"wall": time.perf_counter() - begun, "starts": starts}

    def recover(self, links: int, patience: float) -> float | None:
        """Seconds lost when the worker of a second step is killed in it; None: not in time.

        The worker is started again afterwards.
        """
        undisturbed = self.run("hold", links, 1)["wall"]
        Path(os.environ[HOLDERS]).write_text("")
        begun = time.perf_counter()
        handle = self.begin("hold", links)
        wait_until(lambda: len(holders()) == 2, 30, "the second step did not begin")
        time.sleep(HOLD / 4)
        worker = self.worker_of(holders()[-1])
        os.killpg(worker.pid, signal.SIGKILL)
        limit = undisturbed + patience
        try:
            wait_until(lambda: self.is_done(handle), limit, "it was not done", 0.005)
            lost = time.perf_counter() - begun - undisturbed
        except TimeoutError:
            lost = None
        worker.wait()
        self.restart(worker)
        return lost

    def is_done(self, handle: Any) -> bool:
        raise NotImplementedError

    def worker_of(self, pids: list[int]) -> subprocess.Popen[bytes]:
        """The worker that one of these processes is."""
        raise NotImplementedError

    def restart(self, worker: subprocess.Popen[bytes]) -> None:
        """Start one in the place of it."""
        raise NotImplementedError

    def kept(self, shape: str, size: int, times: int) -> float:
        before = self.stored()
        self.run(shape, size, times)
        return (self.stored() - before) / times


def serve(driver: Driver) -> None:
    """Answer until there are no more questions."""
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory(prefix="bench-peer-") as folder:
        os.environ[HOLDERS] = str(Path(folder) / "holders")
        try:
            driver.start(sys.argv[1], Path(folder))
            driver.run("chain", 2, 2)
            answers.write('{"ready": true}\n')
            for line in sys.stdin:
                asked = json.loads(line)
                ask: Callable[..., Any] = getattr(driver, asked.pop("do"))
                try:
                    answers.write(json.dumps({"answer": ask(**asked)}) + "\n")
                except Exception as exc:
                    answers.write(json.dumps({"error": repr(exc)}) + "\n")
        except Exception as exc:
            answers.write(json.dumps({"error": repr(exc)}) + "\n")
        finally:
            driver.stop()


def hold_on() -> None:
    """Say which process is at work, and its parent. What follows takes `HOLD` seconds."""
    with open(os.environ[HOLDERS], "a") as file:
        file.write(f"{os.getpid()} {os.getppid()}\n")


def holders() -> list[list[int]]:
    lines = Path(os.environ[HOLDERS]).read_text().splitlines()
    return [[int(pid) for pid in line.split()] for line in lines]


def wait_until(
    condition: Callable[[], bool], timeout: float, what: str, pause: float = 0.05
) -> None:
    limit = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"{what} within {timeout:g} s")
        time.sleep(pause)
