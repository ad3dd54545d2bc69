"""What Prometheus reads of the whole, in its own words: https://prometheus.io/docs/practices/naming/.

Labels are names that somebody gave (workflows, capabilities, limits, queues), never executions,
and no values by which limits are kept: a time series for each would have no end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from orch.control.breakers import Breakers
from orch.control.limits import LimitViews
from orch.errors import SettingsError
from orch.journal.counting import ABOVE, BOUNDS, Ends
from orch.journal.journal import Journal
from orch.workflows.limits import RATE
from orch.workflows.state import ExecutionStatus

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
except ImportError as exc:
    raise SettingsError(
        "metrics need the package prometheus-client, which is not installed",
        hint="pip install 'orch[metrics]'",
    ) from exc

LATE = 1000
"""Ms after which a token should have been looked at: wardens look every 0.2 s."""

BREAKER_STATES = ("closed", "open", "half_open")

AGENT_STATES = ("live", "draining", "silent")

Worker = Mapping[str, Any]
"""What a worker said last."""


def executions(journal: Journal) -> Iterator[Metric]:
    """How many there are, and what became of those that there were."""
    still = Counter[tuple[str, str]]()
    for kind, count in journal.count_executions().items():
        if not ExecutionStatus(kind.status).ended:
            still[kind.workflow, kind.status] += count.all
    open_now = GaugeMetricFamily(
        "orch_executions_open", "Executions that have not ended", labels=["workflow", "status"]
    )
    totals = journal.totals()
    started = CounterMetricFamily(
        "orch_executions_started", "Executions that were started", labels=["workflow"]
    )
    ended = CounterMetricFamily(
        "orch_executions_ended", "Ends of executions", labels=["workflow", "status"]
    )
    took = HistogramMetricFamily(
        "orch_execution_duration_seconds",
        "From the beginning of an execution to its end",
        labels=["workflow", "status"],
    )
    for labels, count_now in sorted(still.items()):
        open_now.add_metric(labels, count_now)
    for workflow, count_started in sorted(totals.started.items()):
        started.add_metric([workflow], count_started)
    for labels, found in sorted(totals.ended.items()):
        ended.add_metric(labels, found.count)
        took.add_metric(labels, _cumulative(found), found.took / 1000)
    yield from (open_now, started, ended, took)


def _cumulative(ends: Ends) -> list[tuple[str, float]]:
    names = [f"{bound / 1000:g}" for bound in BOUNDS]
    counts = [ends.within.get(str(bound), 0) for bound in BOUNDS]
    every = [*accumulate(counts), sum(counts) + ends.within.get(ABOVE, 0)]
    return list(zip([*names, "+Inf"], map(float, every), strict=True))


def watch(journal: Journal) -> Iterator[Metric]:
    """How late wardens are."""
    late = journal.late(LATE)
    yield GaugeMetricFamily(
        "orch_watch_overdue", "Tokens that are due for more than a second", value=late.tokens
    )
    yield GaugeMetricFamily(
        "orch_watch_lag_seconds", "For how long the oldest of them is", value=late.oldest / 1000
    )


def agents(live: Sequence[Worker], silent: Sequence[Worker]) -> Iterator[Metric]:
    """Workers by what they are about."""
    draining = sum(bool(said.get("draining")) for said in live)
    counts = (len(live) - draining, draining, len(silent))
    found = GaugeMetricFamily("orch_agents", "Workers by their state", labels=["state"])
    for state, count in zip(AGENT_STATES, counts, strict=True):
        found.add_metric([state], count)
    yield found


def escalations(journal: Journal) -> Iterator[Metric]:
    """Those that wait for a person, or for a rung of their ladder."""
    found = GaugeMetricFamily("orch_escalations_open", "Escalated steps", labels=["queue"])
    for queue, count in sorted(journal.count_escalations().items()):
        found.add_metric([queue], count)
    yield found


def breakers(journal: Journal) -> Iterator[Metric]:
    """Of each breaker, the state that it is in is 1, the others 0."""
    found = GaugeMetricFamily(
        "orch_breaker_state", "State of a circuit breaker", labels=["capability", "state"]
    )
    for info in Breakers(journal).list():
        for state in BREAKER_STATES:
            found.add_metric([info.capability, state], info.state == state)
    yield found


def limits(journal: Journal) -> Iterator[Metric]:
    """What is held of limits and resources; of those by key, all keys together."""
    held, waiting = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    capacity: dict[tuple[str, str], float] = {}
    for info in LimitViews(journal).list_all():
        labels = (info.kind, info.name)
        held[labels] += info.held
        waiting[labels] += info.waiting
        if info.kind != RATE and info.key is None and info.allowed.isdecimal():
            capacity[labels] = float(info.allowed)
    names = ["kind", "limit"]
    used = GaugeMetricFamily("orch_limit_used", "What steps hold of a limit", labels=names)
    waits = GaugeMetricFamily("orch_limit_waiting", "Steps that wait for a limit", labels=names)
    allowed = GaugeMetricFamily(
        "orch_limit_capacity", "What there is of a resource, or at a time", labels=names
    )
    for labels in sorted(held):
        waits.add_metric(labels, waiting[labels])
        if labels[0] != RATE:
            used.add_metric(labels, held[labels])
    for labels, size in sorted(capacity.items()):
        allowed.add_metric(labels, size)
    yield from (used, waits, allowed)


def schedules(journal: Journal) -> Iterator[Metric]:
    """Whether somebody looks after schedules, and in time."""
    due, now = journal.next_due(), journal.clock()
    late = 0.0 if due is None else max(0, now - due) / 1000
    names = journal.schedule_names()
    yield GaugeMetricFamily("orch_schedules", "Schedules that there are", value=len(names))
    yield GaugeMetricFamily(
        "orch_schedule_lag_seconds", "For how long the oldest instant waits for a beat", value=late
    )
    leads = journal.read_leader() is not None
    yield GaugeMetricFamily("orch_beat_leads", "Whether a beat is at work", value=leads)
    last = GaugeMetricFamily(
        "orch_schedule_last_tick_timestamp_seconds",
        "When a schedule started, or skipped, an execution last",
        labels=["schedule"],
    )
    for name, tick in sorted(journal.last_ticks(names).items()):
        last.add_metric([name], tick.at / 1000)
    yield last


def redis(journal: Journal) -> Iterator[Metric]:
    """The Redis of the journal."""
    usage = journal.redis_usage()
    yield GaugeMetricFamily("orch_redis_memory_bytes", "What Redis holds", value=usage.memory)
    yield GaugeMetricFamily(
        "orch_redis_memory_limit_bytes", "Its `maxmemory`; 0: none", value=usage.limit
    )
