"""Pictures of workflows that are remembered."""

from __future__ import annotations

from orch.control.catalog import Workflow
from orch.memory.memory import Memory
from orch.memory.noting import ROLE
from orch.memory.record import MemoryRecord
from orch.workflows.graph import mermaid


def remember_graph(memory: Memory, workflow: Workflow) -> MemoryRecord:
    """Once for each version of a workflow: the picture follows from the version."""
    return memory.store(
        ROLE,
        None,
        f"ORCH:VISUALIZE: {workflow.key} as a Mermaid flowchart, version {workflow.version}",
        id=f"graph:{workflow.key}:{workflow.version}",
        tags=[f"workflow:{workflow.key}"[:200], f"version:{workflow.version}", "format:mermaid"],
        source=f"workflow:{workflow.key}",
        data={"mermaid": mermaid(workflow.definition)},
    )
