"""A server and workers that are shared by the tests of a session, and replaced as they die.

Each pool has a database of the one server to itself, so that all three can be up at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rabbit import Rabbit

from .processes import System, Valkey

LONG = os.environ.get("ORCH_CHAOS") == "long"
POOLS = ("prefork", "threads", "solo")
FREE_DATABASE = 10
GIVEN = {"ORCH_LIVENESS_LIMIT": "4", "ORCH_HANDOFF": os.environ.get("CHAOS_HANDOFF", "auto")}
"""A worker that is frozen and connected is given up after 15 s by default. Whatever dies, all holds
with the hand-off and without it: CHAOS_HANDOFF=off."""

RABBITMQ = os.environ.get("CHAOS_BROKER") == "rabbitmq"
"""Whether messages go by RabbitMQ (CHAOS_BROKER=rabbitmq); the journal is in Redis in any case."""

Measure = Callable[[str, float], None]
NewBroker = Callable[[], str | None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.chaos)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The times that docs/faults.md speaks of."""
    found = [
        (name, value)
        for report in terminalreporter.getreports("passed")
        for name, value in getattr(report, "user_properties", ())
        if name.startswith("chaos: ")
    ]
    if found:
        terminalreporter.section("measured")
        for name, value in sorted(found):
            terminalreporter.write_line(f"{value:8.2f} s  {name.removeprefix('chaos: ')}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def new_broker(request: pytest.FixtureRequest) -> Callable[[], str | None]:
    """Gives the URL of a broker that nobody else uses; None: the Redis of the journal."""
    if not RABBITMQ:
        return lambda: None
    rabbit: Rabbit = request.getfixturevalue("rabbit")
    return rabbit.vhost


@pytest.fixture(scope="session")
def systems(
    server: Valkey, tmp_path_factory: pytest.TempPathFactory, new_broker: NewBroker
) -> Iterator[Callable[[str], System]]:
    """The system of each pool, made when it is first asked for."""
    made: dict[str, System] = {}

    def get(pool: str) -> System:
        if pool not in made:
            place = tmp_path_factory.mktemp(pool)
            made[pool] = System(
                server, POOLS.index(pool), place, pool, broker=new_broker(), **GIVEN
            )
        return made[pool]

    yield get
    for system in made.values():
        system.close()


@pytest.fixture(params=POOLS)
def any_pool(request: pytest.FixtureRequest, systems: Callable[[str], System]) -> Iterator[System]:
    """Two live workers, for each of the pools in turn."""
    yield from _checked(systems(request.param))


@pytest.fixture
def prefork(systems: Callable[[str], System]) -> Iterator[System]:
    """Two live prefork workers."""
    yield from _checked(systems("prefork"))


def _checked(system: System) -> Iterator[System]:
    system.staff(2)
    yield system
    system.disarm()
    system.staff(1)
    system.assert_nothing_is_left()


@pytest.fixture
def unstaffed(
    server: Valkey, tmp_path: Path, _database: int, new_broker: NewBroker
) -> Iterator[System]:
    """A system without workers: the test starts them when it wants them."""
    system = System(server, _database, tmp_path, "solo", broker=new_broker())
    yield system
    try:
        system.staff(1)
        system.assert_nothing_is_left()
    finally:
        system.close()


@pytest.fixture
def _database(server: Valkey) -> int:
    """An empty database of the shared server."""
    used = {int(name[2:]) for name in server.client.info("keyspace")}
    return next(n for n in range(FREE_DATABASE, 32) if n not in used)


@pytest.fixture
def own_server(tmp_path: Path, new_broker: NewBroker) -> Iterator[System]:
    """A system at a server of its own, which the test may kill."""
    server = Valkey(tmp_path / "valkey")
    system = System(server, 0, tmp_path / "work", broker=new_broker())
    yield system
    try:
        system.assert_nothing_is_left()
    finally:
        system.close()
        server.close()


@pytest.fixture
def measure(record_property: Callable[[str, object], None]) -> Measure:
    """Note a time (s) for the summary."""
    return lambda name, value: record_property(f"chaos: {name}", value)
