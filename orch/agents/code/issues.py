"""What a review finds: one form for all programs that look for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
MOST_ISSUES = 500
"""Issues that an output holds; the counts are of all."""


@dataclass(frozen=True)
class Issue:
    """One thing that was found.

    file          the absolute path
    line, column  from 1; 0 where the issue is of the whole file
    code          of the rule: `F401`, `syntax`
    fixable       whether `code_transformation` can mend it without a change of meaning
    tool          the program that found it
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    severity: Severity
    fixable: bool = False
    tool: str = "orch"


def report(issues: Sequence[Issue]) -> dict[str, Any]:
    """The part of an output that tells of issues: all are counted, the first are shown."""
    counts = Counter(issue.severity for issue in issues)
    return {
        "issues": [asdict(issue) for issue in issues[:MOST_ISSUES]],
        "total": len(issues),
        "counts": {name: counts.get(name, 0) for name in ("error", "warning", "info")},
        "fixable": sum(issue.fixable for issue in issues),
    }
