"""What happens to executions, while it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.option_groups import with_options
from orch.cli.options import Json

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.control.subscription import ExecutionEvent


@with_options
def events(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for what happens, until Ctrl-C.")
    ] = False,
    workflow: Annotated[
        Optional[list[str]],
        typer.Option("--workflow", metavar="NAME", help="Only of this workflow. May be repeated."),
    ] = None,
    execution: Annotated[
        Optional[list[str]],
        typer.Option("--execution", metavar="ID", help="Only of this one. May be repeated."),
    ] = None,
    event: Annotated[
        Optional[list[str]],
        typer.Option(
            "--event", metavar="WORD", help="Only such, e.g. failed, ended. May be repeated."
        ),
    ] = None,
    path: Annotated[
        Optional[list[str]],
        typer.Option(
            "--path", metavar="PATTERN", help="Only of such steps, e.g. 'build/*'. May be repeated."
        ),
    ] = None,
    since: Annotated[
        Optional[str],
        typer.Option(
            "--since",
            metavar="POSITION",
            help="Behind this position; `start`: all that is kept. Without it, with --follow: "
            "from now.",
        ),
    ] = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Show what happens to executions. With --json an object a line, with its position.

    Events are kept while somebody follows them, and for an hour after that
    (ORCH_STREAM_RETENTION); with ORCH_STREAM=on, workers keep them always.
    """
    asked = {"workflow": workflow, "execution": execution, "event": event, "path": path}
    given = {name: values for name, values in asked.items() if values}
    if since is None and not follow:
        since = "start"
    with (
        connect() as orchestrator,
        orchestrator.events(given, since=since, follow=follow) as found,
    ):
        if follow and not as_json:
            output.say("waiting for events; Ctrl-C ends it")
        for each in found:
            if as_json:
                output.print_json(each.as_dict(), compact=True)
            else:
                _print(each)


def _print(event: ExecutionEvent) -> None:
    from orch.cli.progress import describe
    from orch.control.status import instant
    from orch.journal.journal import HistoryEntry

    entry = HistoryEntry(event.at, event.event, event.path, event.attempt, event.detail)
    place = f"{event.path} #{event.attempt}" if event.attempt else event.path
    words = (instant(event.at), event.execution, event.workflow, event.event, place)
    output.line("  ".join([*filter(None, words), describe(entry)]).rstrip())
