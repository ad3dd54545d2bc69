"""The input of an execution, and how it starts, from the arguments of a command."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from orch.cli.options import At, Attributes, ConcurrencyKey, Deadline, Delay, Priority, Project
from orch.errors import InputError

if TYPE_CHECKING:
    from orch.workflows.starts import StartGiven


def read_input(pairs: Sequence[str] | None, file: Path | None) -> Any:
    """The input; None when none was given. Raises InputError.

    ``pairs`` are ``key=value``, as `set_field` takes them; they change what ``file`` holds.
    """
    value = read_json(file, "the input") if file is not None else None
    if not pairs:
        return value
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise InputError(
            f"--input sets fields of an object, and {file} holds {_kind(value)}",
            hint="use one of --input and --input-file",
        )
    for pair in pairs:
        set_field(value, pair)
    return value


@dataclass(frozen=True)
class StartOptions:
    """The options of how an execution starts; `with_options` adds them."""

    delay: Delay = None
    at: At = None
    deadline: Deadline = None
    attributes: Attributes = None
    priority: Priority = None
    concurrency_key: ConcurrencyKey = None
    project: Project = None

    def read(self) -> StartGiven:
        """As texts were given. Raises InputError."""
        from orch.workflows.starts import start_options

        given: StartGiven = {
            "delay": self.delay,
            "at": self.at,
            "deadline": self.deadline,
            "priority": self.priority,
        }
        if self.concurrency_key is not None:
            given["concurrency_key"] = self.concurrency_key
        if self.project is not None:
            given["project"] = self.project
        if self.attributes:
            given["attributes"] = read_attributes(self.attributes)
        start_options(int(time.time() * 1000), given)  # before anything is begun
        return given


def read_attributes(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Attributes of ``name=value``. Raises InputError."""
    return dict(_attribute(pair) for pair in pairs or ())


def _attribute(pair: str) -> tuple[str, Any]:
    name, equals, text = pair.partition("=")
    if not equals:
        raise InputError(
            f"--attribute {pair!r} is not of the form name=value",
            hint="for example: --attribute customer=acme --attribute amount=120",
        )
    value = parse_value(text)
    return name, value if isinstance(value, str | int | float | bool) else text


def read_parameters(pairs: Sequence[str] | None) -> dict[str, str]:
    """Texts by name, of ``name=value``. Raises InputError."""
    found = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InputError(
                f"--set {pair!r} is not of the form name=value", hint="for example: --set retries=3"
            )
        if name in found:
            raise InputError(f"--set gives {name!r} twice", hint="keep one of them")
        found[name] = text
    return found


def set_field(target: dict[str, Any], pair: str) -> None:
    """Set ``a.b=1`` in ``target``: JSON where it is JSON, else text. Raises InputError."""
    key, equals, text = pair.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise InputError(
            f"--input {pair!r} is not of the form key=value",
            hint="for example: --input name=Ada --input retries=3 --input options.fast=true",
        )
    at = target
    for depth, part in enumerate(parts[:-1], 1):
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise InputError(
                f"--input {pair!r} sets a field of {'.'.join(parts[:depth])!r}, which is "
                f"{_kind(at)}",
                hint="give each key either a value or fields",
            )
    at[parts[-1]] = parse_value(text)


def parse_value(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def read_option(option: str, text: str) -> Any:
    """The JSON that an option gives. Raises InputError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(
            f"{option} is no JSON: {error}", hint="text needs quotes of its own: '\"text\"'"
        ) from error


def read_seconds(option: str, text: str) -> float:
    """The time that an option gives, in seconds. Raises InputError."""
    from orch.workflows.durations import parse_span

    try:
        return parse_span(text) / 1000
    except ValueError as error:
        raise InputError(f"{option} {text!r}: {error}", hint="90s, 10m, 1h30m, PT10M") from error


def read_json(file: Path, what: str) -> Any:
    """The JSON in a file, or on stdin for ``-``. Raises InputError."""
    name = "stdin" if str(file) == "-" else str(file)
    try:
        content = sys.stdin.buffer.read() if name == "stdin" else file.read_bytes()
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse)
    except OSError as error:
        raise InputError(
            f"{what} cannot be read: {name}: {error.strerror}", hint="check the path"
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{what} in {name} is no valid JSON: line {error.lineno}, column {error.colno}: "
            f"{error.msg}",
            hint='JSON puts keys and texts in double quotes: {"name": "Ada"}',
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} in {name} is no valid JSON: {error}") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", dict: "an object", type(None): "null"}.get(
        type(value), f"the value {value!r}"
    )
