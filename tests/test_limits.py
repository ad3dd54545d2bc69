"""Limits that hold over all workers: who takes what, who waits for it, and who is next."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from redis import Redis

from orch.errors import SettingsError
from orch.journal.journal import Journal
from orch.journal.limits import Reserved
from orch.limits import Limit, RateLimit
from orch.workflows.limits import (
    LimitName,
    Want,
    distinct,
    key_of,
    rank_of,
    wants_of_capability,
)
from tests.build import FakeClock

GPU = Want.resource("gpu", 1)
LICENCE = Want.resource("licence", 1)
SLOTS = Want("concurrency capability:work", "concurrency", size=2)
RATE = Want("rate capability:work", "rate", size=20)


@pytest.fixture
def limits(journal: Journal, redis: Redis) -> Journal:
    """Of a journal: three GPUs and one licence are there."""
    journal.define_resource("gpu", 3)
    journal.define_resource("licence", 1)
    return journal


def ask(
    journal: Journal,
    name: str,
    *wants: Want,
    attempt: int = 1,
    tenant: str = "default",
    weight: float = 1,
    priority: int = 0,
    owner: str = "",
) -> Reserved:
    return journal.reserve(
        f"{name} a",
        list(wants),
        attempt=attempt,
        owner=owner or f"w/{name}/{attempt}",
        tenant=tenant,
        weight=weight,
        priority=priority,
    )


def give(journal: Journal, name: str, attempt: int = 1) -> list[str]:
    """Who gets what ``name`` gives back."""
    return names(journal.release([(f"{name} a", f"w/{name}/{attempt}")]))


def look(journal: Journal, *also: str) -> list[str]:
    return names(journal.look_at_limits(also).granted)


def names(members: Sequence[str]) -> list[str]:
    return [member.partition(" ")[0] for member in members]


def leave_nothing(journal: Journal) -> None:
    """Every request ends; then nothing of it is left."""
    while found := journal.read_requests():
        journal.release([(each.member, each.owner) for each in found])
    rest = {"requests", "taken", "blocked", "shares", "looks", "nexts"}
    assert [name for name in rest if journal.redis.exists(journal.keys.limits(name))] == []
    assert (
        journal.redis.zscore(journal.keys.watch(journal.keys.partition("limits")), "limits: ")
        is None
    )


# --- rates as they are written --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pause", "burst"),
    [("50/s", 20, 1), ("100/m", 600, 1), ("1/15m", 900_000, 1), ("0.5/s burst 4", 2000, 4)],
)
def test_a_rate_is_so_many_in_a_time(text: str, pause: float, burst: int) -> None:
    found = RateLimit.parse(text)
    assert (found.pause, found.burst, str(found)) == (pause, burst, text)


@pytest.mark.parametrize("text", ["0/s", "50", "50/w", "-1/s", "50/s burst 0", "2000000/s", 5, ""])
def test_what_is_no_rate_is_refused(text: object) -> None:
    with pytest.raises(SettingsError, match="rate"):
        RateLimit.parse(text)


@pytest.mark.parametrize(
    "given", [{}, {"concurrency": 0}, {"concurrency": True}, {"rate_limit": "0/s"}, {"rate": "1/s"}]
)
def test_a_limit_that_limits_nothing_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        Limit.of(given)


# --- what a step wants ----------------------------------------------------------------------------


def test_a_capability_is_limited_as_a_whole_or_by_an_argument() -> None:
    both = Limit("50/s", 2)
    assert [w.name for w in wants_of_capability("work", both, None)] == [SLOTS.name, RATE.name]
    by_key = Limit(concurrency=1, key="order.customer")
    (want,) = wants_of_capability("work", by_key, {"order": {"customer": "a b"}})
    assert LimitName.parse(want.name) == LimitName("concurrency", "capability", "work", "a b")
    assert wants_of_capability("work", by_key, {"order": None}) == []


def test_a_key_may_be_any_value_and_of_any_length() -> None:
    assert (key_of(5), key_of(5.0), key_of(["a"]), key_of(None)) == ("5", "5", '["a"]', None)
    by_key = Limit(concurrency=1, key="k")
    long, empty = (wants_of_capability("w", by_key, {"k": k})[0].name for k in ("x" * 999, ""))
    assert len(long) < 100
    assert LimitName.parse(empty).key == ""


def test_each_limit_is_wanted_once_those_of_a_key_first() -> None:
    keyed = Want("rate capability:work a", "rate", size=5, counted=False)
    assert distinct([RATE, GPU, keyed, RATE]) == [keyed, GPU, RATE]


# --- all or nothing -------------------------------------------------------------------------------


def test_no_more_is_held_than_there_is(limits: Journal) -> None:
    assert [ask(limits, name, GPU).word for name in "abcd"] == ["HELD"] * 3 + ["WAITS"]
    assert ask(limits, "a", GPU).word == "HELD"  # the reply to its first call was lost
    assert give(limits, "b") == ["d"]
    assert give(limits, "b") == []
    leave_nothing(limits)


def test_who_wants_several_takes_all_of_them_or_none(limits: Journal) -> None:
    assert ask(limits, "a", LICENCE).word == "HELD"
    both = ask(limits, "b", GPU, LICENCE)
    assert (both.word, both.limit) == ("WAITS", LICENCE.name)
    assert [ask(limits, name, GPU).word for name in "cde"] == ["HELD"] * 3
    assert give(limits, "a") == []  # it waits for a GPU now
    found = limits.read_request("b", "a")
    assert found is not None and found.at == GPU.name
    assert give(limits, "c") == ["b"]
    leave_nothing(limits)


def test_what_can_never_be_had_is_refused(limits: Journal) -> None:
    assert ask(limits, "a", Want.resource("gpu", 4)) == Reserved("MORE", GPU.name, 3)
    assert ask(limits, "a", Want.resource("tpu", 1)) == Reserved("UNKNOWN", "resource tpu")
    leave_nothing(limits)


def test_those_that_wait_for_what_is_gone_ask_again_and_are_told(limits: Journal) -> None:
    ask(limits, "a", LICENCE)
    ask(limits, "b", LICENCE)
    limits.remove_resource("licence")
    assert look(limits, LICENCE.name) == ["b"]
    assert ask(limits, "b", LICENCE).word == "UNKNOWN"
    leave_nothing(limits)


def test_more_of_a_resource_lets_those_begin_that_wait(limits: Journal) -> None:
    for name in "abcde":
        ask(limits, name, GPU)
    limits.define_resource("gpu", 4)
    assert look(limits, GPU.name) == ["d"]
    leave_nothing(limits)


def test_what_the_settings_say_counts_until_something_else_is_defined(journal: Journal) -> None:
    journal.declare_resources({"gpu": 2})
    assert journal.read_resources() == {GPU.name: (2, False)}
    journal.define_resource("gpu", 5)
    journal.declare_resources({"gpu": 2})
    assert journal.read_resources() == {GPU.name: (5, True)}
    assert journal.remove_resource("gpu")
    assert not journal.remove_resource("gpu")


# --- attempts -------------------------------------------------------------------------------------


def test_the_next_attempt_has_what_the_lost_one_held(limits: Journal) -> None:
    for name in "abc":
        ask(limits, name, GPU)
    assert ask(limits, "a", GPU, attempt=2).word == "HELD"
    assert ask(limits, "a", GPU, attempt=1).word == "SUPERSEDED"
    assert give(limits, "a", attempt=1) == []  # the lost one comes back, and ends
    assert ask(limits, "d", GPU).word == "WAITS"
    assert give(limits, "a", attempt=2) == ["d"]
    leave_nothing(limits)


def test_what_wants_something_else_now_gives_back_what_it_held(limits: Journal) -> None:
    for name in "abc":
        ask(limits, name, GPU)
    ask(limits, "d", GPU)
    found = ask(limits, "a", LICENCE, attempt=2)
    assert (found.word, names(found.granted)) == ("HELD", ["d"])
    leave_nothing(limits)


# --- rates ----------------------------------------------------------------------------------------


def test_starts_are_even_and_none_of_those_that_wait_loses_its_turn(
    journal: Journal, clock: FakeClock
) -> None:
    begun = [name for name in range(500) if ask(journal, f"x{name}", RATE).word == "HELD"]
    assert begun == [0]
    counts = []
    for _ in range(50):
        clock.advance(170)  # whenever a warden comes to look
        found = look(journal)
        counts.append(len(found))
        assert {ask(journal, name, RATE).word for name in found} == {"HELD"}
    assert sum(counts) == 50 * 170 // 20
    assert max(counts) <= 9
    leave_nothing(journal)


def test_while_workers_are_slow_no_more_are_let_begin_than_can_be_made_up_for(
    journal: Journal, clock: FakeClock
) -> None:
    for n in range(100):
        ask(journal, f"x{n}", RATE)
    sent = []
    for _ in range(20):
        clock.advance(200)
        sent += look(journal)
    assert len(sent) == 400 // 20  # ms that they may be ahead of those that begin
    found = ask(journal, sent[0], RATE)
    assert (found.word, len(found.granted)) == ("HELD", 1)
    leave_nothing(journal)


def test_a_burst_is_for_those_that_come_after_a_rest(journal: Journal, clock: FakeClock) -> None:
    rate = Want(RATE.name, "rate", size=1000, burst=3)
    words = [ask(journal, f"x{n}", rate).word for n in range(5)]
    assert words == ["HELD"] * 3 + ["WAITS"] * 2
    clock.advance(1000)
    assert look(journal) == ["x3"]
    clock.advance(999)
    assert look(journal) == []
    leave_nothing(journal)


def test_the_limits_are_looked_at_when_the_next_may_begin(
    journal: Journal, clock: FakeClock
) -> None:
    hourly = Want(RATE.name, "rate", size=3_600_000)
    ask(journal, "a", hourly)
    give(journal, "a")
    ask(journal, "b", hourly)
    watch = journal.keys.watch(journal.keys.partition("limits"))
    due = journal.redis.zscore(watch, "limits: ")
    assert due == clock.now + journal.grace  # whether it is still there
    clock.advance(3_600_000 - 1)
    assert look(journal) == []
    assert journal.redis.zscore(watch, "limits: ") == clock.now + 1
    clock.advance(1)
    assert look(journal) == ["b"]
    leave_nothing(journal)


# --- who is next ----------------------------------------------------------------------------------


def test_the_urgent_one_goes_first_and_who_has_waited_for_long_before_it(
    limits: Journal, clock: FakeClock
) -> None:
    ask(limits, "holder", LICENCE)
    ask(limits, "old", LICENCE)
    clock.advance(30_000)
    ask(limits, "plain", LICENCE)
    ask(limits, "urgent", LICENCE, priority=1)
    ask(limits, "pressing", LICENCE, priority=2)
    order = [give(limits, "holder")[0]]
    while len(order) < 4:
        order += give(limits, order[-1])
    assert order == ["pressing", "old", "urgent", "plain"]
    leave_nothing(limits)


def test_a_level_of_priority_counts_as_much_as_so_many_seconds() -> None:
    ranks = [rank_of(100_000, 2, 30_000), rank_of(40_001, 0, 30_000), rank_of(100_000, 0, 0)]
    assert sorted(ranks) == [ranks[0], ranks[1], ranks[2]]


def test_tenants_share_by_weight_however_much_each_of_them_wants(limits: Journal) -> None:
    ask(limits, "holder", LICENCE)
    for n in range(30):
        ask(limits, f"big{n}", LICENCE, tenant="big")
    for n in range(6):
        ask(limits, f"small{n}", LICENCE, tenant="small")
        ask(limits, f"heavy{n}", LICENCE, tenant="heavy", weight=2)
    order, at = [], "holder"
    for _ in range(12):
        (at,) = give(limits, at)
        order.append(at.rstrip("0123456789"))
    assert {name: order.count(name) for name in set(order)} == {"big": 3, "small": 3, "heavy": 6}
    leave_nothing(limits)


def test_one_that_waits_for_several_is_not_passed_by_for_ever(
    limits: Journal, clock: FakeClock
) -> None:
    for name in "abc":
        ask(limits, name, GPU)
    ask(limits, "several", Want.resource("gpu", 2), LICENCE)
    ask(limits, "lic", LICENCE)
    give(limits, "a")
    ask(limits, "d", GPU)
    clock.advance(60_000)
    look(limits)  # from now on it holds the others back
    give(limits, "lic")
    assert ask(limits, "lic2", LICENCE).word == "WAITS"
    assert give(limits, "b") == []
    assert give(limits, "c") == ["several"]
    assert give(limits, "several") == ["lic2", "d"] or give(limits, "several") == []
    leave_nothing(limits)


# --- what is known of them ------------------------------------------------------------------------


def test_how_a_request_waits_is_known(limits: Journal) -> None:
    for name in "abcdef":
        ask(limits, name, GPU)
    request = limits.read_request("f", "a")
    assert request is not None
    found = limits.read_waiting(request)
    assert (found.before, found.waiting, found.held, found.capacity) == (2, 3, 3, 3)
    leave_nothing(limits)


def test_how_limits_are_used_is_counted_by_the_hour(limits: Journal, clock: FakeClock) -> None:
    ask(limits, "a", LICENCE)
    ask(limits, "b", LICENCE)
    clock.advance(2000)
    give(limits, "a")
    clock.advance(3000)
    give(limits, "b")
    ((_, counted),) = limits.read_usage(1)
    of = LICENCE.name
    assert counted == {
        f"uses {of}": 2,
        f"waits {of}": 1,
        f"waited {of}": 2000,
        f"held {of}": 5000,
        f"peak {of}": 1,
    }
    leave_nothing(limits)


def test_those_whose_tokens_are_to_be_looked_at_are_told(limits: Journal, clock: FakeClock) -> None:
    ask(limits, "a", LICENCE)
    ask(limits, "b", LICENCE)
    clock.advance(limits.grace)
    assert set(limits.look_at_limits().found) == {("a a", "w/a/1", True), ("b a", "w/b/1", False)}
    assert limits.look_at_limits().found == ()
    leave_nothing(limits)
