"""The facade that a user imports. It delegates, and holds no logic."""

from __future__ import annotations

from functools import partial
from typing import Any

from orch.agents.assignments import Assignments
from orch.agents.coordinator import AgentCoordinator
from orch.agents.registry import AgentRegistry
from orch.agents.secret import read_secret
from orch.control.manager import WorkflowManager
from orch.control.runtime import Runtime
from orch.control.workers import WorkerProcesses
from orch.escalation.manager import EscalationManager
from orch.escalation.quarantine import QuarantineManager
from orch.facade.agents import Agents
from orch.facade.defining import Defining
from orch.facade.following import Following
from orch.facade.inbox import Inbox
from orch.facade.limits import Limits
from orch.facade.memories import Memories
from orch.facade.monitoring import Monitoring
from orch.facade.schedules import Schedules
from orch.facade.services import Services
from orch.facade.starting import Starting
from orch.facade.steering import Steering
from orch.facade.tasks import Tasks
from orch.facade.webhooks import Webhooks
from orch.memory.memory import Memory
from orch.monitoring.performance import PerformanceMonitor
from orch.resources.manager import ResourceManager
from orch.server import find_server
from orch.services.calling import ServiceCaller
from orch.settings import Settings, load_settings
from orch.webhooks.registry import WebhookRegistry


class Orchestrator(
    Defining,
    Starting,
    Following,
    Monitoring,
    Steering,
    Tasks,
    Agents,
    Limits,
    Schedules,
    Inbox,
    Memories,
    Services,
    Webhooks,
):
    """Define workflows, start them, ask of them.

    Example::

        orchestrator = Orchestrator()
        orchestrator.load_workflow("hello.yaml")
        print(orchestrator.start_workflow("hello", {"name": "Ada"}).wait().output)

    Keyword arguments are settings (see `orch.settings.Settings`). Raises NoServer or
    Unreachable when there is no Redis, PartitionMismatch, SettingsError.
    """

    def __init__(self, settings: Settings | None = None, **given: Any) -> None:
        self.settings = settings or load_settings(**given)
        self.server = find_server(self.settings)
        self.runtime = Runtime(self.settings, self.server.url)
        self.runtime.journal.check()
        self.manager = WorkflowManager(self.runtime)
        self.escalations = EscalationManager(self.runtime)
        self.quarantine = QuarantineManager(self.runtime)
        self.registry = AgentRegistry(self.runtime)
        self.assignments = Assignments(self.manager, self.registry)
        self.memory = Memory(self.runtime.journal)
        self.agents = AgentCoordinator(self.runtime)
        self.resources = ResourceManager(self.runtime)
        self.performance = PerformanceMonitor(self.runtime)
        self.services = ServiceCaller(self.runtime.journal, partial(read_secret, self.settings))
        self.webhooks = WebhookRegistry(self.runtime.journal)

    def workers(self, **given: Any) -> WorkerProcesses:
        """Worker processes that live as long as a ``with`` block; see WorkerProcesses."""
        return WorkerProcesses(self.settings, self.server.url, **given)

    def close(self) -> None:
        self.runtime.close()
        self.server.close()

    def __enter__(self) -> Orchestrator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
