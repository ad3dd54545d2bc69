"""`task_planning`: the plan of a project, or of a feature, by rules.

    {"analysis": "$.variables.analysis", "priority": "high"}
    {"feature": "User authentication", "constraints": {"storage": "files"}, "projectPath": "app"}

gives `{"tasks", "hours", "priority", ...}`; of a project also `requiresScaffolding`,
`projectType`, `scaffoldingOptions`, `coreComponents` and `utilityComponents`; of a feature
`specifications`. Components are what `component_generation` takes.
"""

from __future__ import annotations

from typing import Any

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.files import resolve
from orch.agents.making.layout import look
from orch.agents.planning.feature import plan_feature
from orch.agents.planning.project import plan_project
from orch.agents.planning.thinking import think_of_plan
from orch.errors import StepError


@capability("task_planning")
def task_planning(
    analysis: dict[str, Any] | None = None,
    feature: Any = None,
    constraints: Any = None,
    priority: str | int | None = None,
    projectPath: str | None = None,
    context: Context | None = None,
) -> dict[str, Any]:
    """Plan a project by its `analysis`, or a `feature`.

    constraints  of a feature: a text, a list or an object
    priority     `low`, `medium`, `high`, `critical`, or 0 to 9
    projectPath  the project that a feature goes into, if it is there already

    Raises StepError: `InvalidInput`, `UnknownProjectType`, `PathOutsideRoot`.
    """
    if analysis is not None and feature is None:
        found = plan_project(analysis, priority)
        return think_of_plan(found, {"analysis": analysis}, context or Context())
    if feature is None or analysis is not None:
        raise StepError("InvalidInput", "`task_planning` takes an `analysis` or a `feature`")
    directory = resolve(projectPath) if projectPath else None
    existing = look(directory) if directory else None
    name = directory.name if directory else None
    found = plan_feature(feature, constraints, priority, existing, name, context)
    given = {"feature": feature, "constraints": constraints}
    return think_of_plan(found, given, context or Context())
