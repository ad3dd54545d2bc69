"""A specification of what is wanted: requirements with numbers, and how each is accepted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orch.agents.making.layout import Existing
from orch.agents.planning.analysis import analyse
from orch.agents.planning.wanted import mentions, subject_of

_MUST = (
    ("wont", r"\b(won't|will not|must not|not needed|out of scope)\b"),
    ("could", r"\b(could|may|might|nice to have|optional(ly)?)\b"),
    ("should", r"\b(should|ought)\b"),
)
_KINDS = (
    ("security", ("security", "secure", "password", "passwords", "encrypt", "encrypted", "jwt")),
    ("security", ("authorization", "privacy", "gdpr", "secrets")),
    ("performance", ("fast", "performance", "latency", "seconds", "second", "throughput", "ms")),
    ("reliability", ("available", "availability", "uptime", "backup", "backups", "recover")),
    ("usability", ("accessible", "accessibility", "usability", "mobile", "responsive")),
    ("compatibility", ("python", "react", "typescript", "node", "browser", "browsers", "version")),
    ("storage", ("storage", "database", "memory", "files", "csv", "sqlite", "postgres")),
    ("cost", ("budget", "cost", "costs", "deadline")),
)


def specify(
    requirements: Any,
    constraints: Any = None,
    title: str | None = None,
    existing: Existing | None = None,
) -> dict[str, Any]:
    """The specification of a project or a feature, as a value and as Markdown.

    Raises StepError `InvalidInput` for requirements that are none, `UnknownProjectType`.
    """
    analysis = analyse(requirements, constraints, title, existing)
    wanted = [_functional(n, text) for n, text in enumerate(analysis["goals"], start=1)]
    limits = [_limit(n, text) for n, text in enumerate(analysis["constraints"], start=1)]
    found = {
        "title": title or f"Specification: {analysis['subject']}",
        "summary": analysis["summary"],
        "projectType": analysis["projectType"],
        "language": analysis["language"],
        "functional": wanted,
        "nonFunctional": limits,
        "features": analysis["features"],
        "risks": analysis["risks"],
        "assumptions": analysis["assumptions"],
        "questions": analysis["questions"],
    }
    return {**found, "markdown": markdown_of(found)}


def _functional(number: int, text: str) -> dict[str, Any]:
    subject = subject_of(text) or text
    story = re.match(r"as an? ([^,]+), i want (.+?)(?:,? so that (.+))?$", text, re.IGNORECASE)
    return {
        "id": f"F{number}",
        "text": text,
        "priority": next(
            (word for word, pattern in _MUST if re.search(pattern, text, re.IGNORECASE)), "must"
        ),
        "story": {
            "as": story[1] if story else "user",
            "want": story[2].rstrip(" .") if story else text.rstrip(" ."),
            "soThat": (story[3] or "").rstrip(" .") if story else "",
        },
        "acceptance": [
            f"Given what {subject} needs, when it is asked for, then it is done as F{number} says",
            f"Given something wrong, when {subject} is asked for, then the fault is named",
        ],
    }


def _limit(number: int, text: str) -> dict[str, str]:
    kind = next((kind for kind, terms in _KINDS if mentions(text, *terms)), "constraint")
    return {"id": f"N{number}", "category": kind, "text": text}


def markdown_of(found: Mapping[str, Any]) -> str:
    lines = [f"# {found['title']}", "", str(found["summary"]), "", "## Requirements", ""]
    for entry in found["functional"]:
        lines += [f"### {entry['id']} ({entry['priority']})", "", entry["text"], ""]
        lines += [*(f"- [ ] {text}" for text in entry["acceptance"]), ""]
    limits = [
        f"**{entry['id']}**, {entry['category']}: {entry['text']}"
        for entry in found["nonFunctional"]
    ]
    lines += _section("Constraints", limits)
    for heading in ("risks", "assumptions", "questions"):
        lines += _section(heading.capitalize(), found[heading])
    return "\n".join(lines).rstrip() + "\n"


def _section(heading: str, entries: Sequence[str]) -> list[str]:
    return [f"## {heading}", "", *(f"- {entry}" for entry in entries), ""] if entries else []
