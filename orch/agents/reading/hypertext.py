"""What stands in an HTML text, in the form in which Markdown is read."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from orch.agents.reading.markdown import Document, Heading, Link, Slugs

_UNSEEN = frozenset({"script", "style", "template", "noscript", "head"})
_BLOCKS = frozenset(
    ("p", "div", "li", "tr", "br", "section", "article", "header", "footer", "pre", "blockquote")
)
_CELLS = frozenset({"td", "th"})


def read_html(source: str) -> tuple[Document, str]:
    """The parts of a text, and its title. What is no HTML is text."""
    reader = _Reader()
    reader.feed(source)
    reader.close()
    return reader.finish()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._found = Document()
        self._slugs = Slugs()
        self._title: list[str] = []
        self._in_title = False
        self._unseen = 0
        self._words: list[str] = []
        self._heading: tuple[int, int, int] | None = None
        self._link: tuple[str, int, int] | None = None
        self._task: tuple[bool, int] | None = None
        self._code: int | None = None
        self._rows: list[list[str]] | None = None
        self._cell: int | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        line, here = self.getpos()[0], len(self._words)
        if tag in _UNSEEN:
            self._unseen += 1
        if tag == "title":
            self._in_title = True
        elif tag in _BLOCKS:
            self._words.append("\n")
        if len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self._words.append("\n")
            self._heading = (int(tag[1]), line, len(self._words))
        elif tag == "a" and "href" in given:
            self._link = (given["href"], line, here)
        elif tag == "img":
            link = Link(given.get("alt", ""), given.get("src", ""), line, image=True)
            self._found.links.append(link)
        elif tag == "input" and given.get("type") == "checkbox":
            self._task = ("checked" in given, here)
        elif tag == "pre":
            self._code = len(self._words)
        else:
            self._open_table(tag, here)

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        if tag == "title":
            self._in_title = False
        elif tag[:1] == "h" and tag[1:].isdigit() and self._heading:
            level, line, start = self._heading
            text = self._since(start)
            self._found.headings.append(Heading(level, text, self._slugs.of(text), line))
            self._heading = None
            self._words.append("\n")
        elif tag == "a" and self._link:
            target, line, start = self._link
            self._found.links.append(Link(self._since(start), target, line))
            self._link = None
        elif tag in ("li", "label", "p") and self._task:
            self._end_task()
        elif tag == "pre" and self._code is not None:
            content = "".join(self._words[self._code :]).strip("\n")
            self._found.code.append({"language": "", "content": content})
            self._code = None
        else:
            self._close_table(tag)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        if not self._unseen:
            self._words.append(data)

    def finish(self) -> tuple[Document, str]:
        if self._task:
            self._end_task()
        lines = (" ".join(line.split()) for line in "".join(self._words).splitlines())
        self._found.text = "\n".join(line for line in lines if line)
        return self._found, " ".join("".join(self._title).split())

    def _open_table(self, tag: str, here: int) -> None:
        if tag == "table":
            self._rows = []
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in _CELLS and self._rows:
            self._words.append(" ")
            self._cell = here

    def _close_table(self, tag: str) -> None:
        if tag in _CELLS and self._rows and self._cell is not None:
            self._rows[-1].append(self._since(self._cell))
            self._cell = None
        elif tag == "table" and self._rows is not None:
            rows = [row for row in self._rows if row]
            table: dict[str, Any] = {"header": rows[0] if rows else [], "rows": rows[1:]}
            self._found.tables.append(table)
            self._rows = None

    def _end_task(self) -> None:
        assert self._task is not None
        done, start = self._task
        line = self.getpos()[0]
        self._found.tasks.append({"text": self._since(start), "done": done, "line": line})
        self._task = None

    def _since(self, start: int) -> str:
        return " ".join("".join(self._words[start:]).split())
