"""The account in Notion that the settings name, if any.

A worker takes what its settings say, once, at its start. Anywhere else (a test, a script that
calls a capability as a function) the settings of the process count.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from pydantic import SecretStr

from orch.redaction import note_secret
from orch.settings import Settings, load_settings

_FIELDS = ("notion_token", "notion_parent", "notion_url")


@dataclass(frozen=True)
class Account:
    """``parent``: the id of the page below which pages and databases are made; None: not named."""

    token: SecretStr
    parent: str | None
    url: str

    @classmethod
    def of(cls, settings: Settings) -> Account | None:
        token = settings.notion_token
        if token is None or not token.get_secret_value():
            return None
        note_secret(token.get_secret_value())
        return cls(token, settings.notion_parent or None, settings.notion_url.rstrip("/"))


_used: list[Account | None] = []


def use_account(settings: Settings | None) -> None:
    """Let these settings count for all of this process; None: those of the process again."""
    _used[:] = [] if settings is None else [Account.of(settings)]


def account() -> Account | None:
    """What counts now. Raises SettingsError where the settings of the process are wrong."""
    if _used:
        return _used[0]
    return _of_process(os.getcwd(), *(os.environ.get(f"ORCH_{name.upper()}") for name in _FIELDS))


@lru_cache(maxsize=16)
def _of_process(directory: str, *variables: str | None) -> Account | None:
    del directory, variables  # what the settings are read from
    return Account.of(load_settings())
