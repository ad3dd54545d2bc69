"""What is found: one thing that is wrong, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from pydantic.dataclasses import dataclass


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


class ValidationResult(list[Finding]):
    """All that is found of a definition: errors first."""

    @property
    def valid(self) -> bool:
        """Whether it can be used: warnings do not matter."""
        return not self.errors

    @property
    def errors(self) -> list[Finding]:
        return errors_in(self)


def errors_in(findings: Iterable[Finding]) -> list[Finding]:
    """Those that keep a definition from being used."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def order(finding: Finding) -> tuple[int, list[tuple[int, int, str]]]:
    """Errors first; then in the order of the paths, numbers by value."""
    parts = re.findall(r"\d+|[^\d\[\].]+", finding.path)
    natural = [(0, int(p), "") if p.isdecimal() and len(p) < 10 else (1, 0, p) for p in parts]
    return list(Severity).index(finding.severity), natural
