"""Which agents there are, what they offer, how they are, and what they have done."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import Orchestrator
from orch.agents.info import AgentInfo, AgentStatus
from orch.agents.registry import AgentRegistry
from orch.errors import InputError, NotFound
from orch.journal.agents import LIFE_ENDS
from orch.journal.journal import Journal
from orch.settings import Settings
from tests.build import FakeClock

CODE = """
import pathlib, time
from orch import StepError, capability

@capability("weigh", version="2.3.0", timeout=9, cost=0.5)
def weigh(kilos: float, bad: bool = False) -> dict[str, float]:
    '''Say how heavy it is.'''
    if bad:
        raise StepError("Broken", "the scale is broken")
    return {"kilos": kilos}

@capability("hold")
def hold(go: str):
    while not pathlib.Path(go).exists():
        time.sleep(0.01)
"""


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    changed = settings.model_copy(update={"agent_type": "scale"})
    with Orchestrator(changed) as made:
        yield made


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "registry_code.py"
    path.write_text(CODE)
    return str(path)


def start(orchestrator: Orchestrator, capability: str, **input: Any) -> Any:
    steps = [{"id": "a", "capability": capability, "input": input}]
    orchestrator.define_workflow("w", {"name": "w", "steps": steps})
    return orchestrator.start_workflow("w")


def only(orchestrator: Orchestrator) -> AgentInfo:
    (found,) = orchestrator.list_agents()
    return found


# --- workers -----------------------------------------------------------------------------------


def test_a_worker_is_an_agent_with_what_it_offers(orchestrator: Orchestrator, code: str) -> None:
    queues = ["hold", "weigh"]
    with orchestrator.workers(include=[code], queues=queues, concurrency=2, pool="threads"):
        found = only(orchestrator)
        assert (found.type, found.status, found.concurrency) == ("scale", "online", 2)
        assert found.capabilities == queues  # it has code for more
        assert found.versions["weigh"] == "2.3.0"
        assert (found.task_count, found.success_rate, found.load_factor) == (0, 1.0, 0.0)
        short = found.name.partition("@")[0]
        for name in (found.id, found.name, short):
            offered = {each.name: each for each in orchestrator.get_agent_capabilities(name)}
            assert set(offered) == set(found.capabilities)
        weigh = offered["weigh"]
        assert (weigh.version, weigh.timeout, weigh.cost) == ("2.3.0", 9, 0.5)
        assert weigh.description == "Say how heavy it is."
        assert weigh.input is not None
        assert weigh.input["required"] == ["kilos"]
        assert weigh.output == {"type": "object", "additionalProperties": {"type": "number"}}
        assert [each.id for each in orchestrator.find_agents_by_capability("weigh")] == [found.id]
        assert orchestrator.find_agents_by_capability("fly") == []
        profiles = orchestrator.runtime.journal.redis
        profiles.delete(*profiles.keys("orch:profile:*"))  # lost, until it is renewed
        assert only(orchestrator).capabilities == queues
        with pytest.raises(InputError, match="is a live worker"):
            orchestrator.register_agent(short, ["weigh"])


def test_its_figures_are_those_of_all_its_processes(
    orchestrator: Orchestrator,
    code: str,
    tmp_path: Path,
    wait_until: Callable[..., Any],
) -> None:
    with orchestrator.workers(include=[code], concurrency=1, pool="prefork"):
        for bad in (False, False, True, False):
            start(orchestrator, "weigh", kilos=1, bad=bad).wait(timeout=30)
        wait_until(lambda: only(orchestrator).task_count == 4)
        found = only(orchestrator)
        assert found.success_rate == 0.75
        assert 0 < found.average_task_duration < 10_000
        go = tmp_path / "go"
        held = start(orchestrator, "hold", go=str(go))
        wait_until(lambda: only(orchestrator).status == AgentStatus.BUSY)
        assert (only(orchestrator).load_factor, only(orchestrator).running) == (1.0, 1)
        go.touch()
        held.wait(timeout=30)
        wait_until(lambda: only(orchestrator).status == AgentStatus.ONLINE)


def test_one_that_is_frozen_is_in_error_and_a_dead_one_is_not_listed_and_what_it_did_is_kept(
    orchestrator: Orchestrator, code: str, wait_until: Callable[..., Any]
) -> None:
    with orchestrator.workers(include=[code], concurrency=1, pool="solo") as own:
        start(orchestrator, "weigh", kilos=1).wait(timeout=30)
        name = only(orchestrator).name
        # It is kept every few seconds: what is killed before has told its signs alone.
        wait_until(lambda: orchestrator.get_agent(name).task_count == 1)
        record = orchestrator.runtime.journal.read_agents
        wait_until(lambda: record([name])[name].sums({})[0] == 1)
        pid = own.processes[0].pid
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: only(orchestrator).status == AgentStatus.ERROR)
        assert orchestrator.find_agents_by_capability("weigh") == []
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: only(orchestrator).status == AgentStatus.ONLINE)
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda: orchestrator.list_agents() == [])
        assert time.monotonic() - killed < 5
        (gone,) = orchestrator.list_agents(offline=True)
        assert (gone.name, gone.status, gone.task_count) == (name, "offline", 1)
        with pytest.raises(NotFound, match="there is no agent 'nobody'; there are: none"):
            orchestrator.get_agent_capabilities("nobody")


async def collected(settings: Settings) -> list[list[AgentInfo]]:
    from orch import AsyncOrchestrator

    async with AsyncOrchestrator(settings) as made:
        return [await made.list_agents(), await made.find_agents_by_capability("weigh")]


def test_coroutines_ask_the_same(redis: Redis, settings: Settings) -> None:
    import asyncio

    assert asyncio.run(collected(settings)) == [[], []]


# --- what is kept ------------------------------------------------------------------------------


def test_what_is_told_again_is_counted_once_and_lives_add_up(
    journal: Journal, clock: FakeClock
) -> None:
    def kept() -> tuple[int, int, float]:
        return journal.read_agents(["a"])["a"].sums({})

    journal.tell_agent("a", "first", (3, 1, 0.5), {"type": "t"}, 10**7)
    journal.tell_agent("a", "first", (4, 1, 0.75), {"type": "t"}, 10**7)
    journal.tell_agent("a", "second", (2, 0, 0.25), {"type": "t"}, 10**7)
    assert kept() == (6, 1, 1.0)
    clock.now += LIFE_ENDS + 1
    journal.tell_agent("a", "third", (1, 0, 0.0), {"type": "t"}, 10**7)
    record = journal.read_agents(["a"])["a"]
    assert (record.past, set(record.lives)) == ((6, 1, 1.0), {"third"})
    assert kept() == (7, 1, 1.0)
    assert record.sums({"third": (5, 2, 1.0)}) == (11, 3, 2.0)  # what it says itself is newer
    assert journal.known_agents() == ["a"]
    clock.now += 10**7
    journal.tell_agent("b", "x", (0, 0, 0.0), {}, 10**7)
    assert journal.known_agents() == ["b"]


def test_what_workers_offer_lies_once_for_all_of_the_same_code(journal: Journal) -> None:
    one = journal.keep_profile({"a": {"version": "1.0.0"}, "b": {}})
    same = journal.keep_profile({"b": {}, "a": {"version": "1.0.0"}})
    other = journal.keep_profile({"a": {"version": "1.0.1"}})
    assert one == same != other
    found = journal.read_profiles([one, other, "missing"])
    assert found == {one: {"a": {"version": "1.0.0"}, "b": {}}, other: {"a": {"version": "1.0.1"}}}


def test_those_with_the_least_load_and_the_most_success_come_first(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def info(name: str, load: float, success: float, **more: Any) -> Any:
        made = {"id": name, "name": name, "status": "online", "capabilities": ["c"]} | more
        return AgentInfo(**made, load_factor=load, success_rate=success), {}

    with Orchestrator(settings) as orchestrator:
        registry = AgentRegistry(orchestrator.runtime)
        agents = [
            info("slow", 0.9, 1.0),
            info("bad", 0.1, 0.5),
            info("good", 0.1, 0.9),
            info("frozen", 0.0, 1.0, status="error"),
            info("leaves", 0.0, 1.0, draining=True),
            info("other", 0.0, 1.0, capabilities=["d"]),
        ]
        monkeypatch.setattr(registry, "_live", lambda: agents)
        assert [each.name for each in registry.find("c")] == ["good", "bad", "slow"]
