"""The peers, as the bench sees them: a process each, that is asked and answers."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bench.peers.places import PYTHON, ROOT, leashed, postgres, restate_server
from bench.systems.base import Contestant, Run, cpu_of, family
from orch.journal.journal import open_redis

DATABASE = 5

PATIENCE = 300.0
"""Seconds for an answer."""

WARM_UP = 5
"""Chains that are run when a peer was stopped, before it is measured."""


class Peer(Contestant):
    """An engine that is no part of this project, in an environment of its own."""

    shapes = frozenset({"chain", "fan_out", "map"})
    in_redis = False

    def __init__(self, url: str) -> None:
        self.url = urlunsplit(urlsplit(url)._replace(path=f"/{DATABASE}"))
        self.redis = open_redis(self.url)
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process: subprocess.Popen[str] | None = None

    def missing(self) -> str | None:
        """Why it cannot be run here."""
        return None if PYTHON.exists() else "it is not installed; `make bench PEERS=yes` does it"

    def start(self) -> None:
        self.redis.flushdb()
        self.process = subprocess.Popen(
            leashed([str(PYTHON), "-m", f"bench.peers.{self.name}_driver", self.url]),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,
        )
        self._answer()

    def stop(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self._signal(signal.SIGCONT)
            self.process.stdin.close()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.redis.flushdb()
        self.redis.close()
        self.log.close()

    def wake(self) -> None:
        self._signal(signal.SIGCONT)
        for _ in range(WARM_UP):
            self.run("chain", 2)

    def rest(self) -> None:
        """Stopped, since an idle Restate takes 4 % of a core, and an idle DBOS 3 %."""
        self._signal(signal.SIGSTOP)

    def busy(self) -> list[int]:
        """The processes that are never quite idle."""
        return family(self.processes())

    def _signal(self, number: int) -> None:
        for pid in self.busy():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _ask(self, do: str, **given: Any) -> Any:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **given}) + "\n")
        self.process.stdin.flush()
        return self._answer().get("answer")

    def _answer(self) -> dict[str, Any]:
        assert self.process is not None and self.process.stdout is not None
        answers = self.process.stdout
        ready, _, _ = select.select([answers], [], [], PATIENCE)
        if not ready:  # its next answer would be taken for that of another question
            self.process.kill()
            raise TimeoutError(f"{self.title} did not answer within {PATIENCE:g} s")
        line = answers.readline()
        found: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if "error" in found:
            self.log.seek(0)
            tail = " ".join(self.log.read().split())[-300:]
            raise RuntimeError(f"{found['error']} {tail}".strip())
        return found

    def run(self, shape: str, size: int, times: int = 1) -> Run:
        return Run(**self._ask("run", shape=shape, size=size, times=times))

    def kept(self, shape: str, size: int, times: int) -> float:
        return float(self._ask("kept", shape=shape, size=size, times=times))

    def processes(self) -> list[int]:
        assert self.process is not None
        return [self.process.pid]

    def cpu(self) -> float:
        own = cpu_of(self.processes())
        if not self.in_redis:
            return own
        server: Any = self.redis.info("cpu")
        return own + float(server["used_cpu_user"] + server["used_cpu_sys"])


class Killable(Peer):
    """One that has two workers, so that one of them may be killed."""

    shapes = Peer.shapes | {"hold"}

    def recover(self, links: int, patience: float) -> float | None:
        lost = self._ask("recover", links=links, patience=patience)
        return None if lost is None else float(lost)


class Dramatiq(Killable):
    name, title = "dramatiq", "Dramatiq"
    in_redis = True


class Restate(Killable):
    name, title = "restate", "Restate"

    def missing(self) -> str | None:
        no_server = None if restate_server() else "its server is not installed; npm brings it"
        return super().missing() or no_server


class Dbos(Peer):
    name, title = "dbos", "DBOS"
    share = 0.25

    def busy(self) -> list[int]:
        """PostgreSQL does nothing by itself; stopped processes of it would outlive their master."""
        return self.processes()

    def missing(self) -> str | None:
        no_server = None if postgres() else "PostgreSQL is not installed"
        return super().missing() or no_server


def peers(url: str, skipped: dict[str, str]) -> Iterator[Peer]:
    """Those that can be run here; why not, for the others."""
    for kind in (Dramatiq, Restate, Dbos):
        peer = kind(url)
        if why := peer.missing():
            skipped[peer.name] = why
        else:
            yield peer
