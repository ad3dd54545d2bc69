"""`page_operations`: Markdown pages in a directory, or in Notion where the worker has a token.

    {"title": "Plan", "content": "...", "plan": {...}}              creates
    {"error": "$.error", "step": "fetch_data", "severity": "high"}  creates
    {"operation": "search", "query": "timeout"}

gives `{"id", "path", "url"}`. The directory is `ORCH_PAGES`, else `pages` below the current one.
A page has YAML front matter and a body, in which everything that was passed is shown; or it is
rendered by `<pages>/templates/<templateId>.md.j2`, a Jinja template that gets it all by name.
The id follows from the step, so a step that runs again writes the same page.
"""

from __future__ import annotations

import uuid
from typing import Any, Literal

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.notion.account import account
from orch.agents.notion.pages import Pages, page_id
from orch.agents.notion.place import pages_directory
from orch.agents.notion.remote_pages import RemotePages
from orch.errors import StepError

Operation = Literal["create", "read", "update", "append", "list", "search", "delete"]


@capability("page_operations")
def page_operations(
    operation: Operation = "create",
    id: str | None = None,
    title: str | None = None,
    content: str | None = None,
    templateId: str | None = None,  # the name that workflows use
    query: str | None = None,
    context: Context | None = None,
    **details: Any,
) -> dict[str, Any]:
    """Create, change or find a page.

    id       of an existing page; for `create`, of the new one
    details  whatever else is passed is shown on the page

    Raises StepError: `PageNotFound`, `TemplateFailed`, `InvalidInput`, those of files, and
    `NotionRefused`, `NotionUnavailable`, `RateLimited`.
    """
    pages = _pages(context or Context())
    key = context.idempotency_key if context else uuid.uuid4().hex
    if operation == "list":
        return {"pages": pages.listing()}
    if operation == "search":
        return {"pages": pages.search(query)}
    if operation == "create":
        page = id or page_id(context.step_id if context else "page", key)
        return pages.create(page, title, content, templateId, details)
    if id is None:
        raise StepError("InvalidInput", f"`{operation}` needs the `id` of a page")
    if operation == "update":
        return pages.update(id, title, content, details)
    if operation == "append":
        return pages.append(id, content, details, key)
    return pages.read(id) if operation == "read" else pages.delete(id)


def _pages(context: Context) -> Pages | RemotePages:
    named = account()
    if named is None:
        return Pages(pages_directory())
    return RemotePages(named, pages_directory(), context)
