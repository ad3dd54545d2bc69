"""`performance_optimization`: finds what Python code could do quicker or simpler.

    {"path": "app", "issues": "$.variables.issues", "dryRun": true}

gives `{"optimizations", "applied", "remaining", "changed", "diff", "dryRun", "skipped"}`. The rules
are Ruff's PERF, C4 and SIM; only fixes that keep the meaning are applied. A project without
Python files has nothing to optimize.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orch.agents.capability import capability
from orch.agents.code.changes import Changes
from orch.agents.code.issues import MOST_ISSUES, Issue
from orch.agents.code.linter import Linter
from orch.agents.code.mending import drop_unused, fix_rules, keep_layout, outcome
from orch.agents.code.repairs import codes_of
from orch.agents.code.selection import PYTHON, directory, select
from orch.agents.context import Context

RULES = ("PERF", "C4", "SIM")


@capability("performance_optimization")
def performance_optimization(
    path: str,
    files: str | list[str] | None = None,
    issues: list[dict[str, Any]] | None = None,
    rules: list[str] | None = None,
    dryRun: bool = False,  # the style of names that workflows use
    context: Context | None = None,
) -> dict[str, Any]:
    """Optimize the Python files of the directory `path`.

    files   paths and patterns below it; none: all of it
    issues  what `code_linting` found: what of it can be mended is mended as well
    rules   codes of Ruff's rules, or their beginnings; none: PERF, C4, SIM
    dryRun  whether nothing is written

    Raises StepError: `FileNotFound`, `WrongKind`, `NoFiles`, `PathOutsideRoot`, `ToolMissing`,
    `ToolFailed`, `Conflict`, and those of files and programs.
    """
    context = context or Context()
    top = directory(path)
    chosen = select(files or str(top), PYTHON, base=top, allow_empty=files is None)
    python = chosen.of(PYTHON)
    linter, changes = Linter(context, top), Changes(top)
    wanted = [*(rules or RULES), *codes_of(issues or [])]
    found = fix_rules(changes, linter, python, wanted, context)
    for issue in found:
        if issue.code == "syntax":
            changes.skip(Path(issue.file), f"it is no Python: {issue.message}")
    found = [issue for issue in found if issue.code != "syntax"]
    drop_unused(changes, linter)
    keep_layout(changes, linter)
    told = _told(found, _mended(found, wanted, changes, linter))
    return {
        "optimizations": told[:MOST_ISSUES],
        "applied": sum(entry["applied"] for entry in told),
        "remaining": sum(not entry["applied"] for entry in told),
        "rules": dict(Counter(issue.code for issue in found)),
        **outcome(changes, dryRun),
    }


def _mended(
    found: Sequence[Issue], rules: Sequence[str], changes: Changes, linter: Linter
) -> Counter[tuple[str, str]]:
    """How many issues of each file and rule are there no more."""
    mended: Counter[tuple[str, str]] = Counter()
    for file in changes.changed:
        left = Counter(i.code for i in linter.check_text(file, changes.read(file) or "", rules))
        before = Counter(issue.code for issue in found if issue.file == str(file))
        mended.update({(str(file), code): count for code, count in (before - left).items()})
    return mended


def _told(found: Sequence[Issue], mended: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    told = []
    for issue in found:
        applied = issue.fixable and mended[issue.file, issue.code] > 0
        mended[issue.file, issue.code] -= applied
        told.append({**asdict(issue), "applied": applied})
    return told
