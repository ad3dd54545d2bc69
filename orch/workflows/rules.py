"""Rules for messages, as they are written: when one is meant, and what is done to it.

A message is what a step hands to what does it: its input, and where it goes. What a rule does has
the names that the patterns of messaging have: a content enricher (`enrich`), a message translator
(`transform`), and a content-based router (`route`). See Hohpe and Woolf, Enterprise Integration
Patterns.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, JsonValue, StringConstraints, model_validator

from orch.workflows.model import AgentName, CapabilityName, Model, Priority, StepId

RuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=60)]

MOST_RECORDS = 100
"""Records of the memory that one source gives."""


class MemorySource(Model):
    """Records of the memory of the execution's project, the newest first. All that is said of
    them must hold."""

    text: str | None = None
    """Each of its words begins a word of the record; it may hold expressions."""
    tags: list[str] = Field(default_factory=list)
    """Tags that it all has; they may hold expressions."""
    area: Annotated[str, StringConstraints(pattern=r"^[A-Z]+$", max_length=40)] | None = None
    """What it is about: `WORKFLOW`, `AGENT`, `RESOURCE`, `ESCALATION` or another area."""
    agent: str | None = None
    """The role of who wrote it; it may hold expressions."""
    limit: Annotated[int, Field(ge=1, le=MOST_RECORDS)] = 10
    """How many at most."""


class Enrichment(Model):
    """Where a field comes from: a value, or the memory."""

    value: JsonValue = None
    """Values, in which strings may be expressions."""
    memory: MemorySource | None = None
    required: bool = False
    """Whether it is an error, `EnrichmentFailed`, where nothing is found: null, or no record."""

    @model_validator(mode="after")
    def _one(self) -> Enrichment:
        if (self.value is None) == (self.memory is None):
            found = "none" if self.value is None else "both"
            raise ValueError(f"takes one of `value` and `memory`; found {found}")
        return self


def _long_form(value: Any) -> Any:
    return value if isinstance(value, dict | Enrichment) else {"value": value}


Source = Annotated[
    Enrichment, BeforeValidator(_long_form, json_schema_input_type=Enrichment | JsonValue)
]


class Route(Model):
    """Where the message goes instead; what is not given stays as it is."""

    capability: CapabilityName | None = None
    """What does the step."""
    queue: CapabilityName | None = None
    """The queue, where it is not named like the capability."""
    agent: AgentName | None = None
    """One agent that must do it."""
    priority: Priority | None = None
    """How urgent the message is, 0 to 9."""

    @model_validator(mode="after")
    def _somewhere(self) -> Route:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError("takes at least one of `capability`, `queue`, `agent`, `priority`")
        if self.agent is not None and self.queue is not None:
            raise ValueError("takes a `queue` or an `agent`, which has a queue of its own")
        return self


class MessageRule(Model):
    """What is done to the messages that it takes: in this order they are enriched, transformed,
    validated and routed."""

    name: RuleName
    """How the history, and errors, call it."""
    description: str | None = None
    capabilities: list[CapabilityName] = Field(default_factory=list)
    """It is for messages to these capabilities; without it, to any."""
    steps: list[StepId] = Field(default_factory=list)
    """It is for messages of these steps; without it, of any."""
    when: str | None = None
    """It takes a message only if this expression is true; `$.message` is the message."""
    enrich: dict[str, Source] = Field(default_factory=dict)
    """Fields that the input gets: name to a value, in which strings may be expressions, or to
    `{value, required}` or `{memory, required}`."""
    transform: JsonValue = None
    """The new input: values, in which strings may be expressions."""
    validate_: Annotated[dict[str, JsonValue] | None, Field(alias="validate")] = None
    """JSON Schema of the input as it is then; what misses it fails as `InvalidMessage`."""
    route: Route | None = None
    """Where the message goes. It is decided once, when the step is entered."""
    stop: bool = False
    """Whether the rules behind it, in its list, are left out for a message that it takes."""


MessageRules = dict[CapabilityName, list[MessageRule]]
"""Rules of capabilities, by their names: for messages to them, of whatever workflow."""
