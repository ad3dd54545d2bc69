"""Joins of every kind, and loops: simulated, so on the real transitions and scripts."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orch.control.simulation import Simulation, simulate
from orch.workflows.definition import WorkflowDefinition

Step = dict[str, Any]


def made(*steps: Step, **given: Any) -> WorkflowDefinition:
    return WorkflowDefinition.model_validate({"name": "flow", "steps": list(steps), **given})


def task(id: str, **given: Any) -> Step:
    return {"id": id, "capability": "anything", **given}


def fork(count: int, **given: Any) -> Step:
    branches = [{"steps": [task(f"b{number}")]} for number in range(count)]
    return {
        "id": "p",
        "type": "parallel",
        "parallel": {"branches": branches, **given},
        "output": {"joined": "$.output"},
    }


def run(definition: WorkflowDefinition, **mocks: Any) -> Simulation:
    return simulate(definition, key="flow", mocks=mocks)


def outcomes(simulation: Simulation) -> dict[str, str]:
    return {step.path: step.outcome for step in simulation.steps}


class TestJoins:
    def test_any_takes_the_first_success_and_cancels_the_losers(self) -> None:
        ended = run(
            made(fork(3, join="any")),
            durations={"b0": 300, "b1": 100, "b2": 200},
            outputs={"b1": "first"},
        )
        assert ended.variables["joined"] == {
            "results": [None, "first", None],
            "failures": [],
            "counts": {"total": 3, "succeeded": 1, "failed": 0, "cancelled": 2},
            "reason": "enough succeeded",
        }
        assert outcomes(ended)["p/0/b0"] == outcomes(ended)["p/2/b2"] == "cancelled"

    def test_any_outlives_failures_as_long_as_one_may_succeed(self) -> None:
        ended = run(made(fork(3, join="any")), durations={"b2": 100}, errors={"b0": "A", "b1": "B"})
        joined = ended.variables["joined"]
        assert ended.status == "completed" and joined["reason"] == "all"
        assert [(f["index"], f["error"]["name"]) for f in joined["failures"]] == [
            (0, "A"),
            (1, "B"),
        ]

    def test_any_that_nobody_reaches_fails_by_a_name_of_its_own(self) -> None:
        ended = run(made(fork(2, join="any")), errors={"b0": "A", "b1": "B"})
        assert ended.error is not None and ended.error["name"] == "NotEnoughSucceeded"
        assert ended.error["data"]["reason"] == "cannot succeed any more"

    def test_at_least_ends_as_soon_as_it_cannot_be_reached(self) -> None:
        ended = run(
            made(fork(3, join={"atLeast": 2})),
            errors={"b0": "A", "b1": "B"},
            durations={"b1": 50, "b2": 5000},
        )
        assert ended.error is not None and ended.error["name"] == "NotEnoughSucceeded"
        assert {s.path: s.at_ms for s in ended.steps}["p"] == 50

    def test_a_quorum_is_more_than_half(self) -> None:
        ended = run(made(fork(4, join="quorum")), durations={"b3": 100}, errors={"b0": "A"})
        assert ended.status == "completed"
        assert ended.variables["joined"]["counts"]["succeeded"] == 3

    def test_a_tolerance_that_is_exactly_met_does_not_fail(self) -> None:
        ended = run(made(fork(4, tolerate={"percentage": 50})), errors={"b0": "A", "b3": "B"})
        assert ended.status == "completed"
        assert ended.variables["joined"]["reason"] == "all"
        assert ended.variables["joined"]["counts"]["failed"] == 2

    def test_a_tolerance_that_is_exceeded_fails_and_starts_nothing_more(self) -> None:
        branches = [
            {"steps": [task("a")]},
            {"steps": [task("b")]},
            {"steps": [task("slow", next="never"), task("never")]},
        ]
        parallel = {"branches": branches, "tolerate": {"count": 1}}
        ended = run(
            made({"id": "p", "type": "parallel", "parallel": parallel}),
            errors={"a": "A", "b": "B"},
            durations={"slow": 100},
        )
        assert ended.error is not None and ended.error["name"] == "ToleranceExceeded"
        assert "p/2/never" not in outcomes(ended)

    def test_with_at_least_and_tolerate_whichever_is_decided_first_counts(self) -> None:
        definition = made(fork(4, join={"atLeast": 2}, tolerate={"count": 0}))
        first_succeeds = run(definition, durations={"b3": 100}, errors={"b3": "A"})
        first_fails = run(definition, durations={"b0": 9, "b1": 9, "b2": 9}, errors={"b3": "A"})
        assert first_succeeds.status == "completed"
        assert first_fails.error is not None and first_fails.error["name"] == "ToleranceExceeded"

    def test_the_first_failure_of_a_plain_join_is_the_error_of_the_step(self) -> None:
        ended = run(made(fork(3)), errors={"b1": "Special"})
        assert ended.error is not None
        assert (ended.error["name"], ended.error["branch"]) == ("Special", 1)

    def test_joins_nest(self) -> None:
        inner = fork(2, join="any")["parallel"]
        racing = {"id": "inner", "type": "parallel", "parallel": inner}
        outer = {"branches": [{"steps": [racing]}, {"steps": [task("other")]}]}
        ended = run(
            made({"id": "outer", "type": "parallel", "parallel": outer}), errors={"b0": "A"}
        )
        assert ended.status == "completed"
        assert ended.output["results"][0]["results"] == [None, None]

    @given(
        total=st.integers(1, 6),
        join=st.sampled_from(["all", "any", "quorum", 1, 2, 3]),
        tolerate=st.none() | st.integers(0, 3),
        data=st.data(),
    )
    def test_every_join_ends_as_its_policy_says(
        self, total: int, join: str | int, tolerate: int | None, data: st.DataObject
    ) -> None:
        fails = data.draw(st.lists(st.booleans(), min_size=total, max_size=total))
        order = data.draw(st.permutations(range(total)))
        policy: Any = {"atLeast": min(join, total)} if isinstance(join, int) else join
        given = {"join": policy} | (
            {"tolerate": {"count": tolerate}} if tolerate is not None else {}
        )
        ended = run(
            made(fork(total, **given)),
            durations={f"b{n}": 10 * (1 + place) for place, n in enumerate(order)},
            errors={f"b{n}": "E" for n in range(total) if fails[n]},
        )
        need = {"all": 0, "any": 1, "quorum": total // 2 + 1}.get(join, 0)  # type: ignore[call-overload]
        need = min(join, total) if isinstance(join, int) else need
        expected = self.expected([fails[n] for n in order], need, tolerate, join == "all")
        assert ended.status == expected

    @staticmethod
    def expected(fails: list[bool], need: int, tolerate: int | None, plain: bool) -> str:
        """An independent reading of the rules, branch by branch in the order of their ends."""
        allowed = tolerate if tolerate is not None else (0 if plain else len(fails))
        good = bad = 0
        for failed in fails:
            good, bad = good + (not failed), bad + failed
            if need and good >= need:
                return "completed"
            if bad > allowed or (need and good + len(fails) - good - bad < need):
                return "failed"
        return "completed" if not need else "failed"


class TestLoops:
    def loop(self, *steps: Step, **given: Any) -> Step:
        return {"id": "l", "type": "loop", "loop": {"steps": list(steps), **given}}

    def test_while_is_asked_before_each_iteration(self) -> None:
        body = task("a", output={"n": "$.index + 1"})
        ended = run(made(self.loop(body, **{"while": "($.variables.n || 0) < 3"})))
        assert ended.variables["n"] == 3
        assert [s.path for s in ended.steps] == ["l", "l[0]/a", "l[1]/a", "l[2]/a"]

    def test_a_while_that_is_false_at_once_runs_nothing(self) -> None:
        ended = run(made(self.loop(task("a"), **{"while": "false"})))
        assert (ended.status, [s.path for s in ended.steps]) == ("completed", ["l"])

    def test_until_is_asked_after_each_and_sees_the_output(self) -> None:
        ended = run(
            made(self.loop(task("a"), until="$.output == 'done'")),
            outputs={"l[0]/a": "no", "l[1]/a": "no", "l[2]/a": "done"},
        )
        assert (ended.output, len(ended.steps)) == ("done", 4)

    def test_an_iteration_sees_the_output_of_the_one_before(self) -> None:
        body = task("a", output={"seen": "$.output"}, condition="$.index < 2 || $.output == 'x'")
        ended = run(made(self.loop(body, until="$.index >= 3")), outputs={"a": "x"})
        assert outcomes(ended)["l[2]/a"] == "completed"

    def test_more_iterations_than_allowed_fail_by_name(self) -> None:
        ended = run(made(self.loop(task("a"), until="false", maxIterations=4)))
        assert ended.error is not None and ended.error["name"] == "MaxIterationsExceeded"
        assert sum(s.path.endswith("/a") for s in ended.steps) == 4

    def test_iterations_that_do_nothing_come_to_an_end_too(self) -> None:
        ended = run(made(self.loop(task("a", condition="false"), until="false")))
        assert ended.error is not None and ended.error["name"] == "MaxIterationsExceeded"

    def test_a_failing_iteration_fails_the_loop_which_may_be_taken(self) -> None:
        ended = run(
            made({**self.loop(task("a"), until="false"), "onError": "h"}, task("h")),
            errors={"l[2]/a": "Broken"},
        )
        assert ended.status == "completed"
        assert outcomes(ended)["l"] == "failed" and outcomes(ended)["h"] == "completed"

    def test_loops_parallels_and_decisions_nest(self) -> None:
        forked = {
            "id": "p",
            "type": "parallel",
            "parallel": {"branches": [{"steps": [task("x")]}, {"steps": [task("y")]}]},
        }
        inner = {
            "id": "inner",
            "type": "loop",
            "loop": {"steps": [forked], "until": "$.index >= 2"},
        }
        ended = run(made(self.loop({**inner, "next": "e"}, task("e"), until="$.index >= 2")))
        assert ended.status == "completed"
        assert sum(s.path.endswith("/x") for s in ended.steps) == 4
        assert "l[1]/inner[1]/p/1/y" in outcomes(ended)

    def test_a_loop_has_a_timeout(self) -> None:
        ended = run(
            made({**self.loop(task("a"), until="false"), "timeout": 250}), durations={"a": 100}
        )
        assert ended.error is not None and ended.error["name"] == "StepTimeout"
        assert ended.steps[-1].at_ms == 250
