"""(plan, paths) -> canvas: what Celery is given."""

from __future__ import annotations

import json
from typing import Any

from celery.canvas import Signature, _chain, _chord

from orch.workflows.canvas import compile_canvas
from tests.build import decision, parallel, plan_of, task, wait


def links(canvas: Any) -> list[str]:
    """The paths of a chain, or of a bare signature."""
    tasks = canvas.tasks if isinstance(canvas, _chain) else [canvas]
    return [signature.args[1] for signature in tasks]


def test_a_run_of_steps_is_a_chain() -> None:
    plan = plan_of(task("a", "b"), task("b", "c"), task("c"))
    (canvas,) = compile_canvas(plan, "x", ["a"])
    assert links(canvas) == ["a", "b", "c"]


def test_a_chain_is_cut_at_its_links() -> None:
    plan = plan_of(*(task(f"s{i}", f"s{i + 1}") for i in range(9)), task("s9"))
    (canvas,) = compile_canvas(plan, "x", ["s2"], links=3)
    assert links(canvas) == ["s2", "s3", "s4"]


def test_a_chain_ends_before_a_step_that_the_same_worker_goes_on_with() -> None:
    other = {**task("b", "c"), "capability": "other"}
    plan = plan_of(task("a", "b"), other, task("c", "d"), task("d"), handoff="auto")
    assert links(compile_canvas(plan, "x", ["a"], handoff="auto")[0]) == ["a", "b", "c"]
    assert links(compile_canvas(plan, "x", ["c"], handoff="off")[0]) == ["c"]
    off = plan_of(task("a", "b"), task("b", handoff="off"))
    assert links(compile_canvas(off, "x", ["a"], handoff="auto")[0]) == ["a", "b"]


def test_a_single_step_is_a_bare_signature() -> None:
    (canvas,) = compile_canvas(plan_of(task("a")), "x", ["a"])
    assert type(canvas) is Signature


def test_a_step_with_a_condition_is_part_of_the_run() -> None:
    plan = plan_of(task("a", "b"), task("b", "c", condition="$.input"), task("c"))
    assert links(compile_canvas(plan, "x", ["a"])[0]) == ["a", "b", "c"]


def test_a_chain_ends_before_what_the_plan_alone_does_not_know() -> None:
    plan = plan_of(
        task("a", "w"), wait("w", next="b"), task("b", "d"), decision("d", "1", {"1": "c"}),
        task("c", "p"), parallel("p", [task("e")]),
    )  # fmt: skip
    for path in "abc":
        assert links(compile_canvas(plan, "x", [path])[0]) == [path]


def test_a_step_back_is_compiled_when_it_comes() -> None:
    plan = plan_of(task("a", "b"), task("b", "a"))
    assert links(compile_canvas(plan, "x", ["a"])[0]) == ["a", "b"]
    assert links(compile_canvas(plan, "x", ["b#2"])[0]) == ["b#2"]


def test_branches_of_a_parallel_are_a_chord_of_chains() -> None:
    plan = plan_of(parallel("p", [task("a", "b"), task("b")], [task("c")], next="z"), task("z"))
    (canvas,) = compile_canvas(plan, "x", ["p/0/a", "p/1/c"])
    assert isinstance(canvas, _chord)
    assert [links(branch) for branch in canvas.tasks] == [["p/0/a", "p/0/b"], ["p/1/c"]]
    assert canvas.body.task == "orch.flow.join"
    assert canvas.body.args[:2] == ("x", "p") and canvas.body.options["queue"] == "work"


def test_one_remaining_branch_needs_no_chord() -> None:
    plan = plan_of(parallel("p", [task("a")], [task("c")]))
    assert [links(canvas) for canvas in compile_canvas(plan, "x", ["p/1/c"])] == [["p/1/c"]]


def test_nested_parallels_are_flat_chords_side_by_side() -> None:
    inner = parallel("q", [task("b")], [task("c")])
    plan = plan_of(parallel("p", [task("a")], [inner], [task("d")]))
    paths = ["p/0/a", "p/1/q/0/b", "p/1/q/1/c", "p/2/d"]
    outer, nested = compile_canvas(plan, "x", paths)
    assert [links(branch) for branch in outer.tasks] == [["p/0/a"], ["p/2/d"]]
    assert [links(branch) for branch in nested.tasks] == [["p/1/q/0/b"], ["p/1/q/1/c"]]
    assert not any(isinstance(part, _chord) for part in (*outer.tasks, *nested.tasks))


def test_unrelated_tokens_are_canvases_of_their_own() -> None:
    plan = plan_of(task("a"), task("b"))
    assert [links(canvas) for canvas in compile_canvas(plan, "x", ["a", "b"])] == [["a"], ["b"]]


def test_a_signature_carries_ids_and_no_data() -> None:
    plan = plan_of(task("a", input={"secret": 1}, queue="q"), name="n")
    (signature,) = compile_canvas(plan, "x", ["a"])
    assert signature.task == "orch.work"
    assert tuple(signature.args) == ("x", "a", plan.key) and not signature.kwargs
    assert signature.immutable
    assert signature.options["queue"] == "q"
    assert signature.options["argsrepr"] == "n/a (exec x)"


def test_a_canvas_is_json() -> None:
    plan = plan_of(parallel("p", [task("a", "b"), task("b")], [task("c")]))
    for canvas in compile_canvas(plan, "x", ["p/0/a", "p/1/c"]):
        assert "secret" not in json.dumps(canvas)
