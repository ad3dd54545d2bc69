"""What the code of a step remembers, once, however often the step is tried; and what the rules for
its messages recall."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from orch.agents.notebook import Notebook
from orch.errors import InputError, StepError
from orch.journal.heads import attribute_text
from orch.journal.journal import Journal
from orch.journal.spending import PROJECT
from orch.memory.memory import Memory
from orch.memory.record import MemoryRecord
from orch.workflows.expressions import to_text
from orch.workflows.passage import ENRICHMENT_FAILED
from orch.workflows.rungs import subject_of

RECALLED = {
    "id",
    "area",
    "content",
    "data",
    "tags",
    "agent_role",
    "confidence",
    "source",
    "created",
}
"""What a rule sees of a record."""


def project_of(journal: Journal, execution: str) -> str | None:
    """None: it names none, and has that of the settings. Raises Unreachable."""
    given = journal.attribute(execution, PROJECT)
    return (attribute_text(given).strip() or None) if given is not None else None


class StepMemory(Notebook):
    """`context.memory` of one step."""

    def __init__(self, journal: Journal, role: str, execution: str, path: str) -> None:
        self._journal = journal
        self._role = role
        self._execution = execution
        self._path = path

    def store(self, content: str, tags: Sequence[str] = (), data: Any = None, **given: Any) -> None:
        remember_of_step(
            self._journal, self._role, self._execution, self._path, content, tags, data, **given
        )

    def search(self, *, limit: int = 50, **filters: Any) -> list[MemoryRecord]:
        project, memory = project_of(self._journal, self._execution), Memory(self._journal)
        seen = {**filters, "viewer": self._role, "all_private": False}
        found = memory.search(project=project, limit=limit, **seen)
        memory.count_reads(project, [record.id for record in found])
        return found


def remember_of_step(
    journal: Journal,
    role: str,
    execution: str,
    path: str,
    content: str,
    tags: Sequence[str] = (),
    data: Any = None,
    **given: Any,
) -> None:
    """See `Context.remember`: the id follows from the step and the text."""
    digest = hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:32]
    subject = f"{execution}:{subject_of(path)}"
    Memory(journal).store(
        role,
        project_of(journal, execution),
        content,
        id=f"{subject}:{digest}",
        tags=tags,
        data=data,
        source=subject,
        **given,
    )


def recall_for_step(
    journal: Journal, execution: str, name: str, sought: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The records that a rule asks for, of the project of the execution, the newest first; none
    that is private. They count as read.

    ``name``: of the field; ``sought``: {text, tags, agent, area, limit}, of which what is null
    does not matter. Raises StepError for what no record can have.
    """
    area, tags = sought.get("area"), sought.get("tags") or []
    memory, project = Memory(journal), project_of(journal, execution)
    try:
        found = memory.search(
            project=project,
            limit=int(sought["limit"]),
            text=_text(sought.get("text")),
            tag=[to_text(tag) for tag in tags if tag is not None] or None,
            agent=_text(sought.get("agent")),
            prefix=f"ORCH:{area}:" if area else None,
        )
    except InputError as error:
        raise StepError(
            ENRICHMENT_FAILED,
            f"{name!r} asks for what the memory cannot have: {error.message}",
            hint=error.hint,
        ) from error
    memory.count_reads(project, [record.id for record in found])
    return [record.model_dump(mode="json", include=RECALLED) for record in found]


def _text(value: Any) -> str | None:
    return None if value is None else to_text(value)
