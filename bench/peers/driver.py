"""What a peer's own process does: it starts the peer, is its client, and answers the bench.

Questions come as lines of JSON, ``{"do": "run", "shape": "chain", "size": 10, "times": 200}``,
and so do the answers. Runs in the peers' environment: nothing of orch is imported.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any


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


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    limit = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"{what} within {timeout:g} s")
        time.sleep(0.05)
