"""Definitions by name: those that ship with the package, and those beside a file."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from orch.workflows.definition import WorkflowDefinition
from orch.workflows.loading.files import FORMATS
from orch.workflows.loading.reading import loads

_LIBRARY = files("orch.workflows.library")


def library_names() -> list[str]:
    """The keys of the workflows that ship with the package, sorted."""
    return sorted(_library_files())


def library_definition(stem: str) -> WorkflowDefinition | None:
    """A workflow that ships with the package, or None when there is none of that key."""
    name = _library_files().get(stem)
    if name is None:
        return None
    return loads(_LIBRARY.joinpath(name).read_text(encoding="utf-8"), "yaml", f"library/{name}")


def _library_files() -> dict[str, str]:
    names = (entry.name for entry in _LIBRARY.iterdir())
    return {name.removesuffix(".yaml"): name for name in names if name.endswith(".yaml")}


def find_beside(path: Path | str, name: str) -> Path | None:
    """The file of the workflow with the key ``name``, in a directory or beside a file of it."""
    directory = Path(path) if Path(path).is_dir() else Path(path).parent
    return next((file for file in _definitions_in(directory) if file.stem == name), None)


def _definitions_in(directory: Path) -> Iterator[Path]:
    """A key that stands in several formats is found as YAML first."""
    for suffix in FORMATS:
        yield from sorted(file for file in directory.glob(f"*{suffix}") if file.is_file())
