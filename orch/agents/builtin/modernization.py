"""`modernization`: rewrites Python code in the manner of a newer Python, by pyupgrade and Ruff.

    {"path": "app", "target": "3.11", "dryRun": true}

gives `{"target", "changed", "diff", "dryRun", "remaining", "skipped"}`: what `remaining` holds is
old, but no program can say that its replacement means the same.
"""

from __future__ import annotations

import re
import sys
import tempfile
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orch.agents.capability import capability
from orch.agents.code.changes import Changes
from orch.agents.code.issues import MOST_ISSUES, Issue
from orch.agents.code.linter import Linter
from orch.agents.code.mending import drop_unused, keep_layout, outcome
from orch.agents.code.programs import run_module
from orch.agents.code.selection import directory, select
from orch.agents.context import Context
from orch.errors import StepError

RULES = ("UP",)
_OLDEST, _NEWEST = 7, 14
_VERSION = re.compile(r"3\.(\d{1,2})(\.\d+)?")


@capability("modernization")
def modernization(
    path: str,
    files: str | list[str] | None = None,
    target: str | None = None,
    dryRun: bool = False,  # the style of names that workflows use
    context: Context | None = None,
) -> dict[str, Any]:
    """Modernize the Python files of the directory `path`.

    files   paths and patterns below it; none: all of it
    target  the oldest Python that the code must run on, `3.11`; none: that of `requires-python`
            in the project's `pyproject.toml`, else the worker's own
    dryRun  whether nothing is written

    Raises StepError: `InvalidInput`, `FileNotFound`, `WrongKind`, `NoFiles`, `PathOutsideRoot`,
    `ToolMissing`, `ToolFailed`, `Conflict`, and those of files and programs.
    """
    context = context or Context()
    top = directory(path)
    version = _minor(target) if target else _required(top)
    chosen = select(files or str(top), {".py"}, base=top, allow_empty=files is None)
    python = chosen.of({".py"})
    linter, changes = Linter(context, top, (3, version)), Changes(top)
    _upgrade(changes, python, version, context)
    old = linter.check(python, RULES) if python else []
    touched = {Path(issue.file) for issue in old if issue.fixable} | set(changes.changed)
    for file in sorted(touched):
        context.raise_if_cancelled()
        source = changes.read(file)
        if source is not None:
            changes.put(file, linter.fixed(file, source, RULES))
    drop_unused(changes, linter)
    keep_layout(changes, linter)
    left = _left(old, touched, changes, linter)
    told = {"target": f"3.{version}", "remaining": [asdict(i) for i in left[:MOST_ISSUES]]}
    return {**told, **outcome(changes, dryRun)}


def _left(old: list[Issue], touched: set[Path], changes: Changes, linter: Linter) -> list[Issue]:
    """What is old still, in files that were touched and in others."""
    left = [issue for issue in old if Path(issue.file) not in touched]
    for file in sorted(touched):
        left += linter.check_text(file, changes.read(file) or "", RULES)
    for issue in left:
        if issue.code == "syntax":
            changes.skip(Path(issue.file), f"it is no Python: {issue.message}")
    return [issue for issue in left if issue.code != "syntax"]


def _minor(target: str) -> int:
    match = _VERSION.fullmatch(target.strip())
    if match is None or int(match[1]) < _OLDEST:
        raise StepError(
            "InvalidInput",
            f"`target` is {target!r}, and must be a version of Python, from 3.{_OLDEST} on",
        )
    return min(int(match[1]), _NEWEST)


def _required(top: Path) -> int:
    """The lowest Python that the project says it runs on; else that of this worker."""
    try:
        project = tomllib.loads((top / "pyproject.toml").read_text(encoding="utf-8"))
        wanted = re.search(r"(?:>=|==|~=)\s*3\.(\d+)", project["project"]["requires-python"])
    except (OSError, KeyError, TypeError, ValueError):
        wanted = None
    return min(max(int(wanted[1]), _OLDEST), _NEWEST) if wanted else sys.version_info.minor


def _upgrade(changes: Changes, files: list[Path], version: int, context: Context) -> None:
    """pyupgrade on drafts: it writes over what it reads, and knows no dry run."""
    if not files:
        return
    with tempfile.TemporaryDirectory(prefix="orch-upgrade-") as folder:
        drafts: dict[Path, Path] = {}
        for number, file in enumerate(files):
            text = changes.read(file)
            if text is not None:
                drafts[file] = Path(folder, f"{number}.py")
                drafts[file].write_text(text, encoding="utf-8", newline="")
        options = [f"--py3{version}-plus", "--exit-zero-even-if-changed"]
        run_module("pyupgrade", [*options, *map(str, drafts.values())], context, cwd=Path(folder))
        for file, draft in drafts.items():
            changes.put(file, draft.read_bytes().decode("utf-8"))
