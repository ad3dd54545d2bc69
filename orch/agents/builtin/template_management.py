"""`template_management`: the templates by which `page_operations` lays pages out.

    {"operation": "create", "templateId": "plan", "content": "# {{ title }}\\n{{ plan.goal }}"}
    {"operation": "render", "templateId": "plan", "values": {"title": "A", "plan": {"goal": "B"}}}
    {}

gives `{"templateId", "path", "variables", ...}`; without an operation, the list. They are files
`<pages>/templates/<templateId>.md.j2`, in Jinja, and run in its sandbox. Every operation may run
again without harm.
"""

from __future__ import annotations

from typing import Any, Literal

from orch.agents.capability import capability
from orch.agents.notion.place import pages_directory
from orch.agents.notion.templates import Templates
from orch.errors import StepError

Operation = Literal["list", "create", "update", "read", "render", "delete"]


@capability("template_management")
def template_management(
    operation: Operation = "list",
    templateId: str | None = None,  # the name that workflows use
    content: str | None = None,
    values: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Do one thing with the templates of pages.

    content  the template; of `create`, which refuses to change another one, and of `update`
    values   what `render` puts into it

    Raises StepError: `TemplateNotFound`, `TemplateFailed`, `Conflict`, `InvalidInput`, and those
    of files.
    """
    templates = Templates(pages_directory())
    if operation == "list":
        return {"templates": [_summary(templates, name) for name in templates.names()]}
    if templateId is None:
        raise StepError("InvalidInput", f"`{operation}` needs a `templateId`")
    if operation == "delete":
        return {"templateId": templateId, "deleted": templates.delete(templateId)}
    if operation == "read":
        return {**_told(templates, templateId), "content": templates.source(templateId)}
    if operation == "render":
        rendered = templates.render(templateId, values or {})
        return {"templateId": templateId, "content": rendered}
    return _write(templates, operation, templateId, content)


def _write(
    templates: Templates, operation: Operation, name: str, content: str | None
) -> dict[str, Any]:
    if content is None:
        raise StepError("InvalidInput", f"`{operation}` needs the `content` of the template")
    before = templates.source(name) if templates.exists(name) else None
    if operation == "update" and before is None:
        templates.source(name)  # says that there is none
    if operation == "create" and before not in (None, content):
        raise StepError(
            "Conflict", f"there is another template {name!r}", hint="`update` changes it"
        )
    templates.write(name, content)
    return {**_told(templates, name), "changed": before != content}


def _told(templates: Templates, name: str) -> dict[str, Any]:
    path = templates.path(name)
    variables = templates.variables(name, templates.source(name))
    return {"templateId": name, "path": str(path), "variables": variables}


def _summary(templates: Templates, name: str) -> dict[str, Any]:
    """A template that somebody broke by hand is listed, too."""
    try:
        return _told(templates, name)
    except StepError as exc:
        return {"templateId": name, "path": str(templates.path(name)), "error": exc.message}
