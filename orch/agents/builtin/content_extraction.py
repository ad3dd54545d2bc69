"""`content_extraction`: takes a text apart: headings, links, tables, tasks, code, plain words.

    {"path": "notes/plan.md"}
    {"content": "<h1>Plan</h1>", "format": "html"}

gives `{"format", "title", "headings", "links", "tables", "tasks", "code", "text", "words",
"metadata", "data", "truncated"}`, of Markdown, HTML, CSV, JSON and plain text. Nothing is written.
"""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from orch.agents.capability import capability
from orch.agents.files import named_errors, resolve
from orch.agents.json_value import to_json_value
from orch.agents.reading.hypertext import read_html
from orch.agents.reading.markdown import Document, Link, read_markdown
from orch.errors import StepError

Format = Literal["markdown", "html", "csv", "json", "text"]
_FORMATS: dict[str, Format] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".csv": "csv",
    ".json": "json",
}
LARGEST = 16 << 20
_LINK = re.compile(r"https?://[^\s<>\"')\]]+")
_FRONT = re.compile(r"\ufeff?---\r?\n(.*?)^---[ \t]*\r?\n?", re.DOTALL | re.MULTILINE)
_PARTS = ("headings", "links", "tables", "tasks", "code")


@capability("content_extraction")
def content_extraction(
    path: str | None = None,
    content: str | None = None,
    format: Format | None = None,
    limit: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000,
    most: Annotated[int, Field(ge=1, le=10_000)] = 1000,
) -> dict[str, Any]:
    """Take the file `path`, or the text `content`, apart.

    format  else the one of the suffix, else `markdown` for `content` and `text` for a file
    limit   characters of `text`
    most    headings, links, rows of a table, … that are given

    Raises StepError: `InvalidInput`, `NotReadable`, `FileTooLarge`, and those of files.
    """
    if (path is None) == (content is None):
        raise StepError("InvalidInput", "give either a `path` or some `content`")
    if path is not None:
        file = resolve(path)
        content = _text(file)
        format = format or _FORMATS.get(file.suffix.lower(), "text")
    assert content is not None
    format = format or "markdown"
    document, title, more = _read(content, format)
    parts = {name: [_plain(each) for each in getattr(document, name)] for name in _PARTS}
    cut = len(document.text) > limit or any(len(each) > most for each in parts.values())
    cut = cut or any(len(table["rows"]) > most for table in parts["tables"])
    for table in parts["tables"]:
        table["rows"] = table["rows"][:most]
    return {
        "format": format,
        "title": title or next((h.text for h in document.headings if h.level == 1), None),
        **{name: each[:most] for name, each in parts.items()},
        "text": document.text[:limit],
        "words": len(document.text.split()),
        "metadata": {},
        "data": None,
        "truncated": cut,
        **more,
    }


def _text(file: Path) -> str:
    with named_errors("read", file), open(file, "rb") as source:
        content = source.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise StepError("FileTooLarge", f"{str(file)!r} has more than {LARGEST} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise StepError("NotReadable", f"{str(file)!r} is no text in UTF-8: {exc}") from None


def _plain(part: Any) -> Any:
    return part if isinstance(part, dict) else asdict(part)


def _read(content: str, format: Format) -> tuple[Document, str, dict[str, Any]]:
    """The parts, the title, and what only this format has."""
    if format == "markdown":
        front, body = _front(content)
        title = front.get("title")
        return read_markdown(body), str(title) if title else "", {"metadata": front}
    if format == "html":
        document, title = read_html(content)
        return document, title, {}
    if format == "csv":
        return _table(content), "", {}
    if format == "json":
        data = _json(content)
        return _of_text(json.dumps(data, ensure_ascii=False, indent=2)), "", {"data": data}
    return _of_text(content), "", {}


def _front(content: str) -> tuple[dict[str, Any], str]:
    """The YAML that stands before a page, and the page; what is no YAML belongs to the page."""
    head = _FRONT.match(content)
    if head is None:
        return {}, content
    try:
        front = yaml.safe_load(head[1])
        plain = to_json_value(front)
    except (yaml.YAMLError, StepError):
        return {}, content
    return (plain, content[head.end() :]) if isinstance(plain, dict) else ({}, content)


def _table(content: str) -> Document:
    try:
        rows = [row for row in csv.reader(io.StringIO(content, newline="")) if row]
    except csv.Error as exc:
        raise StepError("NotReadable", f"the text is no CSV: {exc}") from exc
    table = {"header": rows[0] if rows else [], "rows": rows[1:]}
    return Document(tables=[table], text="\n".join(" ".join(row) for row in rows))


def _json(content: str) -> Any:
    try:
        return to_json_value(json.loads(content))
    except (ValueError, RecursionError) as exc:
        raise StepError("NotReadable", f"the text is no JSON: {exc}") from exc


def _of_text(content: str) -> Document:
    links = [
        Link(match[0], match[0], content.count("\n", 0, match.start()) + 1)
        for match in _LINK.finditer(content)
    ]
    return Document(links=links, text=content)
