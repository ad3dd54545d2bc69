"""Many starts at once: each for itself, in order, however the batch goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orch import AsyncOrchestrator, Execution, OrchError, Orchestrator, StartRequest
from orch.cli.app import run_command
from orch.control.bulk import BATCH
from orch.settings import Settings
from tests.build import task, wait

SCHEMA = {"type": "object", "required": ["n"]}


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        made.define_workflow("w", {"name": "w", "steps": [task("a")], "input": SCHEMA})
        yield made
    redis.flushall()


def ids(found: list[Execution | OrchError]) -> list[str]:
    return [each.id if isinstance(each, Execution) else type(each).__name__ for each in found]


def test_each_is_answered_in_order_and_has_its_message(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    count = BATCH + 7
    found = orchestrator.start_workflows(("w", {"n": i}) for i in range(count))
    for number in (0, BATCH - 1, BATCH, count - 1):
        each = found[number]
        assert isinstance(each, Execution)
        assert each.status().input == {"n": number}
    assert (len(set(ids(found))), redis.llen("work")) == (count, count)


def test_what_is_refused_does_not_hold_up_the_others(
    orchestrator: Orchestrator, redis: Redis
) -> None:
    found = orchestrator.start_workflows(
        [
            StartRequest("w", {"n": 1}, options={"priority": 3}),
            ("w", {}),
            ("nobody", {"n": 1}),
            {"name": "w", "input": {"n": 2}, "attributes": {"a": 1}},
            {"name": "w", "input": {"n": 2}, "color": "red"},
            ("w", {"n": 1}, {"delay": "soon"}),
            ("w", {"n": 1}, {"delay": 60}),
            ["w", {"n": float("nan")}],
            "w",
            ("w", {"n": 1}, {"idempotency_key": 7}),
        ]
    )
    assert [isinstance(each, Execution) for each in found] == [
        True, False, False, True, False, False, True, False, False, False,
    ]  # fmt: skip
    assert (redis.llen("work"), redis.llen("work\x06\x163")) == (1, 1)
    later = found[6]
    assert isinstance(later, Execution)
    assert later.status().status == "scheduled"
    later.cancel()


def test_the_same_keys_give_the_same_executions(orchestrator: Orchestrator, redis: Redis) -> None:
    requests = [("w", {"n": i}, {"idempotency_key": str(i % 3)}) for i in range(5)]
    found = orchestrator.start_workflows(requests)
    again = orchestrator.start_workflows(requests)
    assert ids(again) == ids(found)
    assert len(set(ids(found))) == 3
    assert [each.existed for each in found if isinstance(each, Execution)] == [0, 0, 0, 1, 1]
    assert all(isinstance(each, Execution) and each.existed for each in again)
    assert redis.llen("work") == 3


def test_large_inputs_make_smaller_batches(orchestrator: Orchestrator) -> None:
    found = orchestrator.start_workflows(("w", {"n": "x" * 900_000}) for _ in range(12))
    assert len(set(ids(found))) == 12


def test_what_ends_or_calls_at_once_does_so(orchestrator: Orchestrator, redis: Redis) -> None:
    call = {"id": "c", "type": "subworkflow", "subworkflow": "w", "input": {"n": 1}}
    orchestrator.define_workflow("parent", {"name": "p", "steps": [call]})
    skipped = [{**wait("w"), "condition": "$.input.n == 0"}]
    orchestrator.define_workflow("none", {"name": "none", "steps": skipped})
    parent, done = orchestrator.start_workflows([("parent", None), ("none", {"n": 1})])
    assert isinstance(parent, Execution)
    assert isinstance(done, Execution)
    assert (redis.llen("work"), done.status().status) == (1, "completed")


async def _many(url: str) -> list[Any]:
    async with AsyncOrchestrator(redis_url=url) as orchestrator:
        return await orchestrator.start_workflows([("w", {"n": 1}), ("w", {})])


def test_the_same_in_async(orchestrator: Orchestrator, redis_url: str) -> None:
    import asyncio

    first, second = asyncio.run(_many(redis_url))
    assert (first.existed, isinstance(second, OrchError)) == (False, True)


STARTER = """
import sys
from orch import Orchestrator
with Orchestrator(redis_url=sys.argv[1], fault_point=sys.argv[2]) as orchestrator:
    from orch.faults import arm
    arm(sys.argv[2])
    orchestrator.start_workflows(("w", {"n": i}, {"idempotency_key": str(i)}) for i in range(50))
"""


def test_killed_between_the_starts_and_their_messages_nothing_is_lost(
    orchestrator: Orchestrator, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "capabilities.py").write_text(
        "from orch import capability\n@capability('work')\ndef work():\n    return 1\n"
    )
    struck = tmp_path / "struck"
    command = [sys.executable, "-c", STARTER, redis_url, f"started:{struck}"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert redis.llen("work") == 0
    requests = [("w", {"n": i}, {"idempotency_key": str(i)}) for i in range(50)]
    with orchestrator.workers(pool="solo", include=[str(tmp_path / "capabilities.py")]):
        for each in orchestrator.start_workflows(requests):
            assert isinstance(each, Execution)
            assert each.existed
            assert each.wait(40).status == "completed"


def test_the_command_starts_a_line_at_a_time_and_names_those_that_it_cannot(
    orchestrator: Orchestrator,
    redis_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wait_until: Callable[..., Any],
) -> None:
    file = tmp_path / "starts.jsonl"
    lines = ['{"input": {"n": 1}, "idempotency_key": "k"}', "", "{", "[]", '{"input": {}}']
    file.write_text("\n".join([*lines, '{"input": {"n": 2}, "priority": 5}']))
    command = ["start", "w", "--many", str(file), "--redis", redis_url, "--attribute", "of=test"]
    assert run_command([*command, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["started"], told["existed"], len(told["ids"])) == (2, 0, 2)
    assert [problem["line"] for problem in told["refused"]] == [3, 4, 5]
    seen = orchestrator.execution(told["ids"][1]).status()
    assert (seen.priority, seen.attributes) == (5, {"of": "test"})
    assert run_command(command) == 1
    shown = capsys.readouterr()
    assert shown.out.split()[0] == told["ids"][0]
    assert "1 started, 1 were there before, 3 refused" in shown.err
    assert "line 3: it is no JSON" in shown.err
    assert run_command([*command, "--wait"]) == 2
    assert run_command([*command[:3], str(tmp_path / "none"), *command[4:]]) == 2


def test_each_gets_the_version_that_it_names_or_that_the_canary_gives_it(
    orchestrator: Orchestrator,
) -> None:
    first = orchestrator.list_versions("w")[0].version
    orchestrator.define_workflow("w", {"name": "w", "steps": [task("other")]})
    second = orchestrator.list_versions("w")[0].version
    given = [("w", {"n": 1}, {"version": first}), ("w", {"n": 1})]
    for expected, each in zip([first, second], orchestrator.start_workflows(given), strict=True):
        assert isinstance(each, Execution)
        assert each.status().version == expected
    orchestrator.canary_workflow("w", first, 50)
    found = orchestrator.start_workflows(
        ("w", {"n": 1}, {"idempotency_key": str(i)}) for i in range(40)
    )
    single = [orchestrator.start_workflow("w", {"n": 1}, str(i)) for i in range(40)]
    assert ids(found) == ids(single)
    versions = {each.status().version for each in found if isinstance(each, Execution)}
    assert versions == {first, second}
