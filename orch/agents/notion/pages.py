"""Pages of Markdown in a directory, with front matter in YAML."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from orch.agents.files import named_errors, replace
from orch.agents.json_value import to_json_value
from orch.agents.notion.layout import layout, sections, title_of
from orch.agents.notion.templates import templated
from orch.errors import StepError

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}")
_IN_FRONT = ("workflow", "execution", "step", "severity")


def page_id(step: str, key: str) -> str:
    """The same for every attempt of a step: a title may change between attempts."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", step).strip("-.")
    return f"{name[:80] or 'page'}-{digest(key)}"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:12]


class Pages:
    """The pages of a directory: a file of Markdown each."""

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
        title = title or title_of(details)
        body = self._templated(template, title, content, details)
        if body is None:
            body = layout(title, content, details)
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
            body = layout(str(front["title"]), content, details)
        return self._write(id, front, body)

    def append(
        self, id: str, content: str | None, details: dict[str, Any], key: str
    ) -> dict[str, Any]:
        front, body = self._load(id)
        mark = f"<!-- {digest(key)} -->"  # an attempt that runs again finds it
        if mark not in body:
            body = "\n".join([body.rstrip(), "", mark, *sections(content, details), ""])
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
        return templated(self.directory, name, title, content, details)
