"""Whether a release is well: its sources can be read, and what the user asks for besides."""

from __future__ import annotations

import ast
import http.client
import json
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from orch.agents.context import Context
from orch.agents.files import inside
from orch.agents.process import run, tail
from orch.errors import StepError

_PAUSE = 0.2
_READERS: dict[str, Callable[[str], Any]] = {
    ".py": ast.parse,
    "package.json": json.loads,
    "pyproject.toml": tomllib.loads,
}


class HealthCheck(BaseModel):
    """What must hold of a release.

    sources  that Python files, `pyproject.toml` and `package.json` can be read
    file     a path in it that must be there
    command  a program and its arguments, run in it; it must end with 0
    url      what must answer with a status below 400 once the release is current
    timeout  seconds for the command, and for the URL to answer
    """

    model_config = ConfigDict(extra="forbid")

    sources: bool = True
    file: str | None = None
    command: Annotated[list[str], Field(min_length=1)] | None = None
    url: str | None = None
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0

    @field_validator("url")
    @classmethod
    def _of_the_web(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("begins with http:// or https://")
        return value


def check_release(path: Path, wanted: HealthCheck, context: Context) -> list[dict[str, Any]]:
    """What can be said of a release that is not current yet."""
    found = [_checked("sources", lambda: _unreadable(path))] if wanted.sources else []
    if wanted.file is not None:
        name = wanted.file
        found.append(_checked("file", lambda: _missing(path, name)))
    if wanted.command is not None:
        command = wanted.command
        found.append(_checked("command", lambda: _run(path, command, wanted.timeout, context)))
    return found


def check_service(wanted: HealthCheck, context: Context) -> list[dict[str, Any]]:
    """What can be said of a release once it is the current one."""
    if wanted.url is None:
        return []
    url = wanted.url
    return [_checked("url", lambda: _unanswered(url, wanted.timeout, context))]


def _checked(name: str, fault: Callable[[], str]) -> dict[str, Any]:
    started = time.monotonic()
    reason = fault()
    duration = round(time.monotonic() - started, 3)
    return {"check": name, "passed": not reason, "message": reason, "duration": duration}


def _unreadable(path: Path) -> str:
    """The first source that its language cannot read."""
    for file in sorted(path.rglob("*")):
        read = _READERS.get(file.name) or _READERS.get(file.suffix)
        if read is None or file.is_symlink() or not file.is_file():
            continue
        try:
            read(file.read_text(encoding="utf-8"))
        except (ValueError, SyntaxError, RecursionError) as exc:
            return f"{file.relative_to(path)}: {exc}"
    return ""


def _missing(path: Path, name: str) -> str:
    return "" if inside(path, name).exists() else f"there is no {name!r}"


def _run(path: Path, command: list[str], timeout: float, context: Context) -> str:
    # A check must not change what it checks.
    quiet = {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        finished = run(command, context, cwd=str(path), environment=quiet, timeout=timeout)
    except StepError as failed:
        if failed.name not in ("CommandTimeout", "CommandFailed", "OutputTooLarge"):
            raise
        return failed.message
    if finished.exit_code == 0:
        return ""
    said = tail(finished.stderr, 300).strip() or tail(finished.stdout, 300).strip()
    return f"{command[0]!r} ended with exit code {finished.exit_code}: {said or 'it wrote nothing'}"


def _unanswered(url: str, timeout: float, context: Context) -> str:
    """Asks until it answers well, or the time is up."""
    until = time.monotonic() + timeout
    while True:
        reason = _asked(url, max(0.1, min(5.0, until - time.monotonic())))
        if not reason or time.monotonic() >= until:
            return reason
        context.raise_if_cancelled()
        context.heartbeat({"waits for": url})
        time.sleep(_PAUSE)


def _asked(url: str, timeout: float) -> str:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return "" if answer.status < 400 else f"it answers {answer.status}"
    except urllib.error.HTTPError as exc:
        return f"it answers {exc.code}"
    except (OSError, ValueError, http.client.HTTPException) as exc:
        return f"it does not answer: {exc}"
