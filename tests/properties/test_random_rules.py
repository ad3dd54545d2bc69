"""Random rules for messages against an evaluator that shares nothing with the engine's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orch.workflows.message import addresses_in
from orch.workflows.plan import Plan
from orch.workflows.preparing import prepare_call
from orch.workflows.rules import MessageRule
from orch.workflows.view import node_of
from tests.build import begun, task, view, workflow

CAPABILITIES = ("c0", "c1", "c2")
FIELDS = ("x", "y", "z")

conditions = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(FIELDS), st.integers(0, 2)),
    st.tuples(st.just("capability"), st.sampled_from(CAPABILITIES)),
    st.tuples(st.just("v"), st.integers(0, 1)),
)
sources = st.one_of(st.integers(0, 2), st.sampled_from(["v", "memory", *FIELDS]))
routes = st.fixed_dictionaries(
    {},
    optional={
        "capability": st.sampled_from(CAPABILITIES),
        "priority": st.integers(0, 9),
        "queue": st.sampled_from(["q0", "q1"]),
    },
).filter(bool)


@dataclass(frozen=True)
class Drawn:
    """A rule in the words of this module. ``transform``: new field -> the field that it takes."""

    name: str
    capabilities: list[str]
    when: tuple[str, Any] | None
    enrich: dict[str, Any]
    transform: dict[str, str] | None
    route: dict[str, Any] | None
    stop: bool

    def as_rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {
            "name": self.name,
            "capabilities": self.capabilities,
            "stop": self.stop,
            "enrich": {name: source_text(source) for name, source in self.enrich.items()},
        }
        if self.when is not None:
            rule["when"] = when_text(*self.when)
        if self.transform is not None:
            made = self.transform.items()
            rule["transform"] = {name: f"$.message.input.{of}" for name, of in made}
        return rule if self.route is None else {**rule, "route": self.route}


def source_text(source: Any) -> Any:
    if source == "memory":
        return {"memory": {"limit": 1}}
    if source == "v":
        return "$.variables.v"
    return f"$.message.input.{source}" if isinstance(source, str) else source


def when_text(name: str, value: Any) -> str:
    if name == "capability":
        return f"$.message.capability == '{value}'"
    return f"$.variables.v == {value}" if name == "v" else f"$.message.input.{name} == {value}"


@st.composite
def rules(draw: st.DrawFn, prefix: str) -> list[Drawn]:
    return [
        Drawn(
            f"{prefix}{number}",
            draw(st.lists(st.sampled_from(CAPABILITIES), max_size=2, unique=True)),
            draw(conditions),
            draw(st.dictionaries(st.sampled_from(FIELDS), sources, max_size=2)),
            draw(
                st.one_of(
                    st.none(),
                    st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(FIELDS), min_size=1),
                )
            ),
            draw(st.one_of(st.none(), routes)),
            draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 4)))
    ]


@dataclass
class Evaluator:
    """Passes one message. ``decided``: None while it is routed, then the rules that did."""

    v: int
    input: dict[str, Any]
    decided: list[str] | None
    capability: str = "c0"
    queue: str = "c0"
    priority: int = 0
    routed: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    def run(self, own: list[Drawn], of: dict[str, list[Drawn]]) -> Evaluator:
        self.pass_list(own, "")
        seen: list[str] = []
        while self.capability not in seen:
            seen.append(self.capability)
            self.pass_list(of.get(self.capability, []), f"{self.capability}.")
        return self

    def pass_list(self, rules: list[Drawn], prefix: str) -> None:
        for rule in rules:
            full = prefix + rule.name
            if rule.capabilities and self.capability not in rule.capabilities:
                continue
            if self.decided is None and "memory" in rule.enrich.values():
                continue
            known = self.decided is not None and rule.route is not None
            if not (full in (self.decided or ()) if known else self.holds(rule)):
                continue
            for name, source in rule.enrich.items():
                self.input = {**self.input, name: self.found(source)}
            if rule.transform is not None:
                self.input = {name: self.input.get(of) for name, of in rule.transform.items()}
            self.taken.append(full)
            self.send(full, rule.route or {})
            if rule.stop:
                return

    def holds(self, rule: Drawn) -> bool:
        if rule.when is None:
            return True
        name, value = rule.when
        own = {"capability": self.capability, "v": self.v}
        return bool(own.get(name, self.input.get(name)) == value)

    def found(self, source: Any) -> Any:
        if source == "memory":
            return ["remembered"]
        if source == "v":
            return self.v
        return self.input.get(source) if isinstance(source, str) else source

    def send(self, rule: str, route: dict[str, Any]) -> None:
        if not route:
            return
        self.routed.append(rule)
        if "capability" in route:
            self.capability = self.queue = route["capability"]
        self.queue = route.get("queue", self.queue)
        self.priority = route.get("priority", self.priority)


@given(
    rules("own"),
    st.dictionaries(st.sampled_from(CAPABILITIES), rules("of"), max_size=3),
    st.integers(0, 1),
    st.fixed_dictionaries({name: st.integers(0, 2) for name in FIELDS}),
)
def test_both_say_the_same(
    own: list[Drawn], of: dict[str, list[Drawn]], v: int, input: dict[str, int]
) -> None:
    plan = Plan(
        workflow(
            task("a", capability="c0", input={name: f"$.input.{name}" for name in FIELDS}),
            messageRules=[rule.as_rule() for rule in own],
        ),
        messages={
            name: [MessageRule.model_validate(rule.as_rule()) for rule in each]
            for name, each in of.items()
        },
    )
    routing = Evaluator(v, dict(input), None).run(own, of)
    seen = view(input=input, variables={"v": v})
    node = plan.node("a")
    addresses = addresses_in(begun(plan, input=input, variables={"v": v}).fields)
    assert list(addresses["a"].rules if addresses else ()) == routing.routed
    seen = view(input=input, variables={"v": v}, addresses=addresses)
    node = node_of(plan, seen, "a")
    expected = (routing.capability, routing.queue)
    assert (node.capability, node.queue) == expected
    assert (node.step.priority or 0) == routing.priority
    if node.rules is None:
        return
    preparing = Evaluator(v, dict(input), routing.routed).run(own, of)
    found = prepare_call(plan, node, seen, "a", lambda name, sought: ["remembered"])
    assert list(found.taken) == preparing.taken
    assert found.message.input == preparing.input
    assert plan.capabilities.keys() >= {node.capability}
