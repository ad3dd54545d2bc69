"""`page_operations`: Markdown pages in a directory.

    {"title": "Plan", "content": "...", "plan": {...}}              creates
    {"error": "$.error", "step": "fetch_data", "severity": "high"}  creates
    {"operation": "search", "query": "timeout"}

gives `{"id", "path", "url"}`. The directory is `ORCH_PAGES`, else `pages` below the current one.
A page has YAML front matter and a body, in which everything that was passed is shown; or it is
rendered by `<pages>/templates/<templateId>.md.j2`, a Jinja template that gets it all by name.
The id follows from the step, so a step that runs again writes the same page.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.files import named_errors, replace, resolve
from orch.agents.json_value import to_json_value
from orch.errors import StepError

DIRECTORY_VARIABLE = "ORCH_PAGES"
Operation = Literal["create", "read", "update", "append", "list", "search", "delete"]

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}")
_IN_FRONT = ("workflow", "execution", "step", "severity")
_LONG = 100


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

    Raises StepError: `PageNotFound`, `TemplateFailed`, `InvalidInput`, and those of files.
    """
    pages = _Pages(resolve(os.environ.get(DIRECTORY_VARIABLE) or "pages"))
    key = context.idempotency_key if context else uuid.uuid4().hex
    if operation == "list":
        return {"pages": pages.listing()}
    if operation == "search":
        return {"pages": pages.search(query)}
    if operation == "create":
        page = id or _page_id(context, key)
        return pages.create(page, title, content, templateId, details)
    if id is None:
        raise StepError("InvalidInput", f"`{operation}` needs the `id` of a page")
    if operation == "update":
        return pages.update(id, title, content, details)
    if operation == "append":
        return pages.append(id, content, details, key)
    return pages.read(id) if operation == "read" else pages.delete(id)


def _page_id(context: Context | None, key: str) -> str:
    """The same for every attempt of a step: a title may change between attempts."""
    step = re.sub(r"[^A-Za-z0-9_-]+", "-", context.step_id if context else "page").strip("-.")
    return f"{step[:80] or 'page'}-{_digest(key)}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:12]


class _Pages:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(
        self,
        id: str,
        title: str | None,
        content: str | None,
        template: str | None,
        details: dict[str, Any],
    ) -> dict[str, Any]:
        path = self._path(id)
        title = title or _title(details)
        body = self._templated(template, title, content, details)
        if body is None:
            body = _layout(title, content, details)
        front = {"id": id, "title": title, "created": self._created(path)}
        front |= {name: details[name] for name in _IN_FRONT if details.get(name) is not None}
        return self._write(id, front, body)

    def read(self, id: str) -> dict[str, Any]:
        front, body = self._load(id)
        found = {"title": front.get("title", id), "content": body, "properties": front}
        return {**self._address(id), **found}

    def update(
        self, id: str, title: str | None, content: str | None, details: dict[str, Any]
    ) -> dict[str, Any]:
        front, body = self._load(id)
        front["title"] = title or front.get("title", id)
        if content is not None or details:
            body = _layout(str(front["title"]), content, details)
        return self._write(id, front, body)

    def append(
        self, id: str, content: str | None, details: dict[str, Any], key: str
    ) -> dict[str, Any]:
        front, body = self._load(id)
        mark = f"<!-- {_digest(key)} -->"  # an attempt that runs again finds it
        if mark not in body:
            body = "\n".join([body.rstrip(), "", mark, *_sections(content, details), ""])
        return self._write(id, front, body)

    def listing(self) -> list[dict[str, Any]]:
        return [self._summary(path.stem) for path in self._files()]

    def search(self, query: str | None) -> list[dict[str, Any]]:
        if not query:
            raise StepError("InvalidInput", "`search` needs a `query`")
        wanted = query.casefold()
        with named_errors("search", self.directory):
            found = [
                path.stem
                for path in self._files()
                if wanted in path.read_text(encoding="utf-8", errors="replace").casefold()
            ]
        return [self._summary(id) for id in found]

    def delete(self, id: str) -> dict[str, Any]:
        path = self._path(id)
        existed = path.exists()
        with named_errors("delete", path):
            path.unlink(missing_ok=True)
        return {**self._address(id), "deleted": existed}

    def _files(self) -> list[Path]:
        return sorted(path for path in self.directory.glob("*.md") if _ID.fullmatch(path.stem))

    def _summary(self, id: str) -> dict[str, Any]:
        return {**self._address(id), "title": self._load(id)[0].get("title", id)}

    def _path(self, id: str) -> Path:
        if not _ID.fullmatch(id):
            raise StepError(
                "InvalidInput",
                f"{id!r} cannot be the id of a page",
                hint="an id is letters, digits, `_`, `.`, `-`",
            )
        return self.directory / f"{id}.md"

    def _address(self, id: str) -> dict[str, Any]:
        path = self._path(id)
        return {"id": id, "path": str(path), "url": path.as_uri()}

    def _created(self, path: Path) -> str:
        if path.exists():
            created = self._load(path.stem)[0].get("created")
            if created:
                return str(created)
        return datetime.now(UTC).isoformat(timespec="seconds")

    def _write(self, id: str, front: dict[str, Any], body: str) -> dict[str, Any]:
        head = yaml.safe_dump(to_json_value(front), sort_keys=False, allow_unicode=True)
        path = self._path(id)
        with named_errors("write", path):
            replace(path, f"---\n{head}---\n\n{body.strip()}\n".encode(errors="replace"))
        return self._address(id)

    def _load(self, id: str) -> tuple[dict[str, Any], str]:
        path = self._path(id)
        if not path.exists():
            raise StepError(
                "PageNotFound",
                f"there is no page {id!r} in {str(self.directory)!r}",
                hint="`list` and `search` give the ids",
            )
        with named_errors("read", path):
            text = path.read_text(encoding="utf-8", errors="replace")
        head = re.match(r"---\n(.*?)^---\n\n?", text, re.DOTALL | re.MULTILINE)
        try:
            front = yaml.safe_load(head[1]) if head else None
        except yaml.YAMLError:  # somebody edited it by hand
            front = None
        if head is None or not isinstance(front, dict):
            return {"id": id}, text
        return front, text[head.end() :]

    def _templated(
        self, name: str | None, title: str, content: str | None, details: dict[str, Any]
    ) -> str | None:
        """The page by its template; None where there is no such template."""
        if name is None:
            return None
        if not _ID.fullmatch(name):
            raise StepError("InvalidInput", f"{name!r} cannot be the name of a template")
        path = self.directory / "templates" / f"{name}.md.j2"
        if not path.exists():
            return None
        with named_errors("read", path):
            source = path.read_text(encoding="utf-8")
        values = {**details, "title": title, "content": content or "", "details": details}
        try:
            page = SandboxedEnvironment(undefined=StrictUndefined).from_string(source)
            return page.render(values)
        except TemplateError as exc:
            raise StepError("TemplateFailed", f"template {str(path)!r}: {exc}") from exc


# The default layout --------------------------------------------------------------------------


def _title(details: dict[str, Any]) -> str:
    if details.get("error") is not None:
        return f"Error in {details.get('step') or details.get('workflow') or 'a workflow'}"
    named = next((name for name, value in details.items() if value is not None), "page")
    return _words(named)


def _words(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_-]+", " ", name).strip()
    return spaced[:1].upper() + spaced[1:]


def _layout(title: str, content: str | None, details: dict[str, Any]) -> str:
    return "\n".join([f"# {' '.join(title.split())}", "", *_sections(content, details)])


def _sections(content: str | None, details: dict[str, Any]) -> list[str]:
    """The content; then what is short as a list, and what is long with a heading each."""
    short = {name: value for name, value in details.items() if _is_short(value)}
    lines = [content.strip(), ""] if content else []
    lines += [f"- **{_words(name)}**: {_inline(value)}" for name, value in short.items()]
    lines += [""] if short else []
    for name, value in details.items():
        if name not in short:
            lines += [f"## {_words(name)}", "", *_block(value), ""]
    return lines


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONG and "\n" not in value
    return not isinstance(value, dict | list)


def _inline(value: Any) -> str:
    return value if isinstance(value, str) else str(to_json_value(value))


def _block(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return _fenced(value.rstrip("\n"), "")
    plain = to_json_value(value)
    return _fenced(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip(), "yaml")


def _fenced(text: str, language: str) -> list[str]:
    """A code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", text, fence]
