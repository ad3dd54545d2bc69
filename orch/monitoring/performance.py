"""PerformanceMonitor: how workflows do, and how the whole does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from statistics import fmean
from typing import Any

from orch.agents.info import AgentStatus
from orch.agents.registry import AgentRegistry
from orch.control.catalog import Catalog
from orch.control.comparison import percentile
from orch.control.filters import Instant
from orch.control.runtime import Runtime
from orch.control.search import milliseconds_of
from orch.control.status import instant
from orch.errors import InputError, NotFound
from orch.journal.finding import Found, Query
from orch.monitoring.facts import ENDED, Facts, read_facts
from orch.monitoring.health import reasons, status_of
from orch.monitoring.metrics import (
    NetworkUsage,
    ResourceUsage,
    SystemMetrics,
    SystemResources,
    WorkflowMetrics,
)
from orch.monitoring.steps import step_metrics
from orch.workflows.agents import Tallied
from orch.workflows.calls import capabilities_in
from orch.workflows.state import ExecutionStatus

SAMPLE = 200
"""Executions, the newest ones, that durations are of where nobody says how many."""

MOST_SAMPLED = 5000

MOST_EVENTS = 50_000
"""Entries of histories that are read for the figures of steps."""

MOST_VERSIONS = 10
"""Versions, those of the newest executions, whose capabilities are looked for among agents."""


class PerformanceMonitor:
    """Reads the journal at a bounded cost. Every method may raise Unreachable."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.registry = AgentRegistry(runtime)
        self._catalog = Catalog(runtime.settings, runtime.plans)

    def workflow_metrics(
        self, name: str, *, since: Instant | None = None, sample: int = SAMPLE
    ) -> WorkflowMetrics:
        """How the executions of a workflow do. Counts are of all that are kept, durations of the
        newest ``sample`` that ended, steps of those of these whose histories have 50,000 entries
        in all.

        ``since``: of those alone that were started then or later. Raises NotFound, InputError.
        """
        if not 1 <= sample <= MOST_SAMPLED:
            raise InputError(
                f"a sample of {sample} executions was asked for; give 1 to {MOST_SAMPLED}"
            )
        start = milliseconds_of("since", since, self.journal.clock())
        counts = self._counts(name, start)
        if not counts and start is None:
            self._check(name)
        found = self._newest(name, start, sample)
        took = self.durations(found)
        histories = self._readable([one.id for one in found])
        serving = self._serving(name, found)
        completed, failed = counts["completed"], counts["failed"]
        ended = completed + failed
        return WorkflowMetrics(
            workflow_name=name,
            total_executions=sum(counts.values()),
            active_executions=sum(n for status, n in counts.items() if status not in ENDED),
            executions={status: n for status, n in sorted(counts.items()) if n},
            success_rate=completed / ended if ended else None,
            error_rate=failed / ended if ended else None,
            average_duration=fmean(took) if took else None,
            p50_duration=percentile(took, 50),
            p95_duration=percentile(took, 95),
            step_metrics=step_metrics(self.journal.histories(histories)),
            agent_utilization={_name(said): utilization(said) for said in serving},
            resource_usage=usage_of(serving),
            since=None if start is None else instant(start),
            sample=len(found),
            histories=len(histories),
        )

    def system_metrics(self) -> SystemMetrics:
        """How the whole does, and why it is not healthy, if it is not."""
        return self.metrics_of(read_facts(self.runtime))

    def metrics_of(self, facts: Facts) -> SystemMetrics:
        found = reasons(facts, self.runtime.settings.monitor_error_rate)
        calls, used = facts.tallied(), usage_of(facts.workers)
        agents = [info for info in self.registry.list(offline=True) if not info.outside]
        outside = [info for info, _ in self.registry.outside.list()]
        takes_work = (AgentStatus.ONLINE, AgentStatus.BUSY)
        return SystemMetrics(
            at=instant(facts.at),
            active_workflows=facts.active,
            executions=facts.statuses,
            total_tasks_processed=sum(info.task_count for info in [*agents, *outside]),
            tasks_per_second=round(
                sum(
                    each.rate
                    for said in facts.workers
                    for each in map(Tallied.of, (said.get("tally") or {}).values())
                ),
                3,
            ),
            active_agents=sum(
                info.status in takes_work and not info.draining for info in [*agents, *outside]
            ),
            error_rate=calls.recent_failures / calls.recent_calls if calls.recent_calls else None,
            avg_task_latency=1000 * calls.recent_seconds / calls.recent_calls
            if calls.recent_calls
            else None,
            resource_utilization=SystemResources(
                cpu=used.cpu,
                memory=used.memory,
                network=NetworkUsage(
                    bytes_in=facts.redis.bytes_in, bytes_out=facts.redis.bytes_out
                ),
                storage=facts.redis.memory,
                storage_limit=facts.redis.limit or None,
            ),
            queue_sizes=dict(facts.queues),
            health_status=status_of(found),
            reasons=found,
        )

    def newest_durations(self, name: str, sample: int) -> list[int]:
        """Of the newest executions of a workflow that completed, ms, the shortest first."""
        kinds = ((name, None),)
        query = Query(statuses=(ExecutionStatus.COMPLETED.value,), kinds=kinds)
        return self.durations(self.journal.find(query, sample)[0])

    def durations(self, found: Iterable[Found]) -> list[int]:
        """Of those that completed, ms, the shortest first."""
        completed = (one for one in found if one.status is ExecutionStatus.COMPLETED)
        return sorted(one.duration(one.ended) for one in completed)

    # --- behind them -------------------------------------------------------------------------

    def _check(self, name: str) -> None:
        known = [info.key for info in self._catalog.workflows()]
        if name not in known:
            raise NotFound(
                f"no workflow {name!r}; there are: {', '.join(known) or 'none'}",
                hint="`orch workflows` lists them",
            )

    def _counts(self, name: str, since: int | None) -> Counter[str]:
        found: Counter[str] = Counter()
        for kind, count in self.journal.count_executions(name, since).items():
            found[kind.status] += count.all if since is None else count.recent
        return +found

    def _newest(self, name: str, since: int | None, sample: int) -> Sequence[Found]:
        """The newest that completed or failed."""
        ended = (ExecutionStatus.COMPLETED.value, ExecutionStatus.FAILED.value)
        query = Query(statuses=ended, kinds=((name, None),), since=since)
        return self.journal.find(query, sample)[0]

    def _readable(self, executions: Sequence[str]) -> list[str]:
        """The first of these, whose histories have no more entries than are read."""
        lengths = iter(self.journal.told_of(executions))
        left = MOST_EVENTS

        def fits(_: str) -> bool:
            nonlocal left
            left -= next(lengths)
            return left >= 0

        return list(takewhile(fits, executions))

    def _serving(self, name: str, found: Sequence[Found]) -> list[Mapping[str, Any]]:
        """What those live workers said last that serve a capability of the workflow."""
        latest, _ = self.journal.choices(name)
        versions = dict.fromkeys(one.version for one in found)
        wanted = [*versions][:MOST_VERSIONS]
        if latest is not None and latest not in wanted:
            wanted.append(latest)
        capabilities: set[str] = set()
        for version in wanted:
            capabilities |= capabilities_in(self.runtime.plans.definition(version))
        live = self.journal.live_workers()
        return [said for said in live if capabilities & set(said["queues"])]


def utilization(said: Mapping[str, Any]) -> float:
    """The share of a worker's places at work, in the last minute; where no call has ended in it,
    at the moment."""
    slots = int(said.get("concurrency") or 1)
    found = [Tallied.of(each) for each in (said.get("tally") or {}).values()]
    if any(each.recent_calls for each in found):
        share = sum(each.recent_seconds / each.window for each in found) / slots
    else:
        share = sum(each.busy for each in found) / slots
    return round(min(share, 1.0), 4)


def usage_of(workers: Iterable[Mapping[str, Any]]) -> ResourceUsage:
    """What the processes of some workers use, as far as they say it."""
    told = [said.get("usage") or {} for said in workers]
    cpu = [each["cpu"] for each in told if "cpu" in each]
    memory = [each["memory"] for each in told if "memory" in each]
    return ResourceUsage(
        cpu=round(sum(cpu), 4) if cpu else None, memory=int(sum(memory)) if memory else None
    )


def _name(said: Mapping[str, Any]) -> str:
    return str(said.get("name") or said["id"])
