"""Conflicts: which output counts where branches, or agents, contradict one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.control.simulation import Simulation, simulate
from orch.workflows.definition import ParallelExecution
from orch.workflows.resolving import Resolver, canonical, majority
from orch.workflows.state import StepState, StepStatus
from orch.workflows.validation import validate_document
from tests.build import parallel, plan_of, task, workflow


def resolver(policy: Any, total: int = 3, **more: Any) -> Resolver:
    branches: Any = [{"steps": [{"id": f"b{n}", "capability": "c"}]} for n in range(total)]
    resolve = {"policy": policy, **more} if more else policy
    found = Resolver.of(ParallelExecution(branches=branches, resolve=resolve))
    assert found is not None
    return found


def forked(resolve: Any, *, count: int = 3, **more: Any) -> dict[str, Any]:
    branches = [[task(f"b{number}")] for number in range(count)]
    own = {key: more.pop(key) for key in ("join", "tolerate", "maxConcurrency") if key in more}
    step = parallel("p", *branches, output={"won": "$.output"}, **more)
    step["parallel"] |= {"resolve": resolve, **own}
    return step


def asked(of: int = 3, *, vote: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    vote = {"of": of, **(vote or {})}
    return {"id": "review", "capability": "work", "vote": vote, "output": "won", **more}


def run(*steps: dict[str, Any], more: dict[str, Any] | None = None, **mocks: Any) -> Simulation:
    return simulate(workflow(*steps, **(more or {})), key="w", mocks=mocks)


def outcomes(found: Simulation) -> dict[str, str]:
    return {step.path: step.outcome for step in found.steps}


def says(*outputs: Any) -> dict[str, Any]:
    return {f"review/{number}/review": output for number, output in enumerate(outputs)}


# --- what a policy says, without a journal --------------------------------------------------------


class TestPolicies:
    def test_a_majority_is_more_than_half(self) -> None:
        assert [majority(total) for total in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]

    @pytest.mark.parametrize(
        ("policy", "last", "winner"), [("first", 2, 1), ("latest", 2, 2), ("priority", 2, 1)]
    )
    def test_one_branch_is_taken_whatever_the_others_say(
        self, policy: str, last: int, winner: int
    ) -> None:
        found = resolver(policy).judge({1: "a", 2: "b"}, last)
        assert found.winner == winner and not found.contradicts

    def test_a_vote_is_won_by_the_value_that_enough_say_and_the_others_dissent(self) -> None:
        found = resolver("vote").judge({0: "b", 1: "a", 2: "a"}, 0)
        assert (found.winner, found.dissenters) == (1, (0,))
        assert found.votes == (('"a"', (1, 2)), ('"b"', (0,)))

    def test_a_vote_that_nobody_wins_is_a_conflict_only_where_votes_differ(self) -> None:
        assert resolver("vote").judge({0: "a", 1: "b", 2: "c"}, 0).contradicts
        assert not resolver("vote").judge({0: "a"}, 0).contradicts

    def test_need_may_be_all_of_them(self) -> None:
        assert resolver("vote", need=3).judge({0: 1, 1: 1, 2: 2}, 0).winner is None
        assert resolver("vote", need=3).judge({0: 1, 1: 1, 2: 1}, 0).winner == 0

    def test_people_are_asked_where_one_output_differs_and_nobody_where_none_does(self) -> None:
        assert resolver("human").judge({0: 1, 1: 1, 2: 2}, 0).contradicts
        assert resolver("human").judge({0: 1, 2: 1}, 0).winner == 0

    def test_by_says_what_is_compared(self) -> None:
        by = resolver("vote", by="$.output.verdict")
        outputs = {0: {"verdict": "no"}, 1: {"verdict": "ok", "n": 1}, 2: {"verdict": "ok"}}
        assert by.judge(outputs, 0).winner == 1

    @pytest.mark.parametrize("output", [{}, {"verdict": None}, None, {"verdict": {"a": 1}}, "text"])
    def test_where_by_finds_nothing_there_is_no_vote(self, output: Any) -> None:
        by = resolver("vote", by="$.output.verdict * 1")
        assert by.said(output) is None and by.ballot(output) == ""
        assert by.judge({0: {"verdict": 2}, 1: output, 2: {"verdict": 2}}, 0).mute == (1,)

    def test_equal_json_is_one_value_however_it_is_written(self) -> None:
        assert canonical({"b": [1.0, True], "a": None}) == canonical({"a": None, "b": [1, True]})
        assert len({canonical(value) for value in (1, True, "1", [1], None, 1.5)}) == 6

    @given(st.permutations(range(5)), st.lists(st.sampled_from("abc"), min_size=5, max_size=5))
    def test_a_count_of_ballots_never_says_otherwise_than_the_outputs(
        self, order: Sequence[int], values: list[str]
    ) -> None:
        vote = resolver("vote", 5)
        state = StepState(StepStatus.JOINING, total=5, left=5, need=3, tolerated=-1, votes={})
        ended: dict[int, str] = {}
        for number in order:
            ended[number] = values[number]
            state = StepState.loads(state.with_ballot(vote.ballot(values[number]), number).dumps())
            state = StepState(**{**vars(state), "left": state.left - 1})
            if state.decided:
                break
        winner = vote.judge(ended, 0).winner
        whole = vote.judge(dict(enumerate(values)), 0).winner
        assert (winner is None) == (whole is None)
        assert winner is None or whole is None or values[winner] == values[whole]


# --- in an execution ------------------------------------------------------------------------------


class TestParallel:
    def test_first_is_the_first_that_succeeds_and_the_others_are_cancelled(self) -> None:
        found = run(
            forked("first"),
            errors={"b0": "A"},
            durations={"b1": 50, "b2": 20},
            outputs={"b1": "late", "b2": "early"},
        )
        assert found.variables["won"] == "early"
        assert outcomes(found)["p/1/b1"] == "cancelled"

    def test_latest_is_the_one_that_ended_last(self) -> None:
        found = run(
            forked("latest"),
            durations={"b0": 20, "b1": 50, "b2": 30},
            outputs={"b0": 0, "b1": 1, "b2": 2},
        )
        assert found.variables["won"] == 1

    def test_latest_of_those_that_a_join_waits_for(self) -> None:
        found = run(
            forked("latest", join={"atLeast": 2}),
            durations={"b0": 20, "b1": 50, "b2": 30},
            outputs={"b0": 0, "b1": 1, "b2": 2},
        )
        assert found.variables["won"] == 2 and outcomes(found)["p/1/b1"] == "cancelled"

    def test_priority_is_the_first_in_order_that_succeeded(self) -> None:
        found = run(
            forked("priority"),
            errors={"b0": "A"},
            durations={"b1": 50},
            outputs={"b1": 1, "b2": 2},
        )
        assert found.variables["won"] == 1

    @pytest.mark.parametrize("policy", ["first", "priority", "vote"])
    def test_where_all_fail_too_few_succeeded(self, policy: str) -> None:
        found = run(forked(policy), errors={"b0": "A", "b1": "A", "b2": "A"})
        assert found.error is not None and found.error["name"] == "NotEnoughSucceeded"

    def test_people_are_asked_nothing_where_all_say_the_same(self) -> None:
        found = run(forked("human", escalation=["human"]), outputs={f"b{n}": 1 for n in range(3)})
        assert found.variables["won"] == 1 and not found.escalations

    def test_people_decide_where_outputs_differ(self) -> None:
        ladder = [{"human": {"queue": "leads", "within": "2h"}}]
        found = run(
            forked("human", escalation=ladder),
            outputs={"b0": 1, "b1": 2, "b2": 1},
            decisions={"p": [{"decision": "skip", "output": 2, "by": "ada"}]},
        )
        assert found.status == "completed" and found.variables["won"] == 2

    def test_without_a_ladder_it_is_the_error_conflict_with_the_outputs(self) -> None:
        found = run(forked("human", count=2), outputs={"b0": 1, "b1": 2})
        error = found.error
        assert error is not None and (error["name"], error["class"]) == ("Conflict", "conflict")
        assert error["data"]["outputs"] == [
            {"path": "p/0", "output": 1},
            {"path": "p/1", "output": 2},
        ]
        assert "p/0: 1; p/1: 2" in error["message"]

    def test_on_error_takes_the_class_of_conflicts(self) -> None:
        step = forked("human", onError=[{"errors": ["class:conflict"], "next": "settle"}])
        found = run({**step, "next": "z"}, task("settle"), task("z"), outputs={"b0": 1})
        assert "settle" in outcomes(found)

    def test_a_failure_that_is_not_tolerated_ends_latest_and_human_as_it_ends_any_other(
        self,
    ) -> None:
        for policy in ("latest", "human"):
            found = run(forked(policy), errors={"b1": "Special"})
            assert found.error is not None and found.error["name"] == "Special"

    def test_tolerate_bounds_how_many_voters_may_fail(self) -> None:
        step = forked("vote", count=5, tolerate={"count": 0})
        found = run(step, errors={"b4": "A"}, durations={"b0": 9, "b1": 9, "b2": 9})
        assert found.error is not None and found.error["name"] == "ToleranceExceeded"

    def test_votes_are_counted_in_lanes_too(self) -> None:
        step = forked("vote", count=4, maxConcurrency=1)
        found = run(step, outputs={"b0": 1, "b1": 1, "b2": 1})
        assert found.variables["won"] == 1
        assert "p/3/b3" not in outcomes(found)

    def test_branches_that_do_nothing_vote_in_the_transition_that_opens_them(self) -> None:
        def quick(number: int, value: int) -> list[dict[str, Any]]:
            choice = {"expression": f"{value}", "branches": {}, "default": f"e{number}"}
            skipped = task(f"e{number}", condition="false")
            return [{"id": f"d{number}", "type": "decision", "decision": choice}, skipped]

        step = parallel("p", quick(0, 1), quick(1, 2), quick(2, 2), output={"won": "$.output"})
        for policy, won in (("vote", 2), ("latest", 2), ("priority", 1), ("first", 1)):
            step["parallel"]["resolve"] = policy
            found = run(step)
            assert found.status == "completed" and found.variables["won"] in (won, None)

    @settings(max_examples=8, deadline=None)
    @given(
        st.permutations(range(4)),
        st.lists(st.sampled_from(["a", "b"]), min_size=4, max_size=4),
        st.sets(st.integers(0, 3), max_size=1),
    )
    def test_in_whatever_order_branches_end_the_same_value_wins(
        self, order: Sequence[int], values: list[str], fail: set[int]
    ) -> None:
        durations = {f"b{number}": 10 * (1 + place) for place, number in enumerate(order)}
        outputs = {f"b{number}": value for number, value in enumerate(values)}
        errors = {f"b{number}": "A" for number in fail}
        good = [value for number, value in enumerate(values) if number not in fail]
        for policy in ("vote", "priority"):
            found = run(
                forked(policy, count=4), durations=durations, outputs=outputs, errors=errors
            )
            if policy == "priority":
                assert found.variables["won"] == good[0]
            elif winners := [value for value in "ab" if good.count(value) >= 3]:
                assert found.variables["won"] == winners[0]
            else:
                assert found.error is not None and found.error["name"] == "Conflict"


class TestVote:
    def test_a_task_is_done_by_each_voter_on_a_path_of_its_own(self) -> None:
        plan = plan_of(asked(3, retry={"maxAttempts": 2}, next="z"), task("z"))
        paths = [f"review/{n}/review" for n in range(3)]
        assert [plan.node(path).capability for path in paths] == ["work"] * 3
        assert all(plan.node(path).step.retry for path in paths)
        assert plan.node("review").is_composite and plan.node("review").next == "z"
        assert plan.capabilities == {"work": "work"}

    def test_it_ends_as_soon_as_enough_say_the_same(self) -> None:
        found = run(
            asked(5),
            outputs=says("a", "a", "b", "a", "a"),
            durations={"review/3/review": 50, "review/4/review": 90},
        )
        assert found.variables["won"] == "a"
        assert outcomes(found)["review/4/review"] == "cancelled"

    def test_it_ends_as_soon_as_nothing_can_win_any_more(self) -> None:
        found = run(
            asked(4),
            outputs=says("a", "a", "b", "b"),
            durations={"review/1/review": 900, "review/0/review": 20},
        )
        assert found.error is not None and found.error["name"] == "Conflict"
        ended = run(asked(3), outputs=says("a", "b", "c"), durations={"review/2/review": 90})
        assert ended.error is not None
        assert outcomes(ended)["review/2/review"] == "completed"  # it could have said either

    def test_voters_that_fail_are_tolerated_and_leave_it_degraded(self) -> None:
        found = run(asked(3), outputs=says("a", None, "a"), errors={"review/1/review": "A"})
        assert found.status == "completed" and found.variables["won"] == "a"

    def test_a_voter_is_tried_again_as_any_step(self) -> None:
        step = asked(3, retry={"maxAttempts": 2, "interval": 0}, vote={"need": 3})
        found = run(step, fail={"review/1/review": 1}, outputs=says("a", "a", "a"))
        assert found.variables["won"] == "a"

    def test_the_ladder_of_the_step_is_asked_about_the_vote_and_not_about_a_voter(self) -> None:
        ladder = [{"fallback": {"capability": "senior", "input": "$.error.data.outputs"}}]
        failing = run(asked(3, escalation=ladder), errors={"review/1/review": "A"})
        assert failing.status == "completed" and not failing.escalations
        found = run(
            asked(3, escalation=ladder), outputs={**says("a", "b", "c"), "senior": "so be it"}
        )
        assert found.variables["won"] == "so be it"
        assert [change.path for change in found.escalations][:1] == ["review"]

    def test_the_ladder_of_the_workflow_takes_a_conflict(self) -> None:
        human = [{"human": {"queue": "leads", "within": "1h"}}]
        skip = {"review": [{"decision": "skip", "output": "c"}]}
        for step, outputs in (
            (asked(3), says("a", "b", "c")),
            ({**forked("vote"), "id": "review"}, {"b0": 1, "b1": 2, "b2": 3}),
        ):
            found = run(step, more={"escalation": human}, outputs=outputs, decisions=skip)
            assert found.variables["won"] == "c"

    def test_an_output_that_misses_the_schema_is_no_vote(self) -> None:
        step = asked(3, outputSchema={"type": "string"})
        found = run(step, outputs=says("a", 1, "a"))
        assert found.variables["won"] == "a"
        assert outcomes(found)["review/1/review"] == "failed"

    def test_it_stands_in_items_and_loops(self) -> None:
        inner = {key: value for key, value in asked(3).items() if key != "output"}
        mapped = {"id": "m", "type": "map", "map": {"items": [1, 2], "steps": [inner]}}
        found = run({**mapped, "output": "all"}, outputs={"review": "a"})
        assert found.variables["all"]["results"] == ["a", "a"]


# --- what the validator says ----------------------------------------------------------------------


def said(step: dict[str, Any]) -> list[tuple[str, str]]:
    document = {
        "name": "w",
        "timeoutMs": 1000,
        "steps": [{k: v for k, v in step.items() if v is not None}],
    }
    return [(found.path, found.message) for found in validate_document(document)[1]]


class TestFindings:
    @pytest.mark.parametrize("policy", ["first", "latest", "priority", "vote", "human"])
    def test_every_policy_is_fine_by_itself(self, policy: str) -> None:
        assert said(forked(policy)) == []
        assert said(forked({"policy": policy})) == []

    def test_fields_in_full(self) -> None:
        assert said(forked({"policy": "vote", "need": 2, "by": "$.output.verdict"})) == []
        assert said(asked(5, vote={"need": 4, "by": "$.output.a || 'none'"})) == []

    @pytest.mark.parametrize(
        ("step", "path", "words"),
        [
            (forked("votes"), "steps[0].parallel.resolve", "found 'votes'"),
            (forked({"need": 2}), "steps[0].parallel.resolve", "policy"),
            (forked({"policy": "first", "need": 2}), "", "`need` is for the policy `vote`"),
            (forked({"policy": "latest", "by": "$.output"}), "", "`by` is for the policies"),
            (forked({"policy": "vote", "need": 4}), "resolve.need", "there are 3"),
            (forked({"policy": "vote", "need": 1}), "resolve.need", "1 of 3 is no majority"),
            (forked({"policy": "vote", "by": "$.output."}), "resolve.by", ""),
            (forked({"policy": "vote", "by": "$.input.a"}), "resolve.by", "`by` sees the output"),
            (forked({"policy": "vote", "by": "'a'"}), "resolve.by", "the same for every output"),
            (forked("first", join="any"), "parallel.join", "`resolve: first` says itself"),
            (forked("vote", count=1), "parallel.resolve", "one branch"),
            (asked(1), "vote.of", "2"),
            (asked(4, vote={"need": 2}), "vote.need", "2 of 4 is no majority"),
            (asked(3, vote={"by": "$.item"}), "vote.by", "`by` sees the output"),
            (asked(3, vote={"votes": 2}), "vote", "votes"),
            (asked(3, escalation=["retry"]), "escalation[0]", "the vote as a whole"),
            ({"id": "d", "type": "wait", "wait": {"duration": 1}, "vote": {"of": 3}}, "", "tasks"),
        ],
    )
    def test_what_cannot_be_meant(self, step: dict[str, Any], path: str, words: str) -> None:
        found = said(step)
        assert any(path in place and words in message for place, message in found), found
