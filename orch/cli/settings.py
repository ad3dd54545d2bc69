"""The command settings: each value, and where it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.option_groups import with_options
from orch.cli.options import Json

if TYPE_CHECKING:
    from orch.settings import Settings


@with_options
def settings(connect: Connect = Connect(), as_json: Json = False) -> None:
    """Show every setting, its value, and where the value came from. Needs no Redis."""
    found = connect.settings()
    options: dict[str, str] = {}
    if connect.redis is not None:
        options["redis_url"] = "--redis"
    if connect.broker is not None:
        options["broker_url"] = "--broker"
    if connect.data_dir is not None:
        options |= dict.fromkeys(("data_dir", "redis_url", "use_local_redis"), "--data-dir")
    rows = [
        {
            "name": name,
            "value": shown_value(getattr(found, name)),
            "source": source_of(name, options, found),
            "variable": f"ORCH_{name.upper()}",
            "description": field.description or "",
        }
        for name, field in type(found).model_fields.items()
    ]
    if as_json:
        output.print_json(rows)
        return
    output.table(
        ("setting", "value", "from", "meaning"),
        [(r["name"], _text(r["value"]), r["source"], r["description"]) for r in rows],
    )


def shown_value(value: Any) -> Any:
    """A value as JSON, without passwords."""
    from orch.journal.journal import without_password

    if isinstance(value, str) and "://" in value:
        return without_password(value)
    if hasattr(value, "get_secret_value"):
        return str(value) or None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value


def _plain(value: Any) -> Any:
    if hasattr(value, "as_dict"):  # which leaves out what is secret
        return value.as_dict()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return value


def source_of(name: str, options: Mapping[str, str], found: Settings) -> str:
    """``--redis``, ``ORCH_REDIS_URL``, ``orch.toml`` or ``default``."""
    from orch.settings import SETTINGS_FILE

    if name in options:
        return options[name]
    variable = f"ORCH_{name.upper()}"
    for present in os.environ:
        if present.upper() == variable:
            return present
    return SETTINGS_FILE if name in found.model_fields_set else "default"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
