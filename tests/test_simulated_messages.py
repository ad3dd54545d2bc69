"""Rules for messages in a simulation: what took a message, what it became, where it went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orch.control.simulation import Simulation, simulate
from orch.errors import InputError
from orch.settings import Settings
from orch.workflows.loading import load_definition
from orch.workflows.validation import errors_in, validate_definition
from tests.build import task, workflow

EU = {
    "name": "eu",
    "when": "$.message.input.region == 'eu'",
    "route": {"capability": "lint_eu", "priority": 7},
}
HINTS = {
    "name": "hints",
    "capabilities": ["lint_eu"],
    "enrich": {"known": {"memory": {"tags": ["eu"], "limit": 2}, "required": True}},
    "transform": {"of": "$.message.input.region", "known": "$.message.input.known.length"},
}


def simulated(*rules: Any, region: str = "eu", **given: Any) -> Simulation:
    step = task("a", input={"region": "$.input.region"}, **given.pop("step", {}))
    return simulate(
        workflow(step, messageRules=list(rules)), key="w", input={"region": region}, **given
    )


def test_it_shows_what_took_each_message_and_what_became_of_it() -> None:
    found = simulated(EU, HINTS, mocks={"memory": {"known": [{"content": "x"}] * 3}})
    assert found.as_dict()["messages"] == [
        {
            "path": "a",
            "attempt": 1,
            "at_ms": 0,
            "rules": ["eu", "hints"],
            "capability": "lint_eu",
            "queue": "lint_eu",
            "agent": None,
            "priority": 7,
            "input": {"of": "eu", "known": 2},
        }
    ]


def test_a_message_that_no_rule_took_is_shown_too() -> None:
    (message,) = simulated(EU, region="us").messages
    assert (message.rules, message.capability, message.input) == ((), "work", {"region": "us"})


def test_steps_without_rules_are_not_listed() -> None:
    found = simulated({**EU, "steps": ["b"]})
    assert found.messages == [] and "messages" not in found.as_dict()


def test_a_record_that_is_required_and_not_mocked_fails_the_step() -> None:
    found = simulated(EU, HINTS)
    assert found.status == "failed" and found.messages == []
    assert found.error is not None and found.error["name"] == "EnrichmentFailed"


def test_each_attempt_is_shown_and_goes_the_same_way() -> None:
    again = {"retry": {"maxAttempts": 2, "interval": 100}}
    found = simulated(EU, step=again, mocks={"fail": {"a": 1}})
    assert [step.outcome for step in found.steps] == ["failed", "completed"]
    shown = [(m.attempt, m.capability, m.at_ms) for m in found.messages]
    assert shown == [(1, "lint_eu", 0), (2, "lint_eu", 100)]


def test_mocks_of_a_field_that_no_rule_takes_are_refused() -> None:
    with pytest.raises(InputError, match="`memory` names 'knwon', which no message rule takes"):
        simulated(EU, HINTS, mocks={"memory": {"knwon": []}})


def test_the_rules_of_the_settings_hold() -> None:
    settings = Settings(message_rules={"work": [EU]})
    (message,) = simulated(settings=settings).messages
    assert (message.rules, message.capability) == (("work.eu",), "lint_eu")


def test_the_command_tells_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from orch.cli import main

    step = {"id": "a", "capability": "work", "input": {"region": "eu"}}
    file = tmp_path / "w.json"
    file.write_text(json.dumps({"name": "w", "steps": [step], "messageRules": [EU]}))
    monkeypatch.setattr("sys.argv", ["orch", "simulate", str(file)])
    with pytest.raises(SystemExit):
        main()
    assert 'a  eu: lint_eu, priority 7  {"region": "eu"}' in capsys.readouterr().out


def test_the_example_sends_each_order_in_the_form_that_is_wanted() -> None:
    examples = Path(__file__).parent.parent / "examples"
    definition = load_definition(examples / "route_orders.yaml")
    assert errors_in(validate_definition(definition)) == []
    orders = json.loads((examples / "orders.json").read_text())
    notes: dict[str, Any] = {"memory": {"as_page.known": [{"content": "ORCH:WORKFLOW: pays late"}]}}
    found = simulate(definition, key="orders", input=orders, mocks=notes)
    assert [(message.capability, message.input) for message in found.messages] == [
        ("file_operations", {"path": "orders.txt", "operation": "append", "data": "A1: 48.0\n"}),
        (
            "page_operations",
            {"title": "Order B7 of Bob", "content": "2400.0, and 1 notes about the customer"},
        ),
    ]
