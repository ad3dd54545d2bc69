"""`specification_generation`: requirements as a specification, with numbers and acceptance.

    {"requirements": ["Users can log in", "Reports should be exported"], "constraints": "Fast"}

gives `{"title", "summary", "functional", "nonFunctional", "risks", "assumptions", "questions",
"markdown", ...}`. By rules, as `project_analysis`.
"""

from __future__ import annotations

from typing import Any

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.files import resolve
from orch.agents.making.layout import look
from orch.agents.planning.specification import specify
from orch.agents.planning.thinking import think_of_specification


@capability("specification_generation")
def specification_generation(
    requirements: Any = None,
    constraints: Any = None,
    title: str | None = None,
    projectPath: str | None = None,
    context: Context | None = None,
) -> dict[str, Any]:
    """Specify a project or a feature.

    requirements, constraints  a text, a list or an object
    projectPath                directory of the project, if it is there already

    Raises StepError: `InvalidInput`, `UnknownProjectType`, `PathOutsideRoot`.
    """
    existing = look(resolve(projectPath)) if projectPath else None
    found = specify(requirements, constraints, title, existing)
    given = {"requirements": requirements, "constraints": constraints}
    return think_of_specification(found, given, context or Context())
