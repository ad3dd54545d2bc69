"""The server dies in the midst of it: one that is named, and the embedded one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from pathlib import Path

from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.errors import Unreachable
from orch.execution import Execution

from .conftest import LONG, Measure
from .processes import System, Worker, chain, wait_until

EXECUTIONS = 200
STEPS = 3
DEADLINE = 120.0
BY_DIRECTORY = ""
"""As ORCH_REDIS_URL: the worker finds the embedded server as one does that is started by hand."""


def keep_starting(system: System, name: str, count: int, into: list[Execution]) -> None:
    """Start executions as a careful submitter does: by key, again when Redis is away."""
    for number in range(count):
        while True:
            try:
                into.append(system.start(name, idempotency_key=str(number)))
                break
            except Unreachable:
                time.sleep(0.05)


def test_executions_end_once_although_redis_is_killed_in_the_midst_of_them(
    own_server: System, measure: Measure
) -> None:
    system = own_server
    name = system.define("chain", *chain(STEPS))
    system.staff(2)
    executions: list[Execution] = []
    submitter = threading.Thread(
        target=keep_starting, args=(system, name, EXECUTIONS, executions), daemon=True
    )
    submitter.start()
    for share in (0.2, 0.6) if LONG else (0.4,):
        wait_until(lambda share=share: len(system.all_runs()) > EXECUTIONS * STEPS * share)
        system.server.kill()
        system.server.start()
    up = time.monotonic()
    submitter.join(DEADLINE)
    assert len({execution.id for execution in executions}) == EXECUTIONS

    for execution in executions:
        assert execution.wait(DEADLINE).status == "completed"

    measure(f"Redis restarted amid {EXECUTIONS} executions -> all ended", time.monotonic() - up)
    for execution in executions:
        system.assert_committed_once(execution, [f"s{n}" for n in range(STEPS)])
    assert all(worker.alive for worker in system.workers), "a worker ended with its server"


def test_who_waits_goes_on_to_wait_while_redis_is_away(own_server: System) -> None:
    system = own_server
    name = system.define("chain", *chain(STEPS))
    executions = [system.start(name) for _ in range(2)]  # nobody does them yet
    found: list[str] = []
    away: list[str] = []
    ended = system.orchestrator.manager.ended

    def noted(execution: str) -> bool:
        try:
            return ended(execution)
        except Unreachable:
            away.append(execution)
            raise

    system.orchestrator.manager.ended = noted  # type: ignore[method-assign]

    async def wait_in_loop() -> str:
        async with AsyncOrchestrator(system.orchestrator.settings) as orchestrator:
            return (await orchestrator.execution(executions[1].id).wait(DEADLINE)).status

    waiting = [
        threading.Thread(target=lambda: found.append(executions[0].wait(DEADLINE).status)),
        threading.Thread(target=lambda: found.append(asyncio.run(wait_in_loop()))),
    ]
    for thread in waiting:
        thread.start()

    def listened_to(execution: Execution) -> bool:
        return bool(system.server.client.pubsub_channels(f"*{execution.id}"))

    wait_until(lambda: all(map(listened_to, executions)), what="both are waited for")
    system.server.kill()
    wait_until(lambda: away, what="they look while there is nothing to be found")
    assert all(thread.is_alive() for thread in waiting) and not found
    system.server.start()
    wait_until(lambda: all(map(listened_to, executions)), what="both are waited for again")
    system.staff(1)
    for thread in waiting:
        thread.join(DEADLINE)
    assert found == ["completed"] * 2


def test_a_subscriber_misses_nothing_although_redis_is_killed(own_server: System) -> None:
    system = own_server
    name = system.define("followed", *chain(STEPS))
    system.staff(1)
    ended: list[str] = []
    with system.orchestrator.subscribe_to_events(
        {"workflow": name, "event": "ended"}, lambda event: ended.append(event.execution)
    ):
        executions: list[Execution] = []
        submitter = threading.Thread(
            target=keep_starting, args=(system, name, 40, executions), daemon=True
        )
        submitter.start()
        wait_until(lambda: len(ended) > 5)
        system.server.kill()
        system.server.start()
        submitter.join(DEADLINE)
        for execution in executions:
            execution.wait(DEADLINE)
        # What Redis had not yet written when it was killed happened again, and is told again.
        # It may also be told of a gap: the entry from which it went on is among what was lost.
        wait_until(lambda: set(ended) - {""} == {execution.id for execution in executions})


def test_workers_go_on_when_the_embedded_server_was_killed(
    tmp_path: Path, measure: Measure
) -> None:
    data = tmp_path / ".orch"
    with Orchestrator(data_dir=data) as orchestrator:
        worker = Worker(orchestrator, "prefork", tmp_path, ORCH_REDIS_URL=BY_DIRECTORY)
        try:
            orchestrator.define_workflow("chain", {"name": "chain", "steps": chain(STEPS)})
            assert orchestrator.start_workflow("chain").wait(DEADLINE).status == "completed"
            before = server_pid(orchestrator.server.url)
            os.kill(before, signal.SIGKILL)
            killed = time.monotonic()
            execution = wait_until(lambda: started(orchestrator), what="the server is back")
            assert execution.wait(DEADLINE).status == "completed"
            measure("embedded server killed -> next execution ended", time.monotonic() - killed)
            assert server_pid(orchestrator.server.url) != before
            assert worker.alive
        finally:
            worker.stop()


def test_a_worker_brings_back_an_embedded_server_whose_keeper_was_killed_too(
    tmp_path: Path, measure: Measure
) -> None:
    data = tmp_path / ".orch"
    with Orchestrator(data_dir=data) as orchestrator:
        worker = Worker(orchestrator, "prefork", tmp_path, ORCH_REDIS_URL=BY_DIRECTORY)
        try:
            orchestrator.define_workflow("chain", {"name": "chain", "steps": chain(STEPS)})
            state = json.loads((data / "server.json").read_text())
            for pid in (state["keeper"], server_pid(orchestrator.server.url)):
                os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            execution = wait_until(lambda: started(orchestrator), what="the server is back")
            assert execution.wait(DEADLINE).status == "completed"
            measure("embedded server and keeper killed -> ended", time.monotonic() - killed)
            assert worker.alive
        finally:
            worker.stop()


def started(orchestrator: Orchestrator) -> Execution | None:
    try:
        return orchestrator.start_workflow("chain", idempotency_key="after the fall")
    except Unreachable:
        return None


def server_pid(url: str) -> int:
    client = Redis.from_url(url)
    try:
        return int(client.info("server")["process_id"])
    finally:
        client.close()
