"""Dramatiq: pipelines, and groups with a callback; two workers of one process, of one thread."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.peers.driver import Driver, serve
from bench.peers.places import leashed


class Dramatiq(Driver):
    """A handle is the message whose result says that all is done."""

    def start(self, url: str, folder: Path) -> None:
        os.environ["BENCH_URL"] = url
        self.workers = [self._spawn(), self._spawn()]
        from bench.peers import dramatiq_app

        self.app = dramatiq_app
        self.app.broker.flush_all()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dramatiq", "bench.peers.dramatiq_app"]
        command += ["--processes", "1", "--threads", "1", "--skip-logging"]
        return subprocess.Popen(leashed(command), stdin=subprocess.DEVNULL, start_new_session=True)

    def stop(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(20)

    def worker_of(self, pids: list[int]) -> subprocess.Popen[bytes]:
        return next(worker for worker in self.workers if worker.pid in pids)

    def restart(self, worker: subprocess.Popen[bytes]) -> None:
        self.workers[self.workers.index(worker)] = self._spawn()

    def begin(self, shape: str, size: int) -> Any:
        import dramatiq

        end = self.app.last.message_with_options(pipe_ignore=True)
        noop = self.app.noop
        if shape in ("chain", "hold"):
            noop = self.app.hold if shape == "hold" else noop
            links = [noop.message_with_options(pipe_ignore=True) for _ in range(size - 1)]
            dramatiq.pipeline([*links, end]).run()
            return end
        group = dramatiq.group([noop.message() for _ in range(size)])
        group.add_completion_callback(end)
        group.run()
        return end

    def wait(self, handles: list[Any]) -> None:
        if len(handles) == 1:
            handles[0].get_result(backend=self.app.results, block=True, timeout=300_000)
            return
        for handle in handles:
            while not self.is_done(handle):
                time.sleep(0.005)

    def is_done(self, handle: Any) -> bool:
        return bool(self.app.broker.client.exists(self.app.results.build_message_key(handle)))

    def stored(self) -> int:
        client = self.app.broker.client
        return sum(client.memory_usage(key, samples=0) or 0 for key in client.scan_iter(count=1000))


if __name__ == "__main__":
    serve(Dramatiq())
