"""What is kept of an exception that failed an attempt: its class, its stack, and no secret."""

from __future__ import annotations

import os
import sysconfig
import traceback
from dataclasses import replace
from typing import Any

from orch.agents.json_value import to_json_value
from orch.errors import RetryAfter, StepError
from orch.redaction import Redactor
from orch.settings import Settings
from orch.workflows.failing import classify
from orch.workflows.outcome import Failure
from orch.workflows.state import encode

MESSAGE_LIMIT = 2000
DATA_LIMIT = 16_384
MOST_FRAMES = 10
STACK_LIMIT = 4000

ENGINE = ("orch", "celery", "kombu", "billiard", "vine", "amqp", "redis", "pydantic")
"""Packages whose frames say nothing about the work."""

_STDLIB = tuple({os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib")})
_INSTALLED = ("site-packages", "dist-packages")
_OWN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


def failure_of(settings: Settings, error: BaseException, about: Failure) -> Failure:
    """``about`` (step, path, attempt), with what is known of the exception.

    Where it is no `StepError`, `data` has its `traceback`. Message and data are bounded and
    hold no secrets.
    """
    redactor = Redactor.of(settings)
    if isinstance(error, StepError):
        name, message, data = error.name, error.message, error.data
    else:
        name = type(error).__name__
        message, data = _text_of(error) or name, {"traceback": stack_of(error)}
    asked = getattr(error, "escalation", "")
    return replace(
        about,
        name=name,
        message=redactor.text(message)[:MESSAGE_LIMIT],
        data=_bounded(data, redactor),
        escalation=asked if isinstance(asked, str) else "",
        retry_after=asked_pause(error),
        said_class=classify(error, name, settings.error_classes).value,
    )


def asked_pause(error: BaseException) -> int:
    """Ms that an error asks to wait: `RetryAfter`, or an HTTP answer 429 or 503 that says so.

    The header is that of RFC 9110, 10.2.3, in seconds; ``error.response`` is what requests
    and httpx raise with.
    """
    if isinstance(error, RetryAfter):
        return max(1, int(error.seconds * 1000))
    response = getattr(error, "response", None)
    if getattr(response, "status_code", None) not in (429, 503):
        return 0
    text = str(getattr(response, "headers", {}).get("Retry-After", ""))
    return int(text) * 1000 if text.isdecimal() else 0


def stack_of(error: BaseException) -> str:
    """The traceback, of the user's code alone: neither of the engine nor of Python's library.

    At most the last ten frames, 4,000 characters. Of other packages only the frame that raised,
    unless there is no other.
    """
    frames = traceback.extract_tb(error.__traceback__)
    foreign = [frame for frame in frames if not _is_engine(frame.filename)]
    own = [frame for frame in foreign if not _is_installed(frame.filename)]
    if own and foreign[-1] is not own[-1]:
        own.append(foreign[-1])
    shown = (own or foreign or list(frames))[-MOST_FRAMES:]
    return "".join(traceback.format_list(shown))[-STACK_LIMIT:]


def _is_engine(filename: str) -> bool:
    if filename.startswith(("<frozen", _OWN)):
        return True
    package = _package_of(filename)
    if package:
        return package in ENGINE
    return filename.startswith(_STDLIB)


def _is_installed(filename: str) -> bool:
    return bool(_package_of(filename))


def _package_of(filename: str) -> str:
    """The installed package of a file; '' where it lies somewhere else."""
    parts = filename.split(os.sep)
    places = [at for at, part in enumerate(parts[:-1]) if part in _INSTALLED]
    return parts[places[-1] + 1].removesuffix(".py") if places else ""


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its own `__str__` is broken, which must not hide it
        return ""


def _bounded(data: Any, redactor: Redactor) -> Any:
    """What an error carries along, as JSON of at most 16 KiB; else a text that is cut there."""
    if data is None:
        return None
    try:
        value = redactor.value(to_json_value(data))
        if len(encode(value)) <= DATA_LIMIT:
            return value
    except StepError:
        value = redactor.text(repr(data))
    return str(value)[:DATA_LIMIT]
