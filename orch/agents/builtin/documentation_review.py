"""`documentation_review`: what the documentation of a project lacks.

    {"path": "app", "minimum": 80}

gives `{"passed", "score", "issues", "readme", "coverage", "brokenLinks"}`: whether there is a
README with what a reader looks for, how many public names have docstrings, and which relative
links of Markdown files lead nowhere. Nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import Field

from orch.agents.capability import capability
from orch.agents.code.docstrings import Documented, python_names, script_names
from orch.agents.code.issues import Issue, report
from orch.agents.code.selection import JAVASCRIPT, directory, walk
from orch.agents.code.testing import is_test
from orch.agents.context import Context
from orch.agents.files import named_errors
from orch.agents.reading.markdown import Document, read_markdown

SECTIONS = {
    "how to install it": r"install|set ?up|getting started|requirements|quick ?start",
    "how to use it": r"usage|\buse\b|using|example|quick ?start|run|commands",
    "how to test it": r"test|develop|contribut",
}
"""What a README is looked through for, and the words in headings that show it is there."""
_SHORT = 80
_READMES = re.compile(r"readme(\.(md|markdown|rst|txt))?", re.IGNORECASE)
_MARKDOWN = frozenset({".md", ".markdown"})


@capability("documentation_review")
def documentation_review(
    path: str,
    minimum: Annotated[float, Field(ge=0, le=100)] = 80,
    context: Context | None = None,
) -> dict[str, Any]:
    """Review the documentation of the project in the directory `path`.

    minimum  the coverage by docstrings, in percent, below which the review is not passed

    Raises StepError: `FileNotFound`, `WrongKind`, `PathOutsideRoot`, and those of files.
    """
    context = context or Context()
    top = directory(path)
    files = list(walk(top))
    readme, issues = _readme(top)
    names, unread = _names(files, context)
    issues += [*unread, *(_undocumented(file, name) for file, name in names if not name.documented)]
    broken = list(_broken_links(top, files, context))
    issues += broken
    said = sum(name.documented for _, name in names)
    percent = round(100 * said / len(names), 1) if names else None
    found = report(issues)
    return {
        "passed": not found["counts"]["error"] and (percent is None or percent >= minimum),
        "score": _score(percent, issues),
        **found,
        "readme": str(readme) if readme else None,
        "coverage": {"documented": said, "total": len(names), "percent": percent},
        "brokenLinks": [{"file": issue.file, "message": issue.message} for issue in broken],
    }


def _score(percent: float | None, issues: list[Issue]) -> int:
    """From 0 to 100: the coverage, less 25 for each error and 5 for each other fault found in
    the README and in links."""
    counted = [issue for issue in issues if issue.code not in ("undocumented",)]
    errors = sum(issue.severity == "error" for issue in counted)
    lost = 25 * errors + 5 * (len(counted) - errors)
    return max(0, round((100 if percent is None else percent) - lost))


def _text(file: Path) -> str:
    with named_errors("read", file):
        return file.read_text(encoding="utf-8", errors="replace")


# README --------------------------------------------------------------------------------------


def _readme(top: Path) -> tuple[Path | None, list[Issue]]:
    found = sorted(file for file in top.iterdir() if _READMES.fullmatch(file.name))
    readme = next((file for file in found if file.suffix.lower() in _MARKDOWN), None)
    readme = readme or next(iter(found), None)
    if readme is None:
        return None, [_issue(top, 0, "readme", "there is no README", "error")]
    source = _text(readme)
    if readme.suffix.lower() not in _MARKDOWN:
        short = len(source.strip()) < _SHORT
        return readme, [_issue(readme, 0, "readme", "it says next to nothing")] if short else []
    return readme, list(_lacking(readme, read_markdown(source)))


def _lacking(readme: Path, document: Document) -> Iterator[Issue]:
    if not any(heading.level == 1 for heading in document.headings):
        yield _issue(readme, 1, "readme", "it has no title: a heading of the first level")
    if len(document.text) < _SHORT:
        yield _issue(readme, 0, "readme", "it says next to nothing")
    headings = "\n".join(heading.text.lower() for heading in document.headings)
    for wanted, words in SECTIONS.items():
        if not re.search(words, headings):
            yield _issue(readme, 0, "readme", f"no heading says {wanted}")


def _issue(file: Path, line: int, code: str, message: str, severity: Any = "warning") -> Issue:
    return Issue(str(file), line, 1 if line else 0, code, message, severity)


# Docstrings ----------------------------------------------------------------------------------


def _names(
    files: list[Path], context: Context
) -> tuple[list[tuple[Path, Documented]], list[Issue]]:
    """The names that should be documented; and the files that cannot be read."""
    names: list[tuple[Path, Documented]] = []
    unread: list[Issue] = []
    for file in files:
        if is_test(file) or file.name == "conftest.py":
            continue
        context.raise_if_cancelled()
        try:
            names += [(file, name) for name in _names_of(file)]
        except (SyntaxError, ValueError, RecursionError) as exc:
            line = getattr(exc, "lineno", None) or 0
            unread.append(_issue(file, line, "syntax", f"it cannot be read: {exc}", "error"))
    return names, unread


def _names_of(file: Path) -> list[Documented]:
    if file.suffix == ".py":
        return python_names(_text(file))
    return script_names(_text(file)) if file.suffix in JAVASCRIPT else []


def _undocumented(file: Path, name: Documented) -> Issue:
    kind = "" if name.kind == "module" else f"the {name.kind} "
    shown = name.name if name.kind == "module" else repr(name.name)
    return _issue(file, name.line, "undocumented", f"{kind}{shown} has no docstring")


# Links ---------------------------------------------------------------------------------------


def _broken_links(top: Path, files: list[Path], context: Context) -> Iterator[Issue]:
    slugs: dict[Path, set[str]] = {}
    for file in files:
        if file.suffix.lower() not in _MARKDOWN:
            continue
        context.raise_if_cancelled()
        for link in read_markdown(_text(file)).links:
            reason = _leads_nowhere(top, file, link.target, slugs)
            if reason:
                message = f"the link {link.target!r} leads nowhere: {reason}"
                yield _issue(file, link.line, "broken-link", message, "error")


def _leads_nowhere(top: Path, file: Path, target: str, slugs: dict[Path, set[str]]) -> str:
    """Why a relative link is broken; empty where it is not, or leads elsewhere."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return "it is no URL"
    if parts.scheme or parts.netloc:
        return ""
    place = unquote(parts.path)
    start = top if place.startswith("/") else file.parent
    there = (start / place.lstrip("/")).resolve() if place else file.resolve()
    if not there.is_relative_to(top.resolve()):
        return ""  # of what lies outside nothing is told, not even whether it is there
    if not there.exists():
        return f"there is no {place!r}"
    if parts.fragment and there.suffix.lower() in _MARKDOWN and there.is_file():
        if there not in slugs:
            headings = read_markdown(_text(there)).headings
            slugs[there] = {heading.slug for heading in headings}
        if unquote(parts.fragment).lower() not in slugs[there]:
            return f"there is no heading {parts.fragment!r}"
    return ""
