"""An operation and its parameters -> what is sent. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote, urlencode

from orch.errors import InputError, NotFound
from orch.services.service import PLACEHOLDER, ExternalService, ServiceOperation


@dataclass(frozen=True)
class ServiceRequest:
    """``body``: JSON, or None."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None


def operation_of(service: ExternalService, name: str) -> ServiceOperation:
    """Raises NotFound, which lists those that there are."""
    found = service.operations.get(name)
    if found is None:
        close = get_close_matches(name, service.operations, 1)
        raise NotFound(
            f"service {service.name!r} has no operation {name!r}; "
            f"it has: {', '.join(sorted(service.operations))}",
            hint=f"did you mean {close[0]!r}?" if close else "`orch service show` lists them",
        )
    return found


def make_request(
    service: ExternalService, name: str, parameters: Mapping[str, Any] | None
) -> ServiceRequest:
    """Raises NotFound for the operation, InputError with all that is wrong with its parameters."""
    operation = operation_of(service, name)
    given = {} if parameters is None else parameters
    _check(service, name, operation, given)
    url = service.url + PLACEHOLDER.sub(
        lambda found: _segment(service, found[1], given[found[1]]), operation.path
    )
    query = [
        (key, text)
        for key in operation.query
        if given.get(key) is not None
        for text in _texts(service, key, given[key])
    ]
    headers = {"Accept": "application/json", **service.headers, **operation.headers}
    body = _body(operation, given)
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    return ServiceRequest(
        operation.method,
        f"{url}?{urlencode(query, errors='replace')}" if query else url,
        headers,
        body,
    )


def _check(
    service: ExternalService, name: str, operation: ServiceOperation, given: Mapping[str, Any]
) -> None:
    if not isinstance(given, Mapping):
        raise _wrong(service, name, operation, f"parameters are an object, found {given!r:.100}")
    problems = [f"there is no parameter {n!r}" for n in given if n not in operation.parameters]
    problems += [f"{n!r} is missing" for n in operation.needed if given.get(n) is None]
    if problems:
        raise _wrong(service, name, operation, "; ".join(problems))


def _wrong(
    service: ExternalService, name: str, operation: ServiceOperation, what: str
) -> InputError:
    taken = ", ".join(operation.parameters) or "no parameters"
    return InputError(
        f"operation {name!r} of service {service.name!r} cannot be called: {what}",
        hint=f"it takes {taken}",
    )


def _segment(service: ExternalService, name: str, value: Any) -> str:
    """A value in a path, which it cannot leave."""
    text = _text(service, name, value)
    if text in ("", ".", ".."):
        raise InputError(
            f"parameter {name!r} of service {service.name!r} is {text!r}, which is no part of a "
            "path",
            hint="give a value that names something",
        )
    return quote(text, safe="", errors="replace")


def _texts(service: ExternalService, name: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [_text(service, name, each) for each in values]


def _text(service: ExternalService, name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise InputError(
        f"parameter {name!r} of service {service.name!r} is {value!r:.100}, and a URL takes a "
        "text, a number or true or false",
        hint="pass it in the body, or a field of it",
    )


def _body(operation: ServiceOperation, given: Mapping[str, Any]) -> str | None:
    if operation.body is None:
        return None
    if isinstance(operation.body, str):
        content = given.get(operation.body)
    else:
        content = {name: given[name] for name in operation.body if name in given}
    return json.dumps(content)
