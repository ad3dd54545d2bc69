"""Beats that die in the middle of a tick: each instant starts one execution, and none twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from orch import Orchestrator

from .conftest import FREE_DATABASE, LONG
from .processes import Valkey, wait_until

ROOT = Path(__file__).parent.parent.parent
SECONDS = 60 if LONG else 10
POINTS = ("tick_chosen", "tick_starting", "tick_started")


@pytest.fixture
def orchestrator(server: Valkey) -> Iterator[Orchestrator]:
    with Orchestrator(redis_url=server.url(FREE_DATABASE)) as made:
        made.runtime.journal.redis.flushdb()
        step = {"id": "a", "type": "wait", "wait": {"duration": "P1D"}}
        made.define_workflow("w", {"name": "w", "steps": [step]})
        yield made
        made.runtime.journal.redis.flushdb()


class Beats:
    """Two beats, of which one leads; who dies is replaced."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        self.processes = [self._begin(), self._begin()]
        self.deaths = 0

    def _begin(self) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
        points = ",".join(f"{name}:{self.directory / name}" for name in POINTS)
        return subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "beat", "beat", "-l", "WARNING"],
            cwd=ROOT,
            env={**environment, "ORCH_REDIS_URL": self.url, "ORCH_FAULT_POINT": points},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def tend(self) -> None:
        for place, process in enumerate(self.processes):
            if process.poll() is not None:
                self.deaths += 1
                self.processes[place] = self._begin()

    def kill(self, pid: int) -> None:
        for process in self.processes:
            if process.pid == pid:
                process.kill()
                process.wait()

    def rearm(self) -> None:
        """Let the next one that comes to a point die there, too."""
        for name in POINTS:
            (self.directory / name).unlink(missing_ok=True)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def test_the_leader_is_killed_in_the_middle_of_ticks_and_each_instant_has_one_execution(
    orchestrator: Orchestrator, server: Valkey, tmp_path: Path
) -> None:
    journal = orchestrator.runtime.journal
    beats = Beats(server.url(FREE_DATABASE), tmp_path)
    try:
        wait_until(journal.read_leader)
        orchestrator.add_schedule(
            {
                "name": "often",
                "workflow": "w",
                "every": "1s",
                "overlap": "allow",
                "catchUp": {"limit": 1000, "within": "1h"},
            }
        )
        began, killed = time.monotonic(), 0
        while time.monotonic() - began < SECONDS:
            time.sleep(random.uniform(1.0, 3.0))
            beats.tend()
            leader = journal.read_leader()
            if leader is not None and killed < SECONDS // 6:
                beats.kill(int(leader.rsplit("-", 2)[1]))
                killed += 1
            beats.rearm()
        for name in POINTS:
            (tmp_path / name).touch()  # nobody dies any more
        beats.tend()
        upto = journal.clock()
        wait_until(lambda: last_of(orchestrator) >= upto, within=30)
        assert beats.deaths >= 3
    finally:
        beats.close()
    assert_once(orchestrator, upto)


def last_of(orchestrator: Orchestrator) -> int:
    stored = orchestrator.runtime.journal.read_schedule("often")
    assert stored is not None
    return 0 if stored.progress.pending else stored.progress.last


def assert_once(orchestrator: Orchestrator, upto: int) -> None:
    info = orchestrator.get_schedule("often")
    created = datetime.fromisoformat(info.created).timestamp() * 1000
    expected = range(int(created // 1000 + 1), upto // 1000 + 1)
    found = Counter(
        round(datetime.fromisoformat(str(each.attributes["scheduledFor"])).timestamp())
        for each in orchestrator.list_executions(limit=1000)
    )
    assert max(found.values()) == 1
    assert set(expected) <= set(found)
    assert info.missed == info.skipped == 0
    assert info.started == len(found)


def test_another_beat_leads_within_five_seconds_of_a_kill(
    orchestrator: Orchestrator, server: Valkey, tmp_path: Path
) -> None:
    journal = orchestrator.runtime.journal
    beats = Beats(server.url(FREE_DATABASE), tmp_path)
    try:
        first = wait_until(journal.read_leader)
        wait_until(lambda: len({p.pid for p in beats.processes if p.poll() is None}) == 2)
        time.sleep(2.0)  # the other one comes up
        killed = time.monotonic()
        os.kill(int(first.rsplit("-", 2)[1]), signal.SIGKILL)
        wait_until(lambda: journal.read_leader() not in (None, first), within=20)
        assert time.monotonic() - killed < 5.0
    finally:
        beats.close()
