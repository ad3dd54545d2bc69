"""Nodes for pytest-celery: containers where a Docker daemon answers, else local processes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import docker
import pytest
from celery import Celery
from docker.errors import DockerException
from pytest_celery import (
    DEFAULT_WORKER_CONTAINER_TIMEOUT,
    CeleryTestWorker,
    CeleryWorkerCluster,
    CeleryWorkerContainer,
    RedisContainer,
    RedisTestBackend,
    RedisTestBroker,
)
from pytest_docker_tools import build, container, fxtr, volume

from orch import Orchestrator

from .local import ROOT, LocalRedis, LocalWorker

STEPS = Path(__file__).with_name("steps.py")
IN_CONTAINER = "/steps"


@cache
def docker_answers() -> bool:
    scheme, _, path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("://")
    with socket.socket(socket.AF_UNIX) as probe:  # Docker's client leaks one when nobody answers
        if scheme == "unix" and probe.connect_ex(path) != 0:
            return False
    client = docker.APIClient(timeout=5)
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


def worker_command(name: str) -> list[str]:
    command = ["celery", "-A", "worker", "worker", "-n", f"{name}@%h", "-c", "2", "-l", "INFO"]
    return [*command, "--without-gossip", "--without-mingle"]


# --- as containers ------------------------------------------------------------------------------

orch_image = build(path=str(ROOT), tag="orch:nodes")
steps_volume = volume(initial_content={STEPS.name: STEPS.read_bytes()})


def _worker_container(name: str) -> Any:
    return container(
        image="{orch_image.id}",
        environment=fxtr("worker_environment"),
        network="{default_pytest_celery_network.name}",
        volumes={"{steps_volume.name}": {"bind": IN_CONTAINER, "mode": "ro"}},
        wrapper_class=CeleryWorkerContainer,
        timeout=DEFAULT_WORKER_CONTAINER_TIMEOUT,
        command=worker_command(name),
    )


first_worker_container = _worker_container("first")
second_worker_container = _worker_container("second")


@pytest.fixture
def default_redis_broker_command() -> list[str]:
    """With a log, so that a restart loses nothing."""
    return list(RedisContainer.command("--appendonly", "yes"))


# --- either way ---------------------------------------------------------------------------------


@pytest.fixture
def redis_node(request: pytest.FixtureRequest) -> Iterator[RedisContainer]:
    if docker_answers():
        yield request.getfixturevalue("default_redis_broker")
        return
    node = LocalRedis.launch("--appendonly", "yes")
    assert node.ready()
    yield node
    node.teardown()


@pytest.fixture
def celery_broker(redis_node: RedisContainer) -> RedisTestBroker:
    return RedisTestBroker(redis_node)


@pytest.fixture
def celery_backend(redis_node: RedisContainer) -> RedisTestBackend:
    """The broker's."""
    return RedisTestBackend(redis_node)


@pytest.fixture
def worker_environment(redis_node: RedisContainer) -> dict[str, str]:
    include = f"{IN_CONTAINER}/{STEPS.name}" if docker_answers() else str(STEPS)
    return {"ORCH_REDIS_URL": redis_node.url, "ORCH_INCLUDE": include, "ORCH_BUILTINS": "0"}


@pytest.fixture
def celery_worker_cluster(
    request: pytest.FixtureRequest, worker_environment: dict[str, str], default_worker_app: Any
) -> Iterator[CeleryWorkerCluster]:
    """Two workers, of which one may die."""
    if docker_answers():
        names = ("first_worker_container", "second_worker_container")
        nodes = [request.getfixturevalue(name) for name in names]
    else:
        for name in [name for name in os.environ if name.startswith("ORCH_")]:
            request.getfixturevalue("monkeypatch").delenv(name)
        nodes = [
            LocalWorker.launch(worker_command(name), worker_environment)
            for name in ("first", "second")
        ]
    try:
        assert all(node.ready() for node in nodes)
        yield CeleryWorkerCluster(*(CeleryTestWorker(n, default_worker_app) for n in nodes))
    finally:
        for node in nodes:
            node.teardown()


@pytest.fixture
def celery_setup_app(celery_setup_app: Celery) -> Iterator[Celery]:
    """pytest-celery's, whose connections it leaves open."""
    yield celery_setup_app
    celery_setup_app.close()


@pytest.fixture
def orchestrator(redis_node: RedisContainer) -> Iterator[Orchestrator]:
    with Orchestrator(redis_url=redis_node.host_url) as orchestrator:
        yield orchestrator
