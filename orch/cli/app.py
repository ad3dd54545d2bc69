"""The commands, put together; and the one place where an error becomes an exit code."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any

import typer

from orch.cli import (
    again,
    agents,
    attempts,
    breakers,
    coordination,
    definitions,
    events,
    executions,
    external,
    flower,
    hooks,
    inbox,
    limits,
    logs,
    memory,
    output,
    outside,
    performance,
    quarantine,
    registry,
    results,
    scale,
    schedule,
    service,
    settings,
    simulation,
    spending,
    steering,
    upkeep,
    versions,
    webhook,
    workers,
)
from orch.errors import InvalidWorkflow, OrchError

INTERRUPTED = 130
TERMINATED = 143

# Some versions of typer bring a click of their own, others take the installed one.
USAGE_ERROR: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help="Durable workflows on Celery: define them, run them, watch them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RUN, WRITE, LOOK, SERVE = "Run", "Write", "Look and steer", "Serve"
OUTSIDE = "Tasks done outside"
for command, panel in (
    (executions.run, RUN),
    (executions.start, RUN),
    (again.rerun, RUN),
    (again.fork, RUN),
    (simulation.simulate, WRITE),
    (definitions.validate, WRITE),
    (definitions.graph, WRITE),
    (definitions.schema, WRITE),
    (definitions.define, WRITE),
    (executions.status, LOOK),
    (executions.list_, LOOK),
    (executions.history, LOOK),
    (attempts.attempts, LOOK),
    (results.results, LOOK),
    (logs.logs, LOOK),
    (spending.usage, LOOK),
    (spending.budget, LOOK),
    (again.diff, LOOK),
    (steering.why, LOOK),
    (steering.pause, LOOK),
    (steering.resume, LOOK),
    (steering.cancel, LOOK),
    (steering.terminate, LOOK),
    (steering.retry, LOOK),
    (steering.skip, LOOK),
    (executions.emit, LOOK),
    (events.events, LOOK),
    (external.tasks, OUTSIDE),
    (external.complete, OUTSIDE),
    (external.fail, OUTSIDE),
    (external.heartbeat, OUTSIDE),
    (definitions.workflows, LOOK),
    (versions.versions, LOOK),
    (versions.canary, LOOK),
    (versions.migrate, LOOK),
    (versions.modify, LOOK),
    (breakers.breakers, LOOK),
    (limits.limits, LOOK),
    (inbox.escalations, LOOK),
    (hooks.hooks, LOOK),
    (quarantine.quarantine, LOOK),
    (performance.top, LOOK),
    (performance.performance, LOOK),
    (performance.report, LOOK),
    (workers.workers, LOOK),
    (scale.scale, LOOK),
    (workers.worker, SERVE),
    (workers.dev, SERVE),
    (scale.metrics, SERVE),
    (flower.flower, SERVE),
    (upkeep.export, LOOK),
    (upkeep.import_, LOOK),
    (upkeep.archive, SERVE),
    (upkeep.reindex, SERVE),
    (settings.settings, SERVE),
):
    app.command(command.__name__.rstrip("_"), rich_help_panel=panel)(command)


for subcommand in (
    registry.list_,
    registry.show,
    registry.capabilities,
    coordination.drain,
    coordination.resume,
    outside.register,
    outside.unregister,
    outside.heartbeat,
    outside.assign,
    outside.task,
    coordination.choose,
    coordination.balance,
):
    agents.agents.command(subcommand.__name__.rstrip("_"))(subcommand)

app.add_typer(agents.agents, name="agents", rich_help_panel=SERVE)
app.add_typer(inbox.inbox, name="inbox", rich_help_panel=LOOK)
app.add_typer(schedule.schedule, name="schedule", rich_help_panel=RUN)
app.add_typer(webhook.webhook, name="webhook", rich_help_panel=LOOK)
app.add_typer(service.service, name="service", rich_help_panel=LOOK)
app.add_typer(limits.resources, name="resources", rich_help_panel=LOOK)
app.add_typer(memory.memory, name="memory", rich_help_panel=LOOK)


def _show_version(wanted: bool) -> None:
    if wanted:
        from orch import __version__

        output.line(f"orch {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Errors are printed, and nothing is raised."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="warning: %(message)s")
    signal.signal(signal.SIGTERM, _terminate)
    as_json = "--json" in arguments
    try:
        return app(list(arguments), prog_name="orch", standalone_mode=False) or 0
    except OrchError as error:
        output.report(
            type(error).__name__,
            error.message,
            error.hint,
            as_json=as_json,
            findings=error.findings if isinstance(error, InvalidWorkflow) else None,
        )
        return error.exit_code
    except USAGE_ERROR as error:
        context = getattr(error, "ctx", None)
        name = context.command_path if context is not None else "orch"
        hint = f"`{name} --help` shows how it is used"
        # pydantic, in which newer versions of typer check values, says what kind of error it is
        if message := error.format_message().replace("Value error, ", ""):
            output.report("UsageError", message, hint, as_json=as_json)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except output.ReaderGone:
        return output.BROKEN_PIPE
    except Exception as error:
        traceback.print_exc()
        output.report(
            type(error).__name__,
            f"internal error: {error}",
            "this is a bug; please report the lines above",
            as_json=as_json,
        )
        return 1


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """End as by an exit, so that what a command started is ended too."""
    raise SystemExit(TERMINATED)
