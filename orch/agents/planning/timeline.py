"""When the tasks of a plan begin and end: list scheduling on working days.

Of the tasks that could begin, the one with the highest priority does, and of those the one from
which the longest chain of others hangs (Graham's list scheduling by critical path).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from orch.agents.planning.tasks import priority_of
from orch.errors import StepError

_RANK = {"critical": 0, "high": 1, "medium": 2, "low": 3}


class PlannedTask(BaseModel):
    """What a timeline reads of a task; `hours` is what it takes one person."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(min_length=1)
    title: str = ""
    hours: Annotated[float, Field(ge=0, le=100_000)] = 1.0
    dependsOn: list[str] = []
    priority: str | int | None = None


def schedule(
    tasks: Sequence[PlannedTask],
    start: date,
    hours_per_day: float = 6.0,
    people: int = 1,
    free_days: frozenset[date] = frozenset(),
) -> dict[str, Any]:
    """The tasks with their days, and when all is done.

    hours_per_day  of work of one person
    people         who work at the same time; any of them can do any task
    free_days      on which nobody works, besides Saturdays and Sundays

    Raises StepError `InvalidInput` for ids that are there twice, or not at all, and for tasks
    that wait for one another.
    """
    known = _by_id(tasks)
    chains = _chains(known)
    free = [0.0] * people
    ends: dict[str, float] = {}
    found = []
    while len(ends) < len(known):
        ready = [task for task in known.values() if _is_ready(task, ends)]
        chosen = min(ready, key=lambda task: _rank(task, chains, ends, free))
        person = free.index(min(free))
        begin = max([free[person], *(ends[id] for id in chosen.dependsOn)])
        ends[chosen.id] = free[person] = begin + chosen.hours
        found.append((chosen, person, begin))
    days = _Days(start, hours_per_day, free_days)
    entries = [_entry(task, person, begin, days) for task, person, begin in found]
    last = max(ends.values(), default=0.0)
    return {
        "start": days.at(0.0).isoformat(),
        "end": days.until(last).isoformat(),
        "workingDays": days.count(last),
        "hours": round(sum(task.hours for task in known.values()), 2),
        "entries": entries,
        "criticalPath": _longest(known, chains),
        "mermaid": _gantt(entries),
    }


def _by_id(tasks: Sequence[PlannedTask]) -> dict[str, PlannedTask]:
    known = {task.id: task for task in tasks}
    if len(known) < len(tasks):
        ids = [task.id for task in tasks]
        twice = next(id for id in ids if ids.count(id) > 1)
        raise StepError("InvalidInput", f"two tasks have the id {twice!r}")
    for task in tasks:
        missing = next((id for id in task.dependsOn if id not in known), None)
        if missing is not None:
            raise StepError(
                "InvalidInput", f"task {task.id!r} depends on {missing!r}, which is no task"
            )
    return known


def _chains(known: Mapping[str, PlannedTask]) -> dict[str, float]:
    """Hours from the begin of each task to the end of the longest chain that hangs from it."""
    followers: dict[str, list[str]] = {id: [] for id in known}
    waits = {id: len(set(task.dependsOn)) for id, task in known.items()}
    for id, task in known.items():
        for before in set(task.dependsOn):
            followers[before].append(id)
    order, open_ = [], [id for id, count in waits.items() if count == 0]
    while open_:
        id = open_.pop()
        order.append(id)
        for follower in followers[id]:
            waits[follower] -= 1
            if waits[follower] == 0:
                open_.append(follower)
    if len(order) < len(known):
        ring = ", ".join(repr(id) for id in known if id not in order)
        raise StepError("InvalidInput", f"these tasks wait for one another: {ring}")
    chains: dict[str, float] = {}
    for id in reversed(order):
        longest = max((chains[follower] for follower in followers[id]), default=0.0)
        chains[id] = known[id].hours + longest
    return chains


def _is_ready(task: PlannedTask, ends: Mapping[str, float]) -> bool:
    return task.id not in ends and all(id in ends for id in task.dependsOn)


def _rank(
    task: PlannedTask, chains: Mapping[str, float], ends: Mapping[str, float], free: Sequence[float]
) -> tuple[float, int, float]:
    """The earliest first; of those the most urgent, then the one with most behind it."""
    begin = max([min(free), *(ends[id] for id in task.dependsOn)])
    return begin, _RANK[priority_of(task.priority)], -chains[task.id]


def _longest(known: Mapping[str, PlannedTask], chains: Mapping[str, float]) -> list[str]:
    """The chain of tasks that decides how long it takes with as many people as one likes."""
    path: list[str] = []
    choices = [id for id, task in known.items() if not task.dependsOn]
    while choices:
        path.append(max(choices, key=lambda id: chains[id]))
        choices = [id for id, task in known.items() if path[-1] in task.dependsOn]
    return path


class _Days:
    """Working hours as days of the calendar."""

    def __init__(self, start: date, hours: float, free: frozenset[date]) -> None:
        self._hours = hours
        self._free = free
        self._days: list[date] = []
        self._next = start

    def at(self, hour: float) -> date:
        """The day on which an hour of work begins."""
        return self._day(int(hour / self._hours + 1e-9))

    def until(self, hour: float) -> date:
        """The day on which work ends that ends at this hour."""
        return self._day(max(0, self.count(hour) - 1))

    def count(self, hour: float) -> int:
        """Days that are begun until then."""
        return -int(-hour / self._hours // 1) if hour > 1e-9 else 0

    def _day(self, number: int) -> date:
        while len(self._days) <= number:
            day = self._next
            self._next = day + timedelta(days=1)
            if day.weekday() < 5 and day not in self._free:
                self._days.append(day)
        return self._days[number]


def _entry(task: PlannedTask, person: int, begin: float, days: _Days) -> dict[str, Any]:
    end = begin + task.hours
    return {
        "id": task.id,
        "title": task.title or task.id,
        "start": days.at(begin).isoformat(),
        "end": max(days.at(begin), days.until(end)).isoformat(),
        "startHour": round(begin, 2),
        "endHour": round(end, 2),
        "person": person + 1,
        "dependsOn": task.dependsOn,
    }


def _gantt(entries: Sequence[Mapping[str, Any]]) -> str:
    """Mermaid's text for a Gantt chart (https://mermaid.js.org/syntax/gantt.html)."""
    lines = ["gantt", "    dateFormat YYYY-MM-DD", "    excludes weekends"]
    for entry in entries:
        named = "".join(" " if char in ":;#,\n" else char for char in entry["title"])
        last = date.fromisoformat(entry["end"]) + timedelta(days=1)
        lines.append(f"    {' '.join(named.split())} :{entry['start']}, {last.isoformat()}")
    return "\n".join([*lines, ""])
