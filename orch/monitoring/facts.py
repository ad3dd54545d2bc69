"""What is read of the whole to say how it does: at a cost that does not grow with what is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orch.app import BROKER_AWAY, queue_depth
from orch.backlogs import depths
from orch.control.breakers import BreakerInfo, Breakers
from orch.control.runtime import Runtime
from orch.errors import Unreachable
from orch.journal.counting import Count, Kind, Late, RedisUsage, Totals
from orch.workflows.agents import Tallied, agent_of_queue
from orch.workflows.notices import ESCALATION_QUEUE
from orch.workflows.state import ExecutionStatus

LATE = 10_000
"""Ms after which a token should have been looked at: wardens look every 0.2 s."""

ENDED = frozenset(status.value for status in ExecutionStatus if status.ended)


@dataclass(frozen=True)
class Facts:
    """The whole at an instant (ms). ``workers``: what live ones said last; ``silent``: those that
    may live, and for how many ms they have said nothing that they are believed for."""

    at: int
    executions: Mapping[Kind, Count] = field(default_factory=dict)
    workers: Sequence[Mapping[str, Any]] = ()
    silent: Sequence[tuple[Mapping[str, Any], int]] = ()
    queues: Mapping[str, int] = field(default_factory=dict)
    late: Late = field(default_factory=Late)
    breakers: Sequence[BreakerInfo] = ()
    redis: RedisUsage = field(default_factory=RedisUsage)
    totals: Totals | None = None  # None: nothing moves, so these and the watch were not read

    @property
    def statuses(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for kind, count in self.executions.items():
            found[kind.status] += count.all
        return {status: count for status, count in sorted(found.items()) if count}

    @property
    def active(self) -> int:
        """Executions that have not ended; from totals alone, in which one that is taken up again
        ends twice, about."""
        if self.totals is not None:
            ended = sum(ends.count for ends in self.totals.ended.values())
            return max(sum(self.totals.started.values()) - ended, 0)
        return sum(count for status, count in self.statuses.items() if status not in ENDED)

    def serving(self, queue: str) -> list[Mapping[str, Any]]:
        return [said for said in self.workers if queue in said["queues"]]

    def tallied(self) -> Tallied:
        """The calls of all live workers together; its window is a second."""
        calls = failures = recent = recent_failures = 0
        seconds = recent_seconds = rate = 0.0
        busy = 0
        for said in self.workers:
            for each in map(Tallied.of, (said.get("tally") or {}).values()):
                calls, failures = calls + each.calls, failures + each.failures
                seconds, busy = seconds + each.seconds, busy + each.busy
                recent, rate = recent + each.recent_calls, rate + each.rate
                recent_seconds += each.recent_seconds
                recent_failures += each.recent_failures
        window = recent / rate if rate else 1.0
        return Tallied(
            calls, failures, seconds, busy, recent, recent_seconds, window, recent_failures
        )


def read_facts(runtime: Runtime) -> Facts:
    """With the executions that are kept, by status. Raises Unreachable."""
    journal = runtime.journal
    return replace(_read(runtime), executions=journal.count_executions(), late=journal.late(LATE))


def read_moves(runtime: Runtime, still: Callable[[int], bool]) -> Facts:
    """With what was started and ended so far. ``still``: whether nothing was done since it was
    read last, as the calls of all live workers tell; then, where no token is watched, it is not
    read. Raises Unreachable."""
    journal, found = runtime.journal, _read(runtime)
    if still(found.tallied().calls) and not journal.is_watched():
        return found
    return replace(found, totals=journal.totals(), late=journal.late(LATE))


def _read(runtime: Runtime) -> Facts:
    journal = runtime.journal
    seen = journal.seen_workers()
    live = [said for said, ttl in seen if ttl > 0]
    return Facts(
        at=journal.clock(),
        workers=live,
        silent=[(said, -ttl) for said, ttl in seen if ttl <= 0],
        queues=read_depths(runtime, live),
        breakers=Breakers(journal).list(),
        redis=journal.redis_usage(),
    )


def read_depths(runtime: Runtime, live: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Messages in each queue that is used, or served. Raises Unreachable."""
    journal = runtime.journal
    served = {str(name) for said in live for name in said["queues"]}
    names = sorted((served | set(journal.read_queues())) - {ESCALATION_QUEUE})
    if runtime.lists is not None:
        levels = journal.read(journal.redis.smembers, journal.keys.priorities())
        return dict(journal.read(depths, journal.redis, names, sorted(map(int, levels))))
    try:
        with runtime.app.connection_for_read() as connection:
            return {name: queue_depth(runtime.app, name, connection) for name in names}
    except BROKER_AWAY as exc:
        raise Unreachable(f"the broker does not answer: {exc}") from exc


def capability_of(queue: str) -> str | None:
    """The capability whose queue it is; None: it is that of one agent."""
    return None if agent_of_queue(queue) else queue
