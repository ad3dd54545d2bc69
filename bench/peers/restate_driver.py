"""Restate: its server with a store of its own, and a service of two processes."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.peers.driver import Driver, serve, wait_until
from bench.peers.places import free_port, leashed, restate_server

HANDLERS = {"chain": "chain", "hold": "hold", "fan_out": "fan_out", "map": "fan_out"}


NOT_READY = 470
"""What Restate answers of an invocation that has not ended."""


class NotYet(Exception):
    pass


class Restate(Driver):
    """A handle is the id of an invocation."""

    server: subprocess.Popen[bytes] | None = None
    services: tuple[subprocess.Popen[bytes], ...] = ()

    def start(self, url: str, folder: Path) -> None:
        program = restate_server()
        assert program is not None
        node, ingress, admin = (free_port() for _ in range(3))
        self.folder = folder
        settings = {
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_LOG_FILTER": "warn",
            "DO_NOT_TRACK": "1",
        }
        command = [program, "--base-dir", str(folder), "--node-name", "bench", "--no-logo"]
        self.server = subprocess.Popen(
            leashed(command), env={**os.environ, **settings}, stdout=2, start_new_session=True
        )
        # Two processes that share a socket: whichever is free accepts a connection.
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        service = self.socket.getsockname()[1]
        self.services = (self._spawn(), self._spawn())
        self.ingress = http.client.HTTPConnection("127.0.0.1", ingress, timeout=300)
        content = {"uri": f"http://127.0.0.1:{service}", "force": True}
        wait_until(lambda: _answers(admin, content), 40, "Restate did not find its service")
        wait_until(self._runs, 40, "Restate did not run its service")

    def _spawn(self) -> subprocess.Popen[bytes]:
        shared = self.socket.fileno()
        command = [sys.executable, "-m", "hypercorn", "bench.peers.restate_app:app"]
        command += ["--workers", "0", "--bind", f"fd://{shared}", "--log-level", "WARNING"]
        return subprocess.Popen(
            leashed(command), stdout=2, start_new_session=True, pass_fds=[shared]
        )

    def _runs(self) -> bool:
        try:
            self._ask("POST", "/Bench/chain", 1)
        except (OSError, RuntimeError, http.client.HTTPException):
            self.ingress.close()
            return False
        return True

    def stop(self) -> None:
        for process in (*self.services, self.server):
            if process is not None:
                process.terminate()
                process.wait(30)

    def worker_of(self, pids: list[int]) -> subprocess.Popen[bytes]:
        return next(worker for worker in self.services if worker.pid in pids)

    def restart(self, worker: subprocess.Popen[bytes]) -> None:
        others = tuple(each for each in self.services if each is not worker)
        self.services = (*others, self._spawn())

    def is_done(self, handle: Any) -> bool:
        try:
            self._ask("GET", f"/restate/invocation/{handle}/output")
        except NotYet:
            return False
        return True

    def begin(self, shape: str, size: int) -> Any:
        return self._ask("POST", f"/Bench/{HANDLERS[shape]}/send", size)["invocationId"]

    def wait(self, handles: list[Any]) -> None:
        for handle in handles:
            self._ask("GET", f"/restate/invocation/{handle}/attach")

    def run(self, shape: str, size: int, times: int) -> dict[str, Any]:
        if times > 1:
            return super().run(shape, size, times)
        begun = time.perf_counter()
        self._ask("POST", f"/Bench/{HANDLERS[shape]}", size)  # one that waits for its end itself
        return {"wall": time.perf_counter() - begun, "starts": []}

    def _ask(self, method: str, path: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content)
        self.ingress.request(method, path, body, {"content-type": "application/json"})
        answer = self.ingress.getresponse()
        text = answer.read()
        if answer.status == NOT_READY:
            raise NotYet(path)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()[:300]}")
        return json.loads(text) if text else None

    def stored(self) -> int:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files)  # its log's blocks are reserved ahead


def _answers(admin: int, content: Any) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=30)
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", "/deployments", json.dumps(content), headers)
        return connection.getresponse().status < 300
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    serve(Restate())
