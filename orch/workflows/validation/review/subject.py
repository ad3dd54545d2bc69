"""What is reviewed, what is known around it, and what was found so far."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from orch.workflows.declared import Declared
from orch.workflows.graph import Outline, Step, as_mapping, handler_steps, outline
from orch.workflows.validation.findings import Finding, Severity
from orch.workflows.validation.review.variables import Variables
from orch.workflows.validation.wording import similar

MAX_SUGGESTIONS = 100
"""Findings of one document that look for a similar name, which takes time."""


class Review:
    """The subject of all checks. Each check reads it and adds to ``findings``."""

    def __init__(
        self,
        document: Mapping[str, Any],
        known_workflows: Collection[str],
        known_capabilities: Collection[str] | None,
        known_paths: Collection[str] | None = None,
        known_queues: Collection[str] | None = None,
    ) -> None:
        self.document = document
        self.known_workflows = known_workflows
        self.known_capabilities = known_capabilities
        self.known_paths = known_paths
        self.known_queues = known_queues
        self.known_resources: Mapping[str, int] | None = None
        self.known_declared: Mapping[str, Declared] = {}
        self.known_outside: Collection[str] | None = None
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
