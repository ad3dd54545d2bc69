"""Events: what one is, who listens for it, and which step takes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from orch.workflows.expressions import to_text, truthy
from orch.workflows.node import Node
from orch.workflows.policies import EventPolicy
from orch.workflows.state import encode
from orch.workflows.view import View, context_of


@dataclass(frozen=True)
class Occurrence:
    """Something that happened. ``execution``: the only one that it is meant for, or ''."""

    id: str
    name: str
    payload: Any = None
    correlation: str | None = None
    execution: str = ""

    def dumps(self) -> str:
        return encode([self.id, self.name, self.payload, self.correlation, self.execution])

    @classmethod
    def loads(cls, text: str) -> Occurrence:
        return cls(*json.loads(text))

    def subscriptions(self) -> list[str]:
        """What those listen for whom it may be."""
        found = [subscription(self.name, None)]
        if self.correlation is not None:
            found.append(subscription(self.name, self.correlation))
        return found


def subscription(name: str, correlation: str | None) -> str:
    """What a step listens for, as it stands in the list of those that do."""
    return encode([name, correlation])


def taken_field(id: str) -> str:
    """The field of the record that says that an event was taken there."""
    return f"n:{id}"


def emission_id(execution: str, path: str) -> str:
    """The id of the event that a step emits: the same, however often it is sent."""
    return hashlib.sha256(f"{execution}\0{path}".encode()).hexdigest()[:32]


def correlation_of(event: EventPolicy, context: dict[str, Any]) -> str | None:
    """The text that must be the same in the event. Raises StepError."""
    return None if event.correlation is None else to_text(event.correlation.evaluate(context))


def matches(node: Node, view: View, path: str, payload: Any) -> bool:
    """Whether a step takes an event of this payload. Raises StepError."""
    assert node.event is not None
    if node.event.match is None:
        return True
    return truthy(node.event.match.evaluate(context_of(view, path) | {"event": payload}))
