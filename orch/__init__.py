"""Durable workflows on a task queue. The public names, nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orch.agents.capability import capability
    from orch.agents.context import Context
    from orch.asynchronous import AsyncOrchestrator
    from orch.breaker import Breaker
    from orch.control.bulk import StartRequest
    from orch.errors import OrchError, RetryAfter, StepCancelled, StepError
    from orch.execution import Execution
    from orch.fallback import Cached, Fallback
    from orch.orchestrator import Orchestrator
    from orch.settings import Settings
    from orch.workflows.definition import WorkflowDefinition, WorkflowStep

__version__ = "0.1.0"

# Loaded at first use: a process that needs one name (the keeper of the embedded server, a
# module of capabilities) does not pay for all of them.
_HOME = {
    "AsyncOrchestrator": "orch.asynchronous",
    "Breaker": "orch.breaker",
    "Cached": "orch.fallback",
    "Context": "orch.agents.context",
    "Execution": "orch.execution",
    "Fallback": "orch.fallback",
    "OrchError": "orch.errors",
    "Orchestrator": "orch.orchestrator",
    "RetryAfter": "orch.errors",
    "Settings": "orch.settings",
    "StartRequest": "orch.control.bulk",
    "StepCancelled": "orch.errors",
    "StepError": "orch.errors",
    "WorkflowDefinition": "orch.workflows.definition",
    "WorkflowStep": "orch.workflows.definition",
    "capability": "orch.agents.capability",
}

__all__ = [
    "AsyncOrchestrator",
    "Breaker",
    "Cached",
    "Context",
    "Execution",
    "Fallback",
    "OrchError",
    "Orchestrator",
    "RetryAfter",
    "Settings",
    "StartRequest",
    "StepCancelled",
    "StepError",
    "WorkflowDefinition",
    "WorkflowStep",
    "capability",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'orch' has no attribute {name!r}")
