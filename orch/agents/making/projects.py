"""The types of projects that there are templates for, and the files of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orch.agents.making.layout import Language, package_name
from orch.agents.making.names import kebab, title, words
from orch.agents.making.templates import shipped
from orch.errors import StepError

_PYTHON = {
    ".gitignore": "project/gitignore_python",
    "README.md": "project/README_python.md",
    "pyproject.toml": "project/pyproject.toml",
    "src/{package}/__init__.py": "python/package.py",
    "tests/test_package.py": "python/package_test.py",
}
_CLI = {
    "src/{package}/__main__.py": "python/cli_main.py",
    "src/{package}/cli.py": "python/cli.py",
    "tests/test_cli.py": "python/cli_test.py",
}
_SERVICE = {
    "src/{package}/__main__.py": "python/web_main.py",
    "src/{package}/web.py": "python/web.py",
    "tests/test_web.py": "python/web_test.py",
}
_JAVASCRIPT = {
    ".gitignore": "project/gitignore_javascript",
    "README.md": "project/README_javascript.md",
    "index.html": "javascript/index.html",
    "package.json": "javascript/package.json",
    "serve.js": "javascript/serve.js",
    "src/html.js": "javascript/html.js",
    "src/main.js": "javascript/main.js",
    "src/page.js": "javascript/page.js",
    "tests/page.test.js": "javascript/page.test.js",
}


@dataclass(frozen=True)
class ProjectType:
    """A kind of project. `files`: path, in which `{package}` stands, to template."""

    name: str
    language: Language
    description: str
    files: Mapping[str, str]
    aliases: Sequence[str] = ()


TYPES: dict[str, ProjectType] = {
    found.name: found
    for found in (
        ProjectType(
            "python_library", "python", "a library", _PYTHON, ("python", "library", "package")
        ),
        ProjectType(
            "python_cli",
            "python",
            "a command line tool",
            _PYTHON | _CLI,
            ("cli", "command line", "tool"),
        ),
        ProjectType(
            "python_service",
            "python",
            "a web service",
            _PYTHON | _SERVICE,
            ("service", "api", "web", "web service"),
        ),
        ProjectType(
            "javascript_app",
            "javascript",
            "a web page of plain ES modules",
            _JAVASCRIPT,
            ("javascript", "typescript", "react", "web app", "node"),
        ),
    )
}


def project_type(name: str) -> ProjectType:
    """A type by its name or another word for it. Raises StepError `UnknownProjectType`."""
    wanted = " ".join(words(name))
    for found in TYPES.values():
        if wanted in (" ".join(words(found.name)), *found.aliases):
            return found
    known = ", ".join(f"`{found.name}` ({found.description})" for found in TYPES.values())
    raise StepError(
        "UnknownProjectType",
        f"there is no project type {name!r}",
        data={"projectTypes": list(TYPES)},
        hint=f"there are {known}",
    )


def project_files(
    kind: ProjectType, name: str, description: str, goals: Sequence[str] = ()
) -> dict[str, str]:
    """The files of a new project, by their paths in it."""
    package = package_name(name)
    values: dict[str, Any] = {
        "name": kebab(name, "project"),
        "package": package,
        "title": title(name, "project"),
        "description": description.strip() or f"{title(name, 'project')}, {kind.description}",
        "goals": list(goals),
        "kind": kind.name,
        "command": any(path.endswith("__main__.py") for path in kind.files),
    }
    return {
        path.format(package=package): shipped(template, values)
        for path, template in kind.files.items()
    }
