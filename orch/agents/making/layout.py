"""Where the code of a project lies, and what of it can be seen in a directory."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orch.agents.files import named_errors
from orch.agents.making.names import snake

Language = Literal["python", "javascript"]
SUFFIXES: dict[str, str] = {"python": ".py", "javascript": ".js"}
_TAKEN = ("test", "tests", "src", "pytest", "ruff", "hatchling")
_MANIFESTS: tuple[tuple[str, Language], ...] = (
    ("pyproject.toml", "python"),
    ("setup.py", "python"),
    ("setup.cfg", "python"),
    ("package.json", "javascript"),
)


@dataclass(frozen=True)
class Layout:
    """The language of a project, and where its modules are.

    source   directory of the modules, relative to the project: `src/app`, `src`, `.`
    package  what modules of Python are imported from; empty where `source` is on the path
    """

    language: Language
    source: str = "src"
    package: str = ""

    @classmethod
    def of(cls, language: Language, name: str) -> Layout:
        """That of a new project."""
        if language == "javascript":
            return cls("javascript")
        package = package_name(name)
        return cls("python", f"src/{package}", package)

    def file(self, stem: str, folder: str = "") -> str:
        """Path of a module, relative to the project."""
        parts = [] if self.source == "." else [self.source]
        return "/".join([*parts, *([folder] if folder else []), stem + SUFFIXES[self.language]])

    def module(self, stem: str, folder: str = "") -> str:
        """What a test in `tests` imports."""
        if self.language == "javascript":
            return f"../{self.file(stem, folder)}"
        return ".".join(part for part in (self.package, folder, stem) if part)

    def test(self, stem: str) -> str:
        """Name of the test of a module, in `tests`."""
        return f"test_{stem}.py" if self.language == "python" else f"{stem}.test.js"


def package_name(name: str) -> str:
    """The package of a project: never a name that something else is imported by."""
    found = snake(name, "project")
    return f"{found}_app" if found in _TAKEN or found in sys.stdlib_module_names else found


@dataclass(frozen=True)
class Existing:
    """A project that is there already."""

    name: str
    layout: Layout

    def as_dict(self) -> dict[str, Any]:
        layout = self.layout
        return {
            "name": self.name,
            "language": layout.language,
            "source": layout.source,
            "package": layout.package,
        }


def look(directory: Path) -> Existing | None:
    """The project in a directory; None where there is no `pyproject.toml` or the like."""
    for manifest, language in _MANIFESTS:
        path = directory / manifest
        if path.is_file():
            name = _name(path) or directory.name
            found = _python(directory) if language == "python" else _javascript(directory)
            return Existing(name, found)
    return None


def _python(directory: Path) -> Layout:
    top = directory / "src" if (directory / "src").is_dir() else directory
    prefix = "src/" if top != directory else ""
    with named_errors("look into", top):
        packages = sorted(entry.parent.name for entry in top.glob("*/__init__.py"))
    packages = [name for name in packages if name not in ("tests", "test", "docs", "examples")]
    if packages:
        return Layout("python", f"{prefix}{packages[0]}", packages[0])
    return Layout("python", prefix.rstrip("/") or ".")


def _javascript(directory: Path) -> Layout:
    return Layout("javascript", "src" if (directory / "src").is_dir() else ".")


def _name(manifest: Path) -> str:
    """What the project calls itself; empty where nobody can tell."""
    try:
        text = manifest.read_text(encoding="utf-8")
        if manifest.name == "package.json":
            found = json.loads(text).get("name")
        elif manifest.name == "pyproject.toml":
            project: Mapping[str, Any] = tomllib.loads(text).get("project", {})
            found = project.get("name")
        else:
            return ""
    except (OSError, ValueError, AttributeError):
        return ""
    return found if isinstance(found, str) else ""
