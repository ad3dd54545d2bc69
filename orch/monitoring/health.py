"""Whether the whole is healthy, and if not, why. Pure: facts in, reasons out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from orch.monitoring.facts import Facts, capability_of
from orch.monitoring.metrics import Health, HealthReason
from orch.workflows.agents import agent_of_queue

FEW_CALLS = 20
"""Calls in a minute below which their error rate says little."""

NEAR, FULL = 0.8, 0.95
"""Shares of `maxmemory` from which Redis is degraded, and unhealthy."""

VERY_LATE = 60_000
"""Ms by which the watch is so late that nothing goes on."""

MOST = 10
"""Reasons of one rule that are told one by one."""

_WORSE = [Health.UNHEALTHY, Health.DEGRADED, Health.HEALTHY]


def reasons(facts: Facts, most_errors: float) -> list[HealthReason]:
    """What is wrong, the worst first. ``most_errors``: the share of calls that may fail."""
    rules: list[Callable[[], Iterable[HealthReason]]] = [
        lambda: _workers(facts),
        lambda: _memory(facts),
        lambda: _late(facts),
        lambda: _unserved(facts),
        lambda: _breakers(facts),
        lambda: _errors(facts, most_errors),
        lambda: _silent(facts),
    ]
    found = [reason for rule in rules for reason in _few(list(rule()))]
    return sorted(found, key=lambda each: _WORSE.index(each.status))


def status_of(found: Iterable[HealthReason]) -> Health:
    """The worst of them."""
    return min((each.status for each in found), key=_WORSE.index, default=Health.HEALTHY)


def _few(found: list[HealthReason]) -> list[HealthReason]:
    if len(found) <= MOST:
        return found
    rest = found[MOST - 1 :]
    others = HealthReason(
        rule=rest[0].rule,
        subject="others",
        status=status_of(rest),
        message=f"the same is true of {len(rest)} others, {rest[0].subject} first",
        hint=rest[0].hint,
    )
    return [*found[: MOST - 1], others]


def _workers(facts: Facts) -> Iterator[HealthReason]:
    waiting = sum(facts.queues.values())
    if facts.workers or not (facts.active or waiting):
        return
    yield HealthReason(
        rule="no_workers",
        status=Health.UNHEALTHY,
        message=f"no worker lives; {facts.active} executions have not ended, and {waiting} "
        "messages wait",
        hint="start one: `orch worker`, or `celery -A worker worker -Q CAPABILITY`",
    )


def _unserved(facts: Facts) -> Iterator[HealthReason]:
    if not facts.workers:
        return  # that is told already
    for queue, depth in facts.queues.items():
        if not depth or facts.serving(queue):
            continue
        agent = agent_of_queue(queue)
        yield HealthReason(
            rule="unserved",
            subject=queue,
            message=f"{depth} messages wait in queue {queue!r}, which no live worker serves",
            hint=f"start agent {agent!r} again, or let others have its steps: `orch agents drain "
            f"{agent} --reassign`"
            if agent
            else f"start a worker: `celery -A worker worker -Q {capability_of(queue)}`",
        )


def _late(facts: Facts) -> Iterator[HealthReason]:
    if not facts.late.tokens or not facts.workers:
        return
    seconds = facts.late.oldest / 1000
    yield HealthReason(
        rule="late",
        status=Health.UNHEALTHY if facts.late.oldest > VERY_LATE else Health.DEGRADED,
        message=f"{facts.late.tokens} tokens should have been looked at, the first of them "
        f"{seconds:.0f} s ago",
        hint="see whether workers get CPU and Redis answers quickly; more workers share the watch",
    )


def _breakers(facts: Facts) -> Iterator[HealthReason]:
    for each in facts.breakers:
        if each.state != "open":
            continue
        why = f": {each.reason}" if each.reason else ""
        yield HealthReason(
            rule="breaker",
            subject=each.capability,
            message=f"the breaker of {each.capability!r} is open since {each.since}{why}",
            hint=f"mend the service; `orch breakers show {each.capability}` tells its failures",
        )


def _memory(facts: Facts) -> Iterator[HealthReason]:
    held, limit = facts.redis.memory, facts.redis.limit
    if not limit or held < NEAR * limit:
        return
    yield HealthReason(
        rule="memory",
        status=Health.UNHEALTHY if held >= FULL * limit else Health.DEGRADED,
        message=f"Redis holds {held / limit:.0%} of its `maxmemory` of {limit} bytes",
        hint="raise `maxmemory`, lower ORCH_RETENTION, or set ORCH_ARCHIVE_DIR",
    )


def _errors(facts: Facts, most: float) -> Iterator[HealthReason]:
    all = facts.tallied()
    if all.recent_calls < FEW_CALLS or all.recent_failures <= most * all.recent_calls:
        return
    share = all.recent_failures / all.recent_calls
    worst = _worst(facts)
    yield HealthReason(
        rule="errors",
        message=f"{share:.0%} of the calls of the last minute failed, {all.recent_failures} of "
        f"{all.recent_calls}, most of them of {worst!r}",
        hint="`orch list --status failed` shows what ended so, `orch why ID` why",
    )


def _worst(facts: Facts) -> str:
    failures: dict[str, int] = {}
    for said in facts.workers:
        for name, figures in (said.get("tally") or {}).items():
            failures[name] = failures.get(name, 0) + int(([*figures, *[0] * 8])[7])
    return max(failures, key=lambda name: failures[name], default="")


def _silent(facts: Facts) -> Iterator[HealthReason]:
    for said, silent in facts.silent:
        name = str(said.get("name") or said["id"])
        yield HealthReason(
            rule="silent",
            subject=name,
            message=f"worker {name} says nothing, for {silent / 1000:.0f} s longer than it may",
            hint="it is frozen, or gets no CPU: look at its host, and end it if it does not "
            "come back",
        )
