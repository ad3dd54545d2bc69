"""Records of the memory for tests, in few words."""

from __future__ import annotations

from typing import Any

from orch.journal.journal import Journal
from orch.memory.memory import Memory


def small(journal: Journal, **given: Any) -> Memory:
    """A memory with other settings."""
    settings = journal.settings.model_copy(update=given)
    return Memory(Journal(journal.redis, settings, clock=journal.clock))


def told(memory: Memory, **given: Any) -> list[str]:
    return [record.content.partition(": ")[2] for record in memory.search(**given)]


def say(memory: Memory, text: str, area: str = "WORKFLOW", **given: Any) -> str:
    project = given.pop("project", None)
    role = given.pop("agent_role", "ORCHESTRATOR")
    return memory.store(role, project, f"ORCH:{area}: {text}", **given).id
