"""An event against time, by the example: one of the two wins, the other is cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from orch import Orchestrator
from orch.cli.app import run_command
from orch.control.simulation import Simulation, simulate
from orch.settings import Settings
from orch.workflows.loading import load_definition

EXAMPLE = Path(__file__).parent.parent / "examples" / "answer_or_remind.yaml"
DAY = 24 * 3600 * 1000


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as orchestrator:
        yield orchestrator
    redis.flushall()  # queues and bindings of the workers


def steps_of(simulation: Simulation) -> dict[str, tuple[int, str]]:
    return {step.path: (step.at_ms, step.outcome) for step in simulation.steps}


def test_the_example_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["validate", str(EXAMPLE)]) == 0
    assert "error" not in capsys.readouterr().out


def test_simulated_the_event_wins_or_three_days_do() -> None:
    definition = load_definition(EXAMPLE)
    given = {"order": "A-17"}
    answered = steps_of(simulate(definition, key="w", input=given, mocks={"events": {"answer": 1}}))
    assert answered["answer_or_time/1/time"] == (0, "cancelled")
    assert answered["accept"] == (0, "completed") and "remind" not in answered
    late = steps_of(simulate(definition, key="w", input=given))
    assert late["answer_or_time/0/answer"] == (3 * DAY, "cancelled")
    assert late["remind"] == (3 * DAY, "completed") and "accept" not in late


def test_run_the_first_goes_on_and_the_other_is_cancelled(
    orchestrator: Orchestrator, wait_until: Callable[..., object]
) -> None:
    orchestrator.load_workflow(EXAMPLE)
    with orchestrator.workers(pool="solo", queues=["command_execution"]):
        answered = orchestrator.start_workflow("answer_or_remind", {"order": "A-17"})
        late = orchestrator.start_workflow("answer_or_remind", {"order": "B-4", "patience": "PT1S"})
        assert orchestrator.trigger_event("answered", "yes", correlation="A-17") == 1
        one, other = answered.wait(timeout=40), late.wait(timeout=40)
    assert one.output == {"said": "order A-17 was answered: yes\n"}
    assert other.output == {"said": "order B-4 was not answered in time\n"}
    cancelled = [e.path for e in answered.history() if e.event == "cancelled"]
    assert cancelled == ["answer_or_time/1/time"]
    assert [e.path for e in late.history() if e.event == "cancelled"] == ["answer_or_time/0/answer"]
    journal = orchestrator.runtime.journal
    for execution in (answered.id, late.id):
        watch = journal.keys.watch(journal.keys.partition(execution))
        assert not [m for m in journal.redis.zrange(watch, 0, -1) if str(m).startswith(execution)]
    # What comes too late is taken by nobody.
    assert orchestrator.trigger_event("answered", "late", correlation="B-4") == 0
