"""How workflows do, and how the whole does."""

from __future__ import annotations

from orch.control.filters import Instant
from orch.facade.base import Base
from orch.monitoring.metrics import SystemMetrics, WorkflowMetrics
from orch.monitoring.performance import SAMPLE


class Monitoring(Base):
    """How workflows do, and how the whole does."""

    def get_workflow_metrics(
        self, name: str, *, since: Instant | None = None, sample: int = SAMPLE
    ) -> WorkflowMetrics:
        """How the executions of a workflow do: counts of all that are kept, durations and steps of
        the newest ``sample`` that ended, and the workers that serve it.

        ``since``: of those alone that were started then or later. Raises NotFound, InputError.
        """
        return self.performance.workflow_metrics(name, since=since, sample=sample)

    def get_system_metrics(self) -> SystemMetrics:
        """How the whole does, and the reasons where it is not healthy. Raises Unreachable."""
        return self.performance.system_metrics()
