"""How often a token is looked at that waits for months."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.settings import Settings
from tests.build import FakeClock
from tests.test_starting import Played

HOUR = 3_600_000
DAY = 24 * HOUR
EVENT = {"id": "a", "type": "event", "event": {"name": "paid", "correlation": "c"}}
WAIT = {"id": "a", "type": "wait", "wait": {"duration": "P90D"}}
TASK = {"id": "a", "capability": "approve", "external": True}


@pytest.fixture
def played(redis: Redis, settings: Settings, clock: FakeClock) -> Iterator[Played]:
    with Orchestrator(settings) as orchestrator:
        played = Played(orchestrator, clock)
        yield played
        for info in played.manager.executions():
            if info.ended is None:
                played.manager.steering.cancel(info.id)


def due(played: Played, execution: str) -> int:
    journal = played.journal
    watch = journal.keys.watch(journal.keys.partition(execution))
    return int(journal.redis.zscore(watch, f"{execution} a") or 0)


def looks(played: Played, execution: str, until: int) -> int:
    """How often it is looked at until then, ms from now, if always at the instant it is due."""
    end, count = played.clock.now + until, 0
    while (at := due(played, execution)) <= end:
        played.look(at - played.clock.now)
        count += 1
    return count


@pytest.mark.parametrize(("step", "paused"), [(EVENT, False), (TASK, False), (EVENT, True)])
def test_who_waits_for_somebody_else_is_looked_at_ever_less(
    played: Played, step: dict[str, Any], paused: bool
) -> None:
    played.define(steps=[step])
    execution = played.manager.start("w").id
    if paused:
        played.manager.steering.pause(execution)
    assert looks(played, execution, 90_000) >= (1 if paused else 4), "soon at first"
    assert looks(played, execution, 2 * HOUR) <= 12
    assert looks(played, execution, 30 * DAY) <= 30 * 24


def test_who_waits_for_an_instant_is_not_looked_at_before(played: Played) -> None:
    played.define(steps=[WAIT])
    execution = played.manager.start("w").id
    assert looks(played, execution, 90 * DAY - 1) == 0


def test_an_event_whose_teller_died_before_all_had_it_is_not_a_matter_of_hours(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    played.define(steps=[EVENT])
    execution = played.manager.start("w").id
    looks(played, execution, DAY)
    advancer = played.warden.advancer

    def die(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(advancer, "_deliver", die)
        with pytest.raises(SystemExit):
            played.manager.trigger_event("paid", 7, correlation="c")
    played.look(played.journal.grace)
    assert played.journal.record(execution).output == 7


def test_a_pause_that_is_over_is_noticed_at_once_however_old_it_was(played: Played) -> None:
    played.define(steps=[{**WAIT, "wait": {"duration": "PT1H"}}])
    execution = played.manager.start("w").id
    played.manager.steering.pause(execution)
    looks(played, execution, 10 * DAY)
    played.manager.steering.resume(execution)
    played.look(0)
    assert played.status(execution) == "completed"
