"""What a review or a run of tests found, as work: what a rule can mend is mended."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orch.agents.code.changes import Changes
from orch.agents.code.codemods import Unreadable, add_docstrings, add_imports, module_title
from orch.agents.code.linter import Linter
from orch.agents.code.mending import drop_unused, keep_layout
from orch.agents.context import Context

_RULE = re.compile(r"[A-Z]{1,4}\d{2,4}")
_UNDEFINED = re.compile(r"NameError: name '(\w+)' is not defined")
_PLACE = re.compile(r"^(?P<file>[^\s:][^:\n]*\.py):(?P<line>\d+):", re.MULTILINE)


class Mender:
    """Mends what reviews and tests found, where a rule says how."""

    def __init__(self, changes: Changes, files: Sequence[Path], context: Context) -> None:
        self._changes = changes
        self._files = {str(file): file for file in files}
        self._context = context
        self._linter = Linter(context, changes.base)

    def mend_issues(self, issues: Sequence[dict[str, Any]]) -> tuple[int, list[dict[str, Any]]]:
        """How many issues are mended, and those that are not."""
        rules = codes_of(issues)
        remaining = [issue for issue in issues if not self._can(issue)]
        for place in files_of(issues):
            file = self._files.get(place)
            if file is None:
                continue
            self._context.raise_if_cancelled()
            own = {str(issue.get("code")) for issue in issues if issue.get("file") == place}
            self._mend(file, [rule for rule in rules if rule in own], own)
            remaining += self._left(file, [rule for rule in rules if rule in own])
        return max(0, len(issues) - len(remaining)), remaining

    def mend_failures(self, results: dict[str, Any]) -> list[str]:
        """The names of the tests for which nothing was done."""
        missed = missing_imports(results, list(self._files.values()))
        done: set[str] = set()
        for file, found in missed.items():
            text = self._changes.read(file)
            if text is None:
                continue
            try:
                text = add_imports(text, found)
            except Unreadable as exc:
                self._changes.skip(file, str(exc))
                continue
            self._changes.put(file, self._linter.fixed(file, text, ["I001"]))
            done |= found
        return [
            str(failure.get("name"))
            for failure in results.get("failures") or ()
            if not any(f"name '{module}' is not defined" in str(failure) for module in done)
        ]

    def finish(self) -> None:
        drop_unused(self._changes, self._linter)
        keep_layout(self._changes, self._linter)

    def _can(self, issue: dict[str, Any]) -> bool:
        if str(issue.get("file")) not in self._files:
            return False
        return bool(codes_of([issue])) or issue.get("code") in ("format", "undocumented")

    def _mend(self, file: Path, rules: list[str], codes: set[str]) -> None:
        text = self._changes.read(file)
        if text is None:
            return
        if rules:
            text = self._linter.fixed(file, text, rules)
        if "undocumented" in codes:
            try:
                text = add_docstrings(text, module_title(file))
            except Unreadable as exc:
                self._changes.skip(file, str(exc))
        if "format" in codes:
            text = self._linter.formatted(file, text)
        self._changes.put(file, text)

    def _left(self, file: Path, rules: list[str]) -> list[dict[str, Any]]:
        text = self._changes.read(file)
        if text is None or not rules:
            return []
        return [asdict(issue) for issue in self._linter.check_text(file, text, rules)]


def codes_of(issues: Iterable[Mapping[str, Any]]) -> list[str]:
    """The rules of Ruff by which issues were found that it can mend."""
    codes = {
        str(issue.get("code"))
        for issue in issues
        if issue.get("tool") == "ruff" and issue.get("fixable")
    }
    return sorted(code for code in codes if _RULE.fullmatch(code))


def files_of(issues: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({str(issue.get("file")) for issue in issues})


def missing_imports(results: Mapping[str, Any], files: Sequence[Path]) -> dict[Path, set[str]]:
    """Modules of the standard library that tests missed, by the file that uses them.

    A name that is not defined and is that of such a module was meant to be imported, nearly
    always; where it stands is the last line of the traceback.
    """
    known = {str(file): file for file in files}
    found: dict[Path, set[str]] = {}
    for failure in results.get("failures") or ():
        details = str(failure.get("details") or "")
        missed = _UNDEFINED.search(details) or _UNDEFINED.search(str(failure.get("message") or ""))
        if missed is None or missed[1] not in sys.stdlib_module_names:
            continue
        places = [match["file"] for match in _PLACE.finditer(details)]
        for place in reversed(places):
            file = next((known[name] for name in known if f"/{name}".endswith(f"/{place}")), None)
            if file is not None:
                found.setdefault(file, set()).add(missed[1])
                break
    return found
