"""How many workers are advised, from figures alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.monitoring.advice import Load, advised_workers, drain_time

durations = st.floats(0.001, 100)
loads = st.builds(
    Load,
    depth=st.integers(0, 10_000),
    busy=st.integers(0, 50),
    slots=st.integers(0, 50),
    workers=st.integers(0, 20),
    duration=st.none() | durations,
    rate=st.floats(0, 100),
)


def test_two_minutes_of_work_for_one_slot_in_half_a_minute_take_four_slots() -> None:
    load = Load(depth=120, duration=1.0, rate=0.0, slots=1, workers=1)
    assert advised_workers([load], target=30, per_worker=1) == 4
    assert advised_workers([load], target=30, per_worker=4) == 1
    assert drain_time(load) == 120


def test_what_comes_all_the_time_needs_its_slots_beside_what_has_piled_up() -> None:
    load = Load(depth=60, duration=1.0, rate=5.0)
    assert advised_workers([load], target=30, per_worker=1) == 5 + 2


def test_nothing_to_do_needs_nobody_and_something_needs_somebody() -> None:
    idle = Load(depth=0, slots=4, workers=1, duration=0.01, rate=0.0)
    assert advised_workers([idle], target=30, per_worker=4) == 0
    assert advised_workers([Load(depth=1)], target=30, per_worker=4) == 1
    assert advised_workers([Load(depth=0, busy=1)], target=30, per_worker=4) == 1


def test_where_no_call_was_timed_the_workers_that_there_are_stay() -> None:
    assert advised_workers([Load(depth=500, workers=3, slots=12)], target=30, per_worker=4) == 3
    assert drain_time(Load(depth=500, workers=3, slots=12)) is None


def test_the_queue_of_a_capability_that_nobody_serves_never_drains() -> None:
    assert drain_time(Load(depth=3, duration=1.0)) is None
    assert drain_time(Load(depth=0)) == 0


def test_workers_that_serve_several_capabilities_serve_all_of_their_queues() -> None:
    pair = [Load(depth=60, duration=1.0), Load(depth=30, duration=2.0)]
    assert advised_workers(pair, target=30, per_worker=2) == 2


@given(st.lists(loads, min_size=1, max_size=4), st.floats(0.1, 600), st.integers(1, 16))
def test_what_is_advised_is_enough_and_one_less_would_not_be(
    loads: list[Load], target: float, per_worker: int
) -> None:
    found = advised_workers(loads, target=target, per_worker=per_worker)
    needed = sum(
        max((load.rate or 0) * load.duration, load.busy) + load.depth * load.duration / target
        for load in loads
        if load.duration is not None
    )
    assert found * per_worker >= needed - 0.01 * per_worker
    if all(load.duration is not None for load in loads):
        assert found <= max(math.ceil(needed / per_worker), 1)
    assert found or not any(load.depth or load.busy for load in loads)


@given(loads, st.integers(0, 5), st.integers(5, 9))
def test_the_limits_hold(load: Load, least: int, most: int) -> None:
    found = advised_workers([load], target=30, per_worker=4, least=least, most=most)
    assert least <= found <= most


@pytest.mark.parametrize("depth", [10, 100, 1000])
def test_more_to_do_never_takes_fewer_workers(depth: int) -> None:
    def advised(depth: int) -> int:
        return advised_workers([Load(depth, duration=0.7, rate=3.0)], target=10, per_worker=3)

    assert advised(depth) <= advised(depth + 1)
