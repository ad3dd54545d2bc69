"""Secrets of hooks: each stands in a variable of the environment, and nowhere else."""

from __future__ import annotations

import os

from orch.errors import HookFailed
from orch.hooks import BaseHook


def variable(hook: BaseHook, name: str) -> str:
    """Raises HookFailed where it is not set."""
    found = os.environ.get(name, "").strip()
    if not found:
        raise HookFailed(
            f"hook {hook.name!r} names the variable {name}, which is not set here",
            retryable=False,
            hint=f"set {name} where the queue `escalation` is served",
        )
    return found
