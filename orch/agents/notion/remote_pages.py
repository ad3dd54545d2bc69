"""Pages in Notion, as those in a directory: by Markdown, which its API takes and gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from orch.agents.context import Context
from orch.agents.json_value import to_json_value
from orch.agents.notion.account import Account
from orch.agents.notion.layout import sections, title_of
from orch.agents.notion.ledger import Ledger
from orch.agents.notion.remote import calling, connect, gathered
from orch.agents.notion.remote_values import plain_text, rich_text, values_from_notion
from orch.agents.notion.templates import templated
from orch.errors import StepError

_PAGES_ONLY = {"property": "object", "value": "page"}


class RemotePages:
    """The pages that an integration of Notion sees.

    directory  where templates are, and the ledger of what steps made
    """

    def __init__(self, account: Account, directory: Path, context: Context) -> None:
        self._account = account
        self._directory = directory
        self._notion = connect(account, context)
        self._ledger = Ledger(directory)

    def create(
        self,
        id: str,
        title: str | None,
        content: str | None,
        template: str | None,
        details: dict[str, Any],
    ) -> dict[str, Any]:
        """`id` is what steps call the page; Notion gives it one of its own."""
        details = to_json_value(details)
        title = title or title_of(details)
        body = templated(self._directory, template, title, content, details)
        if body is None:
            body = "\n".join(sections(content, details))
        known = self._ledger.find(f"page/{id}")
        if known is not None:
            return self._replace(known, title, body)
        parent = self._account.parent
        if parent is None:
            raise StepError(
                "InvalidInput",
                "there is no page in Notion to put this one below",
                hint="set ORCH_NOTION_PARENT to the id of a page that the integration may change",
            )
        with calling("make the page"):
            page = self._notion.pages.create(
                parent={"type": "page_id", "page_id": parent},
                properties={"title": {"title": rich_text(title)}},
                markdown=_without_title(body, title),
            )
        self._ledger.keep(f"page/{id}", page["id"])
        return _address(page)

    def read(self, id: str) -> dict[str, Any]:
        known = self._known(id)
        with calling("read the page"):
            page = self._notion.pages.retrieve(known)
            text = self._notion.pages.retrieve_markdown(known)
        _check_there(page, id)
        properties = values_from_notion(page.get("properties") or {})
        found = {"title": _title(page), "content": text.get("markdown", "")}
        return {**_address(page), **found, "properties": properties}

    def update(
        self, id: str, title: str | None, content: str | None, details: dict[str, Any]
    ) -> dict[str, Any]:
        given = content is not None or details
        body = "\n".join(sections(content, to_json_value(details))) if given else None
        return self._replace(self._known(id), title, body)

    def append(
        self, id: str, content: str | None, details: dict[str, Any], key: str
    ) -> dict[str, Any]:
        known = self._known(id)
        with calling("add to the page"):
            page = self._notion.pages.retrieve(known)
        _check_there(page, id)
        if self._ledger.find(f"append/{key}") is None:
            body = "\n".join(sections(content, to_json_value(details)))
            with calling("add to the page"):
                self._notion.pages.update_markdown(
                    known, type="insert_content", insert_content={"content": body}
                )
            self._ledger.keep(f"append/{key}", known)
        return _address(page)

    def listing(self) -> list[dict[str, Any]]:
        return self._search({})

    def search(self, query: str | None) -> list[dict[str, Any]]:
        if not query:
            raise StepError("InvalidInput", "`search` needs a `query`")
        return self._search({"query": query})

    def delete(self, id: str) -> dict[str, Any]:
        known = self._known(id)
        with calling("delete the page"):
            page = self._notion.pages.retrieve(known)
            existed = not page.get("in_trash")
            if existed:
                self._notion.pages.update(known, in_trash=True)
        self._ledger.forget(known)
        return {**_address(page), "deleted": existed}

    def _search(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        with calling("search"):
            found, _ = gathered(self._notion.search, filter=_PAGES_ONLY, **given)
        return [{**_address(page), "title": _title(page)} for page in found]

    def _known(self, id: str) -> str:
        return self._ledger.find(f"page/{id}") or id

    def _replace(self, known: str, title: str | None, body: str | None) -> dict[str, Any]:
        with calling("change the page"):
            if title is None:
                page = self._notion.pages.retrieve(known)
            else:
                properties = {"title": {"title": rich_text(title)}}
                page = self._notion.pages.update(known, properties=properties)
            if body is not None:
                self._notion.pages.update_markdown(
                    known,
                    type="replace_content",
                    replace_content={"new_str": _without_title(body, title or _title(page))},
                )
        return _address(page)


def _address(page: dict[str, Any]) -> dict[str, Any]:
    return {"id": page["id"], "path": None, "url": page.get("url")}


def _title(page: dict[str, Any]) -> str:
    for each in (page.get("properties") or {}).values():
        if each.get("type") == "title":
            return plain_text(each.get("title"))
    return ""


def _check_there(page: dict[str, Any], id: str) -> None:
    if page.get("in_trash"):
        raise StepError("PageNotFound", f"the page {id!r} is in Notion's trash")


def _without_title(body: str, title: str) -> str:
    """Notion shows the title above the page: a heading that says it again is left out."""
    return re.sub(rf"\A\s*# +{re.escape(title)}[ \t]*(?:\n|\Z)", "", body).strip()
