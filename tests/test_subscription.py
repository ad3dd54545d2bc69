"""Subscriptions: every event once and in order, from now or from a position, or a clear word."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.asynchronous import AsyncOrchestrator
from orch.cli.app import run_command
from orch.control.subscription import ExecutionEvent, Listener, Subscription
from orch.errors import InputError, PositionLost
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.workflows.reopening import Reopening
from tests.build import parallel, start, task

CAPABILITIES = """
from orch import capability

@capability("work")
def work():
    return "done"
"""
Wait = Callable[..., object]


def streams(redis: Redis) -> list[str]:
    return sorted(redis.scan_iter(match="orch:*:stream"))


def words(events: list[ExecutionEvent]) -> list[tuple[str, str]]:
    return [(event.event, event.path) for event in events]


def all_of(subscription: Subscription) -> list[ExecutionEvent]:
    """What there is to be told at the moment."""
    subscription._follow = False
    return list(subscription)


def test_nothing_is_streamed_while_nobody_listens(journal: Journal, redis: Redis) -> None:
    start(journal, task("a")).do("a")
    assert streams(redis) == []


def test_events_come_in_the_order_and_the_words_of_the_history(journal: Journal) -> None:
    subscription = Subscription(journal)
    worked = start(journal, task("a", "p"), parallel("p", [task("b")], [task("c")]))
    for path in ("a", "p/1/c", "p/0/b"):
        worked.do(path)
    told = all_of(subscription)
    assert words(told) == worked.events()
    assert {(event.execution, event.workflow) for event in told} == {("x1", "w")}
    assert [event.detail for event in told] == [e.detail for e in journal.history("x1")]


def test_what_people_do_is_told_too(journal: Journal) -> None:
    worked = start(journal, task("a"))
    subscription = Subscription(journal)
    journal.pause("x1", {"by": "ada"})
    journal.resume("x1", {}, {"by": "ada"})
    worked.fail("a")
    journal.retry("x1", Reopening())
    told = words(all_of(subscription))
    assert [word for word, _ in told] == ["paused", "resumed", "claimed", "failed", "ended"]


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({"event": "completed"}, [("completed", "a"), ("completed", "b")]),
        ({"path": "?", "event": ["claimed"]}, [("claimed", "a"), ("claimed", "b")]),
        ({"path": "b*"}, [("claimed", "b"), ("completed", "b")]),
        ({"workflow": "other"}, []),
        ({"execution": ["x2"]}, []),
        ({"execution": ["x1"], "event": "ended"}, [("ended", "")]),
    ],
)
def test_a_filter_takes_what_it_names(
    journal: Journal, filter: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    subscription = Subscription(journal, filter)
    worked = start(journal, task("a", "b"), task("b"))
    worked.do("a")
    worked.do("b")
    assert words(all_of(subscription)) == found


def test_a_filter_that_is_none_is_refused(journal: Journal) -> None:
    with pytest.raises(InputError, match=r"steps: Extra inputs.*") as refused:
        Subscription(journal, {"steps": "a"})
    assert refused.value.hint == "it has workflow, execution, event, path"


def test_every_event_is_a_place_to_go_on_from(journal: Journal) -> None:
    first = Subscription(journal)
    worked = start(journal, task("a", "b"), task("b"))
    worked.do("a")
    worked.do("b")
    told = all_of(first)
    # An event in the middle of what one script told comes again with its neighbours; none is
    # left out, and behind the last one of a script none is told twice.
    for number, event in enumerate(told):
        again = all_of(Subscription(journal, since=event.position))
        assert words(again)[-len(told[number + 1 :]) or len(told) :] == words(told[number + 1 :])
        assert len(again) < len(told)
    assert all_of(Subscription(journal, since=told[-1].position)) == []


def test_who_was_away_misses_nothing(journal: Journal) -> None:
    subscription = Subscription(journal)
    position = subscription.position
    subscription.close()
    worked = start(journal, task("a"))
    worked.do("a")
    assert words(all_of(Subscription(journal, since=position))) == worked.events()
    assert words(all_of(Subscription(journal, since="start"))) == worked.events()


def test_a_position_whose_stream_has_expired_is_refused(journal: Journal, redis: Redis) -> None:
    position = Subscription(journal).position
    redis.delete(*streams(redis))
    with pytest.raises(PositionLost, match="are gone, in 64 of 64 partitions"):
        Subscription(journal, since=position)


@pytest.mark.parametrize("text", ["", "nonsense", "WyJ4Il0=", "bnVsbA=="])
def test_a_position_that_is_none_is_refused(journal: Journal, text: str) -> None:
    with pytest.raises(InputError, match="is no position of the stream"):
        Subscription(journal, since=text)


def test_a_position_of_other_partitions_is_refused(
    journal: Journal, redis: Redis, settings: Settings
) -> None:
    few = Journal(redis, settings.model_copy(update={"partitions": 2, "namespace": "few"}))
    position = Subscription(few).position
    with pytest.raises(InputError, match="is of 2 partitions, and this Redis has 64"):
        Subscription(journal, since=position)


def test_who_reads_too_slowly_is_told_that_events_are_missing(
    journal: Journal, redis: Redis
) -> None:
    worked = start(journal, task("a"))
    subscription = Subscription(journal)
    key = journal.keys.stream(journal.keys.partition("x1"))
    worked.do("a")
    redis.xtrim(key, maxlen=1, approximate=False)
    told = words(all_of(subscription))
    assert told[0] == ("gap", "")
    assert told[-1] == ("ended", "")


def test_the_stream_is_bounded_and_ends_with_its_last_subscriber(
    journal: Journal, redis: Redis
) -> None:
    Subscription(journal)
    worked = start(journal, task("a", retry={"interval": 0}))
    key = journal.keys.stream(journal.keys.partition("x1"))
    for _ in range(5000):
        journal.pause("x1", {})
        journal.resume("x1", {}, {})
    assert worked.events()[-1] == ("resumed", "")
    assert redis.xlen(key) < 4200
    assert 0 < redis.pttl(key) <= journal.settings.stream_retention * 1000
    redis.delete(*streams(redis))
    journal.keep_stream()
    assert len(streams(redis)) == journal.keys.partitions
    assert all(redis.pttl(each) > 0 for each in streams(redis))


def test_only_one_part_writes_the_history() -> None:
    """Else the stream would not tell of it. What is imported happened elsewhere."""
    folder = resources.files("orch.journal") / "lua"
    files = [e for e in (*folder.iterdir(), *(folder / "parts").iterdir()) if e.is_file()]
    found = {e.name for e in files if re.search(r"'[RL]PUSH', *history", e.read_text())}
    assert found == {"tell.lua", "restore.lua"}


# --- real processes ----------------------------------------------------------------------------


@pytest.fixture
def capabilities(tmp_path: Path) -> str:
    path = tmp_path / "capabilities.py"
    path.write_text(CAPABILITIES)
    return str(path)


ONE = {"name": "one", "steps": [{"id": "a", "capability": "work"}]}


def test_a_function_is_called_in_order_though_it_fails(
    orchestrator: Orchestrator, capabilities: str, wait_until: Wait, caplog: Any
) -> None:
    orchestrator.define_workflow("one", ONE)
    told: list[str] = []

    def callback(event: ExecutionEvent) -> None:
        told.append(event.event)
        if event.event == "claimed":
            raise ValueError("not this one")

    with (
        orchestrator.subscribe_to_events({"workflow": "one"}, callback) as listener,
        orchestrator.workers(pool="solo", include=[capabilities]),
    ):
        assert orchestrator.start_workflow("one").wait(timeout=30).status == "completed"
        wait_until(lambda: "ended" in told)
    assert isinstance(listener, Listener)
    assert told == ["started", "claimed", "completed", "ended"]
    assert "the callback failed" in caplog.text
    orchestrator.start_workflow("one")
    assert told[-1] == "ended", "it was closed"


def test_coroutines_iterate(settings: Settings, redis: Redis, capabilities: str) -> None:
    async def listen() -> list[str]:
        async with AsyncOrchestrator(settings) as orchestrator:
            await orchestrator.define_workflow("one", ONE)
            events = await orchestrator.events({"event": ["started", "ended"]})
            with orchestrator.sync.workers(pool="solo", include=[capabilities]):
                execution = await orchestrator.start_workflow("one")
                found = []
                async with events:
                    async for event in events:
                        found.append(event.event)
                        if event.event == "ended":
                            assert event.execution == execution.id
                            break
                return found

    assert asyncio.run(asyncio.wait_for(listen(), 60)) == ["started", "ended"]


def test_the_command_tells_what_is_kept_and_goes_on_from_a_position(
    orchestrator: Orchestrator,
    capabilities: str,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    orchestrator.define_workflow("one", ONE)
    orchestrator.events().close()
    with orchestrator.workers(pool="solo", include=[capabilities]):
        ids = [orchestrator.start_workflow("one").id for _ in range(3)]
        for id in ids:
            orchestrator.execution(id).wait(timeout=30)
    command = ["events", "--event", "ended", "--redis", redis_url]
    assert run_command([*command, "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(event["execution"] for event in told) == sorted(ids)
    assert run_command([*command, "--since", told[0]["position"]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [event["execution"] in line for event, line in zip(told[1:], lines, strict=True)]
    assert run_command([*command, "--since", "x"]) == 2


def test_workers_keep_the_stream_where_it_is_always_on(
    redis: Redis, settings: Settings, capabilities: str, wait_until: Wait
) -> None:
    with Orchestrator(settings.model_copy(update={"stream": "on"})) as orchestrator:
        orchestrator.define_workflow("one", ONE)
        with orchestrator.workers(pool="solo", include=[capabilities]):
            wait_until(lambda: len(streams(redis)) == 64)
            execution = orchestrator.start_workflow("one")
            execution.wait(timeout=30)
        told = list(orchestrator.events({"execution": execution.id}, since="start", follow=False))
    assert words(told)[-1] == ("ended", "")


def test_a_subscription_waits_without_asking_again_and_again(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    with orchestrator.events() as events:
        before = redis.info("stats")["total_commands_processed"]
        threading.Timer(1.5, lambda: redis.xadd(_any(orchestrator), {"x": "e", "1": _TOLD})).start()
        assert [event.event for event in islice(events, 1)] == ["started"]
        asked = redis.info("stats")["total_commands_processed"] - before
    assert asked < 20


_TOLD = json.dumps([1, "started", "", 0])


def _any(orchestrator: Orchestrator) -> str:
    return orchestrator.runtime.journal.keys.stream(7)
