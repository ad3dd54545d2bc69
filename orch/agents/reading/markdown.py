"""What stands in a Markdown text: headings, links, tables, tasks, and its plain words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orch.errors import StepError

if TYPE_CHECKING:
    from markdown_it.token import Token

_TASK = re.compile(r"\[([ xX])\]\s+(.*)", re.DOTALL)


@dataclass(frozen=True)
class Heading:
    """``level`` from 1; ``slug``: what links to it call it, as GitHub makes it; ``line`` from 1."""

    level: int
    text: str
    slug: str
    line: int


@dataclass(frozen=True)
class Link:
    """``image``: whether it shows what it leads to. ``line``: of its paragraph."""

    text: str
    target: str
    line: int
    image: bool = False


@dataclass
class Document:
    """The parts of a text, in their order.

    tables  a header and rows of texts each
    tasks   `[ ]` and `[x]` in lists
    code    blocks with their languages
    """

    headings: list[Heading] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    code: list[dict[str, str]] = field(default_factory=list)
    text: str = ""


def read_markdown(source: str) -> Document:
    """Take a text apart: CommonMark, with tables. Raises StepError `NotReadable`."""
    from markdown_it import MarkdownIt  # workers that read nothing do without it

    try:
        tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source)
    except RecursionError:
        raise StepError("NotReadable", "the Markdown is nested too deeply") from None
    return _Reader(tokens).document()


class _Reader:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._found = Document()
        self._slugs = Slugs()
        self._rows: list[list[str]] = []
        self._words: list[str] = []

    def document(self) -> Document:
        for number, token in enumerate(self._tokens):
            if token.type == "inline":
                self._inline(token, self._tokens[number - 1])
            elif token.type in ("fence", "code_block"):
                block = {"language": token.info.split(" ")[0], "content": token.content}
                self._found.code.append(block)
                self._words.append(token.content.rstrip("\n"))
            elif token.type == "table_open":
                self._rows = []
            elif token.type == "tr_open":
                self._rows.append([])
            elif token.type == "table_close":
                self._end_table()
        self._found.text = "\n".join(self._words)
        return self._found

    def _inline(self, token: Token, opened: Token) -> None:
        line = (token.map or opened.map or [0])[0] + 1
        words = _plain(token)
        self._links(token, line)
        if opened.type in ("th_open", "td_open"):
            self._rows[-1].append(words)
            return
        if opened.type == "heading_open":
            heading = Heading(int(opened.tag[1]), words, self._slugs.of(words), line)
            self._found.headings.append(heading)
        task = _TASK.match(words)
        if task and opened.type == "paragraph_open" and opened.level > 1:
            self._found.tasks.append({"text": task[2], "done": task[1] != " ", "line": line})
        self._words.append(words)

    def _links(self, token: Token, line: int) -> None:
        target, words = None, ""
        for child in token.children or ():
            if child.type == "link_open":
                target, words = str(child.attrGet("href") or ""), ""
            elif child.type == "link_close" and target is not None:
                self._found.links.append(Link(words, target, line))
                target = None
            elif child.type == "image":
                source = str(child.attrGet("src") or "")
                self._found.links.append(Link(child.content, source, line, image=True))
            elif target is not None:
                words += child.content

    def _end_table(self) -> None:
        header, rows = (self._rows or [[]])[0], self._rows[1:]
        self._found.tables.append({"header": header, "rows": rows})
        self._words += [" ".join(row) for row in self._rows]


class Slugs:
    """The names by which links call headings, as GitHub makes them: each one once."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def of(self, words: str) -> str:
        kept = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        count = self._seen.get(kept, 0)
        self._seen[kept] = count + 1
        return f"{kept}-{count}" if count else kept


def _plain(token: Token) -> str:
    parts = []
    for child in token.children or ():
        if child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type in ("text", "code_inline", "image", "text_special"):
            parts.append(child.content)
    return "".join(parts)
