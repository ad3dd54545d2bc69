"""`project_analysis`: what requirements say of a project, by rules.

    {"requirements": "Build a command line tool that lists stock", "constraints": ["Python 3.12"]}

gives `{"summary", "goals", "projectType", "projectName", "language", "features", "complexity",
"risks", "assumptions", "questions", "existing", ...}`, which `task_planning` takes.
"""

from __future__ import annotations

from typing import Any

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.files import resolve
from orch.agents.making.layout import look
from orch.agents.planning.analysis import analyse
from orch.agents.planning.thinking import think_of_analysis


@capability("project_analysis")
def project_analysis(
    requirements: Any = None,
    constraints: Any = None,
    projectName: str | None = None,
    projectPath: str | None = None,
    context: Context | None = None,
) -> dict[str, Any]:
    """Find out what is to be made.

    requirements  a text, a list or an object
    constraints   likewise; `projectType` in an object says of which type the project is
    projectName   without it, that of the project, of its directory, or of what it is about
    projectPath   directory of a project that may be there already

    Raises StepError: `InvalidInput`, `UnknownProjectType`, `PathOutsideRoot`.
    """
    directory = resolve(projectPath) if projectPath else None
    existing = look(directory) if directory else None
    name = projectName or (directory.name if directory and not existing else None)
    found = analyse(requirements, constraints, name, existing)
    given = {"requirements": requirements, "constraints": constraints}
    return think_of_analysis(found, given, context or Context())
