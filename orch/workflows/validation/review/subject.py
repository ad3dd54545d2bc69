"""What is reviewed, what is known around it, and what was found so far."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypedDict

from orch.workflows.declared import Declared
from orch.workflows.graph import Outline, Step, as_mapping, handler_steps, outline
from orch.workflows.validation.findings import Finding, Severity
from orch.workflows.validation.review.variables import Variables
from orch.workflows.validation.wording import similar

MAX_SUGGESTIONS = 100
"""Findings of one document that look for a similar name, which takes time."""


class Known(TypedDict, total=False):
    """What is known around a definition. What is left out, or None, nobody knows.

    known_workflows     keys under which workflows are defined
    known_capabilities  those that some agent serves
    known_paths         paths of escalation that the settings have
    known_queues        queues of the inbox that somebody watches
    known_declared      what is declared of capabilities
    known_outside       agents outside that are registered
    known_agents        agents that live, or are remembered
    known_resources     capacities of resources
    """

    known_workflows: Collection[str]
    known_capabilities: Collection[str] | None
    known_paths: Collection[str] | None
    known_queues: Collection[str] | None
    known_declared: Mapping[str, Declared] | None
    known_outside: Collection[str] | None
    known_agents: Collection[str] | None
    known_resources: Mapping[str, int] | None


class Review:
    """The subject of all checks. Each check reads it and adds to ``findings``."""

    def __init__(self, document: Mapping[str, Any], known: Known) -> None:
        self.document = document
        self.known_workflows = known.get("known_workflows", ())
        self.known_capabilities = known.get("known_capabilities")
        self.known_paths = known.get("known_paths")
        self.known_queues = known.get("known_queues")
        self.known_resources = known.get("known_resources")
        self.known_declared = known.get("known_declared") or {}
        self.known_outside = known.get("known_outside")
        self.known_agents = known.get("known_agents")
        self.outline: Outline = outline(document)
        self.findings: list[Finding] = []
        self._suggestions = MAX_SUGGESTIONS
        self.shapes: set[str] = set()  # paths of steps whose shape is said to be wrong
        self.live: set[Step] = set()
        self.led_to = {edge.target for step in self.outline.steps() for edge in step.edges}
        self.led_to |= {step for step, _ in handler_steps(self.outline)}
        self.closed_input = _closed_input(as_mapping(document.get("input")))
        self.variables = Variables()

    def error(self, path: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding(Severity.ERROR, path, message, hint))

    def warning(self, path: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding(Severity.WARNING, path, message, hint))

    def suggest(self, word: str, candidates: Iterable[str]) -> str:
        self._suggestions -= 1
        return similar(word, candidates) if self._suggestions >= 0 else ""


def _closed_input(schema: Mapping[str, Any]) -> Collection[str] | None:
    """The names that an input may have, if its schema allows no others."""
    open_keys = ("patternProperties", "$ref", "allOf", "anyOf", "oneOf")
    properties = schema.get("properties")
    if schema.get("additionalProperties") is not False or not isinstance(properties, dict):
        return None
    return None if any(key in schema for key in open_keys) else properties
