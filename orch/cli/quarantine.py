"""The command quarantine: steps that killed their workers; one of them is replayed or dropped."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Optional

import typer

from orch.cli import output
from orch.cli.connection import Connect, find_token
from orch.cli.option_groups import with_options
from orch.cli.options import By, Json, Reason
from orch.errors import InputError

# typer reads these at run time, in versions that do not know `str | None` inside of Annotated.
# ruff: noqa: UP045


class Act(StrEnum):
    LIST = "list"
    REPLAY = "replay"
    DROP = "drop"


@with_options
def quarantine(
    act: Annotated[Act, typer.Argument(metavar="[list|replay|drop]")] = Act.LIST,
    id: Annotated[
        Optional[str], typer.Argument(metavar="ID", help="EXECUTION:PATH, as it is listed.")
    ] = None,
    reason: Reason = "",
    by: By = None,
    connect: Connect = Connect(),
    as_json: Json = False,
) -> None:
    """List the steps that killed their workers, with their input; replay or drop one."""
    if (id is None) != (act is Act.LIST):
        wanted = "no ID" if id else "an ID"
        raise InputError(
            f"`orch quarantine {act.value}` takes {wanted}",
            hint="`orch quarantine` lists those that there are",
        )
    with connect() as orchestrator:
        if id is None:
            found = orchestrator.list_quarantine()
        else:
            full = find_token(orchestrator, id)
            steer = orchestrator.replay_quarantined
            if act is Act.DROP:
                steer = orchestrator.drop_quarantined
            steer(full, reason=reason, by=by)
    if id is not None:
        said = "replayed" if act is Act.REPLAY else "dropped"
        if as_json:
            output.print_json({"id": full, "act": said})
        else:
            output.line(f"{full} is {said}")
        return
    if as_json:
        output.print_json([step.model_dump(mode="json") for step in found])
    elif not found:
        output.say("no step is in quarantine")
    else:
        rows = [
            (s.id, s.workflow, s.status, s.since, json.dumps(s.input)[:60], s.error.get("message"))
            for s in found
        ]
        output.table(("id", "workflow", "status", "since", "input", "error"), rows)
