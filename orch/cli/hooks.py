"""The command hooks: which there are, and whether they answer."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated, Any, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect
from orch.cli.options import Json
from orch.errors import HookFailed, NotFound

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045


class HookAct(StrEnum):
    LIST = "list"
    TEST = "test"


def hooks(
    act: Annotated[
        HookAct, typer.Argument(metavar="[list|test]", help="test: send a sample.")
    ] = HookAct.LIST,
    name: Annotated[
        Optional[str], typer.Argument(metavar="NAME", help="One of them. [all]")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the hooks that are told of escalations, or send each a sample. Needs no Redis."""
    found = [each for each in Connect().settings().hooks if name in (None, each.name)]
    if name is not None and not found:
        raise NotFound(f"no hook {name!r} in the settings", hint="`orch hooks` lists them")
    if act is HookAct.TEST:
        rows = [_tested(each) for each in found]
    else:
        rows = [each.as_dict() for each in found]
    if as_json:
        output.print_json(rows)
    elif act is HookAct.TEST:
        output.table(
            ("hook", "kind", "target", "delivered", "took", ""),
            [
                (
                    row["name"],
                    row["kind"],
                    row["target"],
                    "yes" if row["delivered"] else "no",
                    output.duration(row["took_ms"]),
                    row["message"],
                )
                for row in rows
            ],
        )
    else:
        output.table(
            ("hook", "kind", "target", "events", "only of"),
            [(r["name"], r["kind"], r["target"], ", ".join(r["events"]), _limits(r)) for r in rows],
        )
    if act is HookAct.TEST and not all(row["delivered"] for row in rows):
        raise typer.Exit(1)


def _limits(row: dict[str, Any]) -> str:
    named = (
        f"{what} {', '.join(row[what])}" for what in ("queues", "paths", "workflows") if row[what]
    )
    return "; ".join(named)


def _tested(hook: Any) -> dict[str, Any]:
    from orch.escalation.hooks import deliver
    from orch.escalation.notice import Notice

    now = int(time.time() * 1000)
    content = {
        "id": f"sample:sample:{now}",
        "event": hook.events[0],
        "execution": "sample",
        "workflow": next(iter(hook.workflows), "sample"),
        "path": "sample",
        "rung": 1,
        "kind": "human",
        "queue": next(iter(hook.queues), "inbox"),
        "ladder": next(iter(hook.paths), ""),
        "at": now,
        "error": {"name": "Sample", "class": "unknown", "message": "sent by `orch hooks test`"},
    }
    begun = time.monotonic()
    message, retryable = "", False
    try:
        deliver(hook, Notice.of(content))
    except HookFailed as exc:
        message, retryable = exc.message, exc.retryable
    return {
        "name": hook.name,
        "kind": hook.kind,
        "target": hook.target,
        "delivered": not message,
        "retryable": retryable,
        "took_ms": int((time.monotonic() - begun) * 1000),
        "message": message,
    }
