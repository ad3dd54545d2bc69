"""Limits with real workers: the rate that they keep together, and what killed ones held."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.settings import Settings

CAPABILITIES = """
import fcntl, os, time
from pathlib import Path
from orch import capability

HERE = Path(__file__).parent

def note(name: str, text: str) -> None:
    fd = os.open(HERE / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{text}\\n".encode())
    os.close(fd)

@capability("rated", rate_limit="50/s")
def rated() -> None:
    note("starts", str(time.time()))

@capability("render")
def render(seconds: float) -> None:
    for number in range(3):
        with open(HERE / f"card{number}", "w") as card:
            try:
                fcntl.flock(card, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            note("holders", str(os.getpid()))
            time.sleep(seconds)
            return
    note("violations", str(os.getpid()))
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "limited.py").write_text(CAPABILITIES)
    return tmp_path / "limited.py"


def numbers(path: Path) -> list[float]:
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def in_a_map(items: int, **step: Any) -> dict[str, Any]:
    of = {"items": "$.input.items", "maxConcurrency": items, "steps": [{"id": "a", **step}]}
    return {"name": "m", "steps": [{"id": "m", "type": "map", "map": of}]}


def start_over(count: int, lasting: float, begun: list[float]) -> int:
    """The most starts in any ``lasting`` seconds."""
    return max(sum(at <= each < at + lasting for each in begun) for at in begun)


@pytest.mark.slow
def test_workers_keep_a_rate_together(redis: Redis, settings: Settings, module: Path) -> None:
    with (
        Orchestrator(settings) as orchestrator,
        orchestrator.workers(include=[str(module)], count=2, concurrency=2),
    ):
        orchestrator.define_workflow("w", in_a_map(120, capability="rated"))
        ended = orchestrator.start_workflow("w", {"items": [0] * 120}).wait(timeout=60)
        assert ended.status == "completed"
    begun = sorted(numbers(module.parent / "starts"))
    assert len(begun) == 120
    assert start_over(120, 1.0, begun) <= 50 + 20 + 10  # what is ahead, what was made up for


@pytest.mark.slow
def test_three_cards_are_never_used_by_four_steps_kills_included(
    redis: Redis, settings: Settings, module: Path, wait_until: Callable[..., Any]
) -> None:
    here = module.parent
    given = settings.model_copy(update={"resources": {"card": 3}})
    environment = {"ORCH_RESOURCES": json.dumps(given.resources)}
    with (
        Orchestrator(given) as orchestrator,
        orchestrator.workers(
            include=[str(module)], count=3, concurrency=3, environment=environment
        ) as workers,
    ):
        step = {"capability": "render", "input": {"seconds": 0.1}, "resources": {"card": 1}}
        orchestrator.define_workflow("w", in_a_map(40, **step))
        execution = orchestrator.start_workflow("w", {"items": [0] * 40})
        for number, process in enumerate(workers.processes[:2]):
            done = len(numbers(here / "holders"))
            wait_until(lambda done=done: len(numbers(here / "holders")) > done + 4, timeout=60)
            assert number < 2
            os.killpg(process.pid, signal.SIGKILL)
        assert execution.wait(timeout=90).status == "completed"
        assert numbers(here / "violations") == []
        assert wait_until(lambda: not orchestrator.runtime.journal.read_requests())
        told = orchestrator.show_resource("card")
        assert (told.held, told.waiting) == (0, 0)
        counted = orchestrator.plan_capacity("card", hours=2)
        assert counted.peak == 3


@pytest.mark.slow
def test_who_dies_between_taking_and_giving_back_loses_nobody_anything(
    redis: Redis, settings: Settings, module: Path, wait_until: Callable[..., Any]
) -> None:
    here = module.parent
    points = ["limits_taken", "limits_waits", "limits_held", "limits_granted"]
    armed = ",".join(f"{point}:{here / point}" for point in points)
    environment = {"ORCH_RESOURCES": '{"card": 3}', "ORCH_FAULT_POINT": armed}
    with (
        Orchestrator(settings) as orchestrator,
        orchestrator.workers(
            include=[str(module)], count=2, concurrency=4, environment=environment
        ),
    ):
        step = {"capability": "render", "input": {"seconds": 0.05}, "resources": {"card": 1}}
        orchestrator.define_workflow("w", in_a_map(20, **step))
        execution = orchestrator.start_workflow("w", {"items": [0] * 20})
        assert execution.wait(timeout=90).status == "completed"
        assert [point for point in points if not (here / point).exists()] == []
        assert numbers(here / "violations") == []
        assert wait_until(lambda: not orchestrator.runtime.journal.read_requests(), timeout=40)
