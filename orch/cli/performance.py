"""Commands about how it goes: top, performance, report."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.filters import read_instant
from orch.cli.inputs import read_seconds
from orch.cli.option_groups import with_options
from orch.cli.options import Json

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.monitoring.metrics import SystemMetrics, WorkflowMetrics
    from orch.monitoring.report import ReportedWorkflow

CLEAR = "\x1b[H\x1b[2J"

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again.")]
Every = Annotated[
    str, typer.Option("--every", metavar="TIME", help="Of --watch: so long in between.")
]


@with_options
def top(
    watch: Watch = False,
    every: Every = "2s",
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show how the whole does: health with its reasons, executions, calls, queues, workers."""
    pause = read_seconds("--every", every)
    with connect() as orchestrator:
        while True:
            found = orchestrator.get_system_metrics()
            if as_json:
                output.print_json(found.model_dump(mode="json"), compact=watch)
            else:
                _show(_system_lines(found), watch)
            if not watch:
                return
            time.sleep(pause)


@with_options
def performance(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A workflow.")],
    since: Annotated[
        Optional[str],
        typer.Option("--since", metavar="WHEN", help="Started then or later: 2h, 7d, or ISO 8601."),
    ] = None,
    sample: Annotated[
        int,
        typer.Option("--sample", metavar="N", min=1, help="The newest N have their durations."),
    ] = 200,
    watch: Watch = False,
    every: Every = "2s",
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show how a workflow does: rates and durations, its steps, the workers that serve it."""
    pause, start = read_seconds("--every", every), read_instant("--since", since)
    with connect() as orchestrator:
        while True:
            found = orchestrator.get_workflow_metrics(name, since=start, sample=sample)
            if as_json:
                output.print_json(found.model_dump(mode="json"), compact=watch)
            else:
                if watch and not output.is_plain(sys.stdout):
                    output.write(CLEAR, sys.stdout)
                _print_workflow(found)
            if not watch:
                return
            time.sleep(pause)


@with_options
def report(
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="Of what was since then: 12h, 7d.")
    ] = "1d",
    remember: Annotated[
        bool, typer.Option("--remember", help="Keep it in the memory, as ORCH:REPORT.")
    ] = False,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show what happened since then: health, workflows, and what was observed."""
    start = read_instant("--since", since)
    with connect() as orchestrator:
        found = orchestrator.get_report(start, remember=remember)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
        return
    output.line(found.headline())
    for reason in found.reasons:
        output.line(f"  {reason.status.value}: {reason.message}")
        output.line(f"    hint: {reason.hint}")
    if found.workflows:
        output.line()
        columns = ("workflow", "started", "completed", "failed", "active", "takes", "p95")
        output.table(columns, [_reported(each) for each in found.workflows])
    if found.others:
        output.line(f"and {found.others} executions of other workflows")
    if found.observed:
        output.line()
        for record in found.observed:
            output.line(f"{record.created}  {record.content.removeprefix('ORCH:')}")


def _reported(each: ReportedWorkflow) -> tuple[object, ...]:
    counts = (each.started, each.completed, each.failed, each.active)
    return (each.workflow, *counts, _ms(each.average_duration), _ms(each.p95_duration))


def _show(lines: list[str], watch: bool) -> None:
    if watch and not output.is_plain(sys.stdout):
        output.write(CLEAR, sys.stdout)
    for text in lines:
        output.line(text)


def _system_lines(found: SystemMetrics) -> list[str]:
    used = found.resource_utilization
    lines = [f"{found.health_status.value}  {found.at}"]
    for reason in found.reasons:
        lines += [f"  {reason.status.value}: {reason.message}", f"    hint: {reason.hint}"]
    lines += [
        f"executions  {found.active_workflows} active; {counted(found.executions)}",
        f"calls       {found.tasks_per_second:g}/s, {_ms(found.avg_task_latency)} each, "
        f"{share(found.error_rate)} failed; {found.total_tasks_processed} in all",
        f"agents      {found.active_agents}; {_number(used.cpu)} cores, {size(used.memory)}",
        f"redis       {size(used.storage)} of {size(used.storage_limit, 'any')}; "
        f"in {size(used.network.bytes_in)}/s, out {size(used.network.bytes_out)}/s",
    ]
    waiting = {queue: depth for queue, depth in found.queue_sizes.items() if depth}
    deepest = sorted(waiting.items(), key=lambda each: -each[1])
    lines.append(f"queues      {len(found.queue_sizes)}; {sum(waiting.values())} messages wait")
    return [*lines, *(f"  {depth:>8}  {queue}" for queue, depth in deepest[:20])]


def _print_workflow(found: WorkflowMetrics) -> None:
    _show(
        [
            f"executions  {found.total_executions}, {found.active_executions} active; "
            f"{counted(found.executions)}",
            f"failed      {share(found.error_rate)}",
            f"takes       {_ms(found.average_duration)} on average, {_ms(found.p50_duration)} in "
            f"the middle, {_ms(found.p95_duration)} at the 95th percentile, of the newest "
            f"{found.sample} that ended",
            f"workers     {_number(found.resource_usage.cpu)} cores, "
            f"{size(found.resource_usage.memory)}",
            *(f"  {share(used):>5}  {agent}" for agent, used in found.agent_utilization.items()),
        ],
        False,
    )
    if found.step_metrics:
        rows = [
            (
                key,
                each.count,
                _ms(each.average_duration),
                share(each.error_rate),
                share(each.retry_rate),
            )
            for key, each in found.step_metrics.items()
        ]
        output.table(("step", "ended", "takes", "failed", "tried again"), rows)


def counted(executions: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in executions.items()) or "none"


def share(value: float | None) -> str:
    return "?" if value is None else f"{value:.1%}"


def size(value: float | None, none: str = "?") -> str:
    """Bytes, for people."""
    if value is None:
        return none
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def _ms(value: float | None) -> str:
    return "?" if value is None else output.duration(value)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"
