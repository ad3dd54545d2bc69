"""What is declared of a capability beside its code, with `@capability` or by its worker."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orch.errors import SettingsError
from orch.workflows.definition import RetryPolicy

FIRST_VERSION = "1.0.0"

_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-((0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(\+([0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*))?"
)
"""Semantic Versioning 2.0.0, as https://semver.org has it."""

_RATE = re.compile(r"(\d{1,9}(\.\d{1,6})?)/[smhd]")
_RETRY: TypeAdapter[RetryPolicy] = TypeAdapter(RetryPolicy)


@dataclass(frozen=True)
class Declared:
    """What holds for a capability where neither the step nor, for limits, the settings say.

    version      semantic version of what it promises
    timeout      seconds for an attempt
    retry        how a failed attempt is tried again: a `RetryPolicy`, or its fields
    cost         of one call, in whatever unit its owner counts
    concurrency  calls at a time, over all workers
    rate_limit   calls in a second, minute, hour or day, over all workers: `50/s`, `m`, `h`, `d`
    idempotent   whether a second call with the same input does no harm

    Raises SettingsError.
    """

    version: str = FIRST_VERSION
    timeout: float | None = None
    retry: RetryPolicy | None = None
    cost: float | None = None
    concurrency: int | None = None
    rate_limit: str | None = None
    idempotent: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.version, str) or not _VERSION.fullmatch(self.version):
            raise _wrong("version", self.version, "a semantic version, such as '1.4.0'")
        if self.timeout is not None and not (_is_number(self.timeout) and self.timeout > 0):
            raise _wrong("timeout", self.timeout, "seconds above 0")
        if self.cost is not None and not (_is_number(self.cost) and self.cost >= 0):
            raise _wrong("cost", self.cost, "a number that is not negative")
        count = self.concurrency
        if count is not None and (not isinstance(count, int) or count is True or count < 1):
            raise _wrong("concurrency", count, "a whole number from 1 on")
        if self.rate_limit is not None and not _is_rate(self.rate_limit):
            raise _wrong("rate_limit", self.rate_limit, "a rate above 0, such as '50/s' or '100/m'")
        if not isinstance(self.idempotent, bool):
            raise _wrong("idempotent", self.idempotent, "True or False")
        object.__setattr__(self, "retry", _retry(self.retry))

    @property
    def timeout_ms(self) -> int | None:
        return None if self.timeout is None else max(1, int(self.timeout * 1000))

    def as_dict(self) -> dict[str, Any]:
        """What is not as by default, as JSON; the version always."""
        found: dict[str, Any] = {"version": self.version}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                found[field.name] = value
        if self.retry is not None:
            found["retry"] = self.retry.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return found

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Declared:
        """Of what `as_dict` gave; what a later release may have added is left aside."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in found.items() if name in known})


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)


def _is_rate(found: Any) -> bool:
    match = _RATE.fullmatch(found) if isinstance(found, str) else None
    return match is not None and float(match[1]) > 0


def _retry(given: Any) -> RetryPolicy | None:
    if given is None or isinstance(given, RetryPolicy):
        return given
    try:
        return _RETRY.validate_python(given)
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        place = ".".join(str(part) for part in ("retry", *error["loc"]))
        raise _wrong(place, error["input"], error["msg"].removeprefix("Input should be ")) from None


def _wrong(name: str, found: Any, wanted: str) -> SettingsError:
    return SettingsError(
        f"`{name}` of a capability is {found!r}, and should be {wanted}",
        hint="docs/capabilities.md has the arguments of `@capability`",
    )
