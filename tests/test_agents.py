"""Steps that one agent alone may do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch import Orchestrator
from orch.errors import InvalidWorkflow
from orch.workflows.plan import Plan
from tests.build import task, workflow

CODE = """
import os
from orch import capability

@capability("who")
def who():
    return os.getpid()
"""


def step(number: int, agent: str | None, next: str | None) -> dict[str, Any]:
    made = {"id": f"s{number}", "capability": "who", "agent": agent, "next": next}
    return made | {"output": {f"at{number}": "$.output"}}


def test_a_step_of_one_agent_has_that_agent_s_queue() -> None:
    plan = Plan(workflow(task("a", agent="lint@host")))
    assert plan.node("a").queue == "agent.lint@host"


def test_the_agent_that_is_named_does_it_and_nobody_else(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    code = tmp_path / "who_code.py"
    code.write_text(CODE)
    with orchestrator.workers(include=[str(code)], count=2, concurrency=1, pool="solo"):
        journal = orchestrator.runtime.journal
        pids = {worker["name"]: worker["pid"] for worker in journal.live_workers()}
        for name in pids:
            for said in (name, name.partition("@")[0]):
                steps = [step(n, said, f"s{n + 1}" if n < 4 else None) for n in range(5)]
                orchestrator.define_workflow("w", {"name": "w", "steps": steps})
                done = orchestrator.start_workflow("w").wait(timeout=30)
                assert set(done.variables.values()) == {pids[name]}


def test_one_that_is_away_is_waited_for_and_why_says_so(orchestrator: Orchestrator) -> None:
    orchestrator.define_workflow("w", {"name": "w", "steps": [step(0, "gone", None)]})
    execution = orchestrator.start_workflow("w")
    said = execution.status().waiting_for["s0"]
    assert said == "no live agent is called 'gone'; start it: orch worker --name gone"


def test_an_agent_that_nobody_has_heard_of_is_found_by_the_validator(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    code = tmp_path / "who_code.py"
    code.write_text(CODE)
    unknown = step(0, "nobody", None) | {"backup": ["noone"]}
    with orchestrator.workers(include=[str(code)], concurrency=1, pool="solo"):
        (live,) = orchestrator.runtime.journal.live_workers()
        name = str(live["name"])
        known = [step(n, said, None) for n, said in enumerate((name, name.partition("@")[0]))]
        known[0]["next"] = "s1"
        definition = {"name": "w", "timeoutMs": 1000, "steps": known}
        assert orchestrator.validate_workflow(definition) == []
        definition = {"name": "w", "timeoutMs": 1000, "steps": [unknown]}
        found = orchestrator.validate_workflow(definition)
    said = "no agent {!r}, which step 's0' names, lives or is remembered"
    assert [(each.path, each.message) for each in found] == [
        ("steps[0].agent", said.format("nobody")),
        ("steps[0].backup", said.format("noone")),
    ]


def test_a_name_that_no_agent_can_have_is_refused(orchestrator: Orchestrator) -> None:
    with pytest.raises(InvalidWorkflow, match="agent"):
        orchestrator.define_workflow("w", {"name": "w", "steps": [step(0, "a b", None)]})
