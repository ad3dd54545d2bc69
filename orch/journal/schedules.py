"""Schedules in Redis, and who of the beats leads. Their keys have a hash tag of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orch.journal.noted import Noted, noted_fields
from orch.workflows.note import Note
from orch.workflows.schedule import Progress, Schedule, Tick

TICKS_KEPT = 200
"""Of the latest instants of a schedule, how many are remembered."""

STORED, MOVED, EXISTS, MISSING = "STORED", "MOVED", "EXISTS", "MISSING"


@dataclass(frozen=True)
class StoredSchedule:
    """A schedule as it is stored; ``spec`` and ``was`` are the texts of its fields."""

    schedule: Schedule
    progress: Progress
    spec: str
    was: str
    created: int
    changed: int
    by: str


class Schedules(Noted):
    def read_schedule(self, name: str) -> StoredSchedule | None:
        fields = ("spec", "progress", "created", "changed", "by")
        found = self.read(self.redis.hmget, self.keys.schedule(name), list(fields))
        spec, was, created, changed, by = found
        if spec is None or was is None:
            return None
        return StoredSchedule(
            Schedule.model_validate_json(spec),
            Progress.loads(was),
            spec,
            was,
            int(created or 0),
            int(changed or 0),
            by or "",
        )

    def schedule_names(self) -> list[str]:
        return sorted(str(name) for name in self.read(self.redis.smembers, self.keys.schedules()))

    def due_schedules(self, now: int) -> list[str]:
        """Those that must be looked at, the one that has waited longest first."""
        found = self.read(self.redis.zrangebyscore, self.keys.schedules_due(), "-inf", now)
        return [str(name) for name in found]

    def next_due(self) -> int | None:
        """When the next schedule must be looked at, ms."""
        found = self.read(self.redis.zrange, self.keys.schedules_due(), 0, 0, withscores=True)
        return int(found[0][1]) if found else None

    def store_schedule(
        self,
        name: str,
        progress: Progress,
        look: int | None,
        *,
        spec: str = "",
        before: str = "*",
        was: str = "*",
        by: str = "",
        told: Sequence[Tick] = (),
        note: Note | None = None,
    ) -> str:
        """STORED, MOVED, EXISTS or MISSING, as store_schedule.lua says.

        ``look``: when to look at it, ms; None: never again.
        """
        if spec:
            self.read(self.redis.sadd, self.keys.schedules(), name)
        noted = self.expected(self.keys.schedule_notes(), note)
        reply = self.run(
            "store_schedule",
            schedule=self.keys.schedule(name),
            due=self.keys.schedules_due(),
            ticks=self.keys.schedule_ticks(name),
            name=name,
            spec=spec,
            before=before,
            was=was,
            progress=progress.dumps(),
            look=look or 0,
            now=self.clock(),
            by=by,
            told=[tick.dumps() for tick in told],
            most=TICKS_KEPT,
            notes=self.keys.schedule_notes(),
            noted=noted_fields(noted),
        )
        word = self._word("store_schedule", reply, STORED, MOVED, EXISTS, MISSING)
        if noted and word == STORED:
            self.heard(self.keys.schedule_notes())
        return word

    def remove_schedule(self, name: str, note: Note | None = None) -> bool:
        """False: there was none."""
        noted = self.expected(self.keys.schedule_notes(), note)
        reply = self.run(
            "remove_schedule",
            schedule=self.keys.schedule(name),
            ticks=self.keys.schedule_ticks(name),
            due=self.keys.schedules_due(),
            names=self.keys.schedules(),
            notes=self.keys.schedule_notes(),
            name=name,
            noted=noted_fields(noted),
        )
        removed = self._word("remove_schedule", reply, "REMOVED", "MISSING") == "REMOVED"
        if removed and noted:
            self.heard(self.keys.schedule_notes())
        return removed

    def read_ticks(self, name: str, limit: int) -> list[Tick]:
        """What became of the latest instants, the latest first."""
        key = self.keys.schedule_ticks(name)
        return [Tick.loads(text) for text in self.read(self.redis.lrange, key, 0, limit - 1)]

    def last_ticks(self, names: Sequence[str]) -> dict[str, Tick]:
        """The latest instant of each schedule that had one."""
        pipe = self.redis.pipeline(transaction=False)
        for name in names:
            pipe.lindex(self.keys.schedule_ticks(name), 0)
        found = zip(names, self.read(pipe.execute), strict=True)
        return {name: Tick.loads(text) for name, text in found if text is not None}

    def lead(self, me: str, ttl: int, *, ends: bool = False) -> tuple[bool, str]:
        """Whether the caller leads the beats for the next ``ttl`` ms; and who does, if not it."""
        reply = self.run("lead", leader=self.keys.beat(), me=me, ttl=ttl, ends=int(ends))
        leads = self._word("lead", reply, "LEADS", "FOLLOWS") == "LEADS"
        return leads, "" if leads else str(reply[1])

    def read_leader(self) -> str | None:
        found = self.read(self.redis.get, self.keys.beat())
        return None if found is None else str(found)
