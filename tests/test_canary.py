"""A version that some executions get, and how versions do side by side."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.cli.app import run_command
from orch.control.comparison import fisher_exact, percentile, wilson
from orch.errors import InputError, NotFound
from orch.settings import Settings
from orch.workflows.canary import is_chosen
from tests.build import task

CAPABILITIES = """
from orch import Context, capability

@capability("work")
def work(context: Context, fails: bool = False, flaky: bool = False) -> int:
    if fails or (flaky and context.attempt == 1):
        raise ValueError("as asked")
    return 1
"""


def flow(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "flow", "steps": list(steps), **more}


ONE, TWO, THREE = flow(task("a"), version="1"), flow(task("b")), flow(task("c"))


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        yield made
    redis.flushall()


def starts(orchestrator: Orchestrator, count: int = 60) -> Counter[str]:
    ids = [orchestrator.start_workflow("w", idempotency_key=str(n)).id for n in range(count)]
    return Counter(orchestrator.get_execution_status(id).version for id in ids)


@given(id=st.text(), low=st.floats(0, 100), high=st.floats(0, 100))
def test_who_is_chosen_stays_chosen_when_the_percentage_grows(
    id: str, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    assert is_chosen("w", id, high) or not is_chosen("w", id, low)
    assert is_chosen("w", id, 100) and not is_chosen("w", id, 0)


def test_about_as_many_are_chosen_as_was_asked_for() -> None:
    assert 850 < sum(is_chosen("w", f"{n:x}", 10) for n in range(10_000)) < 1150


def test_some_get_the_canary_until_it_is_dropped_or_promoted(orchestrator: Orchestrator) -> None:
    first = orchestrator.define_workflow("w", ONE).version
    second = orchestrator.define_workflow("w", TWO, by="ada", canary=40).version
    listed = {v.version: (v.latest, v.canary, v.by) for v in orchestrator.list_versions("w")}
    assert listed[second] == (False, 40, "ada")
    found = starts(orchestrator)
    assert found[first] + found[second] == 60 and 10 < found[second] < 40
    assert starts(orchestrator) == found, "the same ids are the same executions"
    execution = orchestrator.start_workflow("w", version=second)
    assert execution.status().canary == 40
    assert orchestrator.stop_canary("w") is True
    assert orchestrator.stop_canary("w") is False
    assert execution.status().canary is None
    assert orchestrator.start_workflow("w").status().version == first

    orchestrator.canary_workflow("w", second[:9], 100)
    assert orchestrator.start_workflow("w").status().version == second
    assert orchestrator.start_workflow("w", version="1").status().version == first
    assert orchestrator.promote_canary("w") == second
    assert [v.canary for v in orchestrator.list_versions("w")] == [None, None]
    assert orchestrator.start_workflow("w").status().version == second
    with pytest.raises(NotFound, match="'w' has no canary"):
        orchestrator.promote_canary("w")


def test_children_are_chosen_by_their_own_ids(orchestrator: Orchestrator) -> None:
    orchestrator.define_workflow("w", ONE)
    second = orchestrator.define_workflow("w", TWO, canary=100).version
    call = {"id": "call", "type": "subworkflow", "subworkflow": "w"}
    orchestrator.define_workflow("above", flow(call))
    child = orchestrator.start_workflow("above").status().steps[0].child
    assert child is not None
    assert orchestrator.get_execution_status(child).version == second


def test_what_makes_no_sense_is_refused(orchestrator: Orchestrator) -> None:
    with pytest.raises(InputError, match="no other version that the rest could get"):
        orchestrator.define_workflow("w", ONE, canary=10)
    first = orchestrator.define_workflow("w", ONE).version
    with pytest.raises(InputError, match="is the latest of workflow 'w'"):
        orchestrator.canary_workflow("w", first, 10)
    second = orchestrator.define_workflow("w", TWO, canary=10).version
    for percent in (0, -1, 101, float("nan")):
        with pytest.raises(InputError, match="give 0 to 100"):
            orchestrator.canary_workflow("w", second, percent)
    with pytest.raises(NotFound):
        orchestrator.canary_workflow("w", "zzz", 10)


# --- figures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "total", "interval"),
    [(0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (1, 100, (0.0018, 0.0545))],
)
def test_the_interval_is_that_of_the_tables(
    hits: int, total: int, interval: tuple[float, float]
) -> None:
    assert wilson(hits, total) == pytest.approx(interval, abs=1e-4)


@pytest.mark.parametrize(
    ("table", "p"),
    [
        ((3, 1, 1, 3), 0.4857),
        ((8, 2, 1, 5), 0.03497),
        ((0, 5, 0, 5), 1.0),
        ((1, 9, 11, 3), 0.002759),
    ],
)
def test_the_exact_test_gives_what_r_gives(table: tuple[int, int, int, int], p: float) -> None:
    assert fisher_exact(*table) == pytest.approx(p, rel=1e-3)


@given(st.tuples(*[st.integers(0, 40)] * 4))
def test_a_p_value_is_a_probability_and_does_not_ask_who_is_first(
    table: tuple[int, int, int, int],
) -> None:
    a, b, c, d = table
    assert 0 <= fisher_exact(a, b, c, d) <= 1
    assert fisher_exact(a, b, c, d) == pytest.approx(fisher_exact(c, d, a, b))


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([], 50) is None
    assert (percentile([7], 95), percentile([1, 2, 3, 4], 50)) == (7, 2)
    assert percentile(list(range(1, 101)), 95) == 95


def test_versions_are_compared_by_what_became_of_their_executions(
    orchestrator: Orchestrator, settings: Settings, tmp_path: Path, capsys: Any
) -> None:
    module = tmp_path / "working.py"
    module.write_text(CAPABILITIES)
    given = {"fails": "$.input.fails", "flaky": "$.input.flaky"}
    step = task("a", input=given, retry={"maxAttempts": 2, "interval": 1})
    first = orchestrator.define_workflow("w", flow(step, version="1")).version
    second = orchestrator.define_workflow("w", flow(step, version="2"), canary=1).version
    orchestrator.define_workflow("w", flow(task("never"), version="3"))
    with orchestrator.workers(include=[str(module)], pool="threads"):
        for version, fails, flaky in (
            (first, False, False),
            (first, False, True),
            (second, True, False),
            (second, False, False),
        ):
            input = {"fails": fails, "flaky": flaky}
            orchestrator.start_workflow("w", input, version=version).wait(30)

    def orch(*arguments: str, code: int = 0) -> Any:
        assert run_command([*arguments, "--redis", str(settings.redis_url), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    found = orch("versions", "compare", "w", "1", "2", "--since", "1h")
    one, two = found["versions"]
    assert (one["version"], one["statuses"], one["failure_rate"]) == (first, {"completed": 2}, 0.0)
    assert (one["attempts"], one["retries"], one["errors"]) == (1.5, 0.5, {})
    assert 0 < one["p50"] <= one["p95"]
    assert (two["statuses"], two["errors"]) == ({"completed": 1, "failed": 1}, {"ValueError": 1})
    assert two["failure_rate"] == 0.5 and two["interval"][0] < 0.5 < two["interval"][1]
    assert found["p_value"] == pytest.approx(1.0)
    assert f"{first}: 2 ended: too few" in found["notes"][0]
    assert "may differ by chance alone" in found["notes"][-1]
    every = orch("versions", "compare", "w")["versions"]
    assert {each["version"] for each in every} == {first, second}
    assert orch("versions", "w", "1", code=2)["error"]["name"] == "InputError"
    assert run_command(["versions", "compare", "w", "--redis", str(settings.redis_url)]) == 0
    assert "50.0%" in capsys.readouterr().out

    assert orch("canary", "w")["canary"]["version"] == second
    assert orch("canary", "w", "--percent", "30")["canary"]["percent"] == 30
    assert orch("canary", "w", "--percent", "3", "--off", code=2)["error"]["name"] == "InputError"
    assert orch("canary", "w", "--promote") == {"name": "w", "latest": second, "canary": None}
    assert orch("canary", "w", "--percent", "3", code=2)["error"]["name"] == "InputError"
    assert orch("canary", "w", "--version", "1", "--by", "ada")["canary"] == {
        "version": first, "percent": 10, "by": "ada",
    }  # fmt: skip
    assert orch("canary", "w", "--off")["canary"] is None
    assert run_command(["canary", "w", "--redis", str(settings.redis_url)]) == 0
    assert f"all new executions get version {second}" in capsys.readouterr().out

    async def asked() -> None:
        async with AsyncOrchestrator(settings) as made:
            await made.define_workflow("w", THREE, canary=5)
            assert (await made.canary_workflow("w", first, 7)).percent == 7
            assert await made.promote_canary("w") == first
            assert await made.stop_canary("w") is False
            assert len((await made.compare_versions("w", first)).versions) == 1

    asyncio.run(asked())
