"""The command webhook: who is told over HTTP of what happens."""

from __future__ import annotations

import time
from typing import Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.inputs import read_seconds
from orch.cli.option_groups import with_options
from orch.cli.options import By, Json
from orch.errors import HookFailed

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

webhook = typer.Typer(
    help="Webhooks: who is told over HTTP of what happens. Without a command: list.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the webhook, as `add` printed it.")]


@webhook.callback(invoke_without_command=True)
@with_options
def webhook_(context: typer.Context, connect: Connect = Connect(), as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_(connect, as_json)


@webhook.command()
@with_options
def add(
    event: Annotated[
        str,
        typer.Argument(
            metavar="EVENT", help="Such as execution.failed, event.NAME; * for any text."
        ),
    ],
    url: Annotated[str, typer.Argument(metavar="URL", help="http or https: where it is posted.")],
    workflow: Annotated[
        Optional[list[str]],
        typer.Option("--workflow", metavar="NAME", help="Only of this one. May be repeated."),
    ] = None,
    secret: Annotated[
        Optional[str],
        typer.Option("--secret", metavar="NAME", help="webhook.…: the secret that signs."),
    ] = None,
    timeout: Annotated[
        Optional[str],
        typer.Option("--timeout", metavar="TIME", help="How long it has to answer. [10s]"),
    ] = None,
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Have a URL told of what happens, and print the id."""
    seconds = 10.0 if timeout is None else read_seconds("--timeout", timeout)
    with connect() as orchestrator:
        id = orchestrator.register_webhook(
            event, url, workflows=workflow or (), secret=secret, timeout=seconds, by=by
        )
    if as_json:
        output.print_json({"webhook": id})
    else:
        output.line(id)


@webhook.command("list")
@with_options
def list_(connect: Connect = Connect(), as_json: Json = False) -> None:
    """List the webhooks."""
    with connect() as orchestrator:
        found = orchestrator.list_webhooks()
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found])
    elif not found:
        output.say("there are none; `orch webhook add EVENT URL` registers one")
    else:
        rows = [(e.id, e.event, e.url, ", ".join(e.workflows), e.secret or "") for e in found]
        output.table(("webhook", "event", "url", "only of", "signed with"), rows)


@webhook.command()
@with_options
def remove(id: Id, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Tell a webhook nothing more."""
    with connect() as orchestrator:
        found = orchestrator.remove_webhook(id)
    if as_json:
        output.print_json({"removed": id if found else None})
    else:
        output.line(f"removed: {id}" if found else f"there was no webhook {id}")


@webhook.command()
@with_options
def test(id: Id, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Send a sample from here, with the secrets that are set here. Exit code 1: not taken."""
    from orch.webhooks.message import Message
    from orch.webhooks.telling import send

    now, said = int(time.time() * 1000), ""
    with connect() as orchestrator:
        found = orchestrator.webhooks.get(id)
        data = {"sample": True, "event": found.event}
        try:
            message = Message(f"sample:{id}:{now}", "webhook.test", now, data)
            send(orchestrator.settings, found, message)
        except HookFailed as exc:
            said = exc.message
    if as_json:
        output.print_json({"webhook": id, "delivered": not said, "message": said})
    else:
        output.line(said or f"webhook {id} has taken a sample")
    if said:
        raise typer.Exit(1)
