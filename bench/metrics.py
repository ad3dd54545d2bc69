"""Every figure, and the bar that orch must reach: the one place for both."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """``limit`` of the figure itself, or of its ratio to stock Celery's."""

    limit: float
    ratio: bool = False

    def text(self, higher: bool) -> str:
        sign = ">=" if higher else "<="
        return f"{'ratio ' if self.ratio else ''}{sign} {self.limit:g}"


@dataclass(frozen=True)
class Metric:
    """One figure. ``higher``: whether more is better. Ratios are always orch / other.

    ``said``: what it is, in a few words, for people; ``compared``: whether others have it.
    """

    said: str
    unit: str
    higher: bool = False
    bar: Bar | None = None
    compared: bool = True

    def meets(self, value: float, ratio: float | None) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        if self.bar is None:
            return None
        found = ratio if self.bar.ratio else value
        if found is None:
            return None
        return found >= self.bar.limit if self.higher else found <= self.bar.limit


def ratio(limit: float) -> Bar:
    return Bar(limit, ratio=True)


METRICS: dict[str, Metric] = {
    "chain_throughput": Metric("chain of 10, 200 at once", "steps/s", True, ratio(7)),
    "chain_cpu": Metric("the same: CPU", "ms CPU/step"),
    "chain_latency": Metric("chain of 10, one at a time, p50", "ms", False, ratio(0.15)),
    "spread_throughput": Metric("chain of 10 over 10 workers", "steps/s", True, ratio(1.5)),
    "spread_cpu": Metric("the same: CPU", "ms CPU/step"),
    "fan_out_throughput": Metric("fan-out of 100, 20 at once", "steps/s", True, ratio(12)),
    "fan_out_cpu": Metric("the same: CPU", "ms CPU/step"),
    "map_time": Metric("map of 1,000 items", "s", False, ratio(0.15)),
    "map_linear": Metric("map of 10,000 items: time to 10 x that of 1,000", "x", False, Bar(1.2)),
    "map_memory": Metric("the same: growth of the worker's memory", "%", False, Bar(10)),
    "start_time": Metric("start of a chain of 10, p50", "ms", False, ratio(0.5)),
    "start_cpu": Metric("the same: CPU of the client", "ms CPU/start"),
    "bulk_time": Metric("10,000 starts at once", "s", False, Bar(5)),
    "fairness": Metric("100 chains at once: the last end to the mean one", "x", False, Bar(1.5)),
    "fairness_work": Metric("the same, of steps that take 10 ms", "x", False, Bar(1.5)),
    "kept_bytes": Metric("kept of a finished chain of 10", "bytes", False, Bar(2500)),
    "round_trips": Metric("commands that clients send", "commands/step"),
    "scripts": Metric("scripts among them", "scripts/step", compared=False),
    "scripted": Metric("commands within scripts", "commands/step", compared=False),
    "idle_cpu": Metric("idle worker: CPU", "% of a core", False, Bar(1)),
    "idle_commands": Metric("idle worker: Redis", "commands/s", False, Bar(10)),
    "recovery_lost": Metric("a worker killed in a step: time lost", "s", False, Bar(2)),
    "false_alarms": Metric("steps tried again under load, nobody died", "steps", False, Bar(0)),
    "waiting_memory": Metric("100,000 executions that wait: Redis", "MB", False, Bar(150)),
    "waiting_cpu": Metric("the same: CPU of an idle worker", "% of a core", False, Bar(5)),
    "growth": Metric(
        "CPU of a step with 100,000 executions to that with 100", "x", False, Bar(1.1)
    ),
    "breadth": Metric(
        "CPU of a step of a worker of 40 capabilities to that of 4", "x", False, Bar(1.3)
    ),
}
