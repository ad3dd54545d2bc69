"""What executions may be asked for. Imports little: the command line reads it at its start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypedDict

Scalar = str | int | float | bool
Instant = datetime | timedelta | str | int
"""A point in time: aware, so long ago, ISO 8601 with a time zone, or ms since the epoch."""


class Filters(TypedDict, total=False):
    """What executions may be asked for; each that is given must hold, None is not given.

    ``tag`` and ``capability``: of the version that an execution runs. ``attribute``: name ->
    value, all of them. ``since``, ``until``: started then or later, and before then.
    ``error``: the name of the error that it ended with. ``parent``: who called it.
    ``degraded``: whether it completed with holes.
    """

    workflow: str | None
    status: str | Iterable[str] | None
    tag: str | None
    attribute: Mapping[str, Scalar] | None
    since: Instant | None
    until: Instant | None
    capability: str | None
    error: str | None
    parent: str | None
    version: str | None
    degraded: bool | None
