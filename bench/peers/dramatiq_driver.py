"""Dramatiq: pipelines, and groups with a callback; two processes of one thread."""

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
        command = [sys.executable, "-m", "dramatiq", "bench.peers.dramatiq_app"]
        command += ["--processes", "2", "--threads", "1", "--skip-logging"]
        self.worker = subprocess.Popen(
            leashed(command), stdin=subprocess.DEVNULL, start_new_session=True
        )
        from bench.peers import dramatiq_app

        self.app = dramatiq_app
        self.app.broker.flush_all()

    def stop(self) -> None:
        self.worker.terminate()
        self.worker.wait(20)

    def begin(self, shape: str, size: int) -> Any:
        import dramatiq

        end = self.app.last.message_with_options(pipe_ignore=True)
        noop = self.app.noop
        if shape == "chain":
            links = [noop.message_with_options(pipe_ignore=True) for _ in range(size - 1)]
            dramatiq.pipeline([*links, end]).run()
            return end
        group = dramatiq.group([noop.message() for _ in range(size)])
        group.add_completion_callback(end)
        group.run()
        return end

    def wait(self, handles: list[Any]) -> None:
        keys = [self.app.results.build_message_key(handle) for handle in handles]
        pause = 0.0005 if len(handles) == 1 else 0.005
        for key in keys:
            while not self.app.broker.client.exists(key):
                time.sleep(pause)

    def stored(self) -> int:
        client = self.app.broker.client
        return sum(client.memory_usage(key, samples=0) or 0 for key in client.scan_iter(count=1000))


if __name__ == "__main__":
    serve(Dramatiq())
