"""The Jinja templates that ship with the package, and how all templates are rendered."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from orch.agents.making import names
from orch.errors import StepError

_SHIPPED = files("orch.agents.making").joinpath("templates")
_SUFFIX = ".j2"


@cache
def template_names() -> tuple[str, ...]:
    """Of the templates that ship: `python/service.py`."""
    return tuple(sorted(_walk(_SHIPPED, "")))


def template_source(name: str) -> str:
    """The text of a shipped template. Raises StepError `TemplateNotFound`."""
    if name not in template_names():
        raise StepError(
            "TemplateNotFound",
            f"there is no template {name!r}",
            data={"templates": list(template_names())},
            hint=f"there are {', '.join(template_names())}",
        )
    return _SHIPPED.joinpath(f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def rendered(source: str, values: Mapping[str, Any], of: str) -> str:
    """A template with its values, in Jinja's sandbox. Raises StepError `TemplateFailed`."""
    try:
        return _environment().from_string(source).render(values)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as exc:
        raise StepError("TemplateFailed", f"the template of {of}: {exc}") from exc


def shipped(name: str, values: Mapping[str, Any]) -> str:
    """A shipped template with its values. Raises StepError `TemplateNotFound`, `TemplateFailed`."""
    return rendered(template_source(name), values, repr(name))


@cache
def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        snake=names.snake,
        pascal=names.pascal,
        camel=names.camel,
        kebab=names.kebab,
        title_of=names.title,
        line=names.line,
    )
    return environment


def _walk(folder: Traversable, prefix: str) -> list[str]:
    found: list[str] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            found.append(f"{prefix}{entry.name.removesuffix(_SUFFIX)}")
    return found
