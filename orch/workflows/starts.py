"""How an execution is to start: when, until when, how urgent, and what it is found by.

Options come from a call, and from the definition; what a call says goes before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from orch.errors import InputError
from orch.workflows.durations import MAX_DURATION, parse_duration, parse_instant, parse_span
from orch.workflows.traces import TraceContext

Scalar = str | int | float | bool

MOST_ATTRIBUTES = 32
MOST_TEXT = 1000
"""Characters of an attribute that is a text, and of a concurrency key."""

START_ROOTS = ("input", "workflowName", "executionId")
"""What is known before an execution begins."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


class StartGiven(TypedDict, total=False):
    """What may be given with a start, beside the input.

    ``delay``: how long after the call it begins; ``at``: the instant. ``deadline``: an instant,
    or how long it may take from its beginning. ``attributes``: what it is found by.
    ``priority``: 0 to 9, the highest goes first. ``concurrency_key``: instead of the one that
    the definition tells. ``project``: for whom it works; the same as its attribute `project_id`.
    ``traceparent``: the place in a trace that it stands below, as W3C Trace Context writes it.
    Durations are seconds, `timedelta`, or text like "10m", "1h30m" or "PT10M"; instants
    `datetime` with a time zone, or ISO 8601 text.
    """

    delay: float | str | timedelta | None
    at: str | datetime | None
    deadline: float | str | timedelta | datetime | None
    attributes: Mapping[str, Scalar] | None
    priority: int | None
    concurrency_key: Scalar | None
    project: str | None
    traceparent: str | None


@dataclass(frozen=True)
class StartOptions:
    """Instants in ms since the epoch, durations in ms; 0: not given."""

    at: int = 0
    deadline: int = 0
    within: int = 0
    attributes: Mapping[str, Scalar] = field(default_factory=dict)
    priority: int | None = None
    concurrency_key: str | None = None
    project: str = ""
    traceparent: str = ""


def start_options(now: int, given: StartGiven) -> StartOptions:
    """Check what was given with a start. Raises InputError."""
    delay, at, deadline = given.get("delay"), given.get("at"), given.get("deadline")
    if delay is not None and at is not None:
        raise InputError(
            "a start takes `delay` or `at`, and both were given", hint="leave one of them out"
        )
    begins = 0
    if delay is not None:
        begins = now + _milliseconds("delay", delay)
    elif at is not None:
        begins = _instant("at", at)
    ends = within = 0
    if deadline is not None:
        if _is_instant(deadline):
            ends = _instant("deadline", deadline)
        else:
            within = _milliseconds("deadline", deadline)
            if within == 0:
                raise InputError("`deadline` leaves an execution no time: it is 0")
    if ends and ends <= max(begins, now):
        when = "it begins" if begins > now else "now"
        raise InputError(
            f"`deadline` {deadline} is not after {'the instant at which ' * (begins > now)}{when}",
            hint="give a later instant, or a duration: it counts from the beginning",
        )
    priority = given.get("priority")
    if priority is not None and (type(priority) is not int or not 0 <= priority <= 9):
        raise InputError(f"`priority` is a number from 0 to 9, the most urgent; found {priority!r}")
    attributes = checked_attributes(given.get("attributes") or {})
    key = key_text(given.get("concurrency_key"))
    project = _project(given.get("project"))
    above = _traceparent(given.get("traceparent"))
    return StartOptions(begins, ends, within, attributes, priority, key, project, above)


def _traceparent(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or TraceContext.of(value) is None:
        raise InputError(
            f"`traceparent` is no place in a trace; found {str(value)[:100]!r}",
            hint="give it as W3C Trace Context has it: 00-TRACE-SPAN-FLAGS, in hexadecimal",
        )
    return value


def _project(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= MOST_TEXT:
        raise InputError(
            f"`project` is a text of 1 to {MOST_TEXT} characters; found {str(value)[:100]!r}"
        )
    return value


def checked_attributes(given: Mapping[str, Any]) -> dict[str, Scalar]:
    """Attributes with names and values that can be stored and found. Raises InputError."""
    if len(given) > MOST_ATTRIBUTES:
        raise InputError(
            f"{len(given)} attributes are given, and {MOST_ATTRIBUTES} are allowed",
            hint="they are for finding executions; keep data in the input",
        )
    for name, value in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} is no name of an attribute",
                hint="letters, digits, `_`, `.`, `-`; a letter or `_` first; at most 64",
            )
        if not isinstance(value, str | int | float | bool):
            raise InputError(
                f"attribute {name!r} is a {type(value).__name__}",
                hint="an attribute is a text, a number, true or false",
            )
        if isinstance(value, str) and len(value) > MOST_TEXT:
            raise InputError(
                f"attribute {name!r} has {len(value)} characters, and {MOST_TEXT} are allowed"
            )
    return dict(given)


def key_text(value: Any) -> str | None:
    """A concurrency key as text: 5 and "5" are one. Raises InputError where it cannot be one."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float | bool):
        raise InputError(
            f"the concurrency key is a {type(value).__name__}",
            hint="a key is a text, a number, true or false",
        )
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > MOST_TEXT:
        raise InputError(
            f"the concurrency key has {len(text)} characters, and {MOST_TEXT} are allowed"
        )
    return text


def _is_instant(value: object) -> bool:
    if not isinstance(value, str):
        return isinstance(value, datetime)
    return re.match(r"\d{4}-", value) is not None


def _instant(what: str, value: object) -> int:
    try:
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError(f"{value} has no time zone: use datetime.now(timezone.utc)")
            return round((value - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
        return parse_instant(value)
    except ValueError as error:
        raise InputError(f"`{what}`: {error}") from error


def _milliseconds(what: str, value: object) -> int:
    try:
        if isinstance(value, timedelta):
            return parse_duration(value / timedelta(milliseconds=1))
        if isinstance(value, str):
            try:
                return parse_span(value)
            except ValueError as error:
                raise InputError(
                    f"`{what}`: {value!r} is no duration",
                    hint="write it like 90s, 10m, 1h30m or PT10M",
                ) from error
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"a {type(value).__name__} is no duration")
        if not abs(value) * 1000 <= MAX_DURATION:
            raise ValueError(f"{value} s is longer than a hundred years")
        return parse_duration(value * 1000)
    except ValueError as error:
        raise InputError(f"`{what}`: {error}") from error
