"""What requirements and constraints say of a project, by rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orch.agents.making.layout import Existing, Language
from orch.agents.making.names import kebab, title
from orch.agents.making.projects import TYPES, project_type
from orch.agents.planning.knowledge import FEATURES, LIBRARIES, OTHER_LANGUAGES, TECHNOLOGIES
from orch.agents.planning.wanted import (
    TYPE_KEYS,
    about,
    mentions,
    statements,
    tokens,
)

_CLI = ("command line", "cli", "terminal", "console", "shell tool")
_WEB = (
    *("api", "apis", "rest", "http", "web", "website", "web app", "web service", "webservice"),
    *("microservice", "server", "backend", "endpoint", "endpoints", "dashboard"),
)
_NO_SUBJECT = frozenset((*TECHNOLOGIES, *OTHER_LANGUAGES, "js", "ts"))


def analyse(
    requirements: Any,
    constraints: Any = None,
    name: str | None = None,
    existing: Existing | None = None,
) -> dict[str, Any]:
    """What is to be made, in which language, as which type of project.

    requirements, constraints  a text, a list or an object; `projectType` in an object counts
    name                       of the project, if it has one
    existing                   the project that is there already, if one is

    Raises StepError `InvalidInput` for requirements that are none, `UnknownProjectType`.
    """
    goals = statements(requirements, "requirements", required=True)
    limits = statements(constraints, "constraints")
    text = "\n".join([*goals, *limits])
    given = _given_type(requirements) or _given_type(constraints)
    language = _language(text, given, existing)
    kind = given or _type(text, language)
    subject = about(requirements, goals, _NO_SUBJECT) or "project"
    features = features_in(text)
    return {
        "summary": goals[0],
        "goals": goals,
        "constraints": limits,
        "subject": title(subject, "project"),
        "projectName": kebab(name or (existing.name if existing else "") or subject, "project"),
        "projectType": kind,
        "language": language,
        "technologies": sorted({word for word in tokens(text) if word in TECHNOLOGIES}),
        "features": features,
        "complexity": complexity(len(goals) + len(limits) + len(features)),
        "risks": _risks(goals, limits, features),
        "assumptions": assumptions(text, language),
        "questions": _questions(goals, limits),
        "existing": existing.as_dict() if existing else None,
    }


def language_of(text: str) -> Language | None:
    """The language that a text asks for; None where it asks for none. Python wins."""
    asked = {TECHNOLOGIES[word] for word in tokens(text) if word in TECHNOLOGIES}
    if mentions(text, "node js", "front end"):
        asked.add("javascript")
    if not asked:
        return None
    return "python" if "python" in asked else "javascript"


def features_in(text: str) -> list[str]:
    """The titles of what a text mentions and many projects have."""
    return [feature.title for feature in FEATURES if mentions(text, *feature.terms)]


def complexity(size: int) -> str:
    """`small`, `medium` or `large`, by how many things are wanted."""
    return "small" if size <= 4 else "medium" if size <= 9 else "large"


def assumptions(text: str, language: Language) -> list[str]:
    """What the rules do in place of what was asked for."""
    found = [
        f"{title(word)} is not generated: what is made has no dependencies, and runs as it is"
        for word in LIBRARIES
        if mentions(text, word)
    ]
    found += [
        f"{title(word)} is not generated: there are templates for Python and JavaScript"
        for word in OTHER_LANGUAGES
        if mentions(text, word)
    ]
    if language_of(text) is None:
        found.append(f"no language is asked for: it is made in {title(language)}")
    return found


def _given_type(source: Any) -> str | None:
    if not isinstance(source, Mapping):
        return None
    given = next((source[key] for key in TYPE_KEYS if source.get(key)), None)
    return None if given is None else project_type(str(given)).name


def _language(text: str, given: str | None, existing: Existing | None) -> Language:
    if existing is not None:
        return existing.layout.language
    if given is not None:
        return TYPES[given].language
    return language_of(text) or "python"


def _type(text: str, language: Language) -> str:
    if language == "javascript":
        return "javascript_app"
    if mentions(text, *_CLI):
        return "python_cli"
    return "python_service" if mentions(text, *_WEB) else "python_library"


def _risks(goals: Sequence[str], limits: Sequence[str], features: Sequence[str]) -> list[str]:
    text = "\n".join([*goals, *limits])
    found = []
    if "Authentication" in features or mentions(text, "password", "passwords", "personal data"):
        found.append("secrets and personal data are handled: plan a review of security")
    if "Payment" in features:
        found.append("money is handled: plan for what fails half-way")
    if mentions(text, "deadline", "urgent", "asap"):
        found.append("time is short: agree on what may be left out")
    if mentions(text, "integrate", "integration", "third party", "external"):
        found.append("others' services are needed: they fail and change")
    if len(goals) > 8:
        found.append("much is wanted at once: deliver it in parts")
    return found


def _questions(goals: Sequence[str], limits: Sequence[str]) -> list[str]:
    found = []
    if len(tokens(" ".join(goals))) < 6:
        found.append("what should somebody be able to do with it?")
    if not limits:
        found.append("which constraints are there: versions, places, budgets?")
    return found
