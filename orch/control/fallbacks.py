"""Outputs that stand in for those of steps that failed; and where they did."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orch.fallback import NOTHING
from orch.journal.journal import HistoryEntry, Journal
from orch.workflows.failing import class_in, is_meant
from orch.workflows.falling import FELL_BACK, fallback_of, output_name
from orch.workflows.node import other_capability
from orch.workflows.outcome import Completed, Deferred, Failed, Outcome
from orch.workflows.plan import Plan
from orch.workflows.view import View, node_of


@dataclass(frozen=True)
class FallbackTaken:
    """A step that was completed by a fallback: ``by`` `cached`, `value` or `capability`, for which
    ``error``."""

    path: str
    by: str
    at: int  # ms
    error: str
    kept: int | None = None  # when the output was kept, ms


def fallbacks_taken(history: Iterable[HistoryEntry]) -> list[FallbackTaken]:
    """The steps, items of maps included, that a fallback completed, in that order.

    One that was done anew afterwards, and went well, is not among them.
    """
    found: dict[str, FallbackTaken] = {}
    errors: dict[str, str] = {}
    for entry in history:
        if entry.event == "failed":
            errors[entry.path] = str((entry.detail.get("error") or {}).get("name", ""))
        if entry.event == FELL_BACK:
            told = entry.detail
            error = str((told.get("error") or {}).get("name", ""))
            kept = told.get("kept")
            found[entry.path] = FallbackTaken(entry.path, told["by"], entry.at, error, kept)
        elif entry.event == "resolved" and entry.detail.get("decision") == FELL_BACK:
            error = errors.get(entry.path, "")
            found[entry.path] = FallbackTaken(entry.path, "capability", entry.at, error)
        elif entry.event == "claimed":
            found.pop(entry.path, None)
    return list(found.values())


class Falling:
    """Finds what stands in for the output of a step. A Redis that is away raises Unreachable."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def instead(
        self, plan: Plan, view: View, path: str, outcome: Outcome, error: Mapping[str, Any]
    ) -> Outcome | None:
        """What the step comes to instead; ``error``: as `failure_to_replace` found it."""
        node = node_of(plan, view, path)
        if other_capability(node):
            # The ladder sees to it, for which the step must have failed.
            if isinstance(outcome, Deferred) and outcome.failure is not None:
                return Failed(outcome.failure, retryable=False)
            return None
        declared = fallback_of(node) or self.journal.declared_fallback(node.capability)
        name, kind = str(error.get("name")), class_in(error)
        if declared is None or not is_meant(declared.errors, name, kind):
            return None
        told: dict[str, Any] = {"by": "value", "error": dict(error)}
        if declared.cached is not None and node.poll is None:
            key = output_name(declared.cached, node, path, view)
            kept = None if key is None else self.journal.kept_output(node.capability, key)
            oldest = self.journal.clock() - int(declared.cached.max_age * 1000)
            if kept is not None and kept[0] >= oldest:
                told |= {"by": "cached", "kept": kept[0]}
                return Completed(json.loads(kept[1]), kept[1], True, told)
        if declared.value is NOTHING:
            return None
        return Completed(declared.value, None, True, told)
