"""Secrets that steps ask for by name: files of a directory, or variables of the environment."""

from __future__ import annotations

import os
import re

from pydantic import SecretStr

from orch.errors import StepError
from orch.redaction import note_secret
from orch.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def read_secret(settings: Settings, name: str) -> SecretStr:
    """See `Context.secret`. A file prevails over a variable; the end of its last line is cut."""
    if not _NAME.fullmatch(name):
        raise StepError(
            "SecretNotFound",
            f"{name!r} cannot be the name of a secret: it is letters, digits, `_`, `.` and `-`",
            error_class="permanent",
        )
    value = _from_file(settings, name)
    variable = variable_of(settings, name)
    if value is None:
        value = os.environ.get(variable)
    if value is None:
        raise _not_found(settings, name, variable)
    note_secret(value)
    return SecretStr(value)


def variable_of(settings: Settings, name: str) -> str:
    """The variable for a secret: `crm.api-key` is `ORCH_SECRET_CRM_API_KEY`."""
    return settings.secrets_prefix + re.sub(r"[.-]", "_", name).upper()


def read_no_secret(name: str) -> SecretStr:
    """Of a context that a test makes."""
    raise StepError("SecretNotFound", f"there is no secret {name!r}: this context has none")


def _from_file(settings: Settings, name: str) -> str | None:
    if settings.secrets_dir is None:
        return None
    try:
        return (settings.secrets_dir / name).read_text(encoding="utf-8").removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is no text"
        raise StepError(
            "SecretNotFound",
            f"the file of the secret {name!r} in {settings.secrets_dir} cannot be read: {reason}",
            error_class="permanent",
        ) from None


def _not_found(settings: Settings, name: str, variable: str) -> StepError:
    places = f"the variable {variable} is not set on this worker"
    if settings.secrets_dir is not None:
        places = f"{settings.secrets_dir} has no file of this name, and {places}"
    return StepError(
        "SecretNotFound",
        f"there is no secret {name!r}: {places}",
        hint="set it where the worker is started, or ORCH_SECRETS_DIR to where it lies",
        error_class="permanent",
    )
