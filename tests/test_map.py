"""`map`: simulated, against an interpreter of its own, at its limits, and with workers that die."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch import Orchestrator
from orch.cli.app import run_command
from orch.control.advance import Advancer
from orch.control.plans import Plans
from orch.control.simulation import Simulation, simulate
from orch.control.status import execution_context
from orch.control.workers import WorkerProcesses
from orch.errors import InputError, NotFound, Unreachable
from orch.journal.journal import Claimed, Journal, Refused
from orch.workflows.canvas import compile_canvas
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.outcome import Completed, Failed
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus
from orch.workflows.view import fields_for
from tests.build import FakeClock, Worked, failure, plan_of, start, task, wait

Step = dict[str, Any]


def mapped(id: str = "m", *steps: Step, next: str | None = None, **given: Any) -> Step:
    """A map over `$.input`; without steps in its short form."""
    of: dict[str, Any] = {"items": "$.input"}
    of |= {"steps": list(steps)} if steps else {"capability": "work", "input": "$.item"}
    return {"id": id, "type": "map", "map": {**of, **given}, "next": next}


def run(*steps: Step, input: Any = None, **mocks: Any) -> Simulation:
    definition = WorkflowDefinition.model_validate({"name": "flow", "steps": list(steps)})
    return simulate(definition, key="flow", input=input, mocks=mocks)


def outcomes(simulation: Simulation) -> dict[str, str]:
    return {step.path: step.outcome for step in simulation.steps}


class TestItems:
    def test_results_stand_in_the_order_of_the_items_whatever_ended_first(self) -> None:
        ended = run(
            mapped(),
            input=["a", "b", "c"],
            durations={"m[0]/m": 300, "m[1]/m": 200, "m[2]/m": 100},
            outputs={"m[0]/m": 0, "m[1]/m": 1, "m[2]/m": 2},
        )
        assert ended.output == {
            "results": [0, 1, 2],
            "failures": [],
            "counts": {"total": 3, "succeeded": 3, "failed": 0, "cancelled": 0},
            "reason": "all",
        }
        assert [s.path for s in ended.steps] == ["m", "m[0]/m", "m[1]/m", "m[2]/m"]

    def test_an_empty_list_is_done_at_once(self) -> None:
        ended = run(mapped(next="z"), task("z"), input=[])
        assert outcomes(ended) == {"m": "completed", "z": "completed"}
        once = run({**mapped(), "output": {"of_m": "$.output"}}, input=[])
        assert once.variables["of_m"]["results"] == []
        assert once.variables["of_m"]["reason"] == "all"

    @pytest.mark.parametrize("items", [None, "text", 3, {"a": 1}])
    def test_what_is_no_list_fails_by_name(self, items: Any) -> None:
        ended = run(mapped(), input=items)
        assert ended.error is not None and ended.error["name"] == "InvalidItems"
        taken = run({**mapped(), "onError": "h"}, task("h"), input=items)
        assert (taken.status, outcomes(taken)["m"]) == ("completed", "failed")

    def test_items_may_be_written_down_or_made_by_a_step_before(self) -> None:
        literal = mapped(items=["$.input.x", 2], collect="$.item")
        assert run(literal, input={"x": 1}).output["results"] == [1, 2]
        made = mapped(items="$.output.found", collect="$.item")
        ended = run(task("list", "m"), made, outputs={"list": {"found": [5, 6]}})
        assert ended.output["results"] == [5, 6]

    def test_collect_sees_the_item_its_number_and_its_output(self) -> None:
        collect = "$.file + ' ' + $.index + ' ' + $.output.n"
        ended = run(mapped(**{"as": "file"}, collect=collect), input=["a", "b"],
                    outputs={"m": {"n": 7}})  # fmt: skip
        assert ended.output["results"] == ["a 0 7", "b 1 7"]

    def test_a_collect_that_fails_fails_its_item(self) -> None:
        ended = run(mapped(collect="$.item - 1", tolerate={"count": 1}), input=[1, "text"])
        assert ended.output["results"] == [0, None]
        assert [f["index"] for f in ended.output["failures"]] == [1]

    def test_steps_of_an_item_follow_one_another_and_see_the_output_before(self) -> None:
        steps = (task("a", "b"), task("b", condition="$.output == $.item"))
        ended = run(mapped("m", *steps), input=[1, 2], outputs={"m[0]/a": 1, "m[1]/a": 3, "b": 9})
        assert ended.output["results"] == [9, 3]
        assert outcomes(ended)["m[1]/b"] == "skipped"

    def test_items_that_no_worker_is_needed_for_take_their_turns_too(self) -> None:
        steps = (task("a", condition="$.index % 2 == 0"),)
        ended = run(mapped("m", *steps, maxConcurrency=2), input=list(range(50)),
                    outputs={"a": "ran"})  # fmt: skip
        assert ended.output["results"] == ["ran", None] * 25

    def test_more_results_than_are_carried_around_go_on_by_reference(self) -> None:
        ended = run(
            mapped(next="n"),
            mapped("n", items="$.output.results", collect="$.index"),
            input=[1, 2, 3],
            outputs={"m": "x" * 400_000},
        )
        assert (ended.status, ended.output["results"]) == ("completed", [0, 1, 2])
        alone = run({**mapped(), "output": {"many": "$.output.results.length"}},
                    input=[1, 2, 3], outputs={"m": "x" * 400_000})  # fmt: skip
        assert alone.variables == {"many": 3}
        place = {"execution": "simulated", "path": "m"}
        found = {"$results": place, "length": 3, "bytes": 1_200_009}
        assert alone.output["results"] == found
        assert alone.output["counts"]["succeeded"] == 3

    def test_items_that_failed_are_null_in_a_map_over_what_a_map_gave(self) -> None:
        ended = run(
            mapped(next="n", tolerate={"count": 1}),
            mapped("n", items="$.output.results", collect="$.item.length || 'nothing'"),
            input=list(range(40)),
            outputs={"m": "x" * 40_000},
            errors={"m[17]/m": "Broken"},
        )
        assert ended.output["results"] == [40_000] * 17 + ["nothing"] + [40_000] * 22

    def test_results_of_another_execution_are_no_items(self) -> None:
        foreign = {"$results": {"execution": "other", "path": "m"}, "length": 3, "bytes": 9}
        ended = run(mapped(), input=foreign)
        assert ended.error is not None and ended.error["name"] == "InvalidItems"
        assert "in another execution, other" in ended.error["message"]

    def test_more_failures_than_allowed_fail_by_name(self) -> None:
        ended = run(mapped(name="$.item", tolerate={"count": 2}), input=["x" * 600_000] * 2,
                    errors={"m": "Broken"})  # fmt: skip
        assert ended.error is not None and ended.error["name"] == "OutputTooLarge"

    def test_collect_keeps_the_results_small(self) -> None:
        less = run(mapped(collect="$.index"), input=[1, 2, 3], outputs={"m": "x" * 400_000})
        assert less.output["results"] == [0, 1, 2]


class TestFailures:
    def test_the_first_failure_is_the_error_of_a_plain_map(self) -> None:
        ended = run(mapped(name="file ${$.item}"), input=["a", "b"], errors={"m[1]/m": "Special"})
        assert ended.error is not None
        assert (ended.error["name"], ended.error["item"]) == ("Special", "file b")
        unnamed = run(mapped(), input=["a", "b"], errors={"m[1]/m": "Special"})
        assert unnamed.error is not None and unnamed.error["item"] == 1

    def test_a_tolerance_that_is_exactly_met_does_not_fail(self) -> None:
        ended = run(
            mapped(tolerate={"percentage": 50}),
            input=[1, 2, 3, 4],
            errors={"m[0]/m": "A", "m[3]/m": "B"},
        )
        assert ended.status == "completed" and ended.output["reason"] == "all"
        assert [(f["index"], f["error"]["name"]) for f in ended.output["failures"]] == [
            (0, "A"),
            (3, "B"),
        ]

    def test_a_tolerance_that_is_exceeded_starts_nothing_more(self) -> None:
        ended = run(
            mapped(tolerate={"count": 1}, maxConcurrency=2),
            input=list(range(9)),
            errors={"m[1]/m": "A", "m[2]/m": "B"},
            durations={"m[0]/m": 1000, "m[1]/m": 10, "m[2]/m": 10},
        )
        assert ended.error is not None and ended.error["name"] == "ToleranceExceeded"
        assert ended.error["data"]["counts"] == {
            "total": 9, "succeeded": 0, "failed": 2, "cancelled": 7,
        }  # fmt: skip
        assert ended.error["data"]["reason"] == "tolerance exceeded"
        assert outcomes(ended)["m[0]/m"] == "cancelled"
        assert "m[3]/m" not in outcomes(ended)
        assert "of 9 items" in ended.error["message"]

    def test_an_error_inside_an_item_may_be_taken_there(self) -> None:
        steps = (task("a", onError="h"), task("h", input="$.error.name"))
        ended = run(mapped("m", *steps, collect="$.output"), input=[1, 2],
                    errors={"m[0]/a": "A"}, outputs={"h": "helped", "a": "fine"})  # fmt: skip
        assert ended.output["results"] == ["helped", "fine"]

    def test_a_step_of_an_item_is_retried(self) -> None:
        step = task("a", retry={"maxAttempts": 3, "interval": 50})
        ended = run(mapped("m", step), input=[1, 2], fail={"m[1]/a": 2}, outputs={"a": 1})
        assert ended.output["results"] == [1, 1]
        assert [s.attempt for s in ended.steps if s.path == "m[1]/a"] == [1, 2, 3]

    def test_a_map_has_a_timeout(self) -> None:
        ended = run({**mapped(maxConcurrency=1), "timeout": 250}, input=[1] * 9,
                    durations={"m": 100})  # fmt: skip
        assert ended.error is not None and ended.error["name"] == "StepTimeout"
        assert outcomes(ended)["m[2]/m"] == "cancelled" and "m[3]/m" not in outcomes(ended)


class TestNesting:
    def test_lanes_bound_how_long_it_takes(self) -> None:
        ended = run(mapped("m", wait("w", 100), maxConcurrency=4), input=[1] * 10)
        assert ended.status == "completed"
        assert max(s.at_ms for s in ended.steps) == 300

    def test_maps_in_each_other_see_both_items(self) -> None:
        inner = mapped("inner", items="$.row", collect="$.table.length + ':' + $.item + $.index")
        outer = mapped("outer", mapped("rows", inner, items="$.table", **{"as": "row"},
                       collect="$.output.results"), **{"as": "table"},
                       collect="$.output.results")  # fmt: skip
        ended = run(outer, input=[[[1, 2], [3]], [[]]])
        assert ended.output["results"] == [[["2:10", "2:21"], ["2:30"]], [[]]]
        assert "outer[0]/rows[1]/inner[0]/inner" in outcomes(ended)

    def test_the_nearest_item_is_the_item(self) -> None:
        inner = mapped("inner", items=["$.item", 9], collect="$.item + $.outer")
        ended = run(mapped("m", inner, **{"as": "outer"}, collect="$.output.results"), input=[1, 2])
        assert ended.output["results"] == [[2, 10], [4, 11]]

    def test_a_map_stands_in_a_parallel_and_a_parallel_in_a_map(self) -> None:
        forked = {
            "id": "p",
            "type": "parallel",
            "parallel": {"branches": [{"steps": [task("x")]}, {"steps": [mapped("q")]}]},
        }
        ended = run(mapped("m", forked, items=[[1, 2], [], [3]], collect="$.output.results[1]"),
                    input=[4], outputs={"q": "q"})  # fmt: skip
        assert [r["counts"]["total"] for r in ended.output["results"]] == [1, 1, 1]
        assert outcomes(ended)["m[2]/p/1/q[0]/q"] == "completed"

    def test_a_parallel_that_is_decided_cancels_the_map_in_it(self) -> None:
        forked = {
            "id": "p",
            "type": "parallel",
            "parallel": {
                "join": "any",
                "branches": [{"steps": [task("quick")]}, {"steps": [mapped(maxConcurrency=2)]}],
            },
        }
        ended = run(forked, input=[1, 2, 3], durations={"quick": 50, "m": 100})
        assert ended.status == "completed"
        assert outcomes(ended)["p/1/m"] == outcomes(ended)["p/1/m[1]/m"] == "cancelled"
        assert "p/1/m[2]/m" not in outcomes(ended)

    def test_a_map_in_a_loop_and_a_loop_in_a_map(self) -> None:
        inner = {
            "id": "l",
            "type": "loop",
            "loop": {"steps": [task("a", input="$.file")], "until": "$.index >= 2"},
        }
        outer = {
            "id": "o",
            "type": "loop",
            "loop": {"steps": [mapped("m", inner, **{"as": "file"})], "until": "$.index >= 2"},
        }
        ended = run(outer, input=["a", "b"])
        assert ended.status == "completed"
        assert sum(path.endswith("/a") for path in outcomes(ended)) == 8
        assert "o[1]/m[1]/l[1]/a" in outcomes(ended)

    def test_an_item_may_wait_and_decide(self) -> None:
        steps = (
            {"id": "d", "type": "decision",
             "decision": {"expression": "$.item > 1", "branches": {"true": "w", "false": "t"}}},
            wait("w", "$.item * 1000", "t"),
            task("t"),
        )  # fmt: skip
        ended = run(mapped("m", *steps, collect="$.item"), input=[1, 2, 3])
        assert ended.output["results"] == [1, 2, 3]
        assert {s.path: s.at_ms for s in ended.steps}["m"] == 3000


# --- an independent reading of the rules -----------------------------------------------------


def interpret(
    fails: list[bool], durations: list[int], lanes: int, tolerated: int
) -> tuple[str, list[int], int]:
    """Status, indexes that began, and when it ended, ms: a few lines, item by item."""
    lanes_free = [(0, lane) for lane in range(min(lanes, len(fails)))]
    ends: list[tuple[int, int, int]] = []  # (when, order of beginning, item)
    begun: list[int] = []
    for _, item in lanes_free:
        ends.append((durations[item], item, item))
        begun.append(item)
    failed = now = 0
    while ends:
        now, _, item = min(ends)
        ends.remove(min(ends))
        failed += fails[item]
        if failed > tolerated:
            return "failed", begun, now
        if len(begun) < len(fails):
            following = len(begun)
            ends.append((now + durations[following], following, following))
            begun.append(following)
    return "completed", begun, now


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    items=st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=12),
    lanes=st.integers(1, 5),
    tolerated=st.integers(0, 4),
    plain=st.booleans(),
)
def test_every_map_ends_as_its_rules_say(
    items: list[tuple[bool, int]], lanes: int, tolerated: int, plain: bool
) -> None:
    fails = [fails for fails, _ in items]
    # No two ends at the same instant: which of them is first is nobody's business.
    durations = [duration * 1000 + number for number, (_, duration) in enumerate(items)]
    policy = {} if plain else {"tolerate": {"count": tolerated}}
    ended = run(
        mapped(maxConcurrency=lanes, **policy),
        input=[number for number, _ in enumerate(items)],
        durations={f"m[{n}]/m": duration for n, duration in enumerate(durations)},
        errors={f"m[{n}]/m": "E" for n, failing in enumerate(fails) if failing},
        outputs={f"m[{n}]/m": n for n, _ in enumerate(items)},
    )
    status, begun, at = interpret(fails, durations, lanes, 0 if plain else tolerated)
    assert ended.status == status
    assert [s.path for s in ended.steps if s.path != "m"] == [f"m[{n}]/m" for n in begun]
    assert {s.path: s.at_ms for s in ended.steps}["m"] == at
    if status == "completed":
        expected = [None if failing else n for n, failing in enumerate(fails)]
        assert ended.output["results"] == expected


# --- on a journal ----------------------------------------------------------------------------


def advancer(worked: Worked) -> Advancer:
    return Advancer(worked.journal, Plans(worked.journal), worked.dispatch)


def number_of(path: str) -> int:
    return int(path.partition("[")[2].partition("]")[0])


def begin(journal: Journal, *steps: Step, input: Any) -> Worked:
    worked = start(journal, *steps, input=input)
    sent = [p for p, s in states(worked).items() if s.status is StepStatus.DISPATCHED]
    worked.sent += sorted(sent, key=number_of)
    return worked


def states(worked: Worked) -> dict[str, StepState]:
    fields = worked.journal.steps(worked.execution)
    return {p: StepState.loads(t) for p, t in fields.items() if p[0] not in "=!"}


def take(worked: Worked, path: str, owner: str = "me/1/a") -> Claimed:
    claimed = worked.claim(path, owner, quiet=worked.plan.is_quiet(path))
    assert isinstance(claimed, Claimed), claimed
    return claimed


def finish(worked: Worked, path: str, claimed: Claimed, outcome: Any = None) -> Any:
    outcome = outcome or Completed(None)
    return advancer(worked).settle(worked.plan, claimed.view, path, claimed.state, outcome)


class TestLanes:
    def test_the_settle_that_ends_an_item_opens_the_next(self, journal: Journal) -> None:
        worked = begin(journal, mapped(maxConcurrency=2), input=list("abcd"))
        assert worked.sent == ["m[0]/m", "m[1]/m"]
        reply = finish(worked, "m[1]/m", take(worked, "m[1]/m"))
        assert reply.following == "m[2]/m" and worked.sent[2:] == ["m[2]/m"]
        assert sorted(worked.watched()) == ["m", "m[0]/m", "m[2]/m"]
        assert take(worked, "m[2]/m").view.items == {"m[2]": ("item", "c")}

    def test_a_claim_reads_the_items_that_the_step_asks_for(self, journal: Journal) -> None:
        row = mapped("row", task("a", input="$.cell"), items="$.table", **{"as": "cell"})
        worked = begin(journal, mapped("m", row, **{"as": "table"}), input=[[7, 8]])
        advancer(worked).join("x1", "m[0]/row")
        path = "m[0]/row[1]/a"
        assert list(fields_for(worked.plan, path)) == [
            "priority",
            "workflow",
            "i:m[0]/row[1]:cell",
            "b:m[0]/row[1]/a",
        ]
        assert take(worked, path).view.items == {"m[0]/row[1]": ("cell", 8)}

    def test_items_are_exact_whatever_they_are(self, journal: Journal) -> None:
        items = [[], {}, 2**70, "\u2028ü", None, [[]], 0.1, "\ud800"] * 5
        worked = begin(journal, mapped(maxConcurrency=40), input=items)
        for number, item in enumerate(items):
            path = f"m[{number}]/m"
            assert take(worked, path).view.items[f"m[{number}]"][1] == item

    def test_a_message_that_comes_twice_or_late_changes_nothing(self, journal: Journal) -> None:
        worked = begin(journal, mapped(maxConcurrency=1), input=[1, 2, 3])
        finish(worked, "m[0]/m", take(worked, "m[0]/m"))
        assert worked.claim("m[0]/m") == Refused("MISSING")
        assert worked.claim("m[2]/m") == Refused("MISSING")
        assert worked.state("m").left == 2

    def test_a_reply_that_was_lost_is_given_again(self, journal: Journal) -> None:
        worked = begin(journal, mapped(maxConcurrency=1), input=[1, 2, 3])
        claimed = take(worked, "m[0]/m")
        finish(worked, "m[0]/m", claimed)
        assert finish(worked, "m[0]/m", claimed).repeated
        assert worked.state("m").left == 2 and worked.state("m").opened == 2

    def test_an_attempt_that_was_lost_is_refused_and_the_history_says_so(
        self, journal: Journal
    ) -> None:
        worked = begin(journal, mapped(maxConcurrency=1), input=[1, 2])
        late = take(worked, "m[0]/m")
        advancer(worked).lose("x1", "m[0]/m", late.state, "gone")
        finish(worked, "m[0]/m", take(worked, "m[0]/m", "you/1/a"))
        transition = worked.decide("m[0]/m", late, Completed(1))
        assert worked.commit(late, transition) == Refused("SUPERSEDED", ("completed", 2))
        told = [event for event, path in worked.events() if path == "m[0]/m"]
        assert told == ["claimed", "lost", "claimed", "completed", "refused"]

    def test_what_goes_wrong_is_told_from_its_beginning(
        self, journal: Journal, clock: FakeClock
    ) -> None:
        worked = begin(journal, mapped(tolerate={"count": 1}), input=[1, 2])
        claimed = take(worked, "m[0]/m")
        claimed_at = clock.now
        clock.advance(500)
        finish(worked, "m[0]/m", claimed, Failed(failure()))
        finish(worked, "m[1]/m", take(worked, "m[1]/m"))
        entries = [e for e in journal.history("x1") if e.path.startswith("m[")]
        assert [(e.event, e.path) for e in entries] == [("claimed", "m[0]/m"), ("failed", "m[0]/m")]
        assert entries[0].at == claimed_at and entries[0].detail == {"worker": "me/1/a"}

    def test_an_item_that_is_to_be_entered_is_not_forgotten(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worked = begin(journal, mapped("m", wait("w"), maxConcurrency=1), input=[1, 2])
        assert worked.state("m[0]/w").status is StepStatus.ENTERING
        assert worked.claim("m[0]/w") == Refused("EARLY", ("entering",))
        advancer(worked).join("x1", "m[0]/w")
        away = Unreachable("Redis is away")
        state = worked.state("m[0]/w")

        def fail(*_: Any) -> None:
            raise away

        real = journal.read_state
        monkeypatch.setattr(
            journal, "read_state", lambda e, p: fail() if p == "m[1]/w" else real(e, p)
        )
        advancer(worked).fire("x1", "m[0]/w", state)
        monkeypatch.undo()
        assert sorted(worked.watched()) == ["m", "m[1]/w"]
        for _ in range(2):
            advancer(worked).join("x1", "m[1]/w")
        assert worked.state("m[1]/w").status is StepStatus.WAITING

    def test_an_execution_that_is_ended_ends_its_lanes(self, journal: Journal) -> None:
        worked = begin(journal, mapped(), input=list(range(99)))
        journal.end("x1", ExecutionStatus.CANCELLED, {"name": "Cancelled", "message": ""})
        assert worked.watched() == {}
        assert not any(state.status in LIVE for state in states(worked).values())
        assert journal.redis.pttl(journal.keys.items("x1")) > 0

    def test_what_a_finished_map_held_is_dropped_and_its_output_kept(
        self, journal: Journal
    ) -> None:
        worked = begin(journal, mapped(next="z"), task("z"), input=list(range(40)))
        for path in worked.sent:
            if path != "z":
                finish(worked, path, take(worked, path), Completed(path))
        assert journal.redis.exists(journal.keys.items("x1")) == 0
        assert sorted(states(worked)) == ["m", "z"]
        assert len(json.loads(journal.steps("x1")["=m"])["results"]) == 40

    def test_items_are_chains_and_no_chord(self) -> None:
        plan = plan_of(mapped("m", task("a", "b"), task("b")))
        canvases = compile_canvas(plan, "x", ["m[0]/a", "m[1]/a"])
        assert [[link.args[1] for link in canvas.tasks] for canvas in canvases] == [
            ["m[0]/a", "m[0]/b"],
            ["m[1]/a", "m[1]/b"],
        ]

    def test_the_status_shows_a_map_as_one_line_and_what_is_at_work_or_failed(
        self, journal: Journal
    ) -> None:
        items = list(range(300))
        worked = begin(journal, mapped(maxConcurrency=3, tolerate={"count": 250}), input=items)
        for number in range(200):
            path = worked.sent[number]
            outcome = Failed(failure()) if number % 2 else Completed(None)
            finish(worked, path, take(worked, path), outcome)
        context = execution_context(journal, Plans(journal), "x1")
        line = context.steps[0]
        assert line.items == {
            "total": 300, "succeeded": 100, "failed": 100, "running": 3, "waiting": 97,
        }  # fmt: skip
        assert line.waiting_for == "100 of 300 items, 3 of them at work"
        assert len(context.steps) == 101


@pytest.mark.timeout(300)
def test_ten_thousand_items_hold_sixteen_messages_and_two_hundred_bytes_each(
    journal: Journal, record_property: Callable[[str, object], None]
) -> None:
    count = 10_000
    worked = begin(journal, mapped(next="z"), task("z"), input=list(range(count)))
    keys = [getattr(journal.keys, name)("x1") for name in ("steps", "history", "items")]
    goes_on = advancer(worked)
    most = bytes_used = 0
    for done in range(count):
        open_messages = len(worked.sent) - done
        most = max(most, open_messages, len(worked.watched()) - 1 if done % 500 == 0 else 0)
        if done == count - 1:
            used = [journal.redis.memory_usage(key, samples=0) or 0 for key in keys]
            bytes_used = sum(used)
            assert journal.redis.llen(keys[1]) == 2, "no line of the history for what goes well"
        path = worked.sent[done]
        claimed = take(worked, path)
        outcome = Completed(number_of(path))
        goes_on.settle(worked.plan, claimed.view, path, claimed.state, outcome)
    assert most == 16
    assert bytes_used / count <= 200
    record_property("bytes per item", bytes_used / count)
    assert worked.sent[-1] == "z" and len(worked.sent) == count + 1
    assert json.loads(journal.steps("x1")["=m"])["results"] == list(range(count))


# --- with processes --------------------------------------------------------------------------

CAPABILITY = """
import os, time
from orch import Context, capability

def note(word, context):
    line = f"{word} {context.path} {context.attempt} {os.getpid()}\\n"
    file = os.open(os.environ["MAP_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)

@capability("resize")
def resize(context: Context, number: int) -> int:
    note("begin", context)
    time.sleep(0.01)
    note("end", context)
    return number * 2
"""


@pytest.mark.timeout(180)
def test_a_worker_that_is_killed_loses_no_item_and_no_item_is_committed_twice(
    tmp_path: Path, redis_url: str, redis: Any, wait_until: Callable[..., object]
) -> None:
    code, runs = tmp_path / "resizing.py", tmp_path / "runs"
    code.write_text(CAPABILITY)
    runs.touch()
    count, most = 500, 6
    step = {"id": "resize", "type": "map",
            "map": {"items": "$.input", "capability": "resize", "input": {"number": "$.item"},
                    "maxConcurrency": most}}  # fmt: skip

    def lines() -> list[list[str]]:
        return [line.split() for line in runs.read_text().splitlines()]

    with Orchestrator(redis_url=redis_url, data_dir=tmp_path / "unused") as orchestrator:
        orchestrator.define_workflow("resize", {"name": "r", "steps": [step]})
        workers = [
            WorkerProcesses(
                orchestrator.settings,
                redis_url,
                concurrency=4,
                include=[str(code)],
                queues=["resize"],
                log=tmp_path / "log",
                environment={"MAP_RUNS": str(runs)},
            ).start(timeout=60)
            for _ in range(2)
        ]
        try:
            execution = orchestrator.start_workflow("resize", list(range(count)))
            wait_until(lambda: sum(line[0] == "end" for line in lines()) > 150, timeout=60)
            os.killpg(workers[0].processes[0].pid, signal.SIGKILL)
            ended = execution.wait(120)
        finally:
            for worker in workers:
                worker.stop(grace=2)
    assert ended.status == "completed", ended.error
    assert ended.output["results"] == [number * 2 for number in range(count)]
    assert ended.output["counts"]["succeeded"] == count
    begun = Counter(path for word, path, *_ in lines() if word == "begin")
    assert len(begun) == count
    # Only what the dead worker held was run again.
    assert sum(runs > 1 for runs in begun.values()) <= 4
    running: set[str] = set()
    for word, path, *_ in lines():
        (running.add if word == "begin" else running.discard)(path)
        assert len(running) <= most, "an item that was lost keeps its lane"
    committed = Counter(e.path for e in execution.history() if e.event == "completed")
    assert all(times == 1 for times in committed.values())


READER = """
from orch import Context, capability

@capability("write")
def write(number: int) -> str:
    return str(number) * 100

@capability("read")
def read(context: Context, results: dict) -> dict:
    return {"sum": sum(int(text[:1]) for text in context.results(results)), **results}
"""


@pytest.mark.timeout(180)
def test_results_that_are_not_carried_around_are_read_by_steps_and_people(
    tmp_path: Path, redis_url: str, redis: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tmp_path / "reader.py"
    code.write_text(READER)
    steps = [
        {"id": "all", "type": "map", "next": "add",
         "map": {"items": "$.input", "capability": "write", "input": {"number": "$.item"}}},
        {"id": "add", "capability": "read", "input": {"results": "$.output.results"}},
    ]  # fmt: skip
    where = {"redis_url": redis_url, "data_dir": tmp_path / "unused", "output_limit": 300}
    with Orchestrator(**where) as orchestrator:
        orchestrator.define_workflow("w", {"name": "w", "steps": steps})
        with orchestrator.workers(pool="solo", include=[str(code)]):
            execution = orchestrator.start_workflow("w", [1, 2, 3, 4])
            ended = execution.wait(60)
        assert ended.status == "completed", ended.error
        assert (ended.output["sum"], ended.output["length"]) == (10, 4)
        texts = [str(number) * 100 for number in (1, 2, 3, 4)]
        assert list(execution.results("all")) == texts
        with pytest.raises(NotFound, match="step 'nothing' of execution"):
            execution.results("nothing")
        with pytest.raises(InputError, match="is no map and no parallel step"):
            execution.results("add")
    assert run_command(["results", execution.id, "all", "--redis", redis_url]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == texts
