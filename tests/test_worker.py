"""The worker's entry point, as `celery -A worker worker` finds it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orch import Orchestrator
from orch.embedded import ephemeral

ROOT = Path(__file__).parent.parent
CAPABILITIES = """
from celery import shared_task
from orch import capability

@capability("shout")
def shout(text: str) -> str:
    return text.upper()

@capability("later")
async def later(text: str) -> str:
    return text + " later"

@shared_task(name="proj.tasks.resize")
def resize(width, height=2):
    return {"area": width * height}
"""


@pytest.fixture
def url() -> Iterator[str]:
    with ephemeral() as server:
        yield server.url


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "shouting.py"
    path.write_text(CAPABILITIES)
    return path


def celery_worker(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a worker that is expected to end by itself."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "worker", *arguments],
        cwd=ROOT,
        env={**environment, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_worker_without_a_server_says_what_to_set_or_start() -> None:
    ended = celery_worker(ORCH_REDIS_URL="redis://:secret@127.0.0.1:1/0")
    assert ended.returncode == 4
    assert "redis://:***@127.0.0.1:1/0 does not answer" in ended.stderr
    assert "set ORCH_REDIS_URL=redis://host:6379/0" in ended.stderr
    assert "secret" not in ended.stderr


def test_a_worker_with_another_partition_count_refuses_to_start(url: str) -> None:
    Orchestrator(redis_url=url, partitions=8).close()
    ended = celery_worker(ORCH_REDIS_URL=url)
    assert ended.returncode == 4
    assert "first used with 8 partitions" in ended.stderr
    assert "ORCH_PARTITIONS=8" in ended.stderr


def test_a_module_that_cannot_be_imported_is_named(url: str) -> None:
    ended = celery_worker(ORCH_REDIS_URL=url, ORCH_INCLUDE="no.such.module")
    assert ended.returncode == 2
    assert "'no.such.module'" in ended.stderr
    assert "ORCH_INCLUDE" in ended.stderr


def test_without_q_a_worker_serves_all_that_it_has_code_for(url: str, module: Path) -> None:
    with (
        Orchestrator(redis_url=url) as orchestrator,
        orchestrator.workers(include=[str(module)], concurrency=1, pool="solo"),
    ):
        (worker,) = orchestrator.runtime.journal.live_workers()
    assert {"shout", "later", "proj.tasks.resize", "command_execution"} <= set(worker["queues"])


def test_with_q_it_serves_those_and_warns_of_one_that_it_has_no_code_for(
    url: str, module: Path, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    with (
        Orchestrator(redis_url=url) as orchestrator,
        orchestrator.workers(
            include=[str(module)], queues=["shout", "unknown"], pool="solo", log=log
        ),
    ):
        (worker,) = orchestrator.runtime.journal.live_workers()
    assert worker["queues"] == ["escalation", "shout", "unknown"]
    assert "no code for a capability 'unknown'" in log.read_text()


def test_functions_coroutines_and_celery_tasks_are_steps(url: str, module: Path) -> None:
    steps = [
        {"id": "a", "capability": "shout", "input": {"text": "x"}, "output": "a", "next": "b"},
        {
            "id": "b",
            "capability": "later",
            "input": {"text": "$.variables.a"},
            "output": "b",
            "next": "c",
        },
        {"id": "c", "task": "proj.tasks.resize", "input": [4], "output": "c"},
    ]
    with Orchestrator(redis_url=url) as orchestrator:
        orchestrator.define_workflow("kinds", {"name": "Kinds", "steps": steps})
        with orchestrator.workers(include=[str(module)], pool="threads"):
            ended = orchestrator.start_workflow("kinds").wait(timeout=30)
    assert ended.variables == {"a": "X", "b": "X later", "c": {"area": 8}}


@pytest.mark.parametrize(
    ("returned", "name"),
    [
        ("object()", "OutputNotJSON"),
        ("float('nan')", "OutputNotJSON"),
        ("'x' * 2_000_000", "OutputTooLarge"),
    ],
)
def test_an_output_that_cannot_be_kept_fails_the_step_by_name(
    url: str, tmp_path: Path, returned: str, name: str
) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        f"from orch import capability\n@capability('odd')\ndef odd():\n    return {returned}\n"
    )
    with Orchestrator(redis_url=url) as orchestrator:
        orchestrator.define_workflow(
            "odd", {"name": "o", "steps": [{"id": "a", "capability": "odd"}]}
        )
        with orchestrator.workers(include=[str(path)], pool="solo", queues=["odd"]):
            ended = orchestrator.start_workflow("odd").wait(timeout=30)
    assert ended.status == "failed"
    assert ended.error is not None and ended.error["name"] == name


def test_a_capability_that_nobody_serves_is_said_at_the_start_and_in_the_status(url: str) -> None:
    with Orchestrator(redis_url=url) as orchestrator:
        steps = [{"id": "a", "capability": "lonely"}]
        orchestrator.define_workflow("lonely", {"name": "l", "steps": steps})
        execution = orchestrator.start_workflow("lonely")
        command = "celery -A worker worker -Q lonely"
        assert command in execution.warnings[0]
        assert command in execution.status().waiting_for["a"]


def test_a_step_that_hangs_is_ended_at_its_timeout_and_its_process_killed(
    url: str, tmp_path: Path
) -> None:
    path = tmp_path / "hanging.py"
    path.write_text(
        "import os, time\n"
        "from orch import capability\n"
        "@capability('hang')\n"
        "def hang():\n"
        "    while True:\n"
        "        try:\n"
        "            time.sleep(60)\n"
        "        except BaseException:\n"
        "            pass\n"
        "@capability('quick')\n"
        "def quick():\n"
        "    return os.getpid()\n"
    )
    hanging = {"name": "h", "steps": [{"id": "a", "capability": "hang", "timeout": 500}]}
    quick = {"name": "q", "steps": [{"id": "a", "capability": "quick"}]}
    with Orchestrator(redis_url=url) as orchestrator:
        orchestrator.define_workflow("hanging", hanging)
        orchestrator.define_workflow("quick", quick)
        with orchestrator.workers(include=[str(path)], queues=["hang", "quick"], concurrency=1):
            ended = orchestrator.start_workflow("hanging").wait(timeout=30)
            assert ended.error is not None and ended.error["name"] == "StepTimeout"
            after = orchestrator.start_workflow("quick").wait(timeout=30)
    assert after.status == "completed"  # the one slot of the worker is free again


@pytest.mark.parametrize(
    "pool", ["prefork", pytest.param("threads", marks=pytest.mark.long), "solo"]
)
def test_a_worker_that_is_told_to_end_finishes_its_step_and_nobody_takes_it_away(
    url: str, pool: str, wait_until: Callable[..., object]
) -> None:
    """The step takes longer than the sign of life of a worker that said it was gone."""
    steps = [{"id": "a", "capability": "command_execution", "input": {"command": ["sleep", "4"]}}]
    with Orchestrator(redis_url=url) as orchestrator:
        orchestrator.define_workflow("slow", {"name": "s", "steps": steps})
        ending = orchestrator.workers(queues=["command_execution"], pool=pool, concurrency=1)
        with ending, orchestrator.workers(queues=["page_operations"], pool="solo"):
            execution = orchestrator.start_workflow("slow")
            wait_until(lambda: execution.status().steps[0].status == "running")
            ending.processes[0].terminate()
            ended = execution.wait(timeout=30)
            wait_until(lambda: ending.processes[0].poll() is not None, timeout=30)
            left = [worker["pid"] for worker in orchestrator.runtime.journal.live_workers()]
        events = [entry.event for entry in execution.history()]
    assert ended.status == "completed"
    assert events == ["started", "claimed", "completed", "ended"]
    assert ending.processes[0].pid not in left


PARENT = """
import sys, time
from orch import Orchestrator
orchestrator = Orchestrator()
orchestrator.define_workflow("slow", {"name": "s", "steps": [
    {"id": "a", "capability": "command_execution", "input": {"command": ["sleep", "3"]}}]})
orchestrator.workers(queues=["command_execution"]).start()
execution = orchestrator.start_workflow("slow")
while execution.status().steps[0].status != "running":
    time.sleep(0.05)
print(execution.id, *(w["pid"] for w in orchestrator.runtime.journal.live_workers()), flush=True)
time.sleep(60)
"""


def test_when_the_parent_is_killed_its_workers_settle_what_they_run_and_all_ends(
    tmp_path: Path, wait_until: Callable[..., object]
) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        id, worker = parent.stdout.readline().split()
        parent.kill()
    wait_until(lambda: not psutil.pid_exists(int(worker)), timeout=30)
    with Orchestrator(data_dir=tmp_path / ".orch") as orchestrator:
        assert orchestrator.get_execution_status(id).status == "completed"
        server = orchestrator.runtime.journal.redis.info("server")["process_id"]
    wait_until(lambda: not psutil.pid_exists(server), timeout=15)
