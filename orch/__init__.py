"""Durable workflows on a task queue. The public names, nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orch.agents.assignments import AgentTask, TaskAssignment
    from orch.agents.capability import capability
    from orch.agents.context import Context
    from orch.agents.info import AgentCapability, AgentInfo
    from orch.agents.outside import OutsideAgent
    from orch.asynchronous import AsyncOrchestrator
    from orch.breaker import Breaker
    from orch.control.bulk import StartRequest
    from orch.control.catalog import Workflow, WorkflowInfo
    from orch.control.status import ExecutionContext, ExecutionInfo, ExecutionMetrics, StepExecution
    from orch.control.subscription import EventFilter, ExecutionEvent, Listener, Subscription
    from orch.errors import OrchError, RetryAfter, StepCancelled, StepError
    from orch.execution import Execution
    from orch.fallback import Cached, Fallback
    from orch.journal.records import HistoryEntry
    from orch.monitoring.metrics import SystemMetrics, WorkflowMetrics
    from orch.monitoring.performance import PerformanceMonitor
    from orch.orchestrator import Orchestrator
    from orch.services.service import ExternalService
    from orch.settings import Settings
    from orch.webhooks.webhook import Webhook
    from orch.workflows.definition import WorkflowDefinition, WorkflowStep
    from orch.workflows.validation import Finding, ValidationResult

__version__ = "0.1.0"

# Loaded at first use: a process that needs one name (the keeper of the embedded server, a
# module of capabilities) does not pay for all of them.
_HOME = {
    "AgentCapability": "orch.agents.info",
    "AgentInfo": "orch.agents.info",
    "AgentTask": "orch.agents.assignments",
    "AsyncOrchestrator": "orch.asynchronous",
    "Breaker": "orch.breaker",
    "Cached": "orch.fallback",
    "Context": "orch.agents.context",
    "EventFilter": "orch.control.subscription",
    "Execution": "orch.execution",
    "ExecutionContext": "orch.control.status",
    "ExecutionEvent": "orch.control.subscription",
    "ExecutionInfo": "orch.control.status",
    "ExecutionMetrics": "orch.control.status",
    "ExternalService": "orch.services.service",
    "Fallback": "orch.fallback",
    "Finding": "orch.workflows.validation",
    "HistoryEntry": "orch.journal.records",
    "Listener": "orch.control.subscription",
    "OrchError": "orch.errors",
    "Orchestrator": "orch.orchestrator",
    "OutsideAgent": "orch.agents.outside",
    "PerformanceMonitor": "orch.monitoring.performance",
    "RetryAfter": "orch.errors",
    "Settings": "orch.settings",
    "StartRequest": "orch.control.bulk",
    "StepCancelled": "orch.errors",
    "StepError": "orch.errors",
    "StepExecution": "orch.control.status",
    "Subscription": "orch.control.subscription",
    "SystemMetrics": "orch.monitoring.metrics",
    "TaskAssignment": "orch.agents.assignments",
    "ValidationResult": "orch.workflows.validation",
    "Webhook": "orch.webhooks.webhook",
    "Workflow": "orch.control.catalog",
    "WorkflowDefinition": "orch.workflows.definition",
    "WorkflowInfo": "orch.control.catalog",
    "WorkflowMetrics": "orch.monitoring.metrics",
    "WorkflowStep": "orch.workflows.definition",
    "capability": "orch.agents.capability",
}

__all__ = [
    "AgentCapability",
    "AgentInfo",
    "AgentTask",
    "AsyncOrchestrator",
    "Breaker",
    "Cached",
    "Context",
    "EventFilter",
    "Execution",
    "ExecutionContext",
    "ExecutionEvent",
    "ExecutionInfo",
    "ExecutionMetrics",
    "ExternalService",
    "Fallback",
    "Finding",
    "HistoryEntry",
    "Listener",
    "OrchError",
    "Orchestrator",
    "OutsideAgent",
    "PerformanceMonitor",
    "RetryAfter",
    "Settings",
    "StartRequest",
    "StepCancelled",
    "StepError",
    "StepExecution",
    "Subscription",
    "SystemMetrics",
    "TaskAssignment",
    "ValidationResult",
    "Webhook",
    "Workflow",
    "WorkflowDefinition",
    "WorkflowInfo",
    "WorkflowMetrics",
    "WorkflowStep",
    "capability",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'orch' has no attribute {name!r}")
