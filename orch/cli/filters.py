"""The options by which many executions are chosen, on every command that takes many."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Optional, cast

import typer

from orch.cli.options import Status
from orch.control.filters import Filters
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

_PANEL = "Which executions"
_AGO = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|min|h|d|w))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|min|s|m|h|d|w)")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000}
_UNITS |= {"d": 86_400_000, "w": 604_800_000}


def _option(*names: str, metavar: str | None = None, help: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=_PANEL)


@dataclass(frozen=True)
class FilterOptions:
    """The options by which executions are chosen; `with_options` adds them."""

    workflow: Annotated[
        Optional[str], _option("--workflow", metavar="NAME", help="Those of NAME.")
    ] = None
    of_status: Annotated[
        Optional[Status], _option("--status", "-s", help="Those of this status.")
    ] = None
    tag: Annotated[
        Optional[str], _option("--tag", metavar="TAG", help="Whose definition has TAG.")
    ] = None
    attribute: Annotated[
        Optional[list[str]],
        _option("--attribute", metavar="NAME=VALUE", help="With this. May be repeated."),
    ] = None
    since: Annotated[
        Optional[str],
        _option("--since", metavar="WHEN", help="Started then or later: 2h, 7d, or ISO 8601."),
    ] = None
    until: Annotated[
        Optional[str], _option("--until", metavar="WHEN", help="Started before then.")
    ] = None
    capability: Annotated[
        Optional[str],
        _option("--capability", metavar="NAME", help="Whose definition asks for NAME."),
    ] = None
    error: Annotated[
        Optional[str], _option("--error", metavar="NAME", help="That ended with this error.")
    ] = None
    parent: Annotated[
        Optional[str], _option("--parent", metavar="ID", help="That this execution called.")
    ] = None
    degraded: Annotated[bool, _option("--degraded", help="That completed with holes.")] = False
    of_version: Annotated[
        Optional[str], _option("--version", metavar="HASH", help="That run this version.")
    ] = None

    def read(self) -> Filters:
        """The ones that were given. Raises InputError."""
        read: dict[str, Any] = {
            "workflow": self.workflow,
            "status": self.of_status.value if self.of_status else None,
            "tag": self.tag,
            "attribute": dict(map(_pair, self.attribute or ())) or None,
            "since": read_instant("--since", self.since),
            "until": read_instant("--until", self.until),
            "capability": self.capability,
            "error": self.error,
            "parent": self.parent,
            "version": self.of_version,
            "degraded": self.degraded or None,
        }
        return cast("Filters", {name: value for name, value in read.items() if value is not None})


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InputError(
            f"--attribute {text!r} is not of the form NAME=VALUE",
            hint="for example: --attribute customer=acme",
        )
    return name, value


def read_instant(option: str, text: str | None) -> timedelta | datetime | None:
    """So long ago, or an instant; without a time zone in that of this machine."""
    if text is None:
        return None
    if _AGO.fullmatch(text):
        parts = _PART.findall(text)
        return timedelta(milliseconds=sum(float(n) * _UNITS[unit] for n, unit in parts))
    try:
        if text.startswith("P"):
            from orch.workflows.durations import parse_duration

            return timedelta(milliseconds=parse_duration(text))
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as exc:
        raise InputError(
            f"{option} {text!r} is no point in time",
            hint="write how long ago (90s, 2h, 7d), a date, or 2030-01-31T09:00:00Z",
        ) from exc
