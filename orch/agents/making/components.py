"""Components: files that are made of templates, and the parts that plans are made of.

A component is a name, or an object with a `name` and

    file        where it goes, relative to the directory; without it, `name` says so
    content     the text itself, or
    template    a Jinja template; the object's keys are its variables, or
    templateId  a template that ships: `python/service.py`

Without one of the three it is a stub.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from orch.agents.context import Context
from orch.agents.making.layout import Layout
from orch.agents.making.names import camel, kebab, pascal, snake, title
from orch.agents.making.templates import rendered, shipped
from orch.agents.making.writing import laid_out
from orch.errors import StepError

Kind = Literal["service", "view", "text", "validation"]

_COMMENTS = {".py": "# {}", ".sh": "# {}", ".yaml": "# {}", ".yml": "# {}", ".rb": "# {}"}
_COMMENTS |= {".html": "<!-- {} -->", ".md": "<!-- {} -->", ".css": "/* {} */"}


def contents(
    components: Iterable[str | Mapping[str, Any]], suffix: str, context: Context
) -> dict[str, str]:
    """The texts of components by their paths; Python of shipped templates in Ruff's layout.

    Raises StepError `InvalidInput`, `TemplateFailed`, `TemplateNotFound`.
    """
    made = [_content(component, suffix) for component in components]
    ours = {file: text for file, text, is_ours in made if is_ours}
    return {file: text for file, text, _ in made} | laid_out(ours, context)


def _content(component: str | Mapping[str, Any], suffix: str) -> tuple[str, str, bool]:
    """The path, the text, and whether the text is of a template that ships."""
    values = {"name": component} if isinstance(component, str) else component
    name = values.get("name")
    if not isinstance(name, str) or not name.strip():
        raise StepError("InvalidInput", f"a component needs a `name`; found {component!r}")
    file = _file(values, name, suffix)
    if isinstance(values.get("content"), str):
        return file, values["content"], False
    if isinstance(values.get("template"), str):
        return file, rendered(values["template"], values, f"component {name!r}"), False
    if isinstance(values.get("templateId"), str):
        return file, shipped(values["templateId"], {**derived(values), **values}), True
    comment = _COMMENTS.get(f".{file.rpartition('.')[2]}", "// {}")
    return file, comment.format(f"{name}: a stub; no template was given") + "\n", False


def _file(values: Mapping[str, Any], name: str, suffix: str) -> str:
    file = values.get("file")
    if isinstance(file, str) and file:
        return file
    return name if "." in name.rpartition("/")[2].lstrip(".") else f"{name}{suffix}"


def derived(values: Mapping[str, Any]) -> dict[str, str]:
    """What templates that ship want to know besides: names that follow from the title."""
    whole = values.get("title")
    whole = title(whole if isinstance(whole, str) and whole else str(values["name"]))
    javascript = values.get("language") == "javascript"
    return {
        "title": whole,
        "type_name": _type_name(whole),
        "function_name": camel(f"render {whole}") if javascript else snake(f"render {whole}"),
        "css_name": kebab(whole),
    }


def part(kind: Kind, subject: str, layout: Layout, folder: str = "") -> dict[str, Any]:
    """A component of a project: its module."""
    whole = title(subject)
    stem = _stem(kind, whole, layout)
    found = {
        "name": stem,
        "file": layout.file(stem, folder),
        "language": layout.language,
        "templateId": f"{layout.language}/{kind}{_suffix(layout)}",
        "title": whole,
        "kind": kind,
    }
    return {**found, "exports": _exports(kind, derived(found))}


def check_of(made: Mapping[str, Any], layout: Layout, folder: str = "") -> dict[str, Any]:
    """The component that is the test of such a part; its name is that of a file in `tests`."""
    stem, kind = made["name"], made["kind"]
    infix = "_test.py" if layout.language == "python" else ".test.js"
    return {
        "name": layout.test(stem),
        "language": layout.language,
        "templateId": f"{layout.language}/{kind}{infix}",
        "title": made["title"],
        "module": layout.module(stem, folder),
    }


def _stem(kind: Kind, whole: str, layout: Layout) -> str:
    ends_so = whole.lower().split()[-1] == kind
    named = whole if ends_so or kind in ("text", "validation") else f"{whole} {kind}"
    return snake(named) if layout.language == "python" else camel(named)


def _suffix(layout: Layout) -> str:
    return ".py" if layout.language == "python" else ".js"


def _type_name(whole: str) -> str:
    name = pascal(whole)
    return name if name.endswith("Service") else f"{name}Service"


def _exports(kind: Kind, names: Mapping[str, str]) -> list[str]:
    match kind:
        case "service":
            return [names["type_name"]]
        case "view":
            return ["TITLE", names["function_name"]]
        case "text":
            return ["slug", "shorten"]
        case "validation":
            return ["faults", "require"]
