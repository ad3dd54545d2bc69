"""What people want, as they write it: texts, lists and objects as statements."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orch.agents.making.names import words
from orch.errors import StepError

MOST_STATEMENTS = 50
TYPE_KEYS = ("projectType", "project_type")
"""Keys of an object that say of which type a project is; they are no statements."""

_BULLET = re.compile(r"^\s*(?:[-*•+]|\d+[.)])\s+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\s*;\s+|\n+")
_ASKED = re.compile(
    r"^(?:as an? [^,]*,)?\s*(?:please\s+)?(?:(?:i|we|you|it|they|users?|people|somebody)\s+"
    r"(?:want|wants|need|needs|should|must|can|could|will|would like)\b\s*(?:to|be able to)?)?",
    re.IGNORECASE,
)
_VERBS = (
    *("build", "create", "make", "develop", "implement", "design", "write", "add", "set", "setup"),
    *("generate", "provide", "need", "support", "there", "is", "are", "be", "able"),
)
_ARTICLES = ("a", "an", "the", "some", "new", "simple", "small", "my", "our", "up", "me", "us")
_STOPS = (
    *("with", "using", "that", "which", "for", "in", "by", "on", "from", "where", "who", "so"),
    *("based", "written", "and", "as", "of", "via", "to"),
)
_WHO = ("that", "which", "who")
_GENERIC = (
    *("app", "application", "system", "tool", "project", "software", "program", "module"),
    *("library", "package", "service", "api", "website", "site", "page", "feature", "cli"),
    *("command", "line", "web", "rest", "http", "backend", "server", "script"),
)


def statements(given: Any, what: str, *, required: bool = False) -> list[str]:
    """One text for each thing that is said: sentences, bullets, entries, `name: value`.

    Raises StepError `InvalidInput` for what is no text, list or object, and for nothing at all
    where something is required.
    """
    found = [" ".join(text.split()) for text in _texts(given, what)]
    found = [text for text in dict.fromkeys(found) if re.search(r"\w", text)]
    if required and not found:
        raise StepError(
            "InvalidInput", f"`{what}` is empty", hint="say in a sentence what is to be made"
        )
    return found[:MOST_STATEMENTS]


def _texts(given: Any, what: str) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str):
        return [_BULLET.sub("", part).strip() for part in _SENTENCE.split(given)]
    if isinstance(given, bool | int | float):
        return [str(given)]
    if isinstance(given, list):
        return [text for entry in given for text in _texts(entry, what)]
    if isinstance(given, Mapping):
        return [
            f"{name}: {text}"
            for name, value in given.items()
            if name not in TYPE_KEYS
            for text in _texts(value, what)
        ]
    raise StepError("InvalidInput", f"`{what}` is {type(given).__name__}: no text, list or object")


def about(given: Any, found: Sequence[str], without: frozenset[str] = frozenset()) -> str:
    """What the first of the statements `found` in something `given` is about; the key of an
    object is no part of it."""
    first = found[0].partition(": ")[2] if isinstance(given, Mapping) else found[0]
    return subject_of(first, without)


def subject_of(statement: str, without: frozenset[str] = frozenset()) -> str:
    """What a statement is about: `Build a React dashboard application` is about `dashboard`, and
    `A tool that lists stock` about `stock`.

    without  words that are no part of it, such as names of technologies
    """
    said = _ASKED.sub("", statement).split()
    found = [
        word for each in said if not without.intersection(tokens(each)) for word in words(each)
    ]
    while found and (found[0] in _VERBS or found[0] in _ARTICLES):
        found.pop(0)
    end = next((n for n, word in enumerate(found) if word in _STOPS), len(found))
    head = [word for word in found[:end] if word not in _ARTICLES]
    while head and head[-1] in _GENERIC:
        head.pop()
    if not head:
        head = _behind(found[end:]) or [word for word in found[:end] if word not in _ARTICLES]
    return " ".join(head[:4])


def _behind(found: Sequence[str]) -> list[str]:
    """What follows a word such as `for` or `that`; behind `that` stands a verb."""
    kept = list(found[1:])
    if found and found[0] in _WHO:
        kept = kept[1:]
    kept = [word for word in kept if word not in _ARTICLES]
    end = next((n for n, word in enumerate(kept) if word in _STOPS), len(kept))
    return kept[:end]


def tokens(text: str) -> list[str]:
    """The words of a text as they are, in lower case: `TypeScript 4.5` has `typescript`."""
    return re.findall(r"[a-z0-9]+", text.lower())


def mentions(text: str, *terms: str) -> bool:
    """Whether any of the terms stands in a text, as whole words."""
    whole = f" {' '.join(tokens(text))} "
    return any(f" {term} " in whole for term in terms)
