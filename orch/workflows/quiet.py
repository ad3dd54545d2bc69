"""Quiet hours: the time of day in which nobody is reminded, and no rung runs out of time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from orch.workflows.cron import parse_zone

_HOURS = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})(?:\s+(\S+))?")


@dataclass(frozen=True)
class QuietHours:
    """From ``begin`` until ``end`` of every day; over midnight where it ends before it begins."""

    begin: time
    end: time
    zone: tzinfo

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """``22:00-07:00 Europe/Berlin``; without a zone it is UTC. Raises ValueError."""
        found = _HOURS.fullmatch(text.strip())
        if found is None:
            raise ValueError(
                f"{text!r} names no quiet hours: write them like '22:00-07:00 Europe/Berlin'"
            )
        numbers = [int(part) for part in found.groups()[:4]]
        if any(hour > 23 for hour in numbers[::2]) or any(minute > 59 for minute in numbers[1::2]):
            raise ValueError(f"{text!r} names no time of day: hours go to 23, minutes to 59")
        begin, end = time(numbers[0], numbers[1]), time(numbers[2], numbers[3])
        if begin == end:
            raise ValueError(f"{text!r} begins when it ends: leave it out, or name two times")
        return cls(begin, end, parse_zone(found.group(5)))

    def after(self, instant: int) -> int:
        """The instant itself (ms since the epoch), or the end of the quiet hours that it is in."""
        local = datetime.fromtimestamp(instant / 1000, UTC).astimezone(self.zone)
        at = local.time()
        if self.begin < self.end:
            quiet, next_day = self.begin <= at < self.end, False
        else:
            quiet, next_day = at >= self.begin or at < self.end, at >= self.begin
        if not quiet:
            return instant
        day = local.date() + timedelta(days=next_day)
        ended = datetime.combine(day, self.end, tzinfo=self.zone)
        return max(instant, round(ended.timestamp() * 1000))
