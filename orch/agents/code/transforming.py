"""The transformations of code, as users write them and as they are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from orch.agents.code.changes import Changes
from orch.agents.code.codemods import (
    Unreadable,
    add_docstrings,
    add_imports,
    module_title,
    parse,
    rename,
)
from orch.agents.code.linter import Linter
from orch.agents.code.mending import keep_layout
from orch.agents.context import Context
from orch.errors import StepError


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Rename(_Step):
    type: Literal["rename"]
    old: str = Field(alias="from")
    new: str = Field(alias="to")


class RemoveUnusedImports(_Step):
    type: Literal["remove_unused_imports"]


class AddImports(_Step):
    type: Literal["add_imports"]
    modules: list[str]


class AddDocstrings(_Step):
    type: Literal["add_docstrings"]


class Fix(_Step):
    """Without rules: those that the project selects."""

    type: Literal["fix"]
    rules: list[str] = []


class Format(_Step):
    type: Literal["format"]


Transformation = Rename | RemoveUnusedImports | AddImports | AddDocstrings | Fix | Format
_TRANSFORMATION: TypeAdapter[Transformation] = TypeAdapter(
    Annotated[Transformation, Field(discriminator="type")]
)


def understood(number: int, source: dict[str, Any]) -> Transformation:
    """What one transformation asks for. Raises StepError `InvalidInput`."""
    try:
        return _TRANSFORMATION.validate_python(source)
    except ValidationError as exc:
        reasons = [
            f"{'.'.join(str(part) for part in error['loc'][1:])}: {error['msg']}".lstrip(": ")
            for error in exc.errors(include_url=False)
        ]
        sentence = f"transformation {number} is not one: {'; '.join(reasons)}"
        raise StepError("InvalidInput", sentence) from None


class Transformer:
    """Does transformations, in order, on files that were chosen."""

    def __init__(self, changes: Changes, files: Sequence[Path], context: Context) -> None:
        self._changes = changes
        self._files = files
        self._context = context
        self._linter = Linter(context, changes.base)

    def apply(self, steps: Sequence[Transformation]) -> None:
        for step in steps:
            self._apply(step)
        if steps and not any(isinstance(step, Format) for step in steps):
            keep_layout(self._changes, self._linter)

    def _apply(self, step: Transformation) -> None:
        linter = self._linter
        match step:
            case Rename():
                self._rename(step)
            case RemoveUnusedImports():
                self._each(lambda file, text: linter.fixed(file, text, ["F401"]))
            case AddImports():
                self._each(lambda _, text: add_imports(text, step.modules))
            case AddDocstrings():
                self._each(lambda file, text: add_docstrings(text, module_title(file)))
            case Fix():
                self._each(lambda file, text: linter.fixed(file, text, step.rules))
            case Format():
                self._each(linter.formatted)

    def _rename(self, step: Rename) -> None:
        sources = {file: self._changes.read(file) for file in self._files}
        texts = {file: text for file, text in sources.items() if text is not None}
        readable = {file: text for file, text in texts.items() if self._parses(file, text)}
        for file, text in rename(readable, step.old, step.new).items():
            self._changes.put(file, text)

    def _parses(self, file: Path, text: str) -> bool:
        self._context.raise_if_cancelled()
        try:
            parse(text)
        except Unreadable as exc:
            self._changes.skip(file, str(exc))
            return False
        return True

    def _each(self, change: Callable[[Path, str], str]) -> None:
        for file in self._files:
            self._context.raise_if_cancelled()
            text = self._changes.read(file)
            if text is None:
                continue
            try:
                self._changes.put(file, change(file, text))
            except Unreadable as exc:
                self._changes.skip(file, str(exc))
