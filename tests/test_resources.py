"""Resources: defined, shown, and planned from how they were used."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from orch import AsyncOrchestrator, Orchestrator
from orch.cli.app import run_command
from orch.errors import InputError, NotFound
from orch.journal.limits import HOUR
from orch.limits import Limit
from orch.resources.advice import Usage, erlang_c, mean_wait, plan, units_for, wants_change
from orch.settings import Settings, load_settings
from orch.workflows.limits import Want
from tests.build import FakeClock

GPU = Want.resource("gpu", 1)


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as made:
        yield made
        for each in made.runtime.journal.read_requests():
            made.runtime.journal.release([(each.member, each.owner)])


def take(orchestrator: Orchestrator, *names: str, project: str = "default") -> None:
    journal = orchestrator.runtime.journal
    for name in names:
        journal.reserve(f"{name} a", [GPU], attempt=1, owner=name, tenant=project)


# --- the formula ----------------------------------------------------------------------------------


def test_the_share_that_waits_is_that_of_erlangs_tables() -> None:
    assert erlang_c(1, 0.5) == pytest.approx(0.5)
    assert erlang_c(10, 7) == pytest.approx(0.2217, abs=1e-4)
    assert erlang_c(3, 3) == 1
    assert mean_wait(2, 3, 60) == math.inf


@given(st.floats(0, 200), st.floats(1, 1e6), st.floats(1, 1e6))
def test_so_many_units_are_enough_and_one_less_is_not(
    load: float, hold: float, wait: float
) -> None:
    units = units_for(load, hold, wait)
    assert mean_wait(units, load, hold) <= wait
    assert units == 1 or mean_wait(units - 1, load, hold) > wait


def test_the_busiest_hour_counts() -> None:
    quiet = Usage(uses=10, held=600_000, peak=1)
    busy = Usage(uses=120, waits=60, waited=600_000, held=int(2.6 * HOUR), peak=3)
    found = plan("resource gpu", 3, 336, [quiet, busy])
    assert (found.load, found.peak, found.advised) == (2.6, 3, 5)
    assert "60 of 130 waited, for 10.0 s on average; 5 would keep" in found.advice
    assert wants_change(found)
    assert (
        "4 would keep the mean wait below 60.0 s"
        in plan("resource gpu", 3, 1, [busy], 60_000).advice
    )


def test_more_than_was_ever_held_is_not_needed() -> None:
    found = plan("resource gpu", 8, 336, [Usage(uses=10, held=600_000, peak=2)])
    assert found.advice.endswith("2 would be enough")
    assert wants_change(found)
    assert plan("resource gpu", 8, 1, []).advice == "resource 'gpu' was not used in the last hour"


def test_of_a_rate_its_starts_are_counted() -> None:
    found = plan("rate capability:pay", 180_000, 1, [Usage(uses=90_000, waits=90_000, waited=9)])
    assert found.advice.startswith(
        "capability 'pay': 90000 starts in its busiest hour, 50% of what is allowed; 90000 of"
    )
    assert wants_change(found)


# --- by hand --------------------------------------------------------------------------------------


def test_a_resource_is_defined_shown_and_removed(orchestrator: Orchestrator) -> None:
    orchestrator.define_resource("gpu", 1)
    take(orchestrator, "x", "y", "z")
    found = orchestrator.show_resource("gpu")
    assert (found.allowed, found.held, found.waiting, found.by) == ("1", 1, 2, "defined")
    assert [each.execution for each in found.holders] == ["x"]
    assert [each.execution for each in found.waiters] == ["y", "z"]
    assert orchestrator.define_resource("gpu", 2).held == 1  # the other one has no execution
    orchestrator.remove_resource("gpu")
    assert orchestrator.show_resource("gpu").allowed == "not defined"  # it is held still
    with pytest.raises(NotFound, match="no resource 'tpu'"):
        orchestrator.remove_resource("tpu")


@pytest.mark.parametrize("capacity", [0, -1, True, 1.5, 10**9])
def test_what_is_no_capacity_is_refused(orchestrator: Orchestrator, capacity: int) -> None:
    with pytest.raises(InputError, match="capacity of 'gpu'"):
        orchestrator.define_resource("gpu", capacity)


def test_what_is_declared_is_listed_before_it_is_used(orchestrator: Orchestrator) -> None:
    journal = orchestrator.runtime.journal
    journal.declare_limits({"pay": Limit("50/s burst 5", 2), "other": None})
    journal.declare_resources({"gpu": 3})
    found = [(each.kind, each.name, each.allowed, each.by) for each in orchestrator.list_limits()]
    assert found == [
        ("concurrency", "pay", "2", None),
        ("rate", "pay", "50/s burst 5", None),
        ("resource", "gpu", "3", "settings"),
    ]
    assert [each.kind for each in orchestrator.show_limit("pay")] == ["concurrency", "rate"]


def test_how_much_is_enough_is_told_from_what_was_recorded(orchestrator: Orchestrator) -> None:
    clock = FakeClock()
    orchestrator.runtime.journal.clock = clock
    orchestrator.define_resource("gpu", 1)
    take(orchestrator, "x", "y")
    clock.advance(1_800_000)
    orchestrator.runtime.journal.release([("x a", "x")])
    found = orchestrator.plan_capacity("gpu", hours=2)
    assert (found.uses, found.waits, found.mean_wait_ms, found.load) == (2, 1, 1_800_000, 0.5)
    assert [each.name for each in orchestrator.optimize_allocation()] == ["gpu"]
    with pytest.raises(InputError, match="hours"):
        orchestrator.plan_capacity("gpu", hours=0)
    with pytest.raises(NotFound):
        orchestrator.plan_capacity("tpu")


def test_coroutines_do_the_same(redis: Redis, settings: Settings) -> None:
    asyncio.run(use_coroutines(settings))


async def use_coroutines(settings: Settings) -> None:
    async with AsyncOrchestrator(settings) as orchestrator:
        await orchestrator.define_resource("gpu", 3)
        assert [each.allowed for each in await orchestrator.list_resources()] == ["3"]
        assert (await orchestrator.show_resource("gpu")).held == 0
        assert (await orchestrator.list_limits()) == (await orchestrator.show_limit("gpu"))
        assert (await orchestrator.plan_capacity("gpu")).uses == 0
        assert [each.name for each in await orchestrator.optimize_allocation()] == ["gpu"]
        await orchestrator.remove_resource("gpu")


def test_the_commands_say_the_same(
    orchestrator: Orchestrator, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        assert run_command([*arguments, "--redis", redis_url]) == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err

    assert "gpu: 1, of which 0 are held" in run("resources", "define", "gpu", "1")
    take(orchestrator, "x", "y", project="acme")
    assert "project acme" in run("resources", "show", "gpu")
    assert "waits since" in run("limits", "gpu")
    assert json.loads(run("resources", "--json"))[0]["waiting"] == 1
    assert json.loads(run("limits", "--json"))[0]["held"] == 1
    assert "1 of 1" not in run("resources", "plan", "gpu", "--wait", "5s")
    assert json.loads(run("resources", "optimize", "--json")) == []
    assert "capacity of 'gpu'" in run("resources", "define", "gpu", "0", code=2)
    assert "no limit of 'pay'" in run("limits", "pay", code=2)
    assert "removed: gpu" in run("resources", "remove", "gpu")


# --- for whom ------------------------------------------------------------------------------------


def test_an_execution_works_for_a_project_and_its_children_do(orchestrator: Orchestrator) -> None:
    call = {"id": "call", "type": "subworkflow", "subworkflow": "child"}
    own = {**CHILD, "attributes": {"project_id": "$.workflowName"}}
    orchestrator.define_workflow("child", CHILD)
    orchestrator.define_workflow("parent", {"name": "parent", "steps": [call]})
    parent = orchestrator.start_workflow("parent", project="acme")
    assert parent.status().project == "acme"
    assert parent.status().attributes == {"project_id": "acme"}
    assert projects(orchestrator, "child") == ["acme"]
    orchestrator.define_workflow("child", own)
    orchestrator.start_workflow("parent", project="acme")
    assert sorted(projects(orchestrator, "child")) == ["acme", "child"]
    by_attribute = orchestrator.start_workflow("parent", attributes={"project_id": 7})
    assert by_attribute.status().project == "7"


CHILD = {"name": "child", "steps": [{"id": "a", "capability": "work"}]}


def projects(orchestrator: Orchestrator, workflow: str) -> list[str | None]:
    found = orchestrator.list_executions(workflow=workflow)
    return [orchestrator.get_execution_status(each.id).project for each in found]


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limits": {"pay": {"rate_limit": "0/s"}}}, "of 'pay': `rate_limit` of a limit is '0/s'"),
        ({"limits": {"pay": {"speed": 1}}}, "a limit has no field 'speed'"),
        ({"resources": {"gpu": 0}}, "the capacity of 'gpu' is 0"),
        ({"tenants": {"acme": 0}}, "the weight of 'acme' is 0"),
        ({"priority_ageing": -1}, "priority_ageing"),
    ],
)
def test_settings_that_are_wrong_are_named(given: dict[str, object], said: str) -> None:
    from orch.errors import SettingsError

    with pytest.raises(SettingsError, match="settings are wrong") as caught:
        load_settings(**given)
    assert said in caught.value.message


def test_limits_are_read_from_a_table() -> None:
    found = load_settings(limits={"pay": {"rate_limit": "5/s", "key": "customer"}}).limits["pay"]
    assert found == Limit("5/s", None, "customer")
