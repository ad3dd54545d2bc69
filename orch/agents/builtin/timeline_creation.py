"""`timeline_creation`: when the tasks of a plan begin and end, on working days.

    {"tasks": "$.variables.plan.tasks", "start": "2026-03-02", "people": 2}

gives `{"start", "end", "workingDays", "hours", "entries", "criticalPath", "mermaid"}`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import Field

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.planning.thinking import think_of_timeline
from orch.agents.planning.timeline import PlannedTask, schedule


@capability("timeline_creation")
def timeline_creation(
    tasks: Annotated[list[PlannedTask], Field(max_length=2000)],
    start: date | None = None,
    hoursPerDay: Annotated[float, Field(gt=0, le=24)] = 6.0,
    people: Annotated[int, Field(ge=1, le=1000)] = 1,
    freeDays: Annotated[list[date], Field(max_length=1000)] = [],  # noqa: B006
    context: Context | None = None,
) -> dict[str, Any]:
    """Lay tasks out in time, as `orch.agents.planning.timeline` says.

    tasks        `id`, `title`, `hours`, `dependsOn`, `priority`: those of `task_planning`
    start        the first day; today, in UTC, without it
    hoursPerDay  of work of one person
    people       who work at the same time
    freeDays     besides Saturdays and Sundays

    Raises StepError `InvalidInput`.
    """
    first = start or datetime.now(UTC).date()
    found = schedule(tasks, first, hoursPerDay, people, frozenset(freeDays))
    return think_of_timeline(found, {"people": people}, context or Context())
