"""Real workers against the reference interpreter: random workflows whose end no delay changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
from redis import Redis

from orch import Orchestrator
from orch.control.simulation import attempts_of
from orch.execution import Execution
from orch.settings import Settings
from orch.workflows.calls import Call
from tests.conftest import LONG
from tests.judges.cases import Case
from tests.properties.flows import INPUT, flow
from tests.properties.reference import Open, Reference, Run, Step
from tests.properties.test_reference import named

SAMPLE = 200 if LONG else 20
AT_ONCE = 20
LENGTH = 2500
"""Ms that a workflow takes at most, by its own times."""

DELAYS = [0, *[300] * 10, *[2000] * 10]
"""Ms by which any step may be late; each is tried once."""

LEAST = 8
"""Attempts; with fewer there is little to say."""

TIMES = ("interval", "maxInterval", "duration")

CAPABILITIES = """
import json, os, time
from functools import cache
from pathlib import Path
from orch import Context, capability
from orch.control.simulation import Mocks
from orch.journal.journal import open_redis
from orch.journal.keys import Keys
from orch.workflows.calls import Call

GIVEN = json.loads(Path(__file__).with_suffix(".json").read_text())
CASES = {name: Mocks.model_validate(mocks) for name, mocks in GIVEN.items()}

@cache
def prefix(execution):
    client = open_redis(os.environ["ORCH_REDIS_URL"])
    found = client.hget(Keys("orch", 64).record(execution), "parent")
    client.close()
    if found is None:
        return ""
    call = Call.loads(found)
    return f"{prefix(call.execution)}{call.path}/"

def play(context, case):
    mocks = CASES[case]
    shown = prefix(context.execution_id) + context.path
    step = shown.rpartition("/")[2].partition("#")[0]
    time.sleep(mocks.durations.get(shown, mocks.durations.get(step, 0)) / 1000)
    name = mocks.failure((shown, step), context.attempt)
    if name is not None:
        raise type(name, (Exception,), {})("as it should")
    return mocks, shown, step

@capability("work")
def work(context: Context, case: str):
    mocks, shown, step = play(context, case)
    return mocks.outputs.get(shown, mocks.outputs.get(step))

@capability("ask")
def ask(context: Context, case: str):
    mocks, shown, step = play(context, case)
    checks = mocks.polls.get(shown, mocks.polls.get(step))
    return checks[min(context.attempt, len(checks)) - 1]
"""


class Late(Reference):
    """Everything takes a while longer than it should."""

    random: ClassVar[Random]
    delay: ClassVar[int]

    def step(self, step: Step, *given: Any) -> tuple[Run, str | None]:
        run, following = super().step(step, *given)
        run.at += self.random.randint(0, self.delay)
        return run, following

    def mock(self, kind: str, path: str, otherwise: Any) -> Any:
        found = super().mock(kind, path, otherwise)
        return found + self.random.randint(0, self.delay) if kind == "durations" else found


@dataclass(frozen=True)
class Said:
    """What came of a workflow. ``attempts``: (path, number)."""

    error: str | None
    output: Any
    variables: Any
    attempts: list[tuple[str, int]]


@dataclass(frozen=True)
class Flow:
    seed: int
    case: Case
    workflows: dict[str, Any]

    @property
    def name(self) -> str:
        return f"flow_{self.seed}"

    def play(self, delay: int, number: int) -> Said:
        """Raises Open."""
        Late.random, Late.delay = Random(f"{self.seed} {number}"), delay
        late = Late(self.case.mocks, self.workflows)
        run = late.run(self.case.definition, INPUT)
        attempts = sorted((each.path, each.attempt) for each in run.effects if each.path)
        return Said(
            run.error.name if run.error else None,
            None if run.error else run.output,
            late.variables,
            attempts,
        )


def made(seed: int) -> Flow | None:
    """The workflow of a seed in little time; None when delays could change what comes of it."""
    case, workflows = flow(seed)
    try:
        run = Reference(case.mocks, workflows).run(case.definition, INPUT)
        factor = min(1.0, LENGTH / max(run.at, 1))
        durations = {k: int(v * factor) for k, v in case.mocks["durations"].items()}
        mocks = {**case.mocks, "durations": durations}
        definition = short(case.definition, factor, str(seed))
        own = {f"{k}_{seed}": short(v, factor, str(seed)) for k, v in workflows.items()}
        made = Flow(seed, replace(case, definition=definition, mocks=mocks), own)
        said = made.play(0, 0)
        always = all(made.play(delay, n) == said for n, delay in enumerate(DELAYS))
    except Open:
        return None
    return made if always and len(said.attempts) >= LEAST else None


def short(given: Any, factor: float, case: str) -> Any:
    """A definition in less time, of which each task says to which case it belongs."""
    if isinstance(given, list):
        return [short(each, factor, case) for each in given]
    if not isinstance(given, dict):
        return given
    found = {name: short(each, factor, case) for name, each in given.items()}
    for name in TIMES:
        if isinstance(found.get(name), int):
            found[name] = max(1, int(found[name] * factor))
    if "capability" in found:
        found["input"] = {"case": case}
    if isinstance(found.get("subworkflow"), str):
        found["subworkflow"] += f"_{case}"
    return found


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    # A worker that is starved of CPU is not to be taken for a dead one.
    with Orchestrator(settings.model_copy(update={"liveness_ttl": 60.0})) as orchestrator:
        yield orchestrator


@pytest.mark.slow
@pytest.mark.timeout(900 if LONG else 180)
def test_real_workers_and_the_reference_say_the_same(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    flows = list(islice(filter(None, map(made, count())), SAMPLE))
    module = tmp_path / "played.py"
    module.write_text(CAPABILITIES)
    cases = {str(each.seed): each.case.mocks for each in flows}
    module.with_suffix(".json").write_text(json.dumps(cases))
    given = {"include": [str(module)], "pool": "threads", "concurrency": 64, "count": 2}
    with orchestrator.workers(**given):
        for first in range(0, SAMPLE, AT_ONCE):
            some = flows[first : first + AT_ONCE]
            started = [(each, begin(orchestrator, each)) for each in some]
            for each, execution in started:
                assert execution.wait(100).status in ("completed", "failed")
                compare(orchestrator, each, execution)


def begin(orchestrator: Orchestrator, flow: Flow) -> Execution:
    for name, document in flow.workflows.items():
        orchestrator.define_workflow(name, document)
    orchestrator.define_workflow(flow.name, flow.case.definition)
    execution = orchestrator.start_workflow(flow.name, input=INPUT)
    for step, payload in flow.case.mocks["events"].items():
        orchestrator.trigger_event(f"heard_{step}", payload, execution=execution.id)
    return execution


def compare(orchestrator: Orchestrator, flow: Flow, execution: Execution) -> None:
    expected = flow.play(0, 0)
    found = orchestrator.runtime.journal.record(execution.id)
    where = f"seed {flow.seed}, execution {execution.id}"
    error = found.error["name"] if found.error else None
    assert (found.status, error) == (
        "failed" if expected.error else "completed",
        expected.error,
    ), where
    assert named(found.output) == expected.output, where
    assert named(dict(found.variables)) == expected.variables, where
    attempts = sorted(attempts_with_children(orchestrator, execution.id))
    quiet = [each for each in expected.attempts if each not in attempts]
    # An item of one step that goes well at once is no line of the history.
    assert all(attempt == 1 and re.search(r"\]/[^/]+$", path) for path, attempt in quiet), where
    assert attempts == [each for each in expected.attempts if each not in quiet], where


def attempts_with_children(
    orchestrator: Orchestrator, execution: str, prefix: str = ""
) -> Iterator[tuple[str, int]]:
    journal = orchestrator.runtime.journal
    for _, step in attempts_of(journal.history(execution), 0):
        if step.outcome in ("completed", "failed", "skipped"):
            yield prefix + step.path, step.attempt
        child = Call(execution, step.path, step.attempt).child
        if journal.status(child) is not None:
            yield from attempts_with_children(orchestrator, child, f"{prefix}{step.path}/")
