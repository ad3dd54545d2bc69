"""`code_linting`: reviews source files. Python by Ruff, JavaScript by Node's syntax check.

    {"files": "app/**/*.{py,js}"}
    {"files": ["src/components", "src/services"], "rules": ["F", "B"], "checkFormat": true}

gives `{"passed", "issues", "total", "counts", "fixable", "files", "skipped"}`. Issues are an
output: a step that finds some has done its work. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orch.agents.capability import capability
from orch.agents.code.issues import Issue, report
from orch.agents.code.javascript import check_syntax
from orch.agents.code.linter import Linter
from orch.agents.code.selection import JAVASCRIPT, PYTHON, select
from orch.agents.context import Context
from orch.agents.files import named_errors


@capability("code_linting")
def code_linting(
    files: str | list[str],
    rules: list[str] | None = None,
    ignore: list[str] | None = None,
    checkFormat: bool = False,  # the style of names that workflows use
    allowEmpty: bool = False,
    context: Context | None = None,
) -> dict[str, Any]:
    """Find what is wrong in source files.

    files         paths, directories, or patterns such as `src/**/*.{js,ts}`
    rules         codes of Ruff's rules, or their beginnings; none: what the project's own
                  configuration selects
    ignore        rules that are left out
    checkFormat   whether a file that Ruff would lay out otherwise is an issue
    allowEmpty    whether it is no error that there are no files

    Raises StepError: `NoFiles`, `FileNotFound`, `TooManyFiles`, `PathOutsideRoot`,
    `ToolMissing`, `ToolFailed`, and those of programs.
    """
    context = context or Context()
    chosen = select(files, PYTHON | JAVASCRIPT, allow_empty=allowEmpty)
    python, scripts = chosen.of(PYTHON), chosen.of(JAVASCRIPT)
    linter = Linter(context, chosen.base)
    issues = linter.check(python, rules or (), ignore or ()) if python else []
    if checkFormat:
        issues += _unformatted(linter, python)
    found, skipped = check_syntax(scripts, context, chosen.base)
    known = {*python, *scripts}
    skipped += [
        {"file": str(file), "reason": f"no linter is known for {file.suffix or 'such'} files"}
        for file in chosen.files
        if file not in known
    ]
    issues = sorted([*issues, *found], key=lambda issue: (issue.file, issue.line, issue.column))
    return {
        "passed": not issues,
        **report(issues),
        "files": len(chosen.files) - len(skipped),
        "skipped": [*skipped, *({"file": m, "reason": "not there"} for m in chosen.missing)],
    }


def _unformatted(linter: Linter, files: Sequence[Path]) -> list[Issue]:
    found = []
    for file in files:
        with named_errors("read", file):
            content = file.read_bytes()
        try:
            source = content.decode("utf-8")
        except UnicodeDecodeError:
            continue  # the linter said so already
        if linter.formatted(file, source) != source:
            message = "`ruff format` would lay this file out otherwise"
            issue = Issue(str(file), 0, 0, "format", message, "warning", fixable=True, tool="ruff")
            found.append(issue)
    return found
