"""What is known beforehand of a step that another always follows is what deciding comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.workflows.definition import ERROR_HANDLERS, WorkflowDefinition
from orch.workflows.handoff import Handoff, hand_over
from orch.workflows.link import Link, last_end, link_of, plain_end, straight_from
from orch.workflows.node import Node
from orch.workflows.outcome import Completed
from orch.workflows.paths import join_path
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus, encode
from orch.workflows.transition import begin, begin_by_moving, decide
from orch.workflows.view import View
from tests.build import plan_of, task
from tests.properties.test_invariants import Case, cases

NOW, GRACE, LEASE = 1_750_000_000_123, 30_000, 3000
OWNER, NEXT_OWNER = "worker/12/00ab", "worker/12/00ac-0123abcd"
RUNNING = StepState(StepStatus.RUNNING, owner=OWNER)
OUTPUTS = st.sampled_from([None, "done", {"n": 1}, [], 0, {"text": "ä\n"}])


def paths_of(plan: Plan) -> Iterator[str]:
    """Of each step, where it stands at first, in two items or iterations, and in a later lap."""

    def scope_paths(key: str) -> list[str]:
        if not key or key.rpartition("/")[0] == ERROR_HANDLERS:
            return [key]
        step = key if key in {node.key for node in plan.nodes()} else key.rpartition("/")[0]
        ways = ["[0]", "[17]"] if step == key else [f"/{key.rpartition('/')[2]}"]
        return [f"{path}{way}" for path in at(plan.node(step)) for way in ways]

    def at(node: Node) -> list[str]:
        laps = ["", "#2"] if node.id in plan.scopes[node.scope].cycles else [""]
        scopes = scope_paths(node.scope)
        return [f"{join_path(scope, node.id)}{lap}" for scope in scopes for lap in laps]

    for node in plan.nodes():
        yield from at(node)


def without_variables(step: Any) -> Any:
    """A definition whose steps set no variables, which most of those that are drawn do."""
    if isinstance(step, list):
        return [without_variables(each) for each in step]
    if not isinstance(step, dict):
        return step
    return {name: without_variables(value) for name, value in step.items() if name != "output"}


def as_dict(link: Link) -> dict[str, Any]:
    """All that a script does with it. The last claim is shortened by the script where it is not."""
    found = {name: getattr(link, name) for name in Link.__slots__ if name != "short"}
    for name in ("written", "fields", "watched"):
        values = found[name]
        found[name] = sorted(zip(values[::2], values[1::2], strict=True))
    return {**found, "reads": sorted(found["reads"])}


def decided(plan: Plan, view: View, path: str, state: StepState, output: Any, goes: bool) -> Link:
    transition = decide(plan, view, path, state, Completed(output), NOW, GRACE)
    assert transition.goes_on
    handoff: Handoff | None = None
    if goes:
        handoff = hand_over(plan, transition.opens[-1], view, NEXT_OWNER, LEASE)
    return link_of(transition, state.dumps(), handoff, NOW, terse=True)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    case=cases(), bare=st.booleans(), output=OUTPUTS, goes=st.booleans(), seen=st.booleans(),
    data=st.data(),
)  # fmt: skip
def test_what_always_follows_a_step_is_what_is_decided(
    case: Case, bare: bool, output: Any, goes: bool, seen: bool, data: st.DataObject
) -> None:
    definition = case.definition
    if bare:
        given = without_variables(definition.model_dump(by_alias=True, exclude_none=True))
        definition = WorkflowDefinition.model_validate(given)
    plan = Plan(definition)
    view = View("x1", "w", {"n": 1} if seen else None, variables={"a": 1}, priority=3)
    for path in paths_of(plan):
        straight = straight_from(plan, path)
        if straight is None:
            continue
        attempts = data.draw(st.integers(1, 3))
        state = StepState(
            StepStatus.RUNNING,
            attempt=attempts,
            failures=attempts - 1,
            since=NOW - 5,
            owner=OWNER,
            started=NOW - 5,
            due=data.draw(st.sampled_from([0, NOW + 60_000])),
        )
        text = None if output is None else encode(output)
        taker = (NEXT_OWNER, LEASE) if goes else None
        link = straight.link(view, path, state, text, NOW, GRACE, taker)
        assert as_dict(link) == as_dict(decided(plan, view, path, state, output, goes))


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases(), bare=st.booleans())
def test_how_an_execution_begins_is_where_its_first_step_leads(case: Case, bare: bool) -> None:
    definition = case.definition
    if bare:
        given = without_variables(definition.model_dump(by_alias=True, exclude_none=True))
        definition = WorkflowDefinition.model_validate(given)
    plan, view = Plan(definition), View("x1", "w", {"n": 1})
    assert begin(plan, view, NOW, GRACE) == begin_by_moving(plan, view, NOW, GRACE)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases(), output=OUTPUTS, known=st.booleans(), attempt=st.integers(1, 3))
def test_where_a_branch_always_ends_that_is_what_is_decided(
    case: Case, output: Any, known: bool, attempt: int
) -> None:
    definition = case.definition.model_dump(by_alias=True, exclude_none=True)
    plan = Plan(WorkflowDefinition.model_validate(without_variables(definition)))
    outcome = Completed(output, encode(output) if known else None)
    since = NOW - 5
    state = StepState(StepStatus.RUNNING, attempt, since=since, owner=OWNER, started=since)
    for path in paths_of(plan):
        found = plain_end(plan, View("x1", "w"), path, state, outcome, NOW)
        if found is not None:
            assert found == decide(plan, View("x1", "w"), path, state, outcome, NOW, GRACE)
            assert found.is_plain_end


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    case=cases(), bare=st.booleans(), output=OUTPUTS, known=st.booleans(), tries=st.integers(1, 3)
)
def test_where_an_execution_always_ends_that_is_what_is_decided(
    case: Case, bare: bool, output: Any, known: bool, tries: int
) -> None:
    definition = case.definition.model_dump(by_alias=True, exclude_none=True)
    definition = without_variables(definition) if bare else definition
    plan = Plan(WorkflowDefinition.model_validate(definition))
    outcome = Completed(output, encode(output) if known else None)
    since = NOW - 5
    state = StepState(StepStatus.RUNNING, tries, since=since, owner=OWNER, started=since)
    for path in paths_of(plan):
        found = last_end(plan, View("x1", "w"), path, state, outcome, NOW)
        if found is not None:
            assert found == decide(plan, View("x1", "w"), path, state, outcome, NOW, GRACE)
            assert found.is_plain_last


def test_an_execution_ends_plainly_but_where_its_result_is_told_or_checked() -> None:
    def ends(of: StepStatus = StepStatus.RUNNING, **more: Any) -> bool:
        plan, state = plan_of(task("a"), **more), StepState(of, owner=OWNER)
        return last_end(plan, View("x1", "w"), "a", state, Completed(1), NOW) is not None

    assert ends()
    assert not ends(of=StepStatus.ESCALATED)
    assert not ends(result="$.output")
    assert not ends(output={"type": "object"})
    assert last_end(chain(), View("x1", "w"), "a", RUNNING, Completed(1), NOW) is None
    last = last_end(chain(), View("x1", "w"), "b", RUNNING, Completed(1), NOW)
    assert last is not None and last.fields == (("o:", "1"),), "a retry may need it"


def test_a_branch_ends_plainly_but_where_votes_are_cast_or_others_wait() -> None:
    def ends(**more: Any) -> bool:
        branches = [{"steps": [task("a")]}, {"steps": [task("b")]}]
        of = {"branches": branches, **more}
        plan = plan_of({"id": "fork", "type": "parallel", "parallel": of})
        state = StepState(StepStatus.RUNNING, owner=OWNER)
        return plain_end(plan, View("x1", "w"), "fork/1/b", state, Completed(1), NOW) is not None

    assert ends() and ends(join="any")
    assert not ends(maxConcurrency=1) and not ends(resolve="vote")


def chain(**given: Any) -> Plan:
    return plan_of(task("a", **{"next": "b", **given}), task("b", input="$.output"))


def test_the_output_is_kept_where_the_next_step_reads_it() -> None:
    straight = straight_from(chain(), "a")
    assert straight is not None and straight.keeps == "o:"


def test_the_input_is_read_again_only_where_the_step_before_did_not_see_it() -> None:
    plan = plan_of(task("a", "b"), task("b", input="$.input"))
    straight = straight_from(plan, "a")
    assert straight is not None
    assert straight.needed(View("x1", "w")) == ("input",)
    assert straight.needed(View("x1", "w", {"n": 1})) == ()


def test_a_step_with_more_to_decide_has_nothing_that_always_follows() -> None:
    for more in (
        {"output": {"a": "$.output"}},
        {"next": {"expression": "$.output", "branches": {"true": "b"}, "default": "b"}},
        {"outputSchema": {"type": "object"}},
        {"compensate": {"capability": "undo"}},
    ):
        assert straight_from(chain(**more), "a") is None
    assert straight_from(chain(), "b") is None
    asks = plan_of(task("a", "b"), task("b", condition="$.input.n"))
    assert straight_from(asks, "a") is None


def test_it_knows_no_more_paths_than_a_plan_does(monkeypatch: Any) -> None:
    monkeypatch.setattr("orch.workflows.link.KNOWN_PATHS", 3)
    plan = chain()
    for lap in range(10):
        straight_from(plan, f"a#{lap + 2}")
    assert len(plan.straight) <= 3


def test_the_state_of_what_follows_is_that_of_a_fresh_attempt() -> None:
    straight = straight_from(chain(), "a")
    assert straight is not None
    state = StepState(StepStatus.RUNNING, since=NOW, owner=OWNER, started=NOW)
    taken = straight.link(View("x1", "w"), "a", state, None, NOW, GRACE, (NEXT_OWNER, 1)).taken
    assert taken == replace(state, owner=NEXT_OWNER)
