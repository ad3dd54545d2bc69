"""What every test may ask for: a private Redis, a journal on it, a clock that a test moves.

After each test that used Redis, every key is looked at: one without a TTL must be on the list
of permanent keys, belong to an execution that still runs, or be the broker's own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import hypothesis
import pytest
from redis import Redis

from orch import Orchestrator
from orch.agents.permissions import permit
from orch.control.runtime import Runtime
from orch.embedded import ephemeral
from orch.journal.journal import Journal, open_redis
from orch.journal.keys import Keys
from orch.settings import Settings
from tests.build import FakeClock
from tests.rabbit import Rabbit, running
from tests.served import Served
from tests.undone import Family

T = TypeVar("T")

LONG = os.environ.get("ORCH_CHAOS") == "long"
"""Whether the random tests may take minutes."""

hypothesis.settings.register_profile(
    "short", deadline=None, max_examples=50, derandomize=bool(os.environ.get("CI"))
)
hypothesis.settings.register_profile("long", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("long" if LONG else "short")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a server of this test run alone."""
    with ephemeral(timeout=30) as server:
        yield server.url


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    """A RabbitMQ of this test run; skips or fails where the program is missing."""
    with running(tmp_path_factory.mktemp("rabbit")) as node:
        yield node


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of the private server, which is empty."""
    client = open_redis(redis_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def settings(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The default settings, whatever the environment says; the private server's URL."""
    for name in list(os.environ):
        if name.startswith("ORCH_") and name.removeprefix("ORCH_").lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    return Settings(redis_url=redis_url)


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        yield made


@pytest.fixture
def served() -> Iterator[Served]:
    """A service outside, on this machine."""
    made = Served()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def family(redis: Redis, settings: Settings, clock: FakeClock) -> Family:
    runtime = Runtime(settings, str(settings.redis_url))
    runtime.journal.clock = clock
    return Family(runtime)


@pytest.fixture
def journal(redis: Redis, settings: Settings, redis_url: str, clock: FakeClock) -> Journal:
    """A journal on the private server, by the test's own clock."""
    return Journal(redis, settings, url=redis_url, clock=clock)


@pytest.fixture
def wait_until() -> Callable[..., object]:
    return wait_for


def wait_for(predicate: Callable[[], T], timeout: float = 15.0) -> T:
    """The first true answer of ``predicate``, asked again and again for ``timeout`` seconds."""
    limit = time.monotonic() + timeout
    while True:
        found = predicate()
        if found:
            return found
        assert time.monotonic() < limit, f"not true within {timeout} s: {predicate}"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def no_permissions_of_another_test() -> Iterator[None]:
    """A worker's app that a test makes permits what its settings say, in all of the process."""
    yield
    permit(None)


@pytest.fixture(autouse=True)
def every_key_has_a_ttl(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing that a test leaves behind may stay for ever by mistake."""
    if "redis" not in request.fixturenames:
        yield
        return
    client: Redis = request.getfixturevalue("redis")
    yield
    assert keys_for_ever(client) == []


def keys_for_ever(client: Redis, namespace: str = "orch") -> list[str]:
    """Keys without a TTL that should have one."""
    keys = Keys(namespace, 64)
    found = [key for key in client.scan_iter(count=1000) if client.pttl(key) == -1]
    return sorted(
        key
        for key in found
        if not keys.is_permanent(key)
        and not _is_of_a_live_execution(client, key)
        and not _is_of_the_broker(client, key)
    )


def _is_of_a_live_execution(client: Redis, key: str) -> bool:
    start, found, rest = key.partition("}:")
    kind, _, execution = rest.partition(":")
    if not found or kind not in ("x", "s", "h", "i", "l"):
        return False
    return client.hget(f"{start}}}:x:{execution}", "status") in (
        "scheduled",
        "running",
        "paused",
        "cancelling",
        "compensating",
    )


def _is_of_the_broker(client: Redis, key: str) -> bool:
    """Queues and their bindings: the transport's, which never expire. Chord parts must."""
    if key.startswith(("_kombu.binding", "unacked")):
        return True
    return ":" not in key and client.type(key) == "list"
