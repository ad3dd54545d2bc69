"""Whether what an agent offers fits what a step asks of its capability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orch.workflows.declared import FIRST_VERSION
from orch.workflows.node import Node

Offer = Mapping[str, Any]
"""What is published of a capability: `version`, `input`, a JSON Schema, …"""


def version_of(offer: Offer | None) -> str:
    return str((offer or {}).get("version") or FIRST_VERSION)


def misfit(node: Node, offer: Offer | None) -> str:
    """Why an agent with this offer may not do the step; '': it may. Asks only where versions are
    asked for, and of the input only the names that stand in the definition."""
    if node.versions is None:
        return ""
    version = version_of(offer)
    if not node.versions.holds(version):
        return f"version {version}"
    return _misfit_of_input(node.step.input, (offer or {}).get("input"))


def _misfit_of_input(given: Any, schema: Any) -> str:
    if not isinstance(given, dict) or not isinstance(schema, dict):
        return ""
    missing = sorted(set(schema.get("required", ())) - set(given))
    if missing:
        return f"its input needs {', '.join(missing)}"
    unknown = sorted(set(given) - set(schema.get("properties", {})))
    if unknown and schema.get("additionalProperties") is False:
        return f"its input does not take {', '.join(unknown)}"
    return ""
