"""One worker waits for hundreds of coroutines at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from redis import Redis

from orch import Orchestrator

MODULE = """
import asyncio
from orch import capability

@capability("pause")
async def pause(ms: int) -> int:
    await asyncio.sleep(ms / 1000)
    return ms
"""

COUNT = 200
LIMIT = 3.0
"""Seconds for so many steps of one second each."""


@pytest.mark.slow
def test_two_hundred_steps_of_a_second_end_within_three(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    module = tmp_path / "waiting.py"
    module.write_text(MODULE)
    mapped = {
        "items": "$.input",
        "maxConcurrency": COUNT,
        "capability": "pause",
        "input": {"ms": 1000},
    }
    times: list[float] = []
    with Orchestrator(redis_url=redis_url) as orchestrator:
        definition = {"name": "Many", "steps": [{"id": "all", "type": "map", "map": mapped}]}
        orchestrator.define_workflow("many", definition)
        workers = orchestrator.workers(include=[str(module)], pool="threads", concurrency=COUNT)
        with workers:
            # Of eight measurements the best one counts: CPU time is not free of neighbours.
            while len(times) < 8 and min(times, default=LIMIT) >= LIMIT:
                begun = time.monotonic()
                ended = orchestrator.start_workflow("many", list(range(COUNT))).wait(timeout=60)
                times.append(time.monotonic() - begun)
                assert ended.status == "completed"
    assert min(times) < LIMIT, times
