"""What the beat that leads does: it looks at what is due, and starts what is to be started.

Each decision is stored before it is carried out, and stored only where nobody else has stored one
in the meantime. So whoever leads next finds either the decision, and carries it out again (the
idempotency key of an execution is the schedule and the instant), or none, and makes it.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orch.control.sun import next_sun
from orch.errors import NotFound, OrchError, Unreachable
from orch.faults import fault
from orch.journal.schedules import STORED, StoredSchedule
from orch.workflows.schedule import (
    Act,
    Progress,
    Schedule,
    Tick,
    act,
    chosen,
    done,
    look,
    next_after,
    skipped,
)
from orch.workflows.starts import StartGiven

if TYPE_CHECKING:
    from orch.control.manager import WorkflowManager

logger = logging.getLogger(__name__)

SOON = 1000
"""Ms between looks at an execution for whose end an instant waits."""


class Ticker:
    """Tends the schedules of ``manager``'s Redis. Every method may raise Unreachable."""

    def __init__(self, manager: WorkflowManager) -> None:
        self.manager = manager
        self.journal = manager.journal

    def tick(self) -> int | None:
        """Tend all schedules that are due; when the next one is, ms."""
        for name in self.journal.due_schedules(self.journal.clock()):
            try:
                while self._tend(name):
                    pass
            except Unreachable:
                raise
            except OrchError as error:
                logger.error("schedule %s: %s", name, error.message)
        return self.journal.next_due()

    def _tend(self, name: str) -> bool:
        """One step further with a schedule; whether there may be another one at once."""
        stored = self.journal.read_schedule(name)
        if stored is None:
            self.journal.remove_schedule(name)
            return False
        now = self.journal.clock()
        schedule = stored.schedule
        progress, ticks = look(schedule, stored.progress, now, next_sun)
        match act(schedule, progress, self._runs(progress.latest)):
            case None | Act.WAIT:
                return not self._store(stored, progress, ticks)
            case Act.SKIP:
                why = f"{progress.latest} has not ended"
                ticks.append(Tick(progress.pending[0], "skipped", now, why=why))
                self._store(stored, skipped(progress), ticks)
                return True
            case Act.CANCEL:
                self._cancel(schedule, progress)
                return not self._store(stored, progress, ticks)
        if not progress.starting:
            self._store(stored, chosen(progress), ticks)
            fault("tick_chosen")
            return True
        fault("tick_starting")
        self._start(stored, progress, ticks)
        return True

    def _store(self, stored: StoredSchedule, progress: Progress, ticks: list[Tick]) -> bool:
        """False: somebody else was there, and it is to be looked at again."""
        now, schedule = self.journal.clock(), stored.schedule
        due = None if schedule.paused else next_after(schedule, progress.last, next_sun)
        if progress.starting or (progress.pending and not schedule.paused):
            due = min(due or now + SOON, now + SOON)
        word = self.journal.store_schedule(
            schedule.name, progress, due, before=stored.spec, was=stored.was, told=ticks
        )
        return word == STORED

    def _start(self, stored: StoredSchedule, progress: Progress, ticks: list[Tick]) -> None:
        instant = progress.starting
        try:
            execution, why = self.start(stored.schedule, instant), ""
        except Unreachable:
            raise
        except OrchError as error:
            execution, why = "", error.message
            logger.error("schedule %s at %s: %s", stored.schedule.name, iso(instant), why)
        fault("tick_started")
        outcome = "started" if execution else "failed"
        told = Tick(instant, outcome, self.journal.clock(), execution, why)
        self._store(stored, done(progress, execution), [*ticks, told])

    def start(self, schedule: Schedule, instant: int) -> str:
        """Start the execution of an instant; the same one, however often it is called.

        Raises OrchError where it cannot be started.
        """
        given = given_of(schedule, instant)
        if schedule.jitter:
            given["at"] = iso(instant + schedule.delay_of(instant))
        started = self.manager.start(
            schedule.workflow,
            schedule.input,
            idempotency_key=schedule.key_of(instant),
            version=schedule.version,
            **given,
        )
        return started.id

    def _runs(self, execution: str) -> bool:
        if not execution:
            return False
        try:
            return not self.manager.ended(execution)
        except NotFound:
            return False

    def _cancel(self, schedule: Schedule, progress: Progress) -> None:
        status = self.journal.status(progress.latest)
        if status is not None and not status.unwinds:
            reason = f"schedule {schedule.name}: {iso(progress.pending[0])} takes its place"
            self.manager.steering.cancel(progress.latest, reason=reason, by="beat")


def given_of(schedule: Schedule, instant: int) -> StartGiven:
    """How an execution of a schedule is started. It is found by `schedule` and `scheduledFor`."""
    found: StartGiven = {
        "attributes": {
            **schedule.attributes,
            "schedule": schedule.name,
            "scheduledFor": iso(instant),
        }
    }
    if schedule.priority is not None:
        found["priority"] = schedule.priority
    if schedule.deadline is not None:
        found["deadline"] = schedule.deadline / 1000
    return found


def iso(instant: int) -> str:
    """An instant in ms as ISO 8601 text, UTC."""
    return datetime.fromtimestamp(instant / 1000, UTC).isoformat().replace("+00:00", "Z")
