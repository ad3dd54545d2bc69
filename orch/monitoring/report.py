"""What happened in a time, and how it stands: for people, and for the memory."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import fmean

from pydantic import BaseModel, ConfigDict, Field

from orch.control.comparison import percentile
from orch.control.filters import Instant
from orch.control.runtime import Runtime
from orch.control.search import milliseconds_of
from orch.control.status import instant
from orch.errors import InputError
from orch.journal.finding import Query
from orch.memory.memory import Memory
from orch.memory.noting import ROLE
from orch.memory.record import MemoryRecord
from orch.monitoring.facts import ENDED, read_facts
from orch.monitoring.health import reasons, status_of
from orch.monitoring.metrics import Health, HealthReason

DAY = timedelta(days=1)

MOST_WORKFLOWS = 20
SAMPLE = 50
"""Executions of each, the newest that completed, that durations are of."""

TOLD = ("MONITOR", "PERFORMANCE", "PREDICT", "OPTIM")
MOST_TOLD = 50


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ReportedWorkflow(_Frozen):
    """Executions of a workflow that were started in the time. Durations in ms."""

    workflow: str
    started: int = 0
    completed: int = 0
    failed: int = 0
    active: int = 0
    average_duration: float | None = None
    p95_duration: int | None = None


class ReportedRecord(_Frozen):
    """What was observed in the time, as the memory has it."""

    id: str
    created: str
    content: str


class Report(_Frozen):
    """``since``, ``until``: ISO 8601 in UTC."""

    since: str
    until: str
    health_status: Health = Health.HEALTHY
    reasons: list[HealthReason] = Field(default_factory=list)
    workflows: list[ReportedWorkflow] = Field(
        default_factory=list, description="with the most executions; those first"
    )
    others: int = Field(0, description="executions of workflows that are not listed")
    observed: list[ReportedRecord] = Field(default_factory=list, description="the newest first")

    def headline(self) -> str:
        started = sum(each.started for each in self.workflows) + self.others
        failed = sum(each.failed for each in self.workflows)
        return (
            f"{self.since[:16]} to {self.until[:16]}: executions: {started} started, {failed} "
            f"failed; health is {self.health_status.value}"
        )


def make_report(runtime: Runtime, since: Instant | None = None) -> Report:
    """``since``: by default a day ago. Raises InputError, Unreachable."""
    journal = runtime.journal
    now = journal.clock()
    start = milliseconds_of("since", since if since is not None else DAY, now)
    assert start is not None
    if start >= now:
        raise InputError(
            f"a report from {instant(start)} on would be about nothing: it is {instant(now)}",
            hint="name an instant that is over, such as 1d",
        )
    found = reasons(read_facts(runtime), runtime.settings.monitor_error_rate)
    workflows, others = _workflows(runtime, start)
    return Report(
        since=instant(start),
        until=instant(now),
        health_status=status_of(found),
        reasons=found,
        workflows=workflows,
        others=others,
        observed=_observed(runtime, start),
    )


def remember_report(runtime: Runtime, report: Report) -> MemoryRecord:
    """Keep it in the memory. Raises InputError, Unreachable."""
    return Memory(runtime.journal).store(
        ROLE,
        None,
        f"ORCH:REPORT: {report.headline()}",
        tags=["event:report"],
        source="report",
        related=[each.id for each in report.observed],
        data=report.model_dump(mode="json"),
    )


def _workflows(runtime: Runtime, since: int) -> tuple[list[ReportedWorkflow], int]:
    counts: dict[str, Counter[str]] = {}
    for kind, count in runtime.journal.count_executions(since=since).items():
        if count.recent:
            counts.setdefault(kind.workflow, Counter())[kind.status] += count.recent
    ordered = sorted(counts, key=lambda name: (-counts[name].total(), name))
    listed = [_workflow(runtime, name, counts[name], since) for name in ordered[:MOST_WORKFLOWS]]
    return listed, sum(counts[name].total() for name in ordered[MOST_WORKFLOWS:])


def _workflow(runtime: Runtime, name: str, counts: Counter[str], since: int) -> ReportedWorkflow:
    query = Query(statuses=("completed",), kinds=((name, None),), since=since)
    took = sorted(one.duration(one.ended) for one in runtime.journal.find(query, SAMPLE)[0])
    return ReportedWorkflow(
        workflow=name,
        started=counts.total(),
        completed=counts["completed"],
        failed=counts["failed"],
        active=sum(count for status, count in counts.items() if status not in ENDED),
        average_duration=fmean(took) if took else None,
        p95_duration=percentile(took, 95),
    )


def _observed(runtime: Runtime, since: int) -> list[ReportedRecord]:
    memory, start = Memory(runtime.journal), datetime.fromtimestamp(since / 1000, UTC)
    found = [
        record
        for area in TOLD
        for record in memory.search(
            prefix=f"ORCH:{area}:", agent=ROLE, since=start, limit=MOST_TOLD
        )
    ]
    newest = sorted(found, key=lambda each: each.created, reverse=True)[:MOST_TOLD]
    return [ReportedRecord(id=r.id, created=r.created, content=r.content) for r in newest]
