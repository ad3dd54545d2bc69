"""Ladders on the virtual clock of a simulation, and people who decide as they are told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orch.cli.app import app
from orch.control.simulation import Simulation, simulate
from orch.errors import InputError
from tests.build import handler, parallel, task, workflow

HOUR = 3600_000
LADDER: list[Any] = [
    {"retry": {"maxAttempts": 2, "interval": "30s"}},
    {"fallback": {"capability": "senior"}},
    {"human": {"queue": "reviewers", "within": "2h", "remindEvery": "90m"}},
    {"human": {"queue": "leads", "within": "8h"}},
    "fail",
]


def run(*rungs: Any, mocks: dict[str, Any] | None = None, **more: Any) -> Simulation:
    deploy = task("deploy", "after", escalation=list(rungs or LADDER), **more)
    given = {"fail": {"deploy": "always"}, **(mocks or {})}
    return simulate(workflow(deploy, task("after")), key="w", mocks=given)


def told(found: Simulation) -> list[tuple[int, str]]:
    return [(change.at_ms, change.event) for change in found.escalations]


def attempts(found: Simulation) -> list[tuple[str, str]]:
    return [(step.path, step.outcome) for step in found.steps]


class TestRungs:
    def test_the_whole_ladder_with_nobody_there(self) -> None:
        found = run(mocks={"fail": {"deploy": "always", "senior": "always"}})
        assert found.status == "failed"
        assert attempts(found) == [
            ("deploy", "failed"),
            ("deploy/~1", "failed"),
            ("deploy/~1", "failed"),
            ("deploy/~2#2", "failed"),
        ]
        assert [(c.at_ms, c.event, c.detail.get("rung")) for c in found.escalations] == [
            (0, "escalated", 1),
            (60_000, "rung", 2),
            (60_000, "rung", 3),
            (60_000 + 90 * 60_000, "reminded", None),
            (60_000 + 2 * HOUR, "overdue", 3),
            (60_000 + 2 * HOUR, "rung", 4),
            (60_000 + 10 * HOUR, "overdue", 4),
            (60_000 + 10 * HOUR, "resolved", 4),
        ]

    def test_a_retry_rung_counts_the_step_s_attempts_on(self) -> None:
        found = run("retry", mocks={"fail": {"deploy": 1}, "outputs": {"deploy": 7}})
        assert found.status == "completed"
        assert attempts(found) == [
            ("deploy", "failed"),
            ("deploy/~1", "completed"),
            ("deploy", "completed"),
            ("after", "completed"),
        ]

    @pytest.mark.parametrize("name", ["deploy/~1", "senior"])
    def test_a_work_is_mocked_by_its_path_or_its_capability(self, name: str) -> None:
        mocks = {"outputs": {name: {"url": "u"}}, "durations": {name: 5000}}
        fallback = {"fallback": {"capability": "senior"}}
        found = run(fallback, mocks=mocks, output={"u": "$.output.url"})
        assert found.variables["u"] == "u"
        assert found.steps[1].at_ms == 5000

    def test_the_fallback_of_a_step_is_mocked_by_its_capability(self) -> None:
        mocks = {"outputs": {"senior": 7}}
        found = run("human", mocks=mocks, fallback={"capability": "senior"})
        assert (found.status, attempts(found)[1]) == (
            "completed",
            ("deploy/~_fallback.1", "completed"),
        )

    def test_a_work_that_takes_longer_than_its_rung_is_cancelled(self) -> None:
        slow = {"fallback": {"capability": "senior", "within": "1m"}}
        found = run(slow, mocks={"durations": {"senior": HOUR}})
        assert ("deploy/~1", "cancelled") in attempts(found)
        assert (found.status, found.error and found.error["name"]) == ("failed", "MockedFailure")

    def test_a_work_that_is_out_of_time_has_failed(self) -> None:
        slow = {"fallback": {"capability": "senior", "timeout": "1m"}}
        found = run(slow, mocks={"durations": {"senior": HOUR}})
        assert found.error is not None and found.error["name"] == "StepTimeout"

    def test_behind_the_ladder_a_handler_takes_the_error(self) -> None:
        definition = workflow(
            task("deploy", escalation=["retry"]), task("mend"), errorHandlers=[handler("mend")]
        )
        found = simulate(definition, key="w", mocks={"fail": {"deploy": "always"}})
        assert attempts(found)[-1] == ("mend", "completed")


class TestPeople:
    @pytest.mark.parametrize(
        ("decision", "status", "last"),
        [
            ({"decision": "skip", "output": 7, "by": "ada"}, "completed", "after"),
            ({"decision": "reroute", "to": "after"}, "completed", "after"),
            ({"decision": "reroute", "to": "lint"}, "completed", "after"),
            ({"decision": "retry", "input": {"a": 1}}, "failed", "deploy/~1"),
            ({"decision": "abort"}, "cancelled", "deploy"),
            ({"decision": "compensate"}, "failed", "deploy"),
        ],
    )
    def test_they_decide(self, decision: dict[str, Any], status: str, last: str) -> None:
        human = {"human": {"within": "8h"}}
        found = run(human, mocks={"decisions": {"deploy": [{"after": "1h", **decision}]}})
        assert (found.status, found.steps[-1].path) == (status, last)
        ruled = next(c for c in found.escalations if c.event == "ruled")
        assert ruled.at_ms == HOUR and ruled.detail["decision"] == decision["decision"]

    def test_each_decision_is_for_one_time_that_they_are_asked(self) -> None:
        decisions = [{"decision": "retry"}, {"decision": "retry"}, {"decision": "skip"}]
        found = run("human", mocks={"decisions": {"deploy": decisions}})
        assert found.status == "completed"
        assert [path for path, _ in attempts(found)][1:3] == ["deploy/~1", "deploy/~1#2"]

    def test_a_decision_that_comes_too_late_is_the_next_rung_s(self) -> None:
        decisions = [{"decision": "abort", "after": "3h"}, {"decision": "skip", "after": "1h"}]
        found = run(*LADDER[2:], mocks={"decisions": {"deploy": decisions}})
        assert (found.status, told(found)[-1]) == ("completed", (3 * HOUR, "resolved"))

    def test_a_decision_of_one_queue_waits_for_it(self) -> None:
        decisions = [{"decision": "skip", "queue": "leads"}]
        found = run(*LADDER[2:], mocks={"decisions": {"deploy": decisions}})
        assert (found.status, told(found)[-1]) == ("completed", (2 * HOUR, "resolved"))

    def test_nobody_decides_what_waits_for_ever(self) -> None:
        rung = {"human": {"queue": "reviewers", "remindEvery": "1h"}}
        with pytest.raises(InputError, match="deploy in queue 'reviewers'"):
            run(rung)

    def test_a_sibling_that_fails_ends_the_waiting(self) -> None:
        both = parallel("both", [task("a", escalation=["human"])], [task("b")])
        mocks = {"fail": {"a": "always", "b": "always"}, "durations": {"b": HOUR}}
        assert simulate(workflow(both), key="w", mocks=mocks).status == "failed"

    def test_a_decision_that_is_refused_says_why(self) -> None:
        decisions = {"deploy": [{"decision": "skip", "output": "x"}]}
        schema = {"type": "object"}
        with pytest.raises(InputError, match="decision 'skip' about step 'deploy' is refused"):
            run("human", mocks={"decisions": decisions}, outputSchema=schema)

    def test_an_approval_is_answered(self) -> None:
        asked = {"choices": ["yes", "no"], "within": "1d", "default": "no"}
        ask = {"id": "ask", "capability": "human_approval", "input": asked}
        answer = {"answer": "yes", "by": "ada", "after": "2h"}
        for mocks, choice in (({}, "no"), ({"decisions": {"ask": [answer]}}, "yes")):
            found = simulate(workflow(ask), key="w", mocks=mocks)
            assert found.output["choice"] == choice, mocks
            assert attempts(found) == [("ask", "completed")]

    def test_a_child_s_steps_are_asked_about_too(self) -> None:
        child = workflow(task("deploy", escalation=["human"]))
        parent = workflow({"id": "call", "type": "subworkflow", "subworkflow": "child"})
        for name in ("deploy", "call/deploy"):
            mocks = {
                "fail": {"deploy": "always"},
                "decisions": {name: [{"decision": "skip", "output": 1}]},
            }
            found = simulate(parent, key="w", workflows={"child": child}, mocks=mocks)
            assert found.status == "completed"
            assert [c.path for c in found.escalations] == ["call/deploy"] * 3


@pytest.mark.parametrize(
    ("mocks", "said"),
    [
        ({"outputs": {"deploy/~9": 1}}, "`outputs` names 'deploy/~9', which is no step"),
        ({"fail": {"seniour": 1}}, "which is no step"),
        ({"decisions": {"deplyo": []}}, "did you mean 'deploy'"),
        ({"decisions": {"deploy": [{"decision": "shrug"}]}}, "decisions.deploy.0.decision"),
        ({"decisions": {"deploy": [{"decision": "skip", "after": "soon"}]}}, "'soon' is no"),
    ],
)
def test_mocks_that_fit_nothing_are_refused(mocks: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(mocks=mocks)


def test_the_command_prints_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    deploy = task("deploy", escalation=[{"human": {"within": "2h"}}], timeout=1000)
    (tmp_path / "w.json").write_text(json.dumps({"name": "w", "steps": [deploy]}))
    decide = {"decision": "skip", "by": "ada", "after": "1h"}
    mocks = {"fail": {"deploy": "always"}, "decisions": {"deploy": [decide]}}
    (tmp_path / "mocks.json").write_text(json.dumps(mocks))
    ran = CliRunner().invoke(app, ["simulate", "w.json", "--mocks", "mocks.json"])
    assert ran.exit_code == 0, ran.output
    assert "deploy  escalated  rung 1: human, queue inbox, for 2 h 0 min" in ran.output
    assert "1 h 0 min  deploy  resolved  decision skip, rung 1, by ada" in ran.output
