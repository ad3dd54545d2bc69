"""What an execution takes of Redis: all its keys, and its share of what all of them share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from orch.control.plans import Plans
from orch.journal.journal import Journal
from orch.workflows.outcome import Completed
from tests.build import Worked, starting, task, wait, workflow

MANY = 100
CHAIN = [task(f"s{n}", f"s{n + 1}") for n in range(9)] + [task("s9")]


def executions(
    journal: Journal, steps: list[dict[str, object]], work: Callable[[Worked, int], None]
) -> float:
    """Bytes of each of many executions of a workflow."""
    plan = Plans(journal).store("chain10", workflow(*steps), {})
    before = used(journal.redis)
    for number in range(MANY):
        worked = Worked(journal, plan, execution=f"{number * 7919:016x}")
        assert journal.start(starting(worked, input={"order": f"o-{number:08d}"}))
        work(worked, number)
    return (used(journal.redis) - before) / MANY


def used(redis: Redis) -> int:
    return sum(redis.memory_usage(key, samples=0) or 0 for key in redis.scan_iter(count=1000))


@pytest.mark.parametrize(
    ("host", "bar"),
    [("vm", 1800), ("3f2a1b4c5d6e", 1900), ("orch-worker-5d8f9c7b6d-x2x4z", 2100)],
)
def test_a_finished_chain_of_ten(journal: Journal, host: str, bar: int) -> None:
    def work(worked: Worked, number: int) -> None:
        for step in range(10):
            owner = f"{host}-26653-f6c7c2/26655/{number:02x}{step:02x}"
            claimed = worked.take(f"s{step}", owner)
            journal.clock.advance(3)  # type: ignore[attr-defined]
            worked.settle(f"s{step}", claimed, Completed(None))

    assert executions(journal, CHAIN, work) <= bar


@pytest.mark.parametrize(
    "step",
    [
        wait("pause", 90 * 86_400_000),
        {"id": "paid", "type": "event",
         "event": {"action": "wait", "name": "paid", "correlation": "$.input.order"}},
    ],
    ids=["wait", "event"],
)  # fmt: skip
def test_an_execution_that_waits_for_months(journal: Journal, step: dict[str, object]) -> None:
    assert executions(journal, [step], lambda worked, number: None) <= 900
