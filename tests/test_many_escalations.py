"""What very many open escalations cost: memory, and a look now and then, and no worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.settings import Settings
from tests.conftest import LONG
from tests.test_idle import COMMANDS, calls, cpu, processes, waiting_for_messages

APPROVALS, FAILED = (10_000, 1_000) if LONG else (300, 60)
SECONDS = 20.0 if LONG else 5.0
CPU = 0.06
"""Of a core; two hundredths on a machine that has nothing else to do."""
BYTES = 4_000
LATENCY = 1.0 + (APPROVALS + FAILED) / 1000
"""Seconds for all of them."""

BREAKS = """
from orch import capability

@capability("breaks")
def breaks() -> None:
    raise ConnectionError("no way to the host")
"""
LADDER = [{"human": {"queue": "reviewers", "within": "8h", "remindEvery": "2h"}}, "fail"]
ASK = {"id": "ask", "capability": "human_approval", "input": {"choices": ["yes", "no"]}}
DEPLOY = {
    "id": "deploy", "capability": "breaks", "retry": {"maxAttempts": 1}, "escalation": LADDER
}  # fmt: skip
NAP = {"id": "nap", "type": "wait", "wait": {"duration": 1}}


@pytest.mark.slow
@pytest.mark.timeout(900 if LONG else 120)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
def test_open_escalations_hold_no_worker_and_cost_it_next_to_nothing(
    redis: Redis, settings: Settings, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    code = tmp_path / "breaking.py"
    code.write_text(BREAKS)
    with Orchestrator(settings) as orchestrator:
        for name, step in {"ask": ASK, "deploy": DEPLOY, "nap": NAP}.items():
            orchestrator.define_workflow(name, {"name": name, "steps": [step]})
        with orchestrator.workers(include=[str(code)], concurrency=1) as workers:
            assert orchestrator.start_workflow("nap").wait(timeout=30).status == "completed"
            memory = int(redis.info("memory")["used_memory"])  # type: ignore[index, call-overload]
            asked = [("ask", None, {})] * APPROVALS + [("deploy", None, {})] * FAILED
            orchestrator.start_workflows(asked)
            keys = orchestrator.runtime.journal.keys
            count = APPROVALS + FAILED

            def settled() -> bool:
                partitions = range(keys.partitions)
                told = not any(redis.exists(keys.outbox(each)) for each in partitions)
                return told and waiting_for_messages(redis) == 1

            wait_until(lambda: len(orchestrator.list_escalations()) == count, timeout=count / 20)
            wait_until(settled, timeout=count / 20)
            memory = int(redis.info("memory")["used_memory"]) - memory  # type: ignore[index, call-overload]
            assert memory / count < BYTES

            pids = processes(workers.processes[0].pid)
            before, used, begun = calls(redis), cpu(pids), time.monotonic()
            wait_until(lambda: time.monotonic() - begun > SECONDS, timeout=2 * SECONDS)
            after, used = calls(redis), cpu(pids) - used
            passed = time.monotonic() - begun
            made = {n: after[n] - before.get(n, 0) for n in after if n != "zrange"}
            a_second = sum(made.values()) / passed  # a look is a script: one `zrange` a partition
            print(f"{a_second:.1f} commands/s, {used / passed:.2%} of a core, {memory / count} B")
            assert a_second <= COMMANDS + 5, made
            assert used / passed <= CPU

            begun = time.monotonic()
            assert orchestrator.escalation_statistics().open == count
            assert len(orchestrator.list_escalations("reviewers")) == FAILED
            assert time.monotonic() - begun < LATENCY
            assert orchestrator.start_workflow("nap").wait(timeout=10).status == "completed"
    redis.flushall()  # they are open still
