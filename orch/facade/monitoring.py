"""How workflows do, and how the whole does."""

from __future__ import annotations

from orch.control.filters import Instant
from orch.facade.base import Base
from orch.memory.record import MemoryRecord
from orch.monitoring.metrics import SystemMetrics, WorkflowMetrics
from orch.monitoring.performance import SAMPLE
from orch.monitoring.picture import remember_graph
from orch.monitoring.report import Report, make_report, remember_report


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

    def get_report(self, since: Instant | None = None, *, remember: bool = False) -> Report:
        """What happened since then, by default since a day: health, workflows, what was observed.

        ``remember``: keep it in the memory, too. Raises InputError, Unreachable.
        """
        report = make_report(self.runtime, since)
        if remember:
            remember_report(self.runtime, report)
        return report

    def remember_graph(self, name: str) -> MemoryRecord:
        """Keep the Mermaid flowchart of a workflow in the memory, as `ORCH:VISUALIZE: …`; once for
        each version. Raises NotFound.
        """
        return remember_graph(self.memory, self.manager.get(name))

    def get_system_metrics(self) -> SystemMetrics:
        """How the whole does, and the reasons where it is not healthy. Raises Unreachable."""
        return self.performance.system_metrics()
