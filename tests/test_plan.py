"""Definition -> Plan: scopes, laps, cycles, and what each step reads."""

from __future__ import annotations

import pytest

from orch.errors import NotSupportedYet
from orch.workflows.paths import join_of, split, split_lap
from orch.workflows.plan import Plan
from tests.build import choose, decision, handler, parallel, plan_of, task, wait, workflow

NESTED = [
    parallel("p", [task("a")], [parallel("q", [task("b")], [task("c")])], next="z"),
    task("z"),
]


def test_each_branch_is_a_scope_of_its_own() -> None:
    plan = plan_of(*NESTED)
    assert sorted(plan.scopes) == ["", "p/0", "p/1", "p/1/q/0", "p/1/q/1"]
    assert plan.node("p").branches == ("p/0", "p/1")
    assert plan.scopes["p/1"].entry.id == "q"


def test_a_node_is_found_by_its_path_laps_aside() -> None:
    plan = plan_of(*NESTED)
    assert plan.node("p#2/1/q#7/0/b#3") is plan.node("p/1/q/0/b")
    with pytest.raises(KeyError):
        plan.node("p/7/a")


def test_the_steps_for_an_item_are_a_scope_and_the_short_form_is_one_task() -> None:
    short = {"id": "m", "type": "map", "map": {"items": [1], "capability": "work"}, "next": "n"}
    steps = [task("a", "b"), task("b")]
    long = {"id": "n", "type": "map", "map": {"items": [1], "steps": steps}}
    plan = plan_of(short, long)
    assert sorted(plan.scopes) == ["", "m", "n"]
    assert plan.node("m[17]/m").capability == "work" and plan.node("n[3]/b#2").id == "b"
    assert plan.is_quiet("m[17]/m") and not plan.is_quiet("n[3]/b") and not plan.is_quiet("m")
    assert join_of("p/0/m[17]") == ("p/0/m", 17)


def test_a_path_says_where_its_join_is() -> None:
    assert split("p#2/1/q/0/b#3") == ("p#2/1/q/0", "b#3")
    assert split_lap("b#3") == ("b", 3)
    assert join_of("p#2/1/q/0") == ("p#2/1/q", 0)
    assert join_of("") is None
    assert join_of("errorHandlers/0") is None
    assert join_of("errorHandlers/0/p/3") == ("errorHandlers/0/p", 3)


def test_a_lap_begins_with_a_step_back_and_ends_with_the_cycle() -> None:
    plan = plan_of(
        task("a", "b"), task("b", "c"), task("c", choose("1", {"1": "b"}, "d")), task("d")
    )
    assert plan.follow("a", "b") == "b"
    assert plan.follow("b#4", "c") == "c#4"
    assert plan.follow("c#4", "b") == "b#5"
    assert plan.follow("c#5", "d") == "d"


def test_a_step_may_follow_itself() -> None:
    plan = plan_of(task("a", choose("1", {"1": "a"}, "b")), task("b"))
    assert plan.follow("a", "a") == "a#2"


def test_error_routes_and_handler_steps_take_part_in_cycles() -> None:
    routed = plan_of(task("a", "b"), task("b", onError="a"))
    assert routed.follow("b", "a") == "a#2"
    handled = plan_of(task("h", "a"), task("a"), errorHandlers=[handler("h")])
    assert handled.follow("a", "h") == "h#2"


def test_a_handler_is_a_step_else_a_workflow_else_a_capability() -> None:
    more = workflow(task("tell"), name="n")
    definition = workflow(
        task("a"), task("h"), errorHandlers=[handler("h"), handler("n"), handler("cap")]
    )
    plan = Plan(definition, handlers={"n": more})
    assert [s for s in plan.scopes if s] == ["errorHandlers/1", "errorHandlers/2"]
    assert plan.node("errorHandlers/1/tell").capability == "work"
    assert plan.node("errorHandlers/2/cap").capability == "cap"


def test_a_step_reads_what_decides_what_follows_it() -> None:
    plan = plan_of(
        task("a", "d", input="$.input.x"),
        decision("d", "$.variables.v", {"1": "w"}, "t"),
        wait("w", "$.variables.pause"),
        task("t", input="$.variables.not_yet"),
    )
    reads = plan.reads("a")
    assert {("variables", "v"), ("variables", "pause")} <= reads
    assert ("variables", "not_yet") not in reads


def test_the_last_step_reads_what_the_result_needs() -> None:
    plan = plan_of(task("a", "b"), task("b"), result="$.variables.v")
    assert ("variables", "v") in plan.reads("b")
    assert ("variables", "v") not in plan.reads("a")


def test_an_output_is_kept_only_where_a_later_step_reads_it() -> None:
    assert plan_of(task("a", "b"), task("b", input="$.output")).uses_previous_output("")
    assert not plan_of(task("a", "b"), task("b")).uses_previous_output("")


def test_what_must_be_served_is_told_with_its_queue() -> None:
    plan = plan_of(task("a", queue="fast"), wait("w"), {"id": "b", "task": "their.task"})
    assert plan.capabilities == {"work": "fast", "their.task": "their.task"}
    assert plan.node("b").task_name == "orch.their.task"


def test_what_does_not_run_yet_is_refused_by_name() -> None:
    step = {**wait("w"), "retry": {"maxAttempts": 2}}
    with pytest.raises(NotSupportedYet, match=r"'w' uses retry of a wait"):
        plan_of(step)
