"""Files of steps that other files use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from orch.errors import LoadError
from orch.workflows.graph import as_list, as_mapping
from orch.workflows.loading.documents import read_document

KNOWN = ("description", "include", "name", "parameters", "steps")


class StepLibrary:
    """The steps, and the parameters, of all files that a file includes.

    ``path``: that file; only what lies in its directory, or below, is read.
    """

    def __init__(self, path: Path | None, error: Callable[[str, str, str], None]) -> None:
        self.path = path
        self.steps: dict[str, dict[str, Any]] = {}
        self.parameters: dict[str, Any] = {}
        self._error = error
        self._homes: dict[str, Path] = {}
        self._read: set[Path] = set()

    def read(self, include: Any) -> None:
        """Read what an `include` names, and what that includes."""
        if include is None:
            return
        names = [include] if isinstance(include, str) else include
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self._error("include", "must be a list of files", "like [steps/common.yaml]")
        elif self.path is None:
            hint = "load it from a file, beside which the others lie"
            self._error("include", "only a file can include others", hint)
        else:
            own = self.path.resolve()
            for number, name in enumerate(names):
                self._file(name, own.parent, (own,), f"include[{number}]")

    def _file(self, name: str, base: Path, inside: tuple[Path, ...], at: str) -> None:
        assert self.path is not None
        root = self.path.resolve().parent
        try:
            path = (base / name).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            self._error(at, f"{name!r} is no path: {error}", "")
            return
        if not path.is_relative_to(root):
            self._error(
                at,
                f"{name!r} lies outside of the directory of the file that includes it",
                f"put it into {root}, or below",
            )
        elif path in inside:
            circle = " -> ".join(p.name for p in (*inside[inside.index(path) :], path))
            self._error(at, f"files include each other in a circle: {circle}", "")
        elif path not in self._read:
            self._read.add(path)
            self._steps_of(path, inside, at)

    def _steps_of(self, path: Path, inside: tuple[Path, ...], at: str) -> None:
        try:
            found = read_document(path)
        except LoadError as error:
            self._error(at, error.message, error.hint)
            return
        for key in found:
            if key not in KNOWN:
                hint = f"a file of steps has: {', '.join(KNOWN)}"
                self._error(at, f"{path.name}: unknown field {key!r}", hint)
        self.parameters = {**as_mapping(found.get("parameters")), **self.parameters}
        if not isinstance(found.get("steps", []), list):
            self._error(at, f"{path.name}: `steps` must be a list", "")
        for number, step in enumerate(as_list(found.get("steps"))):
            self._add(step, path, f"{path.name}: steps[{number}]", at)
        for name in as_list(found.get("include")):
            if isinstance(name, str):
                self._file(name, path.parent, (*inside, path), at)
            else:
                self._error(at, f"{path.name}: `include` must be a list of files", "")

    def _add(self, step: Any, path: Path, where: str, at: str) -> None:
        name = step.get("id") if isinstance(step, dict) else None
        if not isinstance(name, str):
            self._error(at, f"{where} has no `id`", "a step is used by its id")
        elif name in self._homes:
            others = self._homes[name].name
            self._error(at, f"{where}: the id {name!r} is in {others} already", "rename one")
        else:
            self._homes[name] = path
            self.steps[name] = step
