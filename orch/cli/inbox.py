"""The inbox: what waits for people, and what they do about it; and `escalations`, the numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, find_token
from orch.cli.inputs import read_option, read_seconds
from orch.cli.option_groups import with_options
from orch.cli.options import By, Json
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045

if TYPE_CHECKING:
    from orch.escalation.inbox import InboxItem
    from orch.escalation.statistics import Statistics

inbox = typer.Typer(
    help="What waits for people: escalated steps and approvals. Without a command: list.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Id = Annotated[str, typer.Argument(metavar="ID", help="EXECUTION:PATH, as `orch inbox` lists it.")]
For = Annotated[
    str, typer.Option("--for", metavar="TIME", help="How long the claim holds: 90s, 30m, 1h30m.")
]
Queue = Annotated[
    Optional[str],
    typer.Option("--queue", metavar="NAME", help="Only this queue of the inbox."),
]


@inbox.callback(invoke_without_command=True)
@with_options
def inbox_(context: typer.Context, connect: Connect = Connect(), as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        _list(None, None, False, 100, connect, as_json)


@inbox.command("list")
@with_options
def list_(
    queue: Queue = None,
    by: By = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only what you, or --by, claimed.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that a rung is working on.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")
    ] = 100,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """List what waits, the oldest first."""
    holder = by
    if mine and by is None:
        from orch.control.user import current_user

        holder = current_user()
    _list(queue, holder, everything, limit, connect, as_json)


def _list(
    queue: str | None,
    by: str | None,
    everything: bool,
    limit: int,
    connect: Connect,
    as_json: bool,
) -> None:
    with connect() as orchestrator:
        found = orchestrator.list_escalations(queue, by=by, everything=everything, limit=limit)
    if as_json:
        output.print_json([item.model_dump(mode="json") for item in found])
        return
    if not found:
        output.say("nothing waits for anybody")
        return
    columns = ("id", "queue", "rung", "what", "raised", "until", "claimed by")
    rows = [
        (i.id, i.queue, _rung(i), _what(i), i.raised, i.until or "-", i.claimed_by or "-")
        for i in found
    ]
    output.table(columns, rows)


@inbox.command()
@with_options
def show(id: Id, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Show one: why, since when, for how long, what was said, and how it may be decided."""
    with connect() as orchestrator:
        item = orchestrator.get_escalation(find_token(orchestrator, id))
    _print(item, as_json)


@inbox.command()
@with_options
def claim(
    id: Id,
    for_: For = "1h",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Take one on yourself: nobody else decides it for that time."""
    seconds = read_seconds("--for", for_)
    with connect() as orchestrator:
        item = orchestrator.claim_escalation(find_token(orchestrator, id), seconds=seconds, by=by)
    _say(item, f"{item.id} is claimed by {item.claimed_by} until {item.claimed_until}", as_json)


@inbox.command()
@with_options
def release(id: Id, by: By = None, connect: Connect = Connect(), as_json: Json = False) -> None:
    """Give a claim back."""
    with connect() as orchestrator:
        item = orchestrator.release_escalation(find_token(orchestrator, id), by=by)
    _say(item, f"{item.id} is claimed by nobody", as_json)


@inbox.command()
@with_options
def delegate(
    id: Id,
    to: Annotated[
        str, typer.Argument(metavar="TO", help="A queue of the inbox, or `@NAME`: a person.")
    ],
    for_: For = "1h",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Hand one to another queue, or to a person."""
    seconds = read_seconds("--for", for_)
    with connect() as orchestrator:
        full = find_token(orchestrator, id)
        item = orchestrator.delegate_escalation(full, to, seconds=seconds, by=by)
    _say(item, f"{item.id} is delegated to {to}", as_json)


@inbox.command()
@with_options
def comment(
    id: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What there is to say.")],
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Say something about one."""
    with connect() as orchestrator:
        item = orchestrator.comment_escalation(find_token(orchestrator, id), text, by=by)
    _say(item, f"{item.id} has {len(item.comments)} comments", as_json)


@inbox.command()
@with_options
def decide(
    id: Id,
    decision: Annotated[
        str,
        typer.Argument(
            metavar="DECISION", help="retry, skip, reroute, compensate, abort; or answer."
        ),
    ],
    value: Annotated[
        Optional[str],
        typer.Option(
            "--value",
            metavar="JSON",
            help="The edited input of a retry, the output of a skip, the answer.",
        ),
    ] = None,
    choice: Annotated[
        Optional[str], typer.Option("--choice", metavar="TEXT", help="Of `answer`: the choice.")
    ] = None,
    to: Annotated[
        str,
        typer.Option("--to", metavar="NAME", help="Of `reroute`: a step, or a capability."),
    ] = "",
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why.")] = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """Decide what becomes of the step. The first decision counts."""
    given = _given(value, choice)
    with connect() as orchestrator:
        full = find_token(orchestrator, id)
        item = orchestrator.decide_escalation(full, decision, *given, to=to, note=note, by=by)
    said = f"{item.id}: {decision}" + (f" by {item.decided_by}" if item.decided_by else "")
    _say(item, said, as_json)


@with_options
def escalations(
    act: Annotated[
        str, typer.Argument(metavar="[list|stats]", help="list: also those at work.")
    ] = "list",
    queue: Queue = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")
    ] = 100,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """List all open escalations; or count them, and how long it took to deal with others."""
    if act not in ("list", "stats"):
        raise InputError(f"`orch escalations {act}` is not there; there are `list` and `stats`")
    if act == "list":
        _list(queue, None, True, limit, connect, as_json)
        return
    with connect() as orchestrator:
        found = orchestrator.escalation_statistics()
    if as_json:
        output.print_json(found.model_dump(mode="json"))
    else:
        _print_statistics(found)


def _print_statistics(found: Statistics) -> None:
    output.line(f"open: {found.open}; resolved in the last 30 days: {found.resolved}")
    for name, value in (
        ("to acknowledge", found.mean_to_acknowledge),
        ("to resolve", found.mean_to_resolve),
    ):
        if value is not None:
            output.line(f"mean time {name}: {output.duration(value * 1000)}")
    counts = (
        ("age", found.by_age),
        ("class", found.by_class),
        ("capability", found.by_capability),
        ("rung", found.by_rung),
        ("decision", found.by_decision),
    )
    rows = [(by, name, number) for by, found_ in counts for name, number in found_.items()]
    if rows:
        output.table(("by", "what", "count"), rows)


def _print(item: InboxItem, as_json: bool) -> None:
    if as_json:
        output.print_json(item.model_dump(mode="json"))
        return
    shown = {
        "id": item.id,
        "workflow": item.workflow,
        "what": _what(item),
        "rung": _rung(item) + (f" of ladder {item.ladder}" if item.ladder else ""),
        "queue": item.queue,
        "at work": item.working,
        "raised": item.raised,
        "until": item.until,
        "reminders": item.reminders or None,
        "claimed by": item.claimed_by and f"{item.claimed_by} until {item.claimed_until}",
        "choices": item.choices and ", ".join(item.choices),
        "form": item.form and json.dumps(item.form, ensure_ascii=False),
        "decided": item.decision and f"{item.decision} by {item.decided_by or item.kind}",
        "note": item.note,
        "resolved": item.resolved,
    }
    for name, value in shown.items():
        if value:
            output.line(f"{name + ':':12} {value}")
    for said in item.comments:
        output.line(f"{'comment:':12} {said['at']} {said['by']}: {said['text']}")
    if item.resolved is None and item.queue:
        answers = "answer" if item.error is None else "retry, skip, reroute, compensate or abort"
        output.say(f"decide: orch inbox decide {item.id} DECISION  ({answers})")


def _say(item: InboxItem, said: str, as_json: bool) -> None:
    if as_json:
        output.print_json(item.model_dump(mode="json"))
    else:
        output.line(said)


def _rung(item: InboxItem) -> str:
    return f"{item.rung}/{item.rungs} {item.kind}" if item.rungs else item.kind


def _what(item: InboxItem) -> str:
    if item.error is None:
        return item.prompt or "an approval"
    text = f"{item.error.get('name')}: {item.error.get('message')}"
    return text if len(text) <= 80 else f"{text[:79]}…"


def _given(value: str | None, choice: str | None) -> tuple[Any, ...]:
    form = () if value is None else (read_option("--value", value),)
    if choice is None:
        return form
    return ({"choice": choice, "form": form[0]},) if form else (choice,)
