"""Where and why a text breaks."""

from __future__ import annotations

from typing import NoReturn

from orch.errors import LoadError
from orch.workflows.validation import MAX_DEPTH


def broken(source: str, text: str, line: int, column: int, reason: str, hint: str = "") -> NoReturn:
    """Raise a LoadError with the line and a caret below the column; both count from 1."""
    lines = text.splitlines()
    excerpt = ""
    if 1 <= line <= len(lines):
        start = max(0, column - 60)
        shown = lines[line - 1][start : start + 100].replace("\t", " ")
        margin = f"  {line} | "
        excerpt = f"\n{margin}{shown}\n{' ' * (len(margin) + column - 1 - start)}^"
    raise LoadError(
        f"{source}:{line}:{column}: {reason}{excerpt}",
        source=source,
        line=line,
        column=column,
        hint=hint,
    )


def position_of(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def too_deep(source: str) -> LoadError:
    return LoadError(f"{source} is nested deeper than {MAX_DEPTH} levels", source=source)
