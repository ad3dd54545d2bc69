"""Ruff: what it finds in Python files, and what it makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orch.agents.code.issues import Issue, Severity
from orch.agents.code.programs import failed, run_module
from orch.agents.context import Context
from orch.agents.process import Finished

_AT_ONCE = 500
_NO_CACHE = "--no-cache"  # a cache would be left in the project


class Linter:
    """Ruff, with the configuration that it finds beside each file.

    target  the oldest Python that the code must run on, `(3, 11)`; none: what that says
    """

    def __init__(self, context: Context, cwd: Path, target: tuple[int, int] | None = None) -> None:
        self._context = context
        self._cwd = cwd
        self._target = [f"--target-version=py{target[0]}{target[1]}"] if target else []

    def check(
        self, files: Sequence[Path], select: Sequence[str] = (), ignore: Sequence[str] = ()
    ) -> list[Issue]:
        """The issues of these files; those that the configuration excludes have none.

        select, ignore  codes of rules, or the beginnings of codes

        Raises StepError `ToolFailed` where Ruff does not know a rule or its configuration.
        """
        found: list[Issue] = []
        for part in _parts(files):
            arguments = ["--force-exclude", *_rules(select, ignore), "--", *map(str, part)]
            found += self._found(arguments, b"")
        return found

    def check_text(self, file: Path, source: str, select: Sequence[str]) -> list[Issue]:
        """The issues that a file would have with this text."""
        arguments = [*_rules(select), f"--stdin-filename={file}", "-"]
        return self._found(arguments, source.encode("utf-8"))

    def fixed(self, file: Path, source: str, select: Sequence[str]) -> str:
        """The source with the safe fixes of some rules applied."""
        return self._filtered(
            source, "check", "--fix", "--quiet", "--exit-zero", *_rules(select), file=file
        )

    def formatted(self, file: Path, source: str) -> str:
        """The source in Ruff's layout; as it is where it cannot be read."""
        return self._filtered(source, "format", "--quiet", file=file)

    def _found(self, arguments: Sequence[str], stdin: bytes) -> list[Issue]:
        finished = self._ruff("check", "--output-format=json", *arguments, stdin=stdin)
        if finished.exit_code not in (0, 1):
            raise failed("ruff check", finished)
        return [_issue(entry) for entry in json.loads(finished.stdout or b"[]")]

    def _filtered(self, source: str, *arguments: str, file: Path) -> str:
        # Both read the file from their input, so that nothing is written before all is known.
        finished = self._ruff(
            *arguments, f"--stdin-filename={file}", "-", stdin=source.encode("utf-8")
        )
        return finished.stdout.decode("utf-8") if finished.exit_code == 0 else source

    def _ruff(self, *arguments: str, stdin: bytes = b"") -> Finished:
        verb, *rest = arguments
        given = [verb, _NO_CACHE, *self._target, *rest]
        return run_module("ruff", given, self._context, cwd=self._cwd, stdin=stdin)


def _rules(select: Sequence[str], ignore: Sequence[str] = ()) -> list[str]:
    chosen = [f"--select={','.join(select)}"] if select else []
    return [*chosen, *([f"--ignore={','.join(ignore)}"] if ignore else [])]


def _parts(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), _AT_ONCE):
        yield files[start : start + _AT_ONCE]


def _issue(entry: dict[str, Any]) -> Issue:
    code = entry.get("code") or "syntax"
    code = "syntax" if code == "invalid-syntax" else code
    fix = entry.get("fix") or {}
    return Issue(
        file=entry["filename"],
        line=(entry.get("location") or {}).get("row", 0),
        column=(entry.get("location") or {}).get("column", 0),
        code=code,
        message=entry["message"],
        severity=_severity(code),
        fixable=fix.get("applicability") == "safe",
        tool="ruff",
    )


def _severity(code: str) -> Severity:
    """An error is what would break at run time: no syntax, or a name that is not there."""
    return "error" if code in ("syntax", "F821", "F822", "F823") or code[:2] == "E9" else "warning"
