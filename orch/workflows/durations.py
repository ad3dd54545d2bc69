"""Durations and instants as people write them, to milliseconds.

ISO 8601 durations with a fixed length (weeks, or days, hours, minutes and seconds; a fraction
on the last of them); years and months have none and are refused. Instants need a time zone,
since workers may stand in several. Both raise ValueError with a sentence.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

MAX_DURATION = 100 * 365 * 24 * 3_600_000
"""The longest wait, ms: a hundred years. What is longer is a slip."""

_NUMBER = r"[0-9]+(?:[.,][0-9]+)?"
_DURATION = re.compile(
    rf"P(?:(?P<W>{_NUMBER})W|(?:(?P<D>{_NUMBER})D)?"
    rf"(?P<time>T(?:(?P<H>{_NUMBER})H)?(?:(?P<M>{_NUMBER})M)?(?:(?P<S>{_NUMBER})S)?)?)"
)
_CALENDAR = re.compile(rf"P(?:{_NUMBER}[YMWD])*{_NUMBER}[YM].*")
_UNITS = {"W": 604_800_000, "D": 86_400_000, "H": 3_600_000, "M": 60_000, "S": 1000}
_SPAN_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|s|m|h|d|w))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_duration(value: object) -> int:
    """Milliseconds of a number of milliseconds, or of an ISO 8601 duration.

    >>> parse_duration("PT1H30M")
    5400000
    """
    if isinstance(value, str):
        return _checked(_parse_text(value), value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(
            f"{_show(value)} is no duration: write milliseconds, or ISO 8601 like 'PT1H30M'"
        )
    return _checked(Fraction(value), value)


def parse_span(text: str) -> int:
    """Milliseconds of "90s", "1h30m", "500ms", or an ISO 8601 duration. Raises ValueError."""
    if not _SPAN.fullmatch(text):
        if not text.startswith(("P", "-")):
            raise ValueError(
                f"{_show(text)} is no duration: write it like '30s', '1h30m' or 'PT1H30M'"
            )
        return parse_duration(text)
    found = sum(float(number) * _SPAN_UNITS[unit] for number, unit in _PART.findall(text))
    return parse_duration(found)


def parse_instant(text: object) -> int:
    """Milliseconds since the epoch, UTC, of an ISO 8601 instant with a time zone.

    >>> parse_instant("1970-01-01T01:00:00+00:00")
    3600000
    """
    if not isinstance(text, str):
        raise ValueError(f"{_show(text)} is no instant: write ISO 8601 like '2030-01-31T09:00:00Z'")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{_show(text)} is no instant: write ISO 8601 like '2030-01-31T09:00:00Z'"
        ) from None
    if instant.tzinfo is None:
        raise ValueError(f"{_show(text)} has no time zone: add 'Z' for UTC, or '+02:00'")
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def _parse_text(text: str) -> Fraction:
    found = _DURATION.fullmatch(text)
    given = {unit: found[unit] for unit in _UNITS if found[unit]} if found else {}
    if found is None or not given or found["time"] == "T":
        if _CALENDAR.fullmatch(text):
            raise ValueError(
                f"{_show(text)} counts years or months, which have no fixed length: write days"
            )
        if text.startswith("-"):
            raise ValueError(f"{_show(text)} is negative: a wait cannot end before it begins")
        raise ValueError(f"{_show(text)} is no ISO 8601 duration: write it like 'PT1H30M' or 'P2D'")
    *others, _ = given.values()
    if any(not number.isdigit() for number in others):
        raise ValueError(f"{_show(text)} has a fraction before its last unit: only there it may be")
    return sum(
        (Fraction(number.replace(",", ".")) * _UNITS[unit] for unit, number in given.items()),
        start=Fraction(),
    )


def _checked(milliseconds: Fraction, value: object) -> int:
    if milliseconds < 0:
        raise ValueError(f"{_show(value)} is negative: a wait cannot end before it begins")
    if milliseconds > MAX_DURATION:
        raise ValueError(f"{_show(value)} is longer than a hundred years")
    return round(milliseconds)


def _show(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
