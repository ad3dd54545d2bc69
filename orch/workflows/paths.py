"""Paths: where in an execution a step stands, as text.

`build/0/lint#2` is the second lap of the step `lint` in branch 0 of `build`; `resize[17]` is an
item of a map or an iteration of a loop. The key of a step is its path without laps and items.
"""

from __future__ import annotations

import re
from functools import lru_cache

from orch.workflows.definition import ERROR_HANDLERS
from orch.workflows.rungs import MARK as RUNG_MARK

ROOT = ""
KNOWN_PATHS = 8192
"""Paths of which a process keeps what follows from them alone."""

_INSTANCE = re.compile(r"#\d+|\[\d+\]")  # what a path says beyond the definition
_ITERATION = re.compile(r"(.+)\[(\d+)\]")


def join_path(scope_path: str, step_id: str, lap: int = 1) -> str:
    own = step_id if lap == 1 else f"{step_id}#{lap}"
    return f"{scope_path}/{own}" if scope_path else own


@lru_cache(KNOWN_PATHS)
def split(path: str) -> tuple[str, str]:
    """``build/0/lint#2`` -> (``build/0``, ``lint#2``); the work of a rung stands in the scope of
    its step: ``build/0/lint/~1`` -> (``build/0``, ``lint/~1``)."""
    step, mark, rung = path.partition(RUNG_MARK)
    scope_path, _, own = step.rpartition("/")
    return scope_path, own + mark + rung


def split_lap(own: str) -> tuple[str, int]:
    """``lint#2`` -> (``lint``, 2)."""
    step_id, _, lap = own.partition("#")
    return step_id, int(lap) if lap else 1


@lru_cache(KNOWN_PATHS)
def join_of(scope_path: str) -> tuple[str, int] | None:
    """The step around a scope, and which branch, iteration or item of it it is; else None."""
    if (iteration := _ITERATION.fullmatch(scope_path)) is not None:
        return iteration.group(1), int(iteration.group(2))
    parent, _, number = scope_path.rpartition("/")
    if not parent or (in_handler(scope_path) and parent == ERROR_HANDLERS):
        return None
    return parent, int(number)


def iteration_path(path: str, number: int) -> str:
    """The scope of one iteration of the loop, or item of the map, at ``path``; the first is 0."""
    return f"{path}[{number}]"


def is_below(path: str, step: str) -> bool:
    """Whether ``path`` stands in a branch, an iteration or an item of the step at ``step``."""
    return path.startswith((f"{step}/", f"{step}["))


@lru_cache(KNOWN_PATHS)
def key_of(path: str) -> str:
    """The path without laps and iterations: the key of a node or a scope."""
    return _INSTANCE.sub("", path) if "#" in path or "[" in path else path


def in_handler(path: str) -> bool:
    return path.startswith(ERROR_HANDLERS + "/")


def handler_scope(index: int) -> str:
    return f"{ERROR_HANDLERS}/{index}"
