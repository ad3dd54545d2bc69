"""When the sun rises: Celery's `solar`, asked for the instant after another one."""

from __future__ import annotations

from datetime import UTC, datetime

from celery.exceptions import ImproperlyConfigured
from celery.schedules import solar

from orch.errors import SettingsError
from orch.workflows.schedule import Sun


def next_sun(sun: Sun, after: int) -> int:
    """The next instant later than ``after`` at which the sun does that, ms.

    Where it does not do it every day, as beyond the polar circles, the next day on which it does.
    Raises SettingsError where the package `ephem` is missing.
    """
    began = datetime.fromtimestamp(after / 1000, UTC)
    try:
        found = solar(sun.event.value, sun.latitude, sun.longitude, nowfun=lambda: began)
    except ImproperlyConfigured as exc:
        raise SettingsError(
            "schedules by the sun need the package ephem, which is not installed",
            hint="pip install 'orch[sun]'",
        ) from exc
    came: datetime = began + found.remaining_estimate(began)
    return max(round(came.timestamp() * 1000), after + 1)
