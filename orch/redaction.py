"""What must not be read by those who read of failures: it is replaced by `***`.

Known are secrets by their values (those that steps asked for, those of environment variables
whose names tell that they hold one, and the passwords of URLs) and by where they stand: behind a
name like `password` in JSON or in a text, in an `Authorization` header, in a URL, or in a form
that only keys have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from orch.settings import Settings

HIDDEN = "***"
SHORTEST = 4
"""Shorter values are not looked for: they are parts of other words."""
LONGEST_TEXT = 65_536
"""Characters of a text that are looked at; what is behind them is cut off."""
MOST_NOTED = 1000
"""Secrets that steps were given, and that a process keeps in mind: the latest."""
DEEPEST = 50
"""Lists and objects within each other, in data that is looked at."""

_WORDS = [
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "secrets",
    "token",
    "apikey",
    "apikeys",
    "key",
    "credential",
    "credentials",
    "authorization",
    "cookie",
]
_KEYS = [
    "api",
    "access",
    "private",
    "secret",
    "signing",
    "encryption",
    "auth",
    "account",
    "master",
    "service",
    "client",
    "app",
    "session",
    "webhook",
    "license",
    "shared",
]
"""What stands before `key` where it is one that must not be read; `sort_key` is not."""
_PLACES = frozenset(
    [
        "file",
        "path",
        "dir",
        "directory",
        "url",
        "uri",
        "id",
        "name",
        "type",
        "ttl",
        "length",
        "size",
        "limit",
        "count",
        "timeout",
        "version",
        "descriptor",
    ]
)
"""Last words of names that say where a secret is, or how large, and not what it is."""
_HARMLESS = frozenset({"true", "false", "none", "null", "yes", "default"})

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@?#\"']{0,200}):([^/\s@\"']{1,500})@")
_NAMED = (
    r"[\w-]{0,40}(?:passw(?:or)?ds?|passphrase|secrets?|credentials?|authorization|cookie"
    r"|(?:api|access|private|signing|encryption|auth|account|master|session)[_-]?key"
    r"|(?:^|(?<=[_\W-])|(?<=[a-z]))(?:token|pwd)(?![a-z]))"
)
_VALUE = r"""(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;&)}\]"']+)"""
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}"
    r"|\bxox[abeprs]-[\w-]{10,}|\bsk[-_][\w-]{20,}|\bwhsec_[\w+/=]{16,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    re.DOTALL,
)
_HEADER = re.compile(
    r"""(\bauthorization["']?\s{0,3}[:=]\s{0,3}["']?)(?:[A-Za-z]+\s+)?[^\s"',;]+"""
    r"""|(\b(?:bearer|basic)\s+)(?=[^\s"']*[0-9=+/._-])[^\s"',;]{8,}""",
    re.IGNORECASE,
)


class Redactor:
    """Takes secrets out of texts and JSON values.

    ``environment``: variables, of which those are secrets whose names tell so. ``urls``: of
    which passwords are secrets. ``names``: of variables and keys whose values are secrets, too.
    ``values``: further secrets.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        urls: Iterable[str | None] = (),
        names: Iterable[str] = (),
        values: Iterable[str] = (),
    ) -> None:
        self._names = frozenset(_plain(name) for name in names)
        found = {
            form
            for value in (*self._secrets(environment, urls), *values)
            for form in (value, quote(value, safe=""))
        }
        longest = sorted(map(re.escape, found), key=len, reverse=True)
        self._values = re.compile("|".join(longest)) if longest else None
        own = "".join(f"|{re.escape(name)}" for name in names)
        # Behind the name of a secret: `=` or `:`, or as the value of an option of a command.
        self._assigned = re.compile(
            rf"""(?<![\w-])((?:{_NAMED}{own})["']?\s{{0,3}}[=:]\s{{0,3}}){_VALUE}"""
            rf"""|(--(?:{_NAMED}{own})["']?[\s,=]{{1,3}}){_VALUE}""",
            re.IGNORECASE,
        )

    @classmethod
    def of(cls, settings: Settings) -> Redactor:
        """What knows the secrets of this process, as they are now."""
        global _latest
        urls = (settings.redis_url, settings.broker_url)
        known = (dict(os.environ), urls, settings.redact, tuple(_noted))
        if _latest is None or _latest[0] != known:
            _latest = (known, cls(*known))
        return _latest[1]

    def text(self, text: str) -> str:
        text = text[:LONGEST_TEXT]
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        text = _SHAPES.sub(HIDDEN, text)
        text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
        text = _HEADER.sub(_behind, text)
        return self._assigned.sub(_behind, text)

    def value(self, value: Any, depth: int = 0) -> Any:
        """A JSON value without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if depth > DEEPEST:
            return HIDDEN if isinstance(value, dict | list) else value
        if isinstance(value, list):
            return [self.value(each, depth + 1) for each in value]
        if isinstance(value, dict):
            return {
                key: HIDDEN
                if self._is_secret(key) and not isinstance(each, bool | None)
                else self.value(each, depth + 1)
                for key, each in value.items()
            }
        return value

    def _is_secret(self, name: str) -> bool:
        return _plain(name) in self._names or tells_secret(name)

    def _secrets(self, environment: Mapping[str, str], urls: Iterable[str | None]) -> Iterator[str]:
        for name, value in environment.items():
            if self._is_secret(name) and _can_be_found(value):
                yield value
        for url in (*environment.values(), *urls):
            for _, password in _URL_PASSWORD.findall(url or ""):
                yield from (each for each in (password, unquote(password)) if _can_be_found(each))


def note_secret(value: str) -> None:
    """A secret that a step was given: from now on no text of this process tells it."""
    if not _can_be_found(value) or value in _noted:
        return
    _noted[value] = None
    while len(_noted) > MOST_NOTED:
        del _noted[next(iter(_noted))]


def without_noted(value: Any) -> Any:
    """A JSON value without the secrets that steps of this process were given; all else stays."""
    if not _noted:
        return value
    if isinstance(value, str):
        for secret in sorted(_noted, key=len, reverse=True):
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, list):
        return [without_noted(each) for each in value]
    if isinstance(value, dict):
        return {without_noted(key): without_noted(each) for key, each in value.items()}
    return value


def tells_secret(name: str) -> bool:
    """Whether what has this name is a secret: `DB_PASSWORD`, `apiKey`, `client-secret`."""
    parts = [part.lower() for part in _PART.findall(name)]
    if not parts or parts[-1] in _PLACES or parts == ["pwd"]:
        return False
    for before, part in zip(["", *parts], parts, strict=False):
        if part == "key":
            # KEY alone, or at the end of a variable's name, is one; `sortKey` and `key` are not.
            if before in _KEYS or (name.isupper() and part == parts[-1]):
                return True
        elif part in _WORDS:
            return True
    return False


def has_password(value: str) -> bool:
    """Whether a text has a URL with a password in it."""
    return _URL_PASSWORD.search(value) is not None


def _can_be_found(value: str) -> bool:
    """Whether it is long enough, and no word that stands everywhere."""
    if len(value) < SHORTEST or value.lower() in _HARMLESS:
        return False
    return not (value.isdecimal() and len(value) < 8)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _behind(found: re.Match[str]) -> str:
    return f"{next(filter(None, found.groups()), '')}{HIDDEN}"


_latest: tuple[tuple[Any, ...], Redactor] | None = None  # to make one costs half a millisecond
_noted: dict[str, None] = {}
