"""The templates of pages: Jinja, in the directory `templates` of the pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import SandboxedEnvironment

from orch.agents.files import named_errors, replace
from orch.errors import StepError

SUFFIX = ".md.j2"
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}")
_ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined)


class Templates:
    """The templates below a directory of pages."""

    def __init__(self, pages: Path) -> None:
        self.directory = pages / "templates"

    def names(self) -> list[str]:
        found = (file.name.removesuffix(SUFFIX) for file in self.directory.glob(f"*{SUFFIX}"))
        return sorted(name for name in found if _ID.fullmatch(name))

    def path(self, name: str) -> Path:
        """Raises StepError `InvalidInput` for what cannot be the name of a template."""
        if not _ID.fullmatch(name):
            raise StepError(
                "InvalidInput",
                f"{name!r} cannot be the name of a template",
                hint="a name is letters, digits, `_`, `.`, `-`",
            )
        return self.directory / f"{name}{SUFFIX}"

    def exists(self, name: str) -> bool:
        return self.path(name).exists()

    def source(self, name: str) -> str:
        """Raises StepError `TemplateNotFound`."""
        path = self.path(name)
        if not path.exists():
            raise StepError(
                "TemplateNotFound",
                f"there is no template {name!r} in {str(self.directory)!r}",
                hint="`list` gives the names",
            )
        with named_errors("read", path):
            return path.read_text(encoding="utf-8")

    def write(self, name: str, source: str) -> Path:
        """Keep a template. Raises StepError `TemplateFailed` for what is none."""
        path = self.path(name)
        self.variables(name, source)
        with named_errors("write", path):
            replace(path, source.encode(errors="replace"))
        return path

    def delete(self, name: str) -> bool:
        path = self.path(name)
        existed = path.exists()
        with named_errors("delete", path):
            path.unlink(missing_ok=True)
        return existed

    def variables(self, name: str, source: str) -> list[str]:
        """The names that a template wants to be given. Raises StepError `TemplateFailed`."""
        try:
            return sorted(meta.find_undeclared_variables(_ENVIRONMENT.parse(source)))
        except TemplateSyntaxError as exc:
            sentence = f"template {name!r}, line {exc.lineno}: {exc.message}"
            raise StepError("TemplateFailed", sentence) from exc

    def render(self, name: str, values: dict[str, Any]) -> str:
        """Raises StepError `TemplateNotFound`, `TemplateFailed`."""
        source = self.source(name)
        try:
            return _ENVIRONMENT.from_string(source).render(values)
        except TemplateError as exc:
            path = str(self.path(name))
            raise StepError("TemplateFailed", f"template {path!r}: {exc}") from exc


def templated(
    pages: Path, name: str | None, title: str, content: str | None, details: dict[str, Any]
) -> str | None:
    """A page by its template, which gets all inputs by name; None where there is no such one.

    Raises StepError `TemplateFailed`, `InvalidInput`.
    """
    templates = Templates(pages)
    if name is None or not templates.exists(name):
        return None
    values = {**details, "title": title, "content": content or "", "details": details}
    return templates.render(name, values)
