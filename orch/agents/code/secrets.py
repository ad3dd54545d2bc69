"""Secrets that somebody left in a file: what they look like, and how to speak of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

_KINDS = {
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})",
    "Slack token": r"\bxox[abposr]-[A-Za-z0-9-]{10,}",
    "Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{20,}",
    "Google API key": r"\bAIza[0-9A-Za-z_-]{35}",
    "Notion token": r"\b(?:secret|ntn)_[A-Za-z0-9]{40,}\b",
    "key of a model provider": r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}",
    "JSON Web Token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "password in a URL": r"\b[a-z][a-z0-9+.-]*://[^\s:/@'\"]+:(?P<secret>[^\s:/@'\"{}$<]{3,})@",
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}


def find_secrets(source: str) -> Iterator[tuple[int, int, str, str]]:
    """Line, column, kind, and the beginning of each secret: never the whole of it."""
    for number, line in enumerate(source.splitlines(), start=1):
        if len(line) > 20_000:  # a bundle or data, not what a person wrote
            continue
        for kind, pattern in _PATTERNS.items():
            for match in pattern.finditer(line):
                group = "secret" if "secret" in pattern.groupindex else 0
                yield number, match.start(group) + 1, kind, masked(match[group])


def masked(secret: str) -> str:
    """So much of a secret that its owner knows it."""
    return f"{secret[:4]}…" if len(secret) > 12 else "…"
