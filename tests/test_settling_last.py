"""The end of an execution has a script of its own where nothing stands in the way: what is kept,
and what is answered, is what `settle` would have kept and answered."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from orch.journal.journal import Claimed, Journal, Refused, Settled
from orch.workflows.calls import Call
from orch.workflows.gates import Gate, Slots
from orch.workflows.link import last_end
from orch.workflows.outcome import Completed
from orch.workflows.state import encode
from tests.build import FakeClock, Worked, start, task

SLOTS = Slots((Gate.of("w", 1, "queue", None),), 5)
CHAIN = [task("a", "b"), task("b", input="$.output")]


def everything(redis: Redis) -> dict[str, Any]:
    """What the partitions hold, but for random words; what expires is rounded to ten seconds."""
    reads = {
        "hash": redis.hgetall,
        "list": lambda key: redis.lrange(key, 0, -1),
        "zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        "set": redis.smembers,
        "stream": redis.xlen,
        "string": redis.get,
    }
    return {
        key: (reads[redis.type(key)](key), redis.object("encoding", key), round(redis.ttl(key), -1))
        for key in redis.scan_iter("orch:{*")
        if not key.endswith(":choices")
    }


@pytest.fixture
def scripts(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that were run."""
    found: list[str] = []
    real = journal.run
    monkeypatch.setattr(
        journal, "run", lambda script, **given: (found.append(script), real(script, **given))[1]
    )
    return found


def worked_to_the_last(journal: Journal, **more: Any) -> Worked:
    worked = start(journal, *CHAIN, input={"n": 1}, **more)
    worked.do("a", {"text": "x" * 100})
    return worked


def end(
    worked: Worked, *, straight: bool, output: Any = "done", claimed: Claimed | None = None
) -> Settled | Refused:
    """Settle the last step; not ``straight``: as one whose state the caller does not know."""
    journal, claimed = worked.journal, claimed or worked.take("b")
    outcome = Completed(output)
    transition = last_end(worked.plan, claimed.view, "b", claimed.state, outcome, journal.clock())
    assert transition is not None
    return journal.settle(
        worked.execution,
        transition,
        expect="running",
        attempt=claimed.state.attempt,
        owner=claimed.state.owner,
        before=claimed.state.dumps() if straight else "",
    )


@pytest.mark.parametrize("output", ["done", None, {"many": ["ä"] * 100}])
@pytest.mark.parametrize("fields", [{}, {"parent": "x9 p 1", "depth": "1"}, {"degraded": "1"}])
@pytest.mark.parametrize("took", [5, 700, 90_000_000])
def test_both_ways_leave_the_same(
    redis: Redis, journal: Journal, clock: FakeClock, scripts: list[str], output: Any,
    fields: dict[str, str], took: int,
) -> None:  # fmt: skip
    found = []
    begun = clock.now
    for straight in (True, False):
        redis.flushdb()
        clock.now = begun
        worked = worked_to_the_last(journal)
        if fields:
            redis.hset(journal.keys.record("x1"), mapping=fields)
        clock.now += took
        reply = end(worked, straight=straight, output=output)
        assert reply == Settled(parent=Call("x9", "p", 1) if "parent" in fields else None)
        assert scripts[-1] == ("settle_last" if straight else "settle")
        found.append(everything(redis))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "field", [{"gates": SLOTS.dumps(), "queued": "5"}, {"status": "paused"}, {"plan": "v"}]
)
def test_what_stands_in_the_way_is_what_the_other_script_decides(
    redis: Redis, journal: Journal, scripts: list[str], field: dict[str, str]
) -> None:
    found = []
    for straight in (True, False):
        redis.flushdb()
        worked = worked_to_the_last(journal)
        claimed = worked.take("b")
        redis.hset(journal.keys.record("x1"), mapping=field)
        found.append((end(worked, straight=straight, claimed=claimed), everything(redis)))
        assert scripts[-1] == "settle"
    assert found[0] == found[1]
    assert "settle_last" in scripts


def test_an_answer_that_was_lost_is_given_again(journal: Journal) -> None:
    worked = worked_to_the_last(journal)
    claimed = worked.take("b")
    assert end(worked, straight=True, claimed=claimed) == Settled()
    again = end(worked, straight=True, claimed=claimed)
    assert isinstance(again, Settled) and again.repeated
    assert [e.event for e in journal.history("x1")].count("ended") == 1


def test_another_attempt_that_took_over_is_not_ended(journal: Journal) -> None:
    worked = worked_to_the_last(journal)
    old = worked.take("b")
    key, text = journal.keys.steps("x1"), worked.state("b").dumps()
    journal.redis.hset(key, "b", text.replace('"me/1/a"', '"me/2/b"'))
    assert isinstance(end(worked, straight=True, claimed=old), Refused)
    assert worked.status() == "running"


def test_a_webhook_that_hears_of_ends_is_told(
    journal: Journal, scripts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "hears", lambda type: "completed" in type)
    worked = worked_to_the_last(journal)
    end(worked, straight=True)
    assert scripts[-1] == "settle"
    assert journal.redis.hvals(journal.keys.outbox(journal.keys.partition("x1")))


def test_the_output_is_what_was_given(journal: Journal) -> None:
    worked = worked_to_the_last(journal)
    end(worked, straight=True, output={"a": [1]})
    assert journal.record("x1").output == {"a": [1]}
    assert journal.redis.hget(journal.keys.record("x1"), "output") == encode({"a": [1]})
