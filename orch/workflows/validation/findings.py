"""What is found: one thing that is wrong, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"  # the definition cannot be used
    WARNING = "warning"  # it can, and will likely not do what is meant
    INFO = "info"  # worth a look


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; ``path`` is where, ``hint`` what to do."""

    severity: Severity
    path: str
    message: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        return {
            "severity": self.severity.value,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.severity}: {self.path or 'workflow'}: {self.message}{hint}"


def errors_in(findings: Iterable[Finding]) -> list[Finding]:
    """Those that keep a definition from being used."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def order(finding: Finding) -> tuple[int, list[tuple[int, int, str]]]:
    """Errors first; then in the order of the paths, numbers by value."""
    parts = re.findall(r"\d+|[^\d\[\].]+", finding.path)
    natural = [(0, int(p), "") if p.isdecimal() and len(p) < 10 else (1, 0, p) for p in parts]
    return list(Severity).index(finding.severity), natural
