"""`security_scanning`: looks for what is dangerous in source files, by Bandit and by patterns.

    {"path": "app", "severity": "medium"}

gives `{"passed", "issues", "total", "counts", "files", "skipped"}`. Secrets that it finds are never
repeated, only their beginnings are. Nothing is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from orch.agents.capability import capability
from orch.agents.code.issues import Issue, Severity, report
from orch.agents.code.programs import failed, run_module
from orch.agents.code.secrets import find_secrets, masked
from orch.agents.code.selection import PYTHON, Selection, directory, select, walk
from orch.agents.code.testing import is_test
from orch.agents.context import Context
from orch.agents.files import named_errors, resolve

Level = Literal["low", "medium", "high"]
_LEVELS = ("low", "medium", "high")
_SEVERITIES: dict[str, Severity] = {"LOW": "info", "MEDIUM": "warning", "HIGH": "error"}
_ONLY_IN_TESTS = frozenset({"B101"})
"""An assert is what tests are made of; elsewhere `python -O` takes it away."""
_NAMES_SECRETS = frozenset({"B105", "B106", "B107"})
_LARGEST = 1 << 20
_AT_ONCE = 500


@capability("security_scanning")
def security_scanning(
    path: str | None = None,
    files: str | list[str] | None = None,
    severity: Level = "low",
    confidence: Level = "low",
    secrets: bool = True,
    context: Context | None = None,
) -> dict[str, Any]:
    """Find what is dangerous in the directory `path`, or in `files`.

    files       paths, directories, patterns; relative ones begin at `path`
    severity    the least that counts, by Bandit's measure
    confidence  likewise
    secrets     whether files of any kind are searched for keys and tokens

    Raises StepError: `FileNotFound`, `NoFiles`, `InvalidInput`, `ToolMissing`, `ToolFailed`, and
    those of files and programs.
    """
    context = context or Context()
    chosen = _chosen(path, files)
    found, unread = _bandit(chosen, chosen.of({".py"}), severity, confidence, context)
    if secrets:
        exposed, large = _secrets(chosen.files, context)
        found += exposed
        unread += large
    issues = sorted(found, key=lambda issue: (issue.file, issue.line, issue.column))
    serious = any(issue.severity != "info" for issue in issues)
    shown = {"files": len(chosen.files) - len(unread), "skipped": unread}
    return {"passed": not serious, **report(issues), **shown}


def _chosen(path: str | None, files: str | list[str] | None) -> Selection:
    if path is None and files is None:
        return _all_of(resolve("."))
    if files is None:
        assert path is not None
        place = resolve(path)
        return select(path, PYTHON) if place.is_file() else _all_of(directory(path))
    return select(files, PYTHON, base=None if path is None else directory(path))


def _all_of(top: Path) -> Selection:
    return Selection(top, tuple(walk(top)), ())


def _bandit(
    chosen: Selection, files: Sequence[Path], severity: Level, confidence: Level, context: Context
) -> tuple[list[Issue], list[dict[str, str]]]:
    found: list[Issue] = []
    unread: list[dict[str, str]] = []
    for start in range(0, len(files), _AT_ONCE):
        part = [str(file) for file in files[start : start + _AT_ONCE]]
        options = ["--format=json", "--quiet", "--exit-zero"]
        options += [f"--severity-level={severity}", f"--confidence-level={confidence}"]
        finished = run_module("bandit", [*options, "--", *part], context, cwd=chosen.base)
        if finished.exit_code != 0:
            raise failed("bandit", finished)
        said = json.loads(finished.stdout)
        found += [issue for entry in said["results"] if (issue := _issue(entry)) is not None]
        unread += [{"file": e["filename"], "reason": e["reason"]} for e in said["errors"]]
    return found, unread


def _issue(entry: dict[str, Any]) -> Issue | None:
    code = entry["test_id"]
    file = Path(entry["filename"])
    if code in _ONLY_IN_TESTS and is_test(file):
        return None
    message = entry["issue_text"]
    severity = _SEVERITIES.get(entry["issue_severity"], "info")
    if code in _NAMES_SECRETS:
        severity = "warning"
        message = re.sub(r"'(.*)'", lambda quoted: repr(masked(quoted[1])), message, flags=re.S)
    return Issue(
        str(file),
        entry["line_number"],
        entry.get("col_offset", 0) + 1,
        code,
        message,
        severity,
        tool="bandit",
    )


def _secrets(files: Sequence[Path], context: Context) -> tuple[list[Issue], list[dict[str, str]]]:
    """Secrets, and the files that are too large to have been written by somebody."""
    found: list[Issue] = []
    large: list[dict[str, str]] = []
    for file in files:
        context.raise_if_cancelled()
        with named_errors("read", file):
            if file.stat().st_size > _LARGEST:
                large.append({"file": str(file), "reason": f"it has more than {_LARGEST} bytes"})
                continue
            content = file.read_bytes()
        if b"\0" in content[:8192]:
            continue  # no text
        for line, column, kind, shown in find_secrets(content.decode(errors="replace")):
            message = f"this looks like a secret: {kind} {shown!r}"
            found.append(Issue(str(file), line, column, "secret", message, "error"))
    return found, large
