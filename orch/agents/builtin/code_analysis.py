"""`code_analysis`: measures Python code, by Radon.

    {"path": "app", "maxComplexity": 10}

gives `{"summary", "files", "worst", "issues", ...}`: McCabe's cyclomatic complexity of each
function, the maintainability index of each file (0 to 100, by Radon's formula), and lines.
Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from orch.agents.capability import capability
from orch.agents.code.issues import Issue, report
from orch.agents.code.programs import need_module
from orch.agents.code.selection import directory, select
from orch.agents.context import Context
from orch.agents.files import named_errors, resolve

_SHOWN = 500
_SUMMED = ("loc", "lloc", "sloc", "comments", "blank")


@capability("code_analysis")
def code_analysis(
    path: str | None = None,
    files: str | list[str] | None = None,
    maxComplexity: Annotated[int, Field(ge=1)] = 10,  # the style of names that workflows use
    worst: Annotated[int, Field(ge=0, le=500)] = 20,
    context: Context | None = None,
) -> dict[str, Any]:
    """Measure the Python files of the directory `path`, or `files`.

    files          paths, directories, patterns; relative ones begin at `path`
    maxComplexity  above it a function is an issue
    worst          how many of the most complex functions are listed

    Raises StepError: `FileNotFound`, `NoFiles`, `TooManyFiles`, `PathOutsideRoot`, `ToolMissing`.
    """
    need_module("radon")
    context = context or Context()
    measured, functions, issues = [], [], []
    for file in _chosen(path, files):
        context.raise_if_cancelled()
        with named_errors("read", file):
            source = file.read_text(encoding="utf-8", errors="replace")
        try:
            blocks = list(_blocks(file, source))
            measured.append(_measured(file, source, blocks))
            functions += blocks
        except (SyntaxError, ValueError, RecursionError) as exc:
            issues.append(_unreadable(file, exc))
    functions.sort(key=lambda block: (-block["complexity"], block["file"], block["line"]))
    issues += [_issue(f, maxComplexity) for f in functions if f["complexity"] > maxComplexity]
    return {
        "summary": _summary(measured, functions),
        "files": measured[:_SHOWN],
        "worst": functions[:worst],
        **report(issues),
    }


def _chosen(path: str | None, files: str | list[str] | None) -> list[Path]:
    if files is None:
        given = path or "."
        chosen = select(given, {".py"}, allow_empty=resolve(given).is_dir())
        return chosen.of({".py"})
    base = None if path is None else directory(path)
    return select(files, {".py"}, base=base).of({".py"})


def _blocks(file: Path, source: str) -> Iterator[dict[str, Any]]:
    """The functions and methods of a source, those within others included."""
    from radon.complexity import cc_rank, cc_visit
    from radon.visitors import Class

    for block in cc_visit(source):
        if not isinstance(block, Class):  # its methods come by themselves
            yield {
                "file": str(file),
                "name": block.fullname,
                "line": block.lineno,
                "complexity": block.complexity,
                "rank": cc_rank(block.complexity),
            }


def _measured(file: Path, source: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    from radon.metrics import mi_rank, mi_visit
    from radon.raw import analyze

    lines = analyze(source)
    index = mi_visit(source, multi=True)
    complexities = [block["complexity"] for block in blocks]
    return {
        "file": str(file),
        "lines": {name: getattr(lines, name) for name in _SUMMED},
        "complexity": {"mean": _mean(complexities), "max": max(complexities, default=0)},
        "maintainability": {"index": round(index, 1), "rank": mi_rank(index)},
    }


def _summary(measured: list[dict[str, Any]], functions: list[dict[str, Any]]) -> dict[str, Any]:
    complexities = [block["complexity"] for block in functions]
    indexes = [file["maintainability"]["index"] for file in measured]
    return {
        "files": len(measured),
        "functions": len(functions),
        "lines": {name: sum(file["lines"][name] for file in measured) for name in _SUMMED},
        "complexity": {"mean": _mean(complexities), "max": max(complexities, default=0)},
        "maintainability": {"mean": _mean(indexes), "min": min(indexes, default=None)},
    }


def _mean(values: list[Any]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None


def _issue(block: dict[str, Any], most: int) -> Issue:
    message = f"{block['name']!r} has a complexity of {block['complexity']}, more than {most}"
    return Issue(block["file"], block["line"], 1, "complexity", message, "warning", tool="radon")


def _unreadable(file: Path, exc: Exception) -> Issue:
    line = getattr(exc, "lineno", None) or 0
    return Issue(str(file), line, 0, "syntax", f"it cannot be read: {exc}", "error", tool="radon")
