"""Restate: its server with a store of its own, and a service of two processes."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.peers.driver import Driver, serve, wait_until
from bench.peers.places import free_port, leashed, restate_server

HANDLERS = {"chain": "chain", "fan_out": "fan_out", "map": "fan_out"}


class Restate(Driver):
    """A handle is the id of an invocation."""

    server: subprocess.Popen[bytes] | None = None
    service: subprocess.Popen[bytes] | None = None

    def start(self, url: str, folder: Path) -> None:
        program = restate_server()
        assert program is not None
        node, ingress, admin, service = (free_port() for _ in range(4))
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
        command = [sys.executable, "-m", "hypercorn", "bench.peers.restate_app:app"]
        command += ["--workers", "2", "--bind", f"127.0.0.1:{service}", "--log-level", "WARNING"]
        self.service = subprocess.Popen(leashed(command), stdout=2, start_new_session=True)
        self.ingress = http.client.HTTPConnection("127.0.0.1", ingress, timeout=300)
        content = {"uri": f"http://127.0.0.1:{service}", "force": True}
        wait_until(lambda: _answers(admin, content), 40, "Restate did not find its service")
        wait_until(self._runs, 40, "Restate did not run its service")

    def _runs(self) -> bool:
        try:
            self._ask("POST", "/Bench/chain", 1)
        except (OSError, RuntimeError, http.client.HTTPException):
            self.ingress.close()
            return False
        return True

    def stop(self) -> None:
        for process in (self.service, self.server):
            if process is not None:
                process.terminate()
                process.wait(30)

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
