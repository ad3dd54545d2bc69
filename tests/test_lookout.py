"""How soon a worker sees that another one has died."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import cast

import pytest
from redis import Redis

from orch.journal.connection import open_redis
from orch.journal.journal import Journal
from orch.journal.line import Line
from orch.settings import Settings
from orch.tasks import lookout as module
from orch.tasks.lookout import LOOK_EVERY, PATIENCE, Lookout
from orch.tasks.warden import Warden


class Worker:
    """What others see of one: its connection, and its signs of life."""

    def __init__(self, url: str, settings: Settings, name: str) -> None:
        self.name = name
        self.line = Line(settings.namespace, name, 0.0)
        self.redis = open_redis(url, opened=self.line.opened)
        self.journal = Journal(self.redis, settings)
        self.journal.read(self.redis.ping)
        self.say_alive()

    def say_alive(self) -> None:
        said = json.dumps({"id": self.name, "line": self.line.number, "holds": []})
        self.journal.renew_worker(self.name, said, 3000, 60_000)

    def die(self) -> None:
        self.redis.close()


class Clock:
    """Time that passes only while one rests."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def own(redis: Redis, redis_url: str, settings: Settings) -> Iterator[Worker]:
    del redis  # it is empty
    found = Worker(redis_url, settings, "own")
    with closing(found.redis):
        yield found


def looking(own: Worker) -> tuple[Lookout, list[str]]:
    buried: list[str] = []
    return Lookout(own.journal, own.line, own.name, lambda name: buried.append(str(name))), buried


def look_again(lookout: Lookout, clock: Clock, times: int = 1) -> None:
    """When the next look is due."""
    for _ in range(times):
        clock.now += lookout.rest
        lookout.look()


def test_one_that_has_just_come_is_missed_as_soon_as_the_others(
    own: Worker, redis_url: str, settings: Settings, clock: Clock
) -> None:
    lookout, buried = looking(own)
    lookout.look()  # there is nobody else
    other = Worker(redis_url, settings, "other")
    other.die()
    died = clock.now
    while not buried and clock.now < died + 10:
        gone(own, other)
        look_again(lookout, clock)
    assert buried == ["other"]
    assert clock.now - died <= LOOK_EVERY + PATIENCE + 0.001


def test_one_that_lives_is_left_alone_however_long_it_says_nothing(
    own: Worker, redis_url: str, settings: Settings, clock: Clock
) -> None:
    lookout, buried = looking(own)
    other = Worker(redis_url, settings, "other")
    look_again(lookout, clock, 100)
    assert not buried
    other.die()


def test_one_that_comes_back_by_another_connection_is_not_dead(
    own: Worker, redis_url: str, settings: Settings, clock: Clock
) -> None:
    lookout, buried = looking(own)
    other = Worker(redis_url, settings, "other")
    lookout.look()
    other.die()
    gone(own, other)
    look_again(lookout, clock)  # it is missed
    again = Worker(redis_url, settings, "other")
    look_again(lookout, clock, 10)
    assert not buried
    again.die()


@pytest.mark.parametrize(("interval", "rest", "pause"), [(0.2, 0.1, 0.1), (0.2, 0.4, 0.2),
    (0.2, 0.0, 0.05), (5.0, 0.1, 5.0)])  # fmt: skip
def test_a_warden_wakes_when_the_others_are_looked_at_unless_it_is_to_look_rarely(
    interval: float, rest: float, pause: float
) -> None:
    warden = Warden.__new__(Warden)
    warden.settings = Settings(watch_interval=interval)
    warden.lookout = cast("Lookout", SimpleNamespace(rest=rest))
    assert warden._until(None) == pause


def gone(own: Worker, other: Worker) -> None:
    """Wait until Redis has seen that the connection is closed."""
    for _ in range(10_000):
        if not own.journal.find_lines({other.line.number: other.line.name}):
            return
    pytest.fail("a connection was closed, and Redis shows it still")
