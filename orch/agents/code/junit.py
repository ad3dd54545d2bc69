"""Reads what test runners write about their tests: JUnit's XML, as pytest and Node.js write it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from orch.errors import StepError

Outcome = Literal["passed", "failed", "error", "skipped"]
_LONGEST = 4000
_OUTCOMES: dict[str, Outcome] = {"failure": "failed", "error": "error", "skipped": "skipped"}


@dataclass(frozen=True)
class Case:
    """One test.

    duration  seconds
    message   of a test that did not pass: the first line of what went wrong, or why it was skipped
    details   the traceback and what the test wrote, at most 4000 characters
    """

    name: str
    outcome: Outcome
    duration: float
    file: str = ""
    line: int = 0
    message: str = ""
    details: str = ""


def read_cases(xml: bytes, program: str) -> list[Case]:
    """The tests of a report. Raises StepError `ToolFailed` for what is none."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as exc:
        raise StepError("ToolFailed", f"the report of {program} cannot be read: {exc}") from exc
    return [_case(element) for element in root.iter("testcase")]


def counted(cases: list[Case]) -> dict[str, int]:
    counts = Counter(case.outcome for case in cases)
    return {
        "total": len(cases),
        "passed": counts["passed"],
        "failed": counts["failed"],
        "errors": counts["error"],
        "skipped": counts["skipped"],
    }


def _case(element: ElementTree.Element) -> Case:
    told = next((child for child in element if child.tag in _OUTCOMES), None)
    line = element.get("line")
    return Case(
        name=_name(element),
        outcome="passed" if told is None else _OUTCOMES[told.tag],
        duration=float(element.get("time") or 0),
        file=element.get("file") or "",
        line=int(line) + 1 if line else 0,  # pytest counts from 0
        message=_shortened(told.get("message") or "", 500) if told is not None else "",
        details=_shortened((told.text or "").strip(), _LONGEST) if told is not None else "",
    )


def _name(element: ElementTree.Element) -> str:
    """As a person would call it: the class, where the test has one, and the test."""
    name = element.get("name") or "a test"
    holder = (element.get("classname") or "").rpartition(".")[2]
    return f"{holder}.{name}" if re.match(r"Test[A-Z_]", holder) else name


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
