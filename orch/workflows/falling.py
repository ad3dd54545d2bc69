"""When another output stands in for the one of a step, and which one is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from orch.errors import StepError
from orch.fallback import CAPABILITY, NOTHING, Cached, Fallback
from orch.workflows.commit import Transition
from orch.workflows.compensating import in_compensation
from orch.workflows.node import Node
from orch.workflows.outcome import Completed, Deferred, Failed, Lost, Outcome
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung
from orch.workflows.view import View, context_of

FELL_BACK = "fallback"
"""The word of the history for an output that stands in."""

OF_CAPABILITY = "*"
"""The name of the last output of a capability, whatever its input was."""


def fallback_of(node: Node) -> Fallback | None:
    """What the step itself says."""
    asked = node.step.fallback
    if asked is None or asked.capability is not None:
        return None
    cached = None
    if asked.cached is not None:
        cached = Cached(asked.cached.max_age / 1000, asked.cached.by)
    constant = asked.cached is None or asked.value is not None
    return Fallback(cached, asked.value if constant else NOTHING, tuple(asked.errors))


def failure_to_replace(
    plan: Plan, path: str, outcome: Outcome, transition: Transition
) -> Mapping[str, Any] | None:
    """Why a step ends badly, or waits, where something else may stand in for its output."""
    error: Mapping[str, Any] | None = None
    if not isinstance(outcome, Completed | Failed | Lost | Deferred):
        return None  # what a person, or the end of a rung, says of it is meant
    if isinstance(outcome, Deferred):
        error = None if outcome.failure is None else outcome.failure.as_dict()
    else:
        for event in transition.events:
            if event.word == "failed" and event.path == path and event.detail:
                error = event.detail["error"]
    if error is None:
        return None
    if in_compensation(path) or in_rung(path):
        return None
    return error if plan.node(path).is_work else None


def output_name(cached: Cached, node: Node, path: str, view: View) -> str | None:
    """Under which name an output is kept; None where the input cannot be worked out."""
    if cached.by == CAPABILITY:
        return OF_CAPABILITY
    try:
        input = node.input.evaluate(context_of(view, path))
    except StepError:
        return None
    text = json.dumps(input, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
