"""Poison: set aside with its input, listed, replayed after a fix, or given up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orch import Orchestrator
from orch.errors import NotFound
from orch.escalation.quarantine import QuarantineManager
from orch.journal.journal import Journal
from orch.workflows.state import StepStatus
from tests.build import runtime_of, task
from tests.escalated import Played

DEADLY = """
import os, signal
from pathlib import Path
from orch import capability

@capability("deadly")
def deadly(fix):
    if not Path(fix).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return "mended"
"""


class Poisoned(Played):
    """A step of which three workers have died."""

    def __init__(self, journal: Journal, **more: Any) -> None:
        super().__init__(journal, task("eat", input={"n": "$.input.n"}, **more), input={"n": 7})
        for _ in range(3):
            claimed = self.worked.take("eat")
            self.advancer.lose("x1", "eat", claimed.state, "its worker died")
        runtime = runtime_of(self.advancer)
        self.quarantine = QuarantineManager(runtime)


def test_poison_that_nobody_takes_is_kept_with_its_input(journal: Journal) -> None:
    played = Poisoned(journal)
    assert played.ended() == "failed"
    (step,) = played.quarantine.list()
    assert (step.id, step.input, step.error["class"]) == ("x1:eat", {"n": 7}, "poison")


def test_replay_lets_the_execution_go_on_from_there(journal: Journal) -> None:
    played = Poisoned(journal)
    played.quarantine.replay("x1:eat")
    assert played.ended() == "running"
    assert played.quarantine.list() == []
    played.do("eat", "fine")
    assert played.ended() == "completed"
    with pytest.raises(NotFound):
        played.quarantine.replay("x1:eat")


def test_drop_strikes_it_off(journal: Journal) -> None:
    played = Poisoned(journal)
    played.quarantine.drop("x1:eat")
    assert played.quarantine.list() == []
    assert played.ended() == "failed"


def test_what_was_retried_otherwise_is_struck_off(journal: Journal) -> None:
    played = Poisoned(journal)
    played.verbs.retry("x1")
    played.do("eat")
    assert played.quarantine.list() == []


def test_an_on_error_that_takes_poison_leaves_nothing_there(journal: Journal) -> None:
    played = Poisoned(journal, onError="eat")
    assert played.quarantine.list() == []


def test_poison_goes_up_the_ladder_and_kills_nobody_else_there(journal: Journal) -> None:
    played = Poisoned(journal, escalation=[{"retry": {"maxAttempts": 3}}, "human"])
    assert played.record("eat").queue == "inbox"
    (step,) = played.quarantine.list()
    assert step.status == "escalated"
    played.quarantine.replay("x1:eat")
    assert played.status("eat/~2") is StepStatus.DISPATCHED
    played.do("eat/~2", 1)
    assert played.ended() == "completed"


def test_dropping_what_is_escalated_aborts_its_execution(journal: Journal) -> None:
    played = Poisoned(journal, escalation=["human"])
    played.quarantine.drop("x1:eat")
    assert played.ended() == "cancelled"
    assert played.quarantine.list() == []


def test_a_step_that_kills_its_processes_stops_and_is_replayed_after_a_fix(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    code, fix = tmp_path / "deadly_code.py", tmp_path / "fix"
    code.write_text(DEADLY)
    step = {"id": "eat", "capability": "deadly", "input": {"fix": str(fix)}}
    orchestrator.define_workflow("w", {"name": "w", "steps": [step]})
    with orchestrator.workers(include=[str(code)], concurrency=1):
        execution = orchestrator.start_workflow("w")
        assert execution.wait(timeout=30).status == "failed"
        (kept,) = orchestrator.list_quarantine()
        assert kept.input == {"fix": str(fix)}
        fix.write_text("")
        orchestrator.replay_quarantined(kept.id, reason="mended", by="ada")
        assert execution.wait(timeout=30).output == "mended"
    assert orchestrator.list_quarantine() == []
