"""Observes the whole, compares it with the last observation, and remembers what has changed.

An observation is committed in one script with what is to be remembered of it; that is then
written into the memory under ids that follow from the observation, and taken out. Whoever dies in
between leaves it to the next one, which writes the same records once.
"""

from __future__ import annotations

from collections.abc import Mapping

from orch.control.runtime import Runtime
from orch.faults import fault
from orch.memory.noting import deliver
from orch.monitoring.facts import Facts, read_moves
from orch.monitoring.health import reasons
from orch.monitoring.performance import PerformanceMonitor
from orch.monitoring.report import make_report
from orch.monitoring.watching.advice import watch_limits, watch_scaling
from orch.monitoring.watching.arrivals import watch_arrivals
from orch.monitoring.watching.backlog import watch_backlogs
from orch.monitoring.watching.forecasts import Forecasts
from orch.monitoring.watching.health import watch_health
from orch.monitoring.watching.notes import Notes, State
from orch.monitoring.watching.workflows import due_workflows, watch_workflows
from orch.resources.manager import ResourceManager
from orch.workflows.note import Note

HOUR = 3_600_000

COUNTED_EVERY = 600_000
"""Ms after which totals are read although nothing moves."""

SAMPLE = 50
"""Executions of a workflow, the newest that completed, whose durations are read."""

DAY = 24
"""Hours of the use of limits that advice about them is from."""


class Observer:
    """Every method may raise Unreachable."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.performance = PerformanceMonitor(runtime)
        self.resources = ResourceManager(runtime)

    def observe(self) -> bool:
        """One observation; what the last one left is remembered first. False: somebody else has
        made one in the meantime."""
        last = self.journal.read_observed()
        self._deliver(last.notes)
        state = last.state
        notes = Notes(last.number + 1, self.journal.clock())
        self._watch(state, notes)
        if not self.journal.commit_observed(last.number, state, notes.found.values()):
            return False
        fault("observed")
        self._deliver(notes.found)
        return True

    def _deliver(self, notes: Mapping[str, Note]) -> None:
        """Write what is to be remembered of an observation; harmless if repeated."""
        key = self.journal.keys.observed()
        deliver(self.journal, key, notes.values(), "observation_remembered")

    # --- what is compared ----------------------------------------------------------------------

    def _watch(self, state: State, notes: Notes) -> None:
        facts = self._read(state, notes.at)
        forecasts = Forecasts(state.setdefault("outcomes", {}), notes)
        found = reasons(facts, self.runtime.settings.monitor_error_rate)
        watch_health(state.setdefault("health", {}), found, notes)
        watch_backlogs(state.setdefault("queues", {}), facts, forecasts)
        watch_scaling(state.setdefault("scaling", {}), facts, notes)
        if facts.totals is not None:
            watched = state.setdefault("workflows", {})
            due = due_workflows(watched, facts.totals)
            took = {name: self.performance.newest_durations(name, SAMPLE) for name in due}
            watch_workflows(watched, facts.totals, took, notes, forecasts)
            started = sum(facts.totals.started.values())
            watch_arrivals(state.setdefault("arrivals", {}), facts.at, started, forecasts)
        self._now_and_then(state, notes)

    def _read(self, state: State, now: int) -> Facts:
        calls, counted = state.get("calls", -1), state.get("counted", 0)
        facts = read_moves(
            self.runtime, lambda found: found == calls and now - counted < COUNTED_EVERY
        )
        state["calls"] = facts.tallied().calls
        if facts.totals is not None:
            state["counted"] = now
        return facts

    def _now_and_then(self, state: State, notes: Notes) -> None:
        hour = notes.at // HOUR
        if state.get("hour", hour) != hour:
            plans = self.resources.optimize_allocation(hours=DAY)
            watch_limits(state.setdefault("limits", {}), plans, notes)
        state["hour"] = hour
        interval = int(self.runtime.settings.report_interval * 1000)
        if not interval:
            return
        turn = notes.at // interval
        if state.get("report", turn) != turn:
            self._report(state, notes, interval)
        state["report"] = turn

    def _report(self, state: State, notes: Notes, interval: int) -> None:
        report = make_report(self.runtime, notes.at - interval)
        state["reported"] = notes.add(
            "REPORT",
            report.headline(),
            "report",
            tags=["event:report"],
            related=[state.get("reported"), *(each.id for each in report.observed)],
            data=report.model_dump(mode="json"),
        )
