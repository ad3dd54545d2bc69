"""Executions that are started again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orch.control.schedules import ScheduleInfo, TickInfo
from orch.facade.base import Base
from orch.workflows.schedule import Schedule


class Schedules(Base):
    """Executions that are started again and again."""

    # Schedules: executions that are started again and again, by whichever beat leads. They raise
    # NotFound where there is none of the name. ``by``: who does it; the user of this process.

    def add_schedule(
        self,
        schedule: Schedule | Mapping[str, Any],
        *,
        replace: bool = False,
        by: str | None = None,
    ) -> ScheduleInfo:
        """Write down a schedule; with ``replace`` also over one of the same name.

        Raises InputError for one that is none or has no instant to come, or where one of the name
        is there; NotFound for its workflow.
        """
        return self.manager.schedules.add(schedule, replace=replace, by=by)

    def list_schedules(self) -> Sequence[ScheduleInfo]:
        """All of them, by name."""
        return self.manager.schedules.list()

    def get_schedule(self, name: str) -> ScheduleInfo:
        """One of them."""
        return self.manager.schedules.get(name)

    def get_schedule_ticks(self, name: str, limit: int = 20) -> Sequence[TickInfo]:
        """What became of its latest instants, the latest first."""
        return self.manager.schedules.ticks(name, limit)

    def get_next_instants(self, name: str, count: int = 10) -> Sequence[str]:
        """Its next instants, ISO 8601."""
        return self.manager.schedules.next(name, count)

    def pause_schedule(self, name: str, note: str = "", *, by: str | None = None) -> ScheduleInfo:
        """Start nothing more of it until it is resumed."""
        return self.manager.schedules.pause(name, note, by=by)

    def resume_schedule(self, name: str, note: str = "", *, by: str | None = None) -> ScheduleInfo:
        """Go on; what passed meanwhile is not made up for."""
        return self.manager.schedules.resume(name, note, by=by)

    def trigger_schedule(self, name: str, *, by: str | None = None) -> TickInfo:
        """Start an execution of it now, whatever runs."""
        return self.manager.schedules.trigger(name, by=by)

    def backfill_schedule(
        self, name: str, start: str, end: str, *, dry_run: bool = False, by: str | None = None
    ) -> Sequence[TickInfo]:
        """Start those of its executions between two instants that were never started.

        Raises InputError for a time that is none, lies ahead, or has more than 10,000 instants.
        """
        return self.manager.schedules.backfill(name, start, end, dry_run=dry_run, by=by)

    def remove_schedule(self, name: str) -> bool:
        """Forget it, not its executions. False: there was none."""
        return self.manager.schedules.remove(name)
