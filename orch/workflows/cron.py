"""When a cron text names its next instant, by Debian's rules and in a zone of its own.

Five fields (minute, hour, day of month, month, day of week), or six with seconds first. When
clocks go forward, a time that is left out fires right behind the gap; when they go back, a time
that is there twice fires once, the first time. A field of hours or minutes that begins with `*`
goes by elapsed time instead. All raise ValueError with a sentence, the hint behind a colon.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from cronsim.cronsim import Field

SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_SOME_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)  # a check must not depend on the day
_HINT = (
    "write minute, hour, day of month, month and day of week, like '0 3 * * 1-5' "
    f"(seconds before them if needed), or {', '.join(SHORTHANDS)}"
)


def next_instant(cron: object, after: int, timezone: object = None) -> int:
    """The first instant (ms since the epoch) that ``cron`` names later than ``after`` (ms).

    ``timezone``: an IANA name; UTC without it.

    >>> next_instant("0 3 * * *", 0, "Europe/Berlin")
    7200000
    """
    zone = parse_zone(timezone)
    begun = datetime.fromtimestamp(after / 1000, UTC).astimezone(zone)
    # Beginning within the hour that is there twice, the library names times of its first pass.
    for found in _iterate(cron, begun):
        instant = round(found.timestamp() * 1000)
        if instant > after:
            return instant
    raise ValueError(f"{_show(cron)} names no instant: {_HINT}")


def check_cron(cron: object) -> None:
    """Raises ValueError for what is no cron text, or names no instant."""
    next(_iterate(cron, _SOME_MOMENT))


def parse_zone(name: object) -> tzinfo:
    """The zone of an IANA name; UTC for None."""
    if name in (None, "UTC"):
        return UTC  # without the help of a database
    try:
        if isinstance(name, str) and name:
            return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        pass
    hint = "write an IANA name like 'Europe/Berlin'"
    if not available_timezones():
        hint = "this system knows none; install its time zones, or the Python package `tzdata`"
    raise ValueError(f"{_show(name)} is no time zone: {hint}")


def _iterate(cron: object, begun: datetime) -> CronSim:
    if not isinstance(cron, str):
        raise ValueError(f"{_show(cron)} is no cron text: {_HINT}")
    text = SHORTHANDS.get(cron.strip().lower(), cron)
    try:
        return _checked(text, begun)
    except CronSimError as error:
        if str(error) == Field.DAY.msg() and _is_right_in_other_months(text, begun):
            raise _never(cron) from None
        reason = f"{str(error)[:1].lower()}{str(error)[1:]}"
        raise ValueError(f"{_show(cron)} is no cron text ({reason}): {_HINT}") from None
    except StopIteration:
        raise _never(cron) from None


def _checked(text: str, begun: datetime) -> CronSim:
    next(CronSim(text, begun))
    return CronSim(text, begun)


def _is_right_in_other_months(text: str, begun: datetime) -> bool:
    """The library says of the 31st of February what it says of a 99th: a bad day."""
    *fields, _, weekday = text.split()
    try:
        CronSim(" ".join((*fields, "*", weekday)), begun)
    except CronSimError:
        return False
    return True


def _never(cron: str) -> ValueError:
    return ValueError(
        f"{_show(cron)} never fires: none of its months has such a day, within fifty years"
    )


def _show(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
