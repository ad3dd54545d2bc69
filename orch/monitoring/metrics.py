"""What is told of a workflow, and of the whole. Durations are ms, rates shares from 0 to 1."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Health(StrEnum):
    """How the whole is."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"  # something waits, or fails, that should not
    UNHEALTHY = "unhealthy"  # nothing goes on, or soon nothing will


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class HealthReason(_Frozen):
    """Why it is not healthy: what, which and what was found, and what to do."""

    rule: str = Field(description="which rule says so, such as `unserved`")
    subject: str = Field("", description="of what: a queue, a worker, a breaker")
    status: Health = Health.DEGRADED
    message: str
    hint: str

    @property
    def key(self) -> str:
        return f"{self.rule} {self.subject}"


class StepMetrics(_Frozen):
    """One step of a workflow, over all branches, laps and attempts that were read."""

    count: int = Field(description="times that it ended, well or for good")
    average_duration: float | None = Field(None, description="of an attempt that went well, ms")
    error_rate: float | None = Field(None, description="share of them that failed for good")
    retry_rate: float | None = Field(None, description="share of its attempts that were repeats")


class ResourceUsage(_Frozen):
    """What worker processes use. None: nobody says."""

    cpu: float | None = Field(None, description="cores at work")
    memory: int | None = Field(None, description="bytes")
    network: float | None = Field(None, description="None: the kernel does not tell by process")


class WorkflowMetrics(_Frozen):
    """How the executions of a workflow do that are kept. None: none has ended yet."""

    workflow_name: str
    total_executions: int = 0
    active_executions: int = 0
    executions: dict[str, int] = Field(default_factory=dict, description="by status")
    success_rate: float | None = Field(None, description="of those that completed or failed")
    error_rate: float | None = Field(None, description="1 - success_rate")
    average_duration: float | None = Field(None, description="of completed ones, ms")
    p50_duration: int | None = None
    p95_duration: int | None = None
    step_metrics: dict[str, StepMetrics] = Field(default_factory=dict)
    agent_utilization: dict[str, float] = Field(
        default_factory=dict, description="of those that serve it: share of their places at work"
    )
    resource_usage: ResourceUsage = ResourceUsage()
    since: str | None = Field(None, description="started then or later; None: all that are kept")
    sample: int = Field(0, description="executions, the newest that ended, that were looked at")
    histories: int = Field(0, description="of these, those that steps are of")


class NetworkUsage(_Frozen):
    """Bytes in a second, of Redis, by which all goes."""

    bytes_in: float = 0.0
    bytes_out: float = 0.0


class SystemResources(_Frozen):
    cpu: float | None = Field(None, description="cores at work, of all live workers")
    memory: int | None = Field(None, description="bytes, of all live workers")
    network: NetworkUsage = NetworkUsage()
    storage: int = Field(0, description="bytes that Redis holds")
    storage_limit: int | None = Field(None, description="`maxmemory` of Redis; None: any number")


class SystemMetrics(_Frozen):
    """How the whole does. None: no call has ended lately."""

    at: str
    active_workflows: int = Field(0, description="executions that have not ended")
    executions: dict[str, int] = Field(default_factory=dict, description="by status")
    total_tasks_processed: int = Field(0, description="calls, of all agents that are remembered")
    tasks_per_second: float = Field(0.0, description="calls that ended, in the last minute")
    active_agents: int = Field(0, description="that live, and take work")
    error_rate: float | None = Field(None, description="of the calls of the last minute")
    avg_task_latency: float | None = Field(None, description="of a call, in the last minute, ms")
    resource_utilization: SystemResources = SystemResources()
    queue_sizes: dict[str, int] = Field(default_factory=dict, description="messages that wait")
    health_status: Health = Health.HEALTHY
    reasons: list[HealthReason] = Field(default_factory=list, description="the worst first")
