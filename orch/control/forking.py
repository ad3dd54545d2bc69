"""Rerun and fork: a new execution made of another one, which stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from orch.control.catalog import Catalog
from orch.control.runtime import Runtime
from orch.control.starting import check_json, checked_input, execution_id, make_start
from orch.control.steering import current_user
from orch.errors import InputError, NotAllowed
from orch.journal.journal import HistoryEntry, Record, Start
from orch.workflows.commit import Event, Transition
from orch.workflows.compensating import compensation_path
from orch.workflows.escalation import escalation_field
from orch.workflows.forking import begin_fork, keep
from orch.workflows.holes import hole_fields
from orch.workflows.plan import Plan
from orch.workflows.resolving import resolution_fields
from orch.workflows.starts import StartOptions
from orch.workflows.state import StepStatus, encode
from orch.workflows.view import View

Version = Literal["same", "latest"]

MOST_TRIES = 20
"""How often an execution that runs may move on while it is read."""


@dataclass(frozen=True)
class Again:
    """A start that is made of another execution."""

    plan: Plan
    start: Start


class Forking:
    """Makes starts. Every method raises NotFound, InputError; `fork` NotAllowed, too."""

    def __init__(self, runtime: Runtime, catalog: Catalog) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.catalog = catalog

    def rerun(
        self,
        origin: str,
        input: Any = None,
        *,
        version: Version = "same",
        idempotency_key: str | None = None,
        reason: str = "",
        by: str | None = None,
    ) -> Again:
        """From the start. ``input``: None for the same."""
        record = self.journal.record(origin)
        plan = self._plan(record, version)
        start = self._start(record, plan, input, idempotency_key)
        at = self.journal.clock()
        who = by or current_user()
        told = Event("rerun_of", detail=_said({"execution": origin, "by": who}, reason))
        begun = start.transition or Transition("", None)  # it waits for a slot
        source = encode({"execution": origin, "by": who, "at": at})
        begun = replace(
            begun, events=(told, *begun.events), fields=(*begun.fields, ("origin", source))
        )
        return Again(plan, replace(start, transition=begun))

    def fork(
        self,
        origin: str,
        path: str,
        *,
        variables: Mapping[str, Any] | None = None,
        input: Any = None,
        version: Version = "same",
        idempotency_key: str | None = None,
        reason: str = "",
        by: str | None = None,
    ) -> Again:
        """From the step at ``path`` on: what was finished before it is kept as it was.

        ``variables`` are set on top of those of that point; ``input``: None for the same.
        """
        given = dict(variables or {})
        for name, value in given.items():
            if not isinstance(name, str):
                raise InputError("names of variables are texts")
            check_json(self.runtime.settings, f"variable {name!r}", value)
        record, steps, history = self._read(origin)
        plan = self._plan(record, version)
        start = self._start(record, plan, input, idempotency_key)
        seen = View(origin, record.workflow, input=record.input, variables=record.variables)
        events = [Event(e.event, e.path, e.attempt, e.detail, at=e.at) for e in history]
        kept = keep(self.runtime.plans.get(record.plan), path, steps, events, seen, given)
        if input is not None:
            kept = replace(kept, view=replace(kept.view, input=input))
        who = by or current_user()
        said = _said({"execution": origin, "from": path, "by": who}, reason)
        names = sorted({*given, *kept.given})
        told = Event("forked_from", detail=said | ({"input": names} if names else {}))
        now = self.journal.clock()
        view = replace(kept.view, execution=start.id)
        timeout = plan.definition.timeout_ms
        begun = begin_fork(plan, kept, view, told, now, self.journal.grace)
        source = encode({"execution": origin, "path": path, "by": who, "at": now})
        paths = {each.path for each in begun.opens if each.state.status is StepStatus.COMPLETED}
        _check_kept(origin, paths, steps)
        holes = [each for at in paths for each in hole_fields(at, record.holes.get(at, ())).items()]
        asked = [
            (escalation_field(at), record.escalations[at].dumps())
            for at in paths
            if at in record.escalations
        ]
        told_of = [(at, record.resolutions[at]) for at in paths if at in record.resolutions]
        votes = [each for found in told_of for each in resolution_fields(*found).items()]
        more = (*dict(holes).items(), *asked, *votes)
        fields = (*begun.fields, ("origin", source), *more)
        begun = replace(begun, fields=fields)
        deadline = 0 if begun.end or not timeout else now + timeout
        if begun.end is not None:
            start = replace(start, slots=None)
        elif start.slots is not None:
            # Its steps are there, and nobody looks at them until it has its slots.
            deadline, resting = 0, tuple(replace(opened, due=None) for opened in begun.opens)
            begun = replace(begun, opens=resting)
        return Again(plan, replace(start, transition=begun, deadline=deadline))

    # --- what both need ----------------------------------------------------------------------

    def _plan(self, record: Record, version: Version) -> Plan:
        match version:
            case "same":
                return self.runtime.plans.get(record.plan)
            case "latest":
                return self.catalog.plan(record.workflow)
        raise InputError(
            f"a version to go on with is `same` or `latest`, not {version!r}",
            hint="start the workflow anew for any other",
        )

    def _start(self, record: Record, plan: Plan, input: Any, key: str | None) -> Start:
        given = record.input if input is None else input
        text = checked_input(self.runtime.settings, record.workflow, plan.definition, given)
        new = execution_id(record.workflow, key)
        told = {  # what the definition tells is told anew, from this input
            name: value
            for name, value in record.attributes.items()
            if name not in plan.definition.attributes
        }
        options = StartOptions(attributes=told, priority=record.priority)
        return make_start(
            self.journal,
            plan,
            record.workflow,
            new,
            text,
            idempotency_key=key,
            options=options,
        )

    def _read(self, execution: str) -> tuple[Record, dict[str, str], list[HistoryEntry]]:
        """All of an execution, as it was at one moment."""
        for _ in range(MOST_TRIES):
            history = self.journal.history(execution)
            steps = self.journal.steps(execution)
            record = self.journal.record(execution)
            if self.journal.told(execution) == len(history):
                return record, steps, history
        raise NotAllowed(
            f"execution {execution} moves on faster than it can be read",
            hint=f"`orch pause {execution}` first",
        )


def _check_kept(origin: str, kept: set[str], steps: Mapping[str, str]) -> None:
    undone = sorted(path for path in kept if compensation_path(path) in steps)
    if undone:
        raise NotAllowed(
            f"a fork of execution {origin} would keep what {', '.join(undone)} did, which was "
            f"undone",
            hint=f"fork it at {undone[0]} or before, or `orch rerun {origin}`",
        )


def _said(detail: dict[str, Any], reason: str) -> dict[str, Any]:
    return detail | ({"reason": reason} if reason else {})
