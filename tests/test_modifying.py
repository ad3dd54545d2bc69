"""Steps inserted, replaced and removed ahead of an execution."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from orch import Orchestrator
from orch.control.migration import Migrated
from orch.errors import InvalidWorkflow, NotAllowed
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.modifying import Standing, modify
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus
from orch.workflows.validation import errors_in, validate_document
from tests.build import decision, parallel, task, wait, workflow
from tests.test_migrating import CAPABILITIES, Moved, at, begin

Step = dict[str, Any]

EVERYTHING = workflow(
    task("a", "p"),
    parallel("p", [task("b", "c"), task("c")], [wait("d", next="e"), task("e")], next="m"),
    {
        "id": "m",
        "type": "map",
        "map": {"items": [1, 2], "steps": [task("i", "j"), task("j")]},
        "next": "choice",
    },
    decision("choice", "$.variables.v", {"true": "l", "false": "z"}),
    {
        "id": "l",
        "type": "loop",
        "loop": {"while": "false", "steps": [task("k", onError="k2"), task("k2")]},
        "next": "z",
    },
    task("z"),
    name="everything",
)
FRESH = at(a="running")


def changed(
    *changes: Any, of: WorkflowDefinition = EVERYTHING, fields: dict[str, str] = FRESH
) -> tuple[WorkflowDefinition, list[str]]:
    document, findings, _ = modify(of, changes, Standing.of(Plan(of), fields))
    return WorkflowDefinition.model_validate(document), [f"{f.path}: {f.message}" for f in findings]


def nexts(definition: WorkflowDefinition) -> dict[str, Any]:
    return {node.key: node.step.next for node in Plan(definition).nodes()}


def test_a_step_is_inserted_between_two() -> None:
    made, refused = changed({"insert": task("x"), "after": "a"})
    assert refused == []
    assert [step.id for step in made.steps][:3] == ["a", "x", "p"]
    assert (nexts(made)["a"], nexts(made)["x"]) == ("x", "p")


def test_inside_of_branches_loops_and_maps_too() -> None:
    changes = [
        {"insert": task("x"), "after": "c"},
        {"insert": task("x"), "after": "m/i"},
        {"insert": task("x"), "before": "l/k2"},
    ]
    made, refused = changed(*changes)
    assert refused == []
    found = nexts(made)
    assert (found["p/0/c"], found["m/i"], found["m/x"], found["l/x"]) == ("x", "x", "j", "k2")
    assert Plan(made).node("l/k").on_error[0].next == "x"


def test_before_a_step_all_that_led_to_it_leads_to_the_new_one() -> None:
    made, refused = changed({"insert": task("x"), "before": "z"})
    assert refused == []
    choice = Plan(made).node("choice").choice
    assert choice is not None and choice.branches == {"true": "l", "false": "x"}
    assert (nexts(made)["l"], nexts(made)["x"]) == ("x", "z")


def test_a_step_that_is_replaced_keeps_what_follows_it() -> None:
    made, refused = changed({"replace": wait("m", 5) | {"next": "z"}}, {"replace": task("p")})
    assert refused == []
    assert nexts(made) == {"a": "p", "p": "m", "m": "z", "choice": None, "z": None} | {
        key: step for key, step in nexts(made).items() if key.startswith("l")
    }


def test_what_led_to_a_step_that_is_removed_leads_to_the_next() -> None:
    made, refused = changed({"remove": "m"}, {"remove": "p/0/b"})
    assert refused == []
    assert nexts(made)["p"] == "choice"
    assert [node.id for node in Plan(made).scopes["p/0"].nodes.values()] == ["c"]


def test_all_reasons_are_given_at_once() -> None:
    _, refused = changed(
        {"remove": "choice"},
        {"remove": "z"},
        {"remove": "a"},
        {"remove": "k2"},
        {"insert": task("x"), "after": "choice"},
        {"insert": task("z"), "after": "a"},
        {"insert": task("x")},
        {"insert": {"name": "x"}, "after": "a"},
        {"replace": task("nothing")},
        {"replace": task("z"), "at": "p/0/b"},
        {"remove": "a", "after": "b"},
        "nonsense",
    )
    assert refused == [
        "changes[0]: step 'choice' chooses what follows it, so nobody knows what would",
        "changes[1]: `decision.branches.false` of step 'choice' leads to it",
        "changes[2]: step 'a' was entered already: it is running",
        "changes[3]: `onError` of step 'k' leads to it",
        "changes[4]: step 'choice' chooses what follows it",
        "changes[5]: there is a step 'z' already",
        "changes[6]: `insert` takes one of `after` and `before`, the id of a step",
        "changes[7]: a step is an object with an `id`",
        "changes[8]: there is no step 'nothing'",
        "changes[9]: the step at 'p/0/b' is not called 'z'",
        "changes[10]: `remove` takes no `after`",
        "changes[11]: takes one of `insert`, `replace`, `remove`",
    ]
    assert changed()[1] == ["changes: there are none"]


def test_what_cannot_be_removed_says_why() -> None:
    of = workflow(
        task("a", "b"), task("c"), task("b", {"expression": "$.input", "branches": {"x": "c"}}),
        task("h"), errorHandlers=[{"error": "*", "handler": "h"}],
    )  # fmt: skip
    only = workflow(task("a", "p"), parallel("p", [task("x")]))
    assert changed({"remove": "x"}, of=only)[1] == [
        "changes[0]: step 'x' is all that there is in its scope"
    ]
    fields = at(a="running")
    assert changed({"remove": "h"}, {"remove": "b"}, of=of, fields=fields)[1] == [
        "changes[0]: step 'h' is an error handler",
        "changes[1]: step 'b' chooses what follows it, so nobody knows what would",
    ]


def test_an_id_that_is_not_unique_needs_its_path() -> None:
    of = workflow(task("a", "p"), parallel("p", [task("x", "y"), task("y")], [task("x")]))
    assert changed({"remove": "x"}, of=of)[1] == ["changes[0]: 'x' is 2 steps"]
    made, refused = changed({"replace": wait("x"), "at": "p/1/x"}, of=of)
    assert refused == [] and Plan(made).node("p/1/x").type == "wait"


def test_what_was_entered_or_lies_behind_stays() -> None:
    fields = at(a="completed", p="completed", p_0_b="completed", m="completed", choice="completed")
    fields |= at(z="dispatched")
    _, refused = changed({"remove": "m"}, {"replace": task("l")}, {"remove": "i"}, fields=fields)
    assert refused == [
        "changes[0]: step 'm' was entered already: it is completed",
        "changes[1]: the execution does not come to step 'l' any more",
        "changes[2]: step 'm/i' was entered already: it is run for some items",
    ]


def test_a_loop_and_a_map_come_by_again() -> None:
    mapping = StepState(StepStatus.JOINING, total=2, left=2, opened=1)
    fields = at(m=mapping) | {"m[0]/i": StepState(StepStatus.RUNNING).dumps()}
    assert changed({"replace": wait("j")}, fields=fields)[1] == []
    fields["m[0]/j"] = fields.pop("m[0]/i")
    assert "m/j' was entered already" in changed({"remove": "j"}, fields=fields)[1][0]


STEPS = st.builds(
    lambda kind, name, follows: {**kind(name), **follows},
    st.sampled_from([task, wait]),
    st.sampled_from(["x", "y", "c", "z"]),
    st.sampled_from([{}, {"next": "z"}, {"next": "c"}, {"next": "gone"}, {"onError": "z"}]),
)
NAMES = st.sampled_from([node.key for node in Plan(EVERYTHING).nodes()] + ["x", "y", "gone"])
CHANGES = st.lists(
    st.one_of(
        st.builds(lambda s, n: {"insert": s, "after": n}, STEPS, NAMES),
        st.builds(lambda s, n: {"insert": s, "before": n}, STEPS, NAMES),
        st.builds(lambda s, n: {"replace": s, "at": n}, STEPS, NAMES),
        st.builds(lambda n: {"remove": n}, NAMES),
    ),
    min_size=1,
    max_size=4,
)


@given(changes=CHANGES)
def test_what_is_made_is_valid_or_refused_and_the_original_is_left_alone(changes: Any) -> None:
    before = EVERYTHING.canonical()
    document, findings, inserted = modify(EVERYTHING, changes, Standing.of(Plan(EVERYTHING), FRESH))
    assert EVERYTHING.canonical() == before
    assert [step["id"] for step in document["steps"]].count("a") == 1, "it is running"
    if not findings and not errors_in(validate_document(document)[1]):
        plan = Plan(WorkflowDefinition.model_validate(document))
        assert all(plan.node(key).key == key for key in inserted)


@given(
    name=st.sampled_from([n.key for n in Plan(EVERYTHING).nodes() if n.id != "choice"]),
    side=st.sampled_from(["after", "before"]),
    kind=st.sampled_from([task, wait]),
)
def test_what_is_inserted_and_removed_again_gives_the_original(
    name: str, side: str, kind: Any
) -> None:
    insert = {"insert": kind("x"), side: name}
    document, findings, inserted = modify(
        EVERYTHING, [insert], Standing.of(Plan(EVERYTHING), FRESH)
    )
    assert findings == []
    assert errors_in(validate_document(document)[1]) == []
    (key,) = inserted
    both, refused, left = modify(
        EVERYTHING, [insert, {"remove": key}], Standing.of(Plan(EVERYTHING), FRESH)
    )
    # What led to it by a decision or `onError` cannot be led past it.
    if not refused:
        assert WorkflowDefinition.model_validate(both).canonical() == EVERYTHING.canonical()
        assert left == set()
    else:
        assert side == "before" and all("leads to it" in str(f) for f in refused)


# --- on a journal ------------------------------------------------------------------------------


def do(moved: Moved, *changes: Any, **more: Any) -> Migrated:
    found = moved.moves.modify("x1", changes, by="ada", **more)
    moved.worked.plan = moved.plans.get(moved.journal.record("x1").plan)
    return found


def test_an_execution_goes_on_by_a_version_of_its_own(journal: Journal) -> None:
    moved = begin(journal, task("a", "b"), task("b"))
    before = journal.latest_version("w")
    insert = {"insert": task("x"), "after": "a"}
    assert do(moved, insert, dry_run=True).done
    assert journal.versions("w").keys() == {before}
    found = do(moved, insert, {"replace": task("b")})
    assert (found.done, found.before) == (True, before)
    for path in ("a", "x", "b"):
        moved.do(path)
    assert str(moved.worked.status()) == "completed"
    told = moved.told("modified")
    changes = [{"insert": "x", "after": "a"}, {"replace": "b"}]
    assert told == {"by": "ada", "from": before, "to": found.after, "changes": changes}
    assert journal.latest_version("w") == before
    assert journal.versions("w")[found.after].execution == "x1"


def test_what_is_refused_changes_nothing(journal: Journal) -> None:
    moved = begin(journal, task("a", "b"), task("b"))
    moved.do("a")
    before = journal.record("x1")
    for changes, reason in (
        ([{"insert": task("x"), "after": "a"}], "where the execution does not come by any more"),
        ([{"replace": task("b")}], "'b' was entered already: it is dispatched"),
        ([{"insert": task("x", "gone"), "after": "b"}], "gone"),
        ([{"insert": {"id": "x"}, "after": "b"}], "a task needs a `capability`"),
    ):
        with pytest.raises(InvalidWorkflow, match=reason) as refused:
            do(moved, *changes)
        assert refused.value.findings
    assert journal.record("x1") == before
    assert len(journal.versions("w")) == 1
    moved.do("b")
    with pytest.raises(NotAllowed, match="it has ended"):
        do(moved, {"remove": "b"})


def test_one_that_failed_is_mended_and_retried(journal: Journal) -> None:
    moved = begin(journal, task("a", "b"), task("b"))
    moved.fail("a")
    do(moved, {"insert": wait("w"), "before": "b"}, {"replace": wait("b", 7)})
    moved.verbs.retry("x1")
    moved.do("a")
    assert moved.worked.state("w").status is StepStatus.WAITING
    moved.look(1000)
    moved.look(7)
    assert str(moved.worked.status()) == "completed"


def test_its_error_handlers_stay_those_of_its_start(journal: Journal) -> None:
    moved = begin(journal, task("a", "b"), task("b"), errorHandlers=[{"handler": "tell"}])
    moved.catalog.define("tell", workflow(task("t")))
    do(moved, {"remove": "b"})
    assert moved.worked.plan.node("errorHandlers/0/tell").capability == "tell"


# --- real workers ------------------------------------------------------------------------------


@pytest.fixture
def orchestrator(redis: Redis, settings: Settings) -> Iterator[Orchestrator]:
    with Orchestrator(settings) as orchestrator:
        yield orchestrator
    redis.flushall()


@pytest.mark.slow
def test_a_step_that_is_inserted_while_another_runs_is_run_once(
    orchestrator: Orchestrator, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    module, go, notes = tmp_path / "noting.py", tmp_path / "go", tmp_path / "notes"
    module.write_text(CAPABILITIES)
    held = {"capability": "hold", "input": {"file": str(go)}}
    noted = {"capability": "note", "input": {"file": str(notes)}}
    branches = [
        {"steps": [{"id": "a", **held, "next": "b"}, {"id": "b", **noted}]},
        {"steps": [{"id": "c", **noted}]},
    ]
    steps = [{"id": "p", "type": "parallel", "parallel": {"branches": branches}}]
    version = orchestrator.define_workflow("w", {"name": "w", "steps": steps}).version
    with orchestrator.workers(include=[str(module)], concurrency=2):
        execution = orchestrator.start_workflow("w")
        wait_until(lambda: notes.exists() and len(execution.status().current_steps) == 2)
        found = execution.modify(
            [{"insert": {"id": "x", **noted}, "after": "a"}], by="a test", reason="more"
        )
        go.touch()
        ended = execution.wait(30)
    assert (ended.status, ended.version) == ("completed", found.after)
    assert notes.read_text().split() == ["p/1/c", "p/0/x", "p/0/b"]
    assert Counter(e.path for e in execution.history() if e.event == "claimed") == {
        "p/0/a": 1, "p/0/x": 1, "p/0/b": 1, "p/1/c": 1,
    }  # fmt: skip
    listed = orchestrator.list_versions("w")
    assert [(v.version, v.latest, v.execution) for v in listed] == [
        (found.after, False, execution.id), (version, True, None),
    ]  # fmt: skip
    assert json.dumps([v.as_dict() for v in listed])
