"""Rules for messages: which take one, what they make of it, and where they send it."""

from __future__ import annotations

from typing import Any

import pytest

from orch.errors import StepError
from orch.workflows.commit import Transition
from orch.workflows.expressions import Value
from orch.workflows.message import Address, addresses_in, told
from orch.workflows.outcome import Completed, Failed
from orch.workflows.passage import Prepared
from orch.workflows.plan import Plan
from orch.workflows.preparing import prepare_call
from orch.workflows.rules import MessageRule
from orch.workflows.state import StepStatus
from orch.workflows.view import View, entry_fields_for, fields_for, node_of
from tests.build import begun, decided, failure, parallel, plan_of, statuses, task, view, workflow

EU = {"name": "eu", "when": "$.message.input.region == 'eu'", "route": {"capability": "lint_eu"}}
FROM_INPUT = {"region": "$.input.region"}


def ruled(*rules: dict[str, Any], settings: Any = None, **step: Any) -> Plan:
    """A plan of one step, whose messages have these rules."""
    given = {name: [MessageRule(**rule) for rule in own] for name, own in (settings or {}).items()}
    made = task("a", **{"input": FROM_INPUT, **step})
    return Plan(workflow(made, messageRules=list(rules)), messages=given)


def address(plan: Plan, path: str = "a", **seen: Any) -> Address:
    return addresses_in(begun(plan, **seen).fields)[path]


def nothing(name: str, sought: Any) -> list[Any]:
    return []


def prepared(plan: Plan, path: str = "a", recall: Any = nothing, **seen: Any) -> Prepared:
    """What is called, once the step was entered with the same view."""
    if plan.node(path).routes:
        seen["addresses"] = addresses_in(begun(plan, **seen).fields)
    found = view(**seen)
    return prepare_call(plan, node_of(plan, found, path), found, path, recall)


class TestRouting:
    def test_the_content_of_a_message_decides_who_gets_it(self) -> None:
        plan = ruled(EU)
        assert address(plan, input={"region": "eu"}) == Address(("eu",), "lint_eu")
        assert address(plan, input={"region": "us"}) == Address()

    def test_the_step_is_then_done_there_in_all_that_reads_the_view(self) -> None:
        plan = ruled(EU, queue="own", agent="me")
        node = plan.node("a", address(plan, input={"region": "eu"}))
        assert (node.capability, node.queue, node.task_name) == (
            "lint_eu", "lint_eu", "orch.lint_eu",
        )  # fmt: skip
        assert plan.node("a", Address()).queue == "agent.me"

    def test_rules_are_asked_in_order_and_the_later_word_counts(self) -> None:
        plan = ruled(
            {"name": "fast", "route": {"priority": 8, "queue": "fast"}},
            {"name": "own", "when": "$.message.queue == 'fast'", "route": {"agent": "me@host"}},
            {"name": "moved", "when": "$.message.priority == 8", "route": {"capability": "other"}},
        )
        found = address(plan, input={})
        assert found == Address(("fast", "own", "moved"), "other", None, None, 8)
        assert told(found.as_dict()) == (
            "routed by rules 'fast', 'own', 'moved' to other, priority 8"
        )

    def test_one_that_stops_leaves_out_those_behind_it(self) -> None:
        plan = ruled({**EU, "stop": True}, {"name": "rest", "route": {"capability": "lint_all"}})
        assert address(plan, input={"region": "eu"}).capability == "lint_eu"
        assert address(plan, input={"region": "us"}).capability == "lint_all"

    def test_a_rule_is_for_some_capabilities_or_steps(self) -> None:
        plan = ruled(
            {"name": "never", "capabilities": ["other"], "route": {"priority": 1}},
            {"name": "not_me", "steps": ["b"], "route": {"priority": 2}},
            {"name": "me", "capabilities": ["work"], "steps": ["a"], "route": {"priority": 3}},
        )
        assert address(plan, input={}) == Address(("me",), priority=3)

    def test_the_rules_of_a_capability_take_what_comes_to_it(self) -> None:
        plan = ruled(
            EU,
            settings={
                "work": [{"name": "unseen", "route": {"priority": 1}}],
                "lint_eu": [{"name": "on", "route": {"capability": "lint_de"}}],
                "lint_de": [{"name": "back", "route": {"capability": "lint_eu"}}],
            },
        )
        found = address(plan, input={"region": "eu"})
        assert found.rules == ("eu", "lint_eu.on", "lint_de.back")  # and no circle
        assert found.capability == "lint_eu"

    def test_what_it_may_choose_is_used_by_the_plan(self) -> None:
        settings = {"lint_eu": [{"name": "on", "route": {"capability": "lint_de", "queue": "de"}}]}
        assert ruled(EU, settings=settings).capabilities == {
            "work": "work", "lint_eu": "lint_eu", "lint_de": "de",
        }  # fmt: skip

    def test_what_it_reads_is_read_when_the_step_is_entered(self) -> None:
        plan = plan_of(
            task("first", "a"),
            task("a", input=FROM_INPUT),
            messageRules=[{"name": "v", "when": "$.variables.big", "route": {"priority": 9}}],
        )
        assert {"input", "v:big"} <= set(fields_for(plan, "first"))
        assert {"input", "v:big"} <= set(entry_fields_for(plan, "a"))
        assert "m:a" in fields_for(plan, "a")
        found = decided(plan, "first", Completed(), variables={"big": True})
        assert addresses_in(found.fields)["a"].priority == 9

    def test_a_step_that_no_rule_is_for_reads_and_writes_nothing_more(self) -> None:
        plan = plan_of(task("a", "b"), task("b"), messageRules=[{**EU, "steps": ["b"]}])
        other = plan_of(task("a"))
        assert plan.node("a").plain and plan.node("a").rules is None
        assert fields_for(other, "a") == ("priority", "workflow", "b:a")
        assert begun(plan).fields == ()

    def test_a_condition_that_fails_fails_the_step_by_name(self) -> None:
        plan = ruled(
            {"name": "bad", "when": "$.message.input.region - 1", "route": {"priority": 1}},
            onError={"errors": ["ExpressionError"], "next": "b"},
        )
        plan = Plan(workflow(*plan.definition.steps, task("b", input={"region": 1}),
                             messageRules=plan.definition.message_rules))  # fmt: skip
        found = begun(plan, input={"region": "eu"})
        assert statuses(found) == {"a": "failed", "b": "dispatched"}
        (told_of,) = [e for e in found.events if e.word == "failed"]
        error = (told_of.detail or {})["error"]
        assert error["name"] == "ExpressionError"
        assert error["message"].startswith("message rule 'bad': ")
        assert error["data"] == {"rule": "bad"}

    def test_retries_and_works_of_rungs_go_the_same_way(self) -> None:
        plan = ruled(
            EU,
            retry={"maxAttempts": 2},
            escalation=[{"retry": {}}, {"fallback": {"capability": "plain"}}],
        )
        seen = {"input": {"region": "eu"}}
        where = {"addresses": {"a": address(plan, **seen)}}
        again = decided(plan, "a", Failed(failure()), **seen, **where)
        assert again.state is not None and again.state.status is StepStatus.RETRYING
        found = view(**seen, **where)
        assert node_of(plan, found, "a/~1").queue == "lint_eu"
        assert node_of(plan, found, "a/~2").queue == "plain"
        assert "m:a" in fields_for(plan, "a/~1")

    def test_branches_and_items_are_routed_each_by_itself(self) -> None:
        of_items = {
            "id": "m",
            "type": "map",
            "map": {"items": "$.input.regions", "capability": "work",
                    "input": {"region": "$.item"}, "maxConcurrency": 2},
        }  # fmt: skip
        plan = plan_of(of_items, messageRules=[EU])
        opened = statuses(begun(plan, input={"regions": ["eu", "us", "eu"]}))
        assert opened == {"m": "joining", "m[0]/m": "entering", "m[1]/m": "entering"}
        plan = plan_of(
            parallel("p", [task("x", input={"region": "eu"})], [task("y", input={"region": "us"})]),
            messageRules=[EU],
        )
        found = addresses_in(begun(plan).fields)
        assert [found[at].capability for at in ("p/0/x", "p/1/y")] == ["lint_eu", None]


class TestPreparing:
    def test_a_message_is_enriched_then_transformed(self) -> None:
        plan = ruled(
            {
                "name": "canonical",
                "enrich": {"vat": "$.variables.vat", "kind": "order", "limits": [1, "$.input.n"]},
                "transform": {
                    "region": "${$.message.input.region}!",
                    "vat": "$.message.input.vat",
                    "of": "$.message.input.kind",
                    "limits": "$.message.input.limits",
                },
            }
        )
        found = prepared(plan, input={"region": "eu", "n": 2}, variables={"vat": 0.2})
        assert found.message.input == {
            "region": "eu!", "vat": 0.2, "of": "order", "limits": [1, 2],
        }  # fmt: skip
        assert found.taken == ("canonical",)
        assert not plan.routes and plan.node("a").plain

    def test_a_rule_sees_what_those_before_it_made(self) -> None:
        plan = ruled(
            {"name": "one", "enrich": {"n": {"value": 1}}},
            {"name": "two", "when": "$.message.input.n == 1", "transform": "$.message.input.n + 1"},
            {"name": "three", "when": "$.message.input == 1", "transform": 0},
        )
        found = prepared(plan, input={})
        assert (found.message.input, found.taken) == (2, ("one", "two"))

    def test_a_rule_that_routes_makes_the_input_as_it_was_decided(self) -> None:
        plan = ruled({**EU, "when": "$.variables.eu", "transform": {"for": "eu"}})
        seen = {"input": {"region": "x"}}
        where = {"a": address(plan, **seen, variables={"eu": True})}
        now = view(**seen, variables={"eu": False}, addresses=where)
        found = prepare_call(plan, node_of(plan, now, "a"), now, "a", nothing)
        assert found.message.input == {"for": "eu"}
        assert found.message.capability == "lint_eu"

    def test_the_memory_is_asked_for_what_the_rule_says(self) -> None:
        asked: list[Any] = []

        def recall(name: str, sought: Any) -> list[Any]:
            asked.append((name, sought))
            return [{"content": "ORCH:WORKFLOW: it was slow"}]

        memory = {"tags": ["$.message.input.region"], "area": "WORKFLOW", "limit": 2}
        plan = ruled(
            {"name": "hints", "enrich": {"known": {"memory": memory}}},
            {"name": "slow", "when": "$.memory.known.length > 0", "enrich": {"slow": True}},
        )
        found = prepared(plan, recall=recall, input={"region": "eu"})
        assert asked == [("hints.known", {"tags": ["eu"], "area": "WORKFLOW", "limit": 2})]
        assert found.message.input["slow"] is True
        assert found.message.input["known"] == [{"content": "ORCH:WORKFLOW: it was slow"}]

    def test_where_a_message_goes_does_not_wait_for_the_memory(self) -> None:
        plan = ruled(
            {"name": "hints", "enrich": {"region": {"memory": {"limit": 1}}}},
            EU,
        )
        assert address(plan, input={"region": "eu"}).rules == ("eu",)

    @pytest.mark.parametrize(
        ("rule", "name", "words"),
        [
            (
                {"enrich": {"x": {"memory": {}, "required": True}}},
                "EnrichmentFailed",
                "there is no record of the memory for the field 'x'",
            ),
            (
                {"enrich": {"x": {"value": "$.variables.no", "required": True}}},
                "EnrichmentFailed",
                "there is no value for the field 'x'",
            ),
            ({"transform": {"n": "$.message.input.region - 1"}}, "ExpressionError", "region"),
            (
                {"validate": {"required": ["path"], "properties": {"region": {"type": "number"}}}},
                "InvalidMessage",
                "path is missing; region must be a number; found 'eu'",
            ),
        ],
    )
    def test_what_goes_wrong_has_a_name_and_names_the_rule(
        self, rule: dict[str, Any], name: str, words: str
    ) -> None:
        with pytest.raises(StepError) as raised:
            prepared(ruled({"name": "r", **rule}), input={"region": "eu"})
        assert raised.value.name == name
        assert "message rule 'r': " in raised.value.message and words in raised.value.message
        assert raised.value.data["rule"] == "r"

    def test_fields_are_added_to_objects_alone(self) -> None:
        plan = ruled({"name": "r", "enrich": {"x": 1}}, input=None)
        assert prepared(plan).message.input == {"x": 1}
        with pytest.raises(StepError, match="it is a list, no object"):
            prepared(ruled({"name": "r", "enrich": {"x": 1}}, input=[1]))

    def test_a_shell_still_tells_values_from_the_text_around_them(self) -> None:
        plan = ruled(
            {"name": "r", "transform": {"script": "$.message.input.command",
                                        "more": "rm ${$.message.input.region}"}},
            input={"command": "echo ${$.input.region}", "region": "$.input.region"},
        )  # fmt: skip
        made = prepared(plan, input={"region": "a; b"}).input
        script, more = made.template_at("script"), made.template_at("more")
        assert script is not None and script.values({}) == ("echo ", Value("a; b"))
        assert more is not None and more.values({}) == ("rm ", Value("a; b"))
        assert not script.is_literal and not script.is_expression

    def test_a_work_by_another_capability_has_its_rules_and_no_route(self) -> None:
        plan = ruled(
            {**EU, "transform": {"for": "eu"}},
            {"name": "plain", "capabilities": ["plain"], "transform": {"for": "plain"}},
            escalation=[{"fallback": {"capability": "plain"}}, {"retry": {}}],
        )
        seen: dict[str, Any] = {"input": {"region": "eu"}}
        found = View("x", "w", **seen, addresses={"a": address(plan, **seen)})

        def made(path: str) -> Any:
            node = node_of(plan, found, path)
            return prepare_call(plan, node, found, path, nothing).message.input

        assert made("a/~1") == {"for": "plain"}
        assert made("a/~2") == made("a") == {"for": "eu"}


def test_an_address_comes_back_as_it_was_written() -> None:
    for found in (Address(), Address(("x",), "c", None, "me", 0), Address(("x", "y"), queue="q")):
        assert Address.loads(found.dumps()) == found


def test_a_transition_that_routes_says_so_in_the_history() -> None:
    found: Transition = begun(ruled(EU), input={"region": "eu"})
    (event,) = found.events
    assert (event.word, event.path, event.detail) == (
        "addressed", "a", {"rules": ["eu"], "capability": "lint_eu"},
    )  # fmt: skip
