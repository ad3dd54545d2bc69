"""What an outcome means: every transition as a value, without Redis."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orch.workflows.commit import Transition
from orch.workflows.definition import RetryPolicy
from orch.workflows.outcome import Branched, Completed, Failed, Lost
from orch.workflows.plan import Plan
from orch.workflows.retrying import may_retry, retry_pause
from orch.workflows.routing import MAX_INLINE_LAPS
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus, encode
from orch.workflows.view import fields_for
from tests.build import (
    GRACE,
    NOW,
    begun,
    choose,
    decided,
    decision,
    failure,
    handler,
    joined,
    parallel,
    plan_of,
    running,
    statuses,
    task,
    wait,
    workflow,
)

BROKEN = {
    "name": "Broken",
    "class": "unknown",
    "message": "it broke",
    "step": "",
    "path": "",
    "attempt": 1,
}
ENDLESS = decision("d", "true", {"true": "d"})


def output_of(transition: Transition) -> object:
    assert transition.end is not None and transition.end.status is ExecutionStatus.COMPLETED
    assert transition.end.output is not None
    return json.loads(transition.end.output)


def error_of(transition: Transition) -> dict[str, object]:
    assert transition.end is not None and transition.end.status is ExecutionStatus.FAILED
    assert transition.end.error is not None
    return dict(json.loads(transition.end.error))


def words(transition: Transition) -> list[tuple[str, str]]:
    return [(event.word, event.path) for event in transition.events]


def every_live_token_is_watched(transition: Transition) -> bool:
    return all((o.due or 0) > 0 for o in transition.opens if o.state.status in LIVE)


class TestEntering:
    def test_a_task_is_dispatched_and_looked_at_after_the_grace(self) -> None:
        transition = begun(plan_of(task("a")))
        assert statuses(transition) == {"a": "dispatched"}
        assert transition.dispatched == ("a",)
        assert transition.opens[0].due == NOW + GRACE

    def test_a_wait_is_looked_at_when_it_is_over(self) -> None:
        transition = begun(plan_of(wait("w", "PT2S")))
        assert statuses(transition) == {"w": "waiting"}
        assert transition.opens[0].due == NOW + 2000
        assert transition.dispatched == ()

    @pytest.mark.parametrize("until", ["1970-01-01T00:00:00Z", "1950-01-01T00:00:00Z"])
    def test_a_wait_until_long_ago_is_due_now_and_not_forgotten(self, until: str) -> None:
        plan = plan_of({"id": "w", "type": "wait", "wait": {"until": until}})
        transition = begun(plan)
        assert statuses(transition) == {"w": "waiting"}
        assert transition.opens[0].due == NOW

    def test_a_wait_for_no_time_at_all_fails_the_step(self) -> None:
        transition = begun(plan_of(wait("w", "$.input.pause")), input={"pause": "soon"})
        assert statuses(transition) == {"w": "failed"}
        assert error_of(transition)["name"] == "InvalidWait"

    def test_every_branch_of_a_parallel_is_entered(self) -> None:
        transition = begun(plan_of(parallel("p", [task("a"), task("never")], [task("b")])))
        assert statuses(transition) == {
            "p": "joining",
            "p/0/a": "dispatched",
            "p/1/b": "dispatched",
        }
        state = transition.opens[0].state
        assert (state.total, state.left) == (2, 2)

    def test_a_parallel_is_watched_like_every_live_token(self) -> None:
        nested = parallel("q", [task("b")], [wait("c")])
        assert every_live_token_is_watched(begun(plan_of(parallel("p", [task("a")], [nested]))))

    def test_branches_are_entered_in_order(self) -> None:
        branches = [[decision("d", "1", {"1": "e"}), task("e")] for _ in range(3)]
        decided_in = [
            p for w, p in words(begun(plan_of(parallel("p", *branches)))) if w == "decided"
        ]
        assert decided_in == ["p/0/d", "p/1/d", "p/2/d"]

    def test_a_decision_is_made_at_once_and_costs_no_message(self) -> None:
        plan = plan_of(decision("d", "$.input", {"1": "a"}, "b"), task("a"), task("b"))
        assert statuses(begun(plan, input=1)) == {"d": "completed", "a": "dispatched"}
        assert statuses(begun(plan, input=2)) == {"d": "completed", "b": "dispatched"}

    def test_a_decision_that_fits_no_branch_fails_and_names_the_value(self) -> None:
        transition = begun(plan_of(decision("d", "$.input", {"1": "a"}), task("a")), input=7)
        assert error_of(transition)["name"] == "NoBranch"
        assert "is 7" in str(error_of(transition)["message"])

    def test_a_decision_whose_variables_fail_has_not_decided(self) -> None:
        broken = decision("d", "1", {"1": "a"}, output={"v": "$.output - 'text'"})
        transition = begun(plan_of(broken, task("a")))
        assert statuses(transition) == {"d": "failed"}
        assert ("decided", "d") not in words(transition)

    def test_a_step_without_a_true_condition_is_skipped(self) -> None:
        plan = plan_of(task("a", "b", condition="$.input"), task("b"))
        transition = begun(plan, input=False)
        assert statuses(transition) == {"a": "skipped", "b": "dispatched"}

    def test_an_execution_may_end_in_its_start(self) -> None:
        transition = begun(plan_of(task("a", condition="false")))
        assert transition.end is not None and output_of(transition) is None

    def test_more_steps_may_be_skipped_than_calls_can_be_nested(self) -> None:
        skipped = [task(f"s{i}", f"s{i + 1}", condition="false") for i in range(3000)]
        transition = begun(plan_of(*skipped, task("s3000")))
        assert transition.dispatched == ("s3000",)

    def test_a_wide_parallel_is_no_endless_decision(self) -> None:
        branches = [[task("a", "b", condition="false"), task("b")] for _ in range(1500)]
        assert len(begun(plan_of(parallel("p", *branches))).dispatched) == 1500


class TestEndlessDecisions:
    def test_a_cycle_without_a_step_that_does_anything_fails_the_execution(self) -> None:
        transition = begun(plan_of(ENDLESS))
        assert error_of(transition)["name"] == "EndlessDecision"
        assert len(transition.opens) == MAX_INLINE_LAPS + 1

    def test_in_a_branch_it_fails_that_branch_and_no_live_token_is_left(self) -> None:
        transition = begun(plan_of(parallel("p", [task("a")], [ENDLESS], [task("b")])))
        assert transition.end is None
        assert statuses(transition)["p"] == "joined"
        assert statuses(transition)["p/0/a"] == "cancelled"
        assert "p/2/b" not in statuses(transition)

    def test_in_a_running_branch_it_fails_that_branch(self) -> None:
        plan = plan_of(parallel("p", [task("a", "d"), ENDLESS], [task("b")]))
        transition = decided(plan, "p/0/a", Completed())
        assert transition.end is None
        assert transition.branch is not None and not transition.branch.ok


class TestCompleting:
    def test_the_next_step_is_dispatched(self) -> None:
        transition = decided(plan_of(task("a", "b"), task("b")), "a", Completed({"n": 1}))
        assert transition.state is not None
        assert transition.state.status is StepStatus.COMPLETED
        assert transition.due is None
        assert statuses(transition) == {"b": "dispatched"}
        assert dict(transition.texts) == {"=a": '{"n":1}'}

    @pytest.mark.parametrize(
        "output",
        [[], {}, "", 0, False, 2**70, 1.5, "ü\u2028", "\ud800", [[], {}], {"": None}, -0.0, 1e300],
    )
    def test_outputs_are_kept_exactly(self, output: object) -> None:
        transition = decided(plan_of(task("a", output="v")), "a", Completed(output))
        assert encode(output_of(transition)) == encode(output)
        assert dict(transition.fields)["v:v"] == encode(output)
        encode(output).encode()

    def test_variables_are_seen_by_the_decision_that_follows(self) -> None:
        plan = plan_of(
            task("a", "d", output="found"),
            decision("d", "$.variables.found", {"yes": "b"}, "c"),
            task("b"),
            task("c"),
        )
        assert decided(plan, "a", Completed("yes")).dispatched == ("b",)
        assert decided(plan, "a", Completed("no")).dispatched == ("c",)

    def test_a_mapping_that_fails_sets_none_of_its_variables(self) -> None:
        plan = plan_of(task("a", output={"good": "$.output", "wrong": "$.output - 'text'"}))
        transition = decided(plan, "a", Completed(1))
        assert transition.state is not None and transition.state.status is StepStatus.FAILED
        assert transition.fields == ()
        assert [word for word, _ in words(transition)] == ["failed", "ended"]

    def test_mappings_of_one_step_do_not_depend_on_their_order(self) -> None:
        one = plan_of(task("a", output={"b": "$.variables.c", "c": "$.output"}))
        two = plan_of(task("a", output={"c": "$.output", "b": "$.variables.c"}))
        seen = {"variables": {"c": "old"}}
        fields = {"v:b": '"old"', "v:c": '"new"'}
        assert dict(decided(one, "a", Completed("new"), **seen).fields) == fields
        assert dict(decided(two, "a", Completed("new"), **seen).fields) == fields

    def test_the_last_step_ends_the_execution_with_its_output(self) -> None:
        assert output_of(decided(plan_of(task("a")), "a", Completed([1]))) == [1]

    def test_result_says_what_the_execution_gives(self) -> None:
        plan = plan_of(task("a"), result={"all": "$.output", "was": "$.input"})
        assert output_of(decided(plan, "a", Completed(1), input=2)) == {"all": 1, "was": 2}

    def test_a_result_that_fails_fails_the_execution(self) -> None:
        plan = plan_of(task("a"), result="$.output - 'text'")
        transition = decided(plan, "a", Completed(1))
        assert "result" in str(error_of(transition)["message"])
        assert transition.state is not None and transition.state.status is StepStatus.COMPLETED

    def test_a_next_that_fits_no_branch_is_an_error_of_the_step_it_follows(self) -> None:
        plan = plan_of(task("a", choose("$.output", {"1": "b"}), onError="c"), task("b"), task("c"))
        assert decided(plan, "a", Completed(1)).dispatched == ("b",)
        assert decided(plan, "a", Completed(2)).dispatched == ("c",)

    def test_a_step_back_begins_a_lap(self) -> None:
        plan = plan_of(
            task("a", "b"), task("b", choose("$.output", {"again": "a"}, "c")), task("c")
        )
        assert decided(plan, "b", Completed("again")).dispatched == ("a#2",)
        assert decided(plan, "a#2", Completed()).dispatched == ("b#2",)
        assert decided(plan, "b#2", Completed("again")).dispatched == ("a#3",)
        assert decided(plan, "b#3", Completed("on")).dispatched == ("c",)

    def test_laps_of_the_steps_around_stay_in_the_path(self) -> None:
        plan = plan_of(
            parallel(
                "p",
                [task("a", "b"), task("b", choose("$.output", {"again": "a"}, "c")), task("c")],
                next=choose("1", {"2": "p"}, "z"),
            ),
            task("z"),
        )
        assert decided(plan, "p#2/0/b", Completed("again")).dispatched == ("p#2/0/a#2",)
        transition = decided(plan, "p#2/0/c", Completed(5))
        assert transition.branch is not None
        assert (transition.branch.join, transition.branch.scope) == ("p#2", "p#2/0")


class TestBranches:
    plan = plan_of(parallel("p", [task("a")], [task("b")], next="z"), task("z"))

    def test_the_end_of_a_branch_is_counted_by_the_journal(self) -> None:
        transition = decided(self.plan, "p/1/b", Completed([]))
        assert transition.branch is not None
        assert transition.branch.ok and transition.branch.text == "[]"
        assert (transition.branch.join, transition.branch.scope) == ("p", "p/1")
        assert transition.opens == () and transition.end is None

    def test_a_failed_branch_says_so(self) -> None:
        transition = decided(self.plan, "p/0/a", Failed(failure()))
        assert transition.branch is not None and not transition.branch.ok

    def test_a_join_gives_the_outputs_in_order(self) -> None:
        state = StepState(StepStatus.JOINED, total=2)
        transition = decided(self.plan, "p", Branched(((1, None), (None, None))), state)
        assert json.loads(dict(transition.texts)["=p"]) == {
            "results": [1, None],
            "failures": [],
            "counts": {"total": 2, "succeeded": 2, "failed": 0, "cancelled": 0},
            "reason": "all",
        }
        assert transition.dispatched == ("z",)

    def test_a_join_of_a_failed_branch_fails_and_names_the_branch(self) -> None:
        state = StepState(StepStatus.JOINED, total=2)
        transition = decided(self.plan, "p", Branched(((1, None), (None, BROKEN))), state)
        assert error_of(transition) == {**BROKEN, "branch": 1}

    def test_branches_that_are_skipped_join_in_the_transition_that_forked_them(self) -> None:
        skipped = [task("s", condition="false")]
        transition = begun(plan_of(parallel("p", skipped, skipped, next="z"), task("z")))
        assert joined(transition) == ["p"]
        assert dict(transition.texts) == {"=p/0": "null", "=p/1": "null"}
        assert every_live_token_is_watched(transition)

    def test_a_branch_that_fails_while_forking_ends_its_siblings(self) -> None:
        broken = decision("d", "$.input - 'text'", {"1": "e"})
        plan = plan_of(parallel("p", [task("a")], [broken, task("e")], [task("c")]))
        transition = begun(plan, input=1)
        assert statuses(transition) == {"p": "joined", "p/0/a": "cancelled", "p/1/d": "failed"}
        assert transition.dispatched == () and joined(transition) == ["p"]

    def test_an_inner_fork_that_fails_leaves_the_outer_branches_alone(self) -> None:
        broken = decision("d", "$.input - 'text'", {"1": "e"})
        inner = parallel("q", [wait("w")], [broken, task("e")])
        transition = begun(plan_of(parallel("p", [inner], [task("c")])), input=1)
        assert statuses(transition) == {
            "p": "joining",
            "p/0/q": "joined",
            "p/0/q/0/w": "cancelled",
            "p/0/q/1/d": "failed",
            "p/1/c": "dispatched",
        }

    def test_an_outer_fork_that_fails_ends_the_inner_one(self) -> None:
        broken = decision("d", "$.input - 'text'", {"1": "e"})
        inner = parallel("q", [task("s", condition="false")])
        transition = begun(plan_of(parallel("p", [inner], [broken, task("e")])), input=1)
        assert statuses(transition)["p/0/q"] == "cancelled"
        assert joined(transition) == ["p"]


class TestFailing:
    def test_without_a_policy_nothing_is_tried_again(self) -> None:
        transition = decided(plan_of(task("a")), "a", Failed(failure()))
        assert error_of(transition) == BROKEN
        assert dict(transition.texts) == {"!a": encode(BROKEN)}

    def test_a_retry_waits_for_its_back_off(self) -> None:
        retry = {"maxAttempts": 3, "interval": 100, "backoffRate": 2}
        plan = plan_of(task("a", retry=retry))
        transition = decided(plan, "a", Failed(failure()), running(2, failures=1, lost=1))
        assert transition.state is not None
        assert transition.state.status is StepStatus.RETRYING
        assert (transition.state.attempt, transition.state.failures) == (3, 2)
        assert (transition.state.lost, transition.state.owner) == (0, "")
        assert transition.due == NOW + 200
        last = decided(plan, "a", Failed(failure()), running(3, failures=2))
        assert last.end is not None

    def test_a_failure_that_is_final_is_not_tried_again(self) -> None:
        plan = plan_of(task("a", retry={"maxAttempts": 3}))
        assert decided(plan, "a", Failed(failure(), retryable=False)).end is not None

    def test_on_error_takes_the_errors_that_it_names(self) -> None:
        plan = plan_of(task("a", onError={"errors": ["Broken"], "next": "b"}), task("b"))
        transition = decided(plan, "a", Failed(failure()))
        assert transition.dispatched == ("b",)
        assert json.loads(dict(transition.fields)["e:"])["name"] == "Broken"
        assert decided(plan, "a", Failed(failure("Other"))).end is not None

    def test_a_handler_step_takes_what_nobody_took(self) -> None:
        plan = plan_of(task("a"), task("h"), errorHandlers=[handler("h")])
        transition = decided(plan, "a", Failed(failure()))
        assert transition.dispatched == ("h",)
        assert json.loads(dict(transition.fields)["cause"]) == BROKEN

    def test_a_handler_step_is_entered_once(self) -> None:
        plan = plan_of(task("a"), task("h", "b"), task("b"), errorHandlers=[handler("h")])
        transition = decided(plan, "b", Failed(failure("Again")), cause=BROKEN)
        assert error_of(transition)["name"] == "Again"
        assert "routed" not in [word for word, _ in words(transition)]

    def test_a_handler_step_does_not_handle_its_own_failure(self) -> None:
        plan = plan_of(task("a"), task("h"), errorHandlers=[handler("h")])
        assert decided(plan, "h", Failed(failure("Own"))).end is not None

    def test_a_capability_that_handles_errors_runs_and_the_execution_fails(self) -> None:
        plan = plan_of(task("a"), errorHandlers=[handler("tell", "Broken")])
        transition = decided(plan, "a", Failed(failure()))
        assert transition.dispatched == ("errorHandlers/0/tell",)
        assert transition.end is None
        told = decided(plan, "errorHandlers/0/tell", Completed(), cause=BROKEN)
        assert error_of(told) == BROKEN
        silent = decided(plan, "errorHandlers/0/tell", Failed(failure("Mute")), cause=BROKEN)
        assert error_of(silent) == BROKEN

    def test_a_handler_workflow_sees_the_error_as_its_input(self) -> None:
        notify = workflow(
            decision("d", "$.input.error.name", {"Broken": "tell"}), task("tell"), name="n"
        )
        plan = Plan(workflow(task("a"), errorHandlers=[handler("n")]), handlers={"n": notify})
        transition = decided(plan, "a", Failed(failure()))
        assert transition.dispatched == ("errorHandlers/0/tell",)

    def test_a_parallel_of_a_handler_workflow_joins_in_its_scope(self) -> None:
        notify = workflow(parallel("p", [task("m")], [task("n")]), name="n")
        plan = Plan(workflow(task("a"), errorHandlers=[handler("n")]), handlers={"n": notify})
        ended = decided(plan, "errorHandlers/0/p/1/n", Completed(), cause=BROKEN)
        assert ended.branch is not None and ended.branch.join == "errorHandlers/0/p"
        state = StepState(StepStatus.JOINED, total=2)
        both = Branched(((None, None), (None, None)))
        joined = decided(plan, "errorHandlers/0/p", both, state, cause=BROKEN)
        assert error_of(joined) == BROKEN

    def test_failures_in_a_branch_are_handled_by_the_join_and_not_before(self) -> None:
        plan = plan_of(parallel("p", [task("a")]), task("h"), errorHandlers=[handler("h")])
        assert decided(plan, "p/0/a", Failed(failure())).opens == ()
        state = StepState(StepStatus.JOINED, total=1)
        transition = decided(plan, "p", Branched(((None, BROKEN),)), state)
        assert transition.dispatched == ("h",)


class TestLosing:
    plan = plan_of(task("a"))

    def test_a_lost_attempt_is_followed_by_the_next_at_once(self) -> None:
        transition = decided(self.plan, "a", Lost("its worker is gone"))
        assert transition.state is not None
        assert transition.state.status is StepStatus.DISPATCHED
        assert (transition.state.attempt, transition.state.lost) == (2, 1)
        assert (transition.state.failures, transition.state.owner) == (0, "")
        assert transition.due == NOW + GRACE

    def test_poison_is_an_error_of_its_own_name(self) -> None:
        transition = decided(self.plan, "a", Lost("gone", poison=True), running(3, lost=2))
        assert error_of(transition)["name"] == "WorkerLost"


class TestReads:
    def test_what_a_failing_condition_leads_to_is_read_as_well(self) -> None:
        plan = plan_of(
            task("a", "b"),
            task("b", condition="$.input > 1", onError="c"),
            task("c", condition="$.variables.late"),
        )
        assert "v:late" in fields_for(plan, "a")

    def test_reads_of_thousands_of_conditions_are_found(self) -> None:
        steps = [task(f"s{i}", f"s{i + 1}", condition=f"$.variables.v{i}") for i in range(3000)]
        fields = fields_for(plan_of(task("a", "s0"), *steps, task("s3000")), "a")
        assert "v:v0" in fields and "v:v2999" in fields

    def test_errors_of_all_scopes_around_are_read(self) -> None:
        plan = plan_of(parallel("p", [parallel("q", [task("a", input="$.error")])]))
        assert {"e:", "e:p/0", "e:p/0/q/0"} <= set(fields_for(plan, "p/0/q/0/a"))


class TestRetries:
    @pytest.mark.parametrize(
        ("policy", "name", "failures", "again"),
        [
            ({}, "E", 1000, True),
            ({"max_attempts": 2}, "E", 1, True),
            ({"max_attempts": 2}, "E", 2, False),
            ({"retry_on": ["E"]}, "E", 1, True),
            ({"retry_on": ["E"]}, "F", 1, False),
            ({"abort_on": ["E"]}, "E", 1, False),
        ],
    )
    def test_a_policy_says_what_is_tried_again(
        self, policy: dict[str, object], name: str, failures: int, again: bool
    ) -> None:
        assert may_retry(RetryPolicy(**policy), name, failures) is again  # type: ignore[arg-type]

    def test_pauses_grow_to_their_limit(self) -> None:
        policy = RetryPolicy(interval=100, backoff_rate=10, max_interval=5000)
        assert [retry_pause(policy, n, "") for n in (1, 2, 3, 10_000)] == [100, 1000, 5000, 5000]

    def test_jitter_takes_at_most_half_and_says_the_same_twice(self) -> None:
        policy = RetryPolicy(interval=1000, jitter=True)
        pauses = [retry_pause(policy, 1, f"x{n}") for n in range(200)]
        assert all(500 <= pause <= 1000 for pause in pauses)
        assert len(set(pauses)) > 100
        assert pauses == [retry_pause(policy, 1, f"x{n}") for n in range(200)]


def test_a_state_is_the_same_after_a_journey_through_json() -> None:
    for state in (running(3, failures=1, lost=2), StepState(StepStatus.JOINING, total=3, left=1)):
        assert StepState.loads(state.dumps()) == state
        assert StepState.loads(replace(state, owner="").dumps()).owner == ""
