"""What all parts of the facade have at hand."""

from __future__ import annotations

from orch.agents.assignments import Assignments
from orch.agents.coordinator import AgentCoordinator
from orch.agents.registry import AgentRegistry
from orch.control.manager import WorkflowManager
from orch.control.runtime import Runtime
from orch.escalation.manager import EscalationManager
from orch.escalation.quarantine import QuarantineManager
from orch.memory.memory import Memory
from orch.monitoring.performance import PerformanceMonitor
from orch.resources.manager import ResourceManager
from orch.services.calling import ServiceCaller
from orch.settings import Settings
from orch.webhooks.registry import WebhookRegistry


class Base:
    """Made by `Orchestrator`, of which the parts are layers."""

    settings: Settings
    runtime: Runtime
    manager: WorkflowManager
    escalations: EscalationManager
    quarantine: QuarantineManager
    registry: AgentRegistry
    assignments: Assignments
    memory: Memory
    agents: AgentCoordinator
    resources: ResourceManager
    performance: PerformanceMonitor
    services: ServiceCaller
    webhooks: WebhookRegistry
