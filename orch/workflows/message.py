"""A message, what a step hands to what does it; and the address that rules have given it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orch.workflows.agents import agent_queue
from orch.workflows.making import ANYBODY
from orch.workflows.node import Node
from orch.workflows.rules import Route
from orch.workflows.state import encode

ADDRESSED = "addressed"
"""The word of the history for a message that rules have sent elsewhere."""


def address_field(path: str) -> str:
    """What the record holds of a step whose messages rules may send elsewhere."""
    return f"m:{path}"


@dataclass(frozen=True)
class Message:
    """``agent``: the one that must do it, if any. ``priority``: 0 to 9."""

    input: Any
    capability: str
    queue: str
    agent: str | None = None
    priority: int = 0

    @classmethod
    def of(cls, node: Node, input: Any, priority: int) -> Message:
        own = node.step.priority
        given = priority if own is None else own
        return cls(input, node.capability, node.queue, node.step.agent, given)

    def sent(self, route: Route) -> Message:
        """Where a rule sends it: another capability has a queue of its own."""
        found = self
        if route.capability is not None:
            own = route.capability
            found = replace(found, capability=own, queue=own, agent=None)
        if route.queue is not None:
            found = replace(found, queue=route.queue, agent=None)
        if route.agent is not None:
            found = replace(found, agent=route.agent, queue=agent_queue(route.agent))
        return found if route.priority is None else replace(found, priority=route.priority)

    def as_dict(self) -> dict[str, Any]:
        return {
            "input": self.input,
            "capability": self.capability,
            "queue": self.queue,
            "agent": self.agent,
            "priority": self.priority,
        }


@dataclass(frozen=True)
class Address:
    """Where the messages of a step go, as rules have decided when it was entered.

    ``rules``: those with a route that took the message. What is None is as the step says.
    """

    rules: tuple[str, ...] = ()
    capability: str | None = None
    queue: str | None = None
    agent: str | None = None
    priority: int | None = None

    def then(self, rule: str, route: Route) -> Address:
        """Where it goes by one more rule."""
        found = replace(self, rules=(*self.rules, rule))
        if route.capability is not None:
            found = replace(found, capability=route.capability, queue=None, agent=None)
        if route.queue is not None:
            found = replace(found, queue=route.queue, agent=None)
        if route.agent is not None:
            found = replace(found, agent=route.agent)
        return found if route.priority is None else replace(found, priority=route.priority)

    def as_dict(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in _NAMED}
        given = {name: value for name, value in named.items() if value is not None}
        return {"rules": list(self.rules), **given} if self.rules else {}

    def dumps(self) -> str:
        return encode(self.as_dict())

    @classmethod
    def loads(cls, text: str) -> Address:
        found: Mapping[str, Any] = json.loads(text)
        return cls(tuple(found.get("rules", ())), *(found.get(name) for name in _NAMED))


def addresses_in(fields: Iterable[tuple[str, str]]) -> dict[str, Address]:
    """Those among fields of a record, by the path of the step."""
    mark = address_field("")
    return {
        name.removeprefix(mark): Address.loads(text)
        for name, text in fields
        if name.startswith(mark)
    }


AS_DEFINED: Mapping[str, Address] = {}
"""No rule has sent a message elsewhere."""

_NAMED = ("capability", "queue", "agent", "priority")


def told(address: Mapping[str, Any]) -> str:
    """In one line, from what `Address.as_dict` gives: `routed by rule 'eu' to lint_eu`."""
    rules = [repr(name) for name in address.get("rules", ())]
    by = f"rule{'s' if len(rules) > 1 else ''} {', '.join(rules)}"
    return f"routed by {by} to {goal(address)}"


def goal(address: Mapping[str, Any]) -> str:
    """In words, from what `Address.as_dict` gives, or a `Route`."""
    places = [str(address["capability"])] if "capability" in address else []
    if "queue" in address:
        places.append(f"queue {address['queue']!r}")
    if "agent" in address:
        places.append(f"agent {address['agent']}")
    if "priority" in address:
        places.append(f"priority {address['priority']}")
    return ", ".join(places)


def addressed(node: Node, address: Address) -> Node:
    """The step, done where its messages go. Of the work of a rung: see `make_work`."""
    asked: dict[str, Any] = {}
    if address.capability is not None:
        asked |= {"capability": address.capability, "task": None, "queue": None, **ANYBODY}
    if address.queue is not None:
        asked |= {"queue": address.queue, "agent": None}
    if address.agent is not None:
        asked["agent"] = address.agent
    if address.priority is not None:
        asked["priority"] = address.priority
    if not asked:
        return node
    step = node.step.model_copy(update=asked)
    return replace(node, step=step, affinity=node.affinity if step.affinity else None)
