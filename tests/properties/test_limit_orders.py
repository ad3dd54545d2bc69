"""Limits under random orders: nothing is held twice, and nobody waits for what is free."""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from redis import Redis

from orch.journal.journal import Journal
from orch.journal.limits import Request
from orch.settings import Settings
from orch.workflows.limits import Want
from tests.build import FakeClock

CAPACITIES = {"gpu": 3, "licence": 1, "disk": 2}
PLACES = Want("concurrency capability:work", "concurrency", size=2)
RATE = Want("rate capability:work", "rate", size=500, burst=2)

wanted = st.lists(
    st.one_of(
        st.sampled_from([PLACES, RATE]),
        st.sampled_from(sorted(CAPACITIES)).flatmap(
            lambda name: st.integers(1, CAPACITIES[name]).map(
                lambda units: Want.resource(name, units)
            )
        ),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda want: want.name,
)
asks = st.tuples(
    st.just("ask"), st.integers(0, 9), wanted, st.sampled_from("ab"), st.integers(0, 9)
)
gives = st.tuples(st.just("give"), st.integers(0, 9))
waits = st.tuples(st.just("wait"), st.sampled_from([1, 400, 3000, 70_000]))
deeds = st.lists(st.one_of(asks, asks, gives, waits), max_size=60)


def owner_of(name: str) -> str:
    return f"owner of {name}"


def most_of(want: Want) -> int:
    return CAPACITIES[want.name.split(" ")[1]] if want.kind == "resource" else int(want.size)


@given(done=deeds)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_held_twice_and_nobody_waits_for_what_is_free(
    redis: Redis, redis_url: str, settings: Settings, done: list[tuple]
) -> None:
    redis.flushall()
    clock = FakeClock()
    journal = Journal(redis, settings, url=redis_url, clock=clock)
    for name, capacity in CAPACITIES.items():
        journal.define_resource(name, capacity)
    for deed in done:
        do(journal, clock, deed)
        check(journal)
    for _ in range(400):  # all of them end, one after the other
        found = journal.read_requests()
        if not found:
            break
        clock.advance(600)
        journal.look_at_limits()
        held = [each for each in journal.read_requests() if each.held]
        journal.release([(each.member, each.owner) for each in held[:1]])
        check(journal)
    assert journal.read_requests() == []
    assert not redis.exists(*map(journal.keys.limits, ("taken", "blocked", "looks", "nexts")))


def do(journal: Journal, clock: FakeClock, deed: tuple) -> None:
    match deed:
        case ("ask", number, wants, tenant, priority):
            member = f"x{number} a"
            journal.reserve(
                member,
                wants,
                attempt=1,
                owner=owner_of(member),
                tenant=tenant,
                priority=priority,
            )
        case ("give", number):
            member = f"x{number} a"
            journal.release([(member, owner_of(member))])
        case ("wait", ms):
            clock.advance(ms)
            journal.look_at_limits()


def check(journal: Journal) -> None:
    requests = journal.read_requests()
    held: Counter[str] = Counter()
    for each in requests:
        for want in each.wants if each.held else ():
            held[want.name] += want.units * (want.kind != "rate")
    told = {n: int(c) for n, c in journal.redis.hgetall(journal.keys.limits("taken")).items()}
    assert {n: c for n, c in told.items() if not n.startswith("rate ")} == +held
    for each in requests:
        for want in each.wants:
            assert want.kind == "rate" or held[want.name] <= most_of(want)
    first = journal.redis.hget(journal.keys.limits("shares"), "first")
    if first is None:
        assert [each for each in requests if could_begin(each, requests, held)] == []


def could_begin(request: Request, requests: list[Request], held: Counter[str]) -> bool:
    """Whether all is free for one that waits, and it is the only one at its limit: others may
    be before it."""
    if request.held or any(want.kind == "rate" for want in request.wants):
        return False
    alone = all(other.at != request.at or other is request for other in requests)
    free = all(held[want.name] + want.units <= most_of(want) for want in request.wants)
    return alone and free
