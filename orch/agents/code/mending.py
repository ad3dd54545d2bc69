"""Applies the safe fixes of rules to files, and keeps the layout of those that had one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orch.agents.code.changes import Changes
from orch.agents.code.issues import Issue
from orch.agents.code.linter import Linter
from orch.agents.context import Context

_UNUSED = ("F401",)


def fix_rules(
    changes: Changes, linter: Linter, files: Sequence[Path], rules: Sequence[str], context: Context
) -> list[Issue]:
    """Apply the safe fixes of `rules` to those files that need one; all that they found before,
    mended or not."""
    found = linter.check(files, rules) if files else []
    for file in sorted({Path(issue.file) for issue in found if issue.fixable}):
        context.raise_if_cancelled()
        source = changes.read(file)
        if source is not None:
            changes.put(file, linter.fixed(file, source, rules))
    return found


def drop_unused(changes: Changes, linter: Linter) -> None:
    """Take out imports that a change left without use, where each one was used before."""
    for file in changes.changed:
        before, after = changes.before(file), changes.read(file) or ""
        if linter.check_text(file, after, _UNUSED) and not linter.check_text(file, before, _UNUSED):
            changes.put(file, linter.fixed(file, after, _UNUSED))


def keep_layout(changes: Changes, linter: Linter) -> None:
    """Lay out again those changed files that had Ruff's layout before."""
    for file in changes.changed:
        before = changes.before(file)
        if linter.formatted(file, before) == before:
            changes.put(file, linter.formatted(file, changes.read(file) or ""))


def outcome(changes: Changes, dry_run: bool) -> dict[str, Any]:
    """Write the changes, unless it is a dry run, and tell of them."""
    if not dry_run:
        changes.write()
    return {
        "changed": [str(file) for file in changes.changed],
        "diff": changes.diff(),
        "dryRun": dry_run,
        "skipped": changes.skipped,
    }
