"""Who asks."""

from __future__ import annotations

import getpass
import os
from typing import Any


def current_user() -> str:
    """The user of this process, for the history."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def said(by: str | None, reason: str) -> dict[str, Any]:
    """Who and why, as the history tells it; by default it is the user of this process."""
    return {"by": by or current_user()} | ({"reason": reason} if reason else {})
