"""`project_scaffolding`: lays out a new project, with tests that pass.

    {"projectType": "python_cli", "name": "Stock list", "options": {"description": "..."}}

gives `{"path", "name", "projectType", "language", "package", "files", "kept", "created"}`. Files
that are there already stay as they are, so that it may run again, also on a project in use.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.files import make_directory, named_errors, resolve
from orch.agents.making.layout import Layout
from orch.agents.making.names import kebab
from orch.agents.making.projects import project_files, project_type
from orch.agents.making.writing import laid_out, write_all
from orch.errors import StepError


class ScaffoldingOptions(BaseModel):
    """What a plan says of a project besides its type and name."""

    model_config = ConfigDict(extra="ignore")

    description: str = ""
    goals: list[str] = []


@capability("project_scaffolding")
def project_scaffolding(
    projectType: str = "python_library",
    name: str | None = None,
    path: str | None = None,
    options: ScaffoldingOptions | None = None,
    context: Context | None = None,
) -> dict[str, Any]:
    """Make the files of a project that are not there yet.

    projectType  `python_library`, `python_cli`, `python_service`, `javascript_app`
    name         of the project; without it, that of its directory
    path         its directory; without it, one by the project's name
    options      `description` and `goals`, for its README

    Raises StepError: `UnknownProjectType`, `InvalidInput`, and those of files.
    """
    kind = project_type(projectType)
    if not (name and name.strip()) and not path:
        raise StepError("InvalidInput", "a project needs a `name`, or the `path` of its directory")
    directory = resolve(path or kebab(name or "", "project"))
    name = name if name and name.strip() else directory.name
    options = options or ScaffoldingOptions()
    texts = project_files(kind, name, options.description, options.goals)
    created = not directory.exists()
    with named_errors("make the directory", directory):
        make_directory(directory)
    written = write_all(directory, laid_out(texts, context or Context()), "keep")
    return {
        "path": str(directory),
        "name": kebab(name, "project"),
        "projectType": kind.name,
        "language": kind.language,
        "package": Layout.of(kind.language, name).package,
        "files": written.files,
        "kept": written.kept,
        "created": created,
    }
