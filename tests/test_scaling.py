"""What waits for capabilities, as `orch scale`, Prometheus and KEDA see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from orch import Orchestrator
from orch.embedded import ephemeral
from orch.errors import InputError, SettingsError
from orch.monitoring.advice import Aim
from orch.monitoring.exporter import serve
from orch.monitoring.scaling import CapabilityLoad
from orch.settings import Settings

CODE = """
import time
from orch import capability

@capability("nap")
def nap(seconds=0.05):
    time.sleep(seconds)
"""


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        made.define_workflow("w", {"name": "w", "steps": [{"id": "a", "capability": "nap"}]})
        yield made


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "scaling_code.py"
    path.write_text(CODE)
    return str(path)


def load_of(orchestrator: Orchestrator, aim: Aim | None = None) -> CapabilityLoad:
    (load,) = orchestrator.get_scaling(["nap"], aim)
    return load


def test_steps_wait_of_any_priority_and_the_oldest_is_told(orchestrator: Orchestrator) -> None:
    for priority in (0, 0, 9):
        orchestrator.start_workflow("w", priority=priority)
    load = load_of(orchestrator)
    assert (load.depth, load.workers, load.slots, load.busy) == (3, 0, 0, 0)
    assert load.oldest is not None and 0 <= load.oldest < 30
    assert (load.duration, load.drain, load.advised) == (None, None, 1)


def test_a_queue_that_nobody_serves_is_found_by_its_messages(orchestrator: Orchestrator) -> None:
    assert orchestrator.get_scaling() == []
    orchestrator.start_workflow("w")
    assert [load.capability for load in orchestrator.get_scaling()] == ["nap"]


def test_a_message_whose_step_is_over_is_not_the_oldest(orchestrator: Orchestrator) -> None:
    gone = orchestrator.start_workflow("w")
    orchestrator.terminate_workflow(gone.id)
    assert load_of(orchestrator).oldest is None
    orchestrator.start_workflow("w")
    assert load_of(orchestrator).oldest is not None


def test_workers_that_live_tell_how_long_it_takes(
    orchestrator: Orchestrator, code: str, wait_until: Callable[..., object]
) -> None:
    with orchestrator.workers(include=[code], queues=["nap"], concurrency=2):
        for _ in range(6):
            orchestrator.start_workflow("w")
        wait_until(lambda: (load_of(orchestrator).duration or 0) >= 0.05)
        wait_until(lambda: load_of(orchestrator).depth == 0)
        load = load_of(orchestrator)
    assert (load.workers, load.slots) == (1, 2)
    assert load.drain == 0
    assert load.rate is not None


def test_a_backlog_is_drained_by_as_many_workers_as_it_takes(
    orchestrator: Orchestrator, code: str, wait_until: Callable[..., object]
) -> None:
    with orchestrator.workers(include=[code], concurrency=1) as own:
        orchestrator.start_workflow("w").wait(timeout=30)
        wait_until(lambda: load_of(orchestrator).duration is not None)
        own.processes[0].send_signal(signal.SIGSTOP)  # believed for a while
        for _ in range(100):
            orchestrator.start_workflow("w")
        load = load_of(orchestrator, Aim(target=1.0))
        own.processes[0].send_signal(signal.SIGCONT)
    assert load.duration is not None and load.drain is not None
    assert load.drain == pytest.approx(load.depth * load.duration)
    assert load.advised >= load.depth * load.duration - 1


@pytest.mark.parametrize("wrong", [{"target": 0}, {"slots": 0}, {"least": 3, "most": 2}])
def test_an_aim_that_nobody_can_have_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Aim(**wrong)


# Over HTTP


@pytest.fixture
def exporter(orchestrator: Orchestrator) -> Iterator[str]:
    with serve(orchestrator.runtime, "127.0.0.1", 0, Aim()) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_prometheus_reads_the_same_figures(orchestrator: Orchestrator, exporter: str) -> None:
    for _ in range(3):
        orchestrator.start_workflow("w")
    status, text = get(f"{exporter}/metrics")
    assert status == 200
    samples = {
        (sample.name, sample.labels.get("capability", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["orch_queue_depth", "nap"] == 3
    assert samples["orch_workers", "nap"] == 0
    assert samples["orch_workers_advised", "nap"] == 1
    assert samples["orch_queue_oldest_seconds", "nap"] >= 0
    assert ("orch_queue_drain_seconds", "nap") not in samples  # nobody knows


def test_calls_are_counted_by_worker(
    orchestrator: Orchestrator, exporter: str, code: str, wait_until: Callable[..., object]
) -> None:
    with orchestrator.workers(include=[code], concurrency=1):
        orchestrator.start_workflow("w").wait(timeout=30)
        wait_until(lambda: 'orch_calls_total{capability="nap",' in get(f"{exporter}/metrics")[1])


def test_keda_is_told_how_many_workers_serve_several_capabilities(
    orchestrator: Orchestrator, exporter: str
) -> None:
    orchestrator.start_workflow("w")
    said = {"capabilities": ["nap", "other"], "workers": 1}
    assert get(f"{exporter}/scale/nap,other") == (200, json.dumps(said))
    assert json.loads(get(f"{exporter}/scale/other")[1])["workers"] == 0
    (only,) = json.loads(get(f"{exporter}/scale")[1])
    assert (only["capability"], only["depth"]) == ("nap", 1)


def test_a_path_that_is_not_there_is_named(exporter: str) -> None:
    status, text = get(f"{exporter}/scal")
    assert status == 404 and "/scal;" in text


def test_while_redis_is_away_a_scrape_fails_with_the_reason(tmp_path: Path) -> None:
    with (
        ephemeral() as server,
        Orchestrator(redis_url=server.url) as orchestrator,
        serve(orchestrator.runtime, "127.0.0.1", 0, Aim()) as http,
    ):
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        os.kill(server.pid, signal.SIGKILL)
        for path in ("metrics", "scale", "scale/nap"):
            status, text = get(f"http://127.0.0.1:{http.server_port}/{path}")
            assert status == 503 and "does not answer" in text
        http.shutdown()
        thread.join()


def test_a_port_that_is_taken_is_said(orchestrator: Orchestrator, exporter: str) -> None:
    port = int(exporter.rpartition(":")[2])
    with pytest.raises(SettingsError, match=f"127.0.0.1:{port}"):
        serve(orchestrator.runtime, "127.0.0.1", port, Aim())


def test_the_commands_show_and_serve_it(orchestrator: Orchestrator, settings: Settings) -> None:
    orchestrator.start_workflow("w")
    redis = ["--redis", str(settings.redis_url)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
    orch = [sys.executable, "-m", "orch"]
    shown = subprocess.run(
        [*orch, "scale", *redis], env=environment, capture_output=True, text=True, check=True
    )
    assert "nap" in shown.stdout and "advised" in shown.stdout
    server = subprocess.Popen(
        [*orch, "metrics", "--port", "0", "--json", *redis],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        assert get(f"{url}/scale/nap")[0] == 200
    finally:
        server.terminate()
        assert server.wait(10) == 0
        server.stdout.close()
