"""Schedules: written down, changed while beats run, shown, and started by hand."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orch.control.noting import schedule_changed
from orch.control.starting import checked_input
from orch.control.status import instant as shown_instant
from orch.control.sun import next_sun
from orch.control.ticking import Ticker, given_of, iso
from orch.control.user import current_user
from orch.errors import InputError, NotFound, OrchError
from orch.journal.schedules import EXISTS, STORED, StoredSchedule
from orch.workflows.durations import parse_instant
from orch.workflows.note import Note
from orch.workflows.schedule import (
    BACKFILLED_AT_MOST,
    Progress,
    Schedule,
    Tick,
    instants,
    next_after,
    resumed,
)

if TYPE_CHECKING:
    from orch.control.manager import WorkflowManager

Given = Schedule | Mapping[str, Any]
"""A schedule, or what one is made of, with the names of its fields in camelCase or snake_case."""

Ticks = list[Tick]
Change = Callable[[Schedule, Progress, int], tuple[Schedule, Progress]]


class TickInfo(BaseModel):
    """What became of an instant. Instants are ISO 8601 in UTC."""

    model_config = ConfigDict(frozen=True)

    instant: str
    outcome: str = Field(description="started, skipped, missed, failed, triggered or backfilled")
    at: str = Field(description="when that was decided")
    execution: str | None = None
    why: str = ""
    count: int = Field(1, description="of instants that were missed: how many, from this one on")


class ScheduleInfo(BaseModel):
    """A schedule as it stands. Instants are ISO 8601 in UTC."""

    model_config = ConfigDict(frozen=True)

    name: str
    workflow: str
    when: str
    paused: bool
    next: str | None = Field(None, description="the next instant; null: none, or it is paused")
    latest: str | None = Field(None, description="the execution that was started last")
    waiting: int = Field(0, description="instants that wait for the execution before them")
    started: int = 0
    skipped: int = 0
    missed: int = 0
    created: str
    changed: str
    by: str = ""
    schedule: dict[str, Any] = Field(description="all that it says")


class Schedules:
    """Schedules in the Redis of ``manager``. Every method may raise Unreachable.

    ``by``: who does it, by default the user of this process.
    """

    def __init__(self, manager: WorkflowManager) -> None:
        self.manager = manager
        self.journal = manager.journal

    def add(self, given: Given, *, replace: bool = False, by: str | None = None) -> ScheduleInfo:
        """Write down a schedule; with ``replace`` also over one of the same name.

        Raises InputError for one that is none, has no instant to come, or whose input misses the
        schema of the workflow, and where one of the name is there; NotFound for the workflow.
        """
        schedule = parse_schedule(given)
        plan = self.manager.plan(schedule.workflow, schedule.version)
        checked_input(self.manager.settings, schedule.workflow, plan.definition, schedule.input)
        now = self.journal.clock()
        look = self._first(schedule, now)
        kept = self.journal.read_schedule(schedule.name) if replace else None
        progress = resumed(kept.progress, now) if kept is not None else Progress(last=now)
        word = self.journal.store_schedule(
            schedule.name,
            progress,
            look,
            spec=schedule.model_dump_json(by_alias=True, exclude_none=True),
            before="*" if replace else "",
            by=by or current_user(),
            note=self._note(schedule, "changed" if kept is not None else "added", by),
        )
        if word == EXISTS:
            raise InputError(
                f"there is a schedule {schedule.name!r}",
                hint="take another name, or replace it with `--replace`",
            )
        return self.get(schedule.name)

    def list(self) -> Sequence[ScheduleInfo]:
        found = (self.journal.read_schedule(name) for name in self.journal.schedule_names())
        return [_info(stored, self.journal.clock()) for stored in found if stored is not None]

    def get(self, name: str) -> ScheduleInfo:
        """Raises NotFound."""
        return _info(self._read(name), self.journal.clock())

    def ticks(self, name: str, limit: int = 20) -> Sequence[TickInfo]:
        """What became of its latest instants, the latest first. Raises NotFound."""
        self._read(name)
        return [_tick(each) for each in self.journal.read_ticks(name, limit)]

    def next(self, name: str, count: int = 10) -> Sequence[str]:
        """Its next instants. Raises NotFound."""
        schedule, now = self._read(name).schedule, self.journal.clock()
        far = now + 200 * 365 * 86_400_000
        return [iso(each) for each in islice(instants(schedule, now, far, next_sun), count)]

    def pause(self, name: str, note: str = "", *, by: str | None = None) -> ScheduleInfo:
        """Nothing more is started. Raises NotFound."""

        def change(schedule: Schedule, progress: Progress, now: int) -> Any:
            update = {"paused": True, "note": note or schedule.note}
            return schedule.model_copy(update=update), progress

        return self._change(name, change, by)

    def resume(self, name: str, note: str = "", *, by: str | None = None) -> ScheduleInfo:
        """Go on; instants that passed meanwhile are not made up for. Raises NotFound."""

        def change(schedule: Schedule, progress: Progress, now: int) -> Any:
            update = {"paused": False, "note": note or schedule.note}
            return schedule.model_copy(update=update), resumed(progress, now)

        return self._change(name, change, by)

    def remove(self, name: str, *, by: str | None = None) -> bool:
        """Forget a schedule, not its executions. False: there was none."""
        stored = self.journal.read_schedule(name)
        if stored is None:
            return False
        return self.journal.remove_schedule(name, self._note(stored.schedule, "removed", by))

    def trigger(self, name: str, *, by: str | None = None) -> TickInfo:
        """Start an execution now, whatever runs, also of one that is paused. Raises NotFound."""
        schedule, now = self._read(name).schedule, self.journal.clock()
        given = given_of(schedule, now)
        started = self.manager.start(
            schedule.workflow,
            schedule.input,
            idempotency_key=f"schedule:{name}@{now}!{secrets.token_hex(4)}",
            version=schedule.version,
            **given,
        )
        told = Tick(now, "triggered", now, started.id, why=f"by {by or current_user()}")
        self._tell(name, [told])
        return _tick(told)

    def backfill(
        self, name: str, start: str, end: str, *, dry_run: bool = False, by: str | None = None
    ) -> Sequence[TickInfo]:
        """Start the executions of all instants from ``start`` to ``end``, ISO 8601, both included.

        Those that were started before are not started again. ``dry_run``: only say which.
        Raises NotFound, InputError for a time that is none, lies ahead, or has too many instants.
        """
        schedule = self._read(name).schedule
        begins, ends = _instant("start", start), _instant("end", end)
        now = self.journal.clock()
        if ends < begins or ends > now:
            what = "before its start" if ends < begins else "in the future"
            raise InputError(f"the end of the backfill, {end}, is {what}")
        anew = schedule.model_copy(update={"start": None, "end": None, "jitter": 0})
        anew = schedule if schedule.every is not None else anew
        found = list(islice(instants(anew, begins - 1, ends, next_sun), BACKFILLED_AT_MOST + 1))
        if len(found) > BACKFILLED_AT_MOST:
            raise InputError(
                f"schedule {name!r} has more than {BACKFILLED_AT_MOST} instants from {start} to "
                f"{end}",
                hint="take a part of the time after the other",
            )
        ticker = Ticker(self.manager)
        told: Ticks = []
        for instant in found:
            if dry_run:
                told.append(Tick(instant, "backfilled", now))
                continue
            try:
                execution, why = ticker.start(anew, instant), f"by {by or current_user()}"
                outcome = "backfilled"
            except InputError as error:
                execution, why, outcome = "", error.message, "failed"
            told.append(Tick(instant, outcome, self.journal.clock(), execution, why))
        if not dry_run:
            self._tell(name, told)
        return [_tick(each) for each in told]

    def _tell(self, name: str, told: Ticks) -> None:
        """Remember what was done by hand, and the execution that was started last."""
        latest = next((tick.execution for tick in reversed(told) if tick.execution), "")

        def change(schedule: Schedule, progress: Progress, now: int) -> Any:
            started = progress.started + sum(bool(tick.execution) for tick in told)
            return schedule, replace(progress, latest=latest or progress.latest, started=started)

        self._change(name, change, None, told)

    def _change(
        self, name: str, change: Change, by: str | None, told: Ticks | None = None
    ) -> ScheduleInfo:
        while True:
            stored, now = self._read(name), self.journal.clock()
            schedule, progress = change(stored.schedule, stored.progress, now)
            look = None if schedule.paused and not progress.starting else now
            spec = schedule.model_dump_json(by_alias=True, exclude_none=True)
            word = self.journal.store_schedule(
                name,
                progress,
                look,
                spec=spec if schedule is not stored.schedule else "",
                before=stored.spec,
                was=stored.was,
                by=by or current_user(),
                told=told or (),
                note=self._note_of_change(stored.schedule, schedule, by),
            )
            if word == STORED:
                return self.get(name)

    def _note_of_change(self, before: Schedule, after: Schedule, by: str | None) -> Note | None:
        if after is before or before.paused == after.paused:
            return None
        return self._note(after, "paused" if after.paused else "resumed", by)

    def _note(self, schedule: Schedule, word: str, by: str | None) -> Note:
        at, who = self.journal.clock(), by or current_user()
        return schedule_changed(schedule.name, schedule.workflow, word, who, at, schedule.note)

    def _read(self, name: str) -> StoredSchedule:
        stored = self.journal.read_schedule(name)
        if stored is None:
            raise NotFound(f"there is no schedule {name!r}", hint="`orch schedule list` shows all")
        return stored

    def _first(self, schedule: Schedule, now: int) -> int | None:
        found = next_after(schedule, now, next_sun)
        if found is None:
            ended = schedule.ends is not None and schedule.ends <= now
            why = f"its `end` {schedule.end} has passed" if ended else "it names no instant to come"
            raise InputError(
                f"schedule {schedule.name!r} would never start anything: {why}",
                hint="correct `at`, `cron`, `start` or `end`",
            )
        return None if schedule.paused else found


def parse_schedule(given: Given) -> Schedule:
    """Raises InputError, with a clause for each field that is wrong."""
    if isinstance(given, Schedule):
        return given
    try:
        return Schedule.model_validate(dict(given))
    except ValidationError as exc:
        clauses = []
        for error in exc.errors(include_url=False, include_context=False):
            where = ".".join(str(part) for part in error["loc"])
            said = error["msg"].removeprefix("Value error, ")
            clauses.append(f"{where}: {said}" if where else said)
        raise InputError(
            f"this is no schedule: {'; '.join(clauses)}", hint="docs/schedules.md has all fields"
        ) from None


def _instant(what: str, text: str) -> int:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise InputError(f"the {what} of the backfill: {error}") from error


def _info(stored: StoredSchedule, now: int) -> ScheduleInfo:
    schedule, progress = stored.schedule, stored.progress
    try:
        coming = None if schedule.paused else next_after(schedule, now, next_sun)
    except OrchError:  # no package for the sun here; beats may have it
        coming = None
    return ScheduleInfo(
        name=schedule.name,
        workflow=schedule.workflow,
        when=schedule.when(),
        paused=schedule.paused,
        next=iso(coming) if coming is not None else None,
        latest=progress.latest or None,
        waiting=len(progress.pending),
        started=progress.started,
        skipped=progress.skipped,
        missed=progress.missed,
        created=shown_instant(stored.created),
        changed=shown_instant(stored.changed),
        by=stored.by,
        schedule=schedule.model_dump(mode="json", by_alias=True, exclude_none=True),
    )


def _tick(tick: Tick) -> TickInfo:
    return TickInfo(
        instant=iso(tick.instant),
        outcome=tick.outcome,
        at=iso(tick.at),
        execution=tick.execution or None,
        why=tick.why,
        count=tick.count,
    )
