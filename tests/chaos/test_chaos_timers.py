"""All that runs is killed while steps wait: what is due meanwhile fires, the rest waits on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from orch import Orchestrator

from .conftest import Measure
from .processes import Worker
from .test_chaos_server import BY_DIRECTORY, server_pid

QUARTER = 90 * 24 * 3600 * 1000


def wait(duration: Any) -> dict[str, Any]:
    return {"name": "w", "steps": [{"id": "w", "type": "wait", "wait": {"duration": duration}}]}


def test_waits_outlive_the_server_its_keeper_and_all_workers(
    tmp_path: Path, measure: Measure
) -> None:
    data = tmp_path / ".orch"
    with Orchestrator(data_dir=data) as orchestrator:
        worker = Worker(orchestrator, "prefork", tmp_path, ORCH_REDIS_URL=BY_DIRECTORY)
        orchestrator.define_workflow("w", wait("$.input"))
        over = orchestrator.start_workflow("w", 3000).id
        later = orchestrator.start_workflow("w", 12_000).id
        months = orchestrator.start_workflow("w", QUARTER).id
        due = {id: due_of(orchestrator, id) for id in (over, later, months)}
        worker.kill()
        state = json.loads((data / "server.json").read_text())
        for pid in (state["keeper"], server_pid(orchestrator.server.url)):
            os.kill(pid, signal.SIGKILL)
    while time.time() * 1000 <= due[over]:
        time.sleep(0.05)  # it comes due while nothing at all runs
    with Orchestrator(data_dir=data) as orchestrator:
        worker = Worker(orchestrator, "prefork", tmp_path, ORCH_REDIS_URL=BY_DIRECTORY)
        up = time.monotonic()
        try:
            assert orchestrator.execution(over).wait(30).status == "completed"
            measure("all killed, up again -> timer that was over", time.monotonic() - up)
            assert orchestrator.execution(later).wait(30).status == "completed"
            assert orchestrator.get_execution_status(months).status == "running"
            assert due_of(orchestrator, months) == due[months]
            journal = orchestrator.runtime.journal
            watch = journal.keys.watch(journal.keys.partition(months))
            assert journal.redis.zscore(watch, f"{months} w") == due[months]
        finally:
            worker.stop()


def due_of(orchestrator: Orchestrator, id: str) -> int:
    found = orchestrator.runtime.journal.read_state(id, "w")
    assert found is not None and found[1].due is not None
    return found[1].due
