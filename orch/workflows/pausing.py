"""Branches of an execution that are paused: path of the branch -> since when, ms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from orch.workflows.paths import is_below, join_of, split
from orch.workflows.view import scopes_up


def load_pauses(text: str | None) -> Mapping[str, int]:
    """The field `pauses` of a record."""
    return {} if text is None else {path: int(at) for path, at in json.loads(text).items()}


def pauses_over(pauses: Iterable[str], path: str) -> list[str]:
    """The paused branches in which the token at ``path`` stands. As in pause_over.lua."""
    return [branch for branch in pauses if path == branch or is_below(path, branch)]


def branches_of(paths: Iterable[str]) -> list[str]:
    """What can be paused while tokens are at ``paths``: branches, and the steps that hold them."""
    found = set()
    for path in paths:
        for scope in scopes_up(split(path)[0]):
            if (joined := join_of(scope)) is not None:
                found |= {scope, joined[0]}
    return sorted(found)
