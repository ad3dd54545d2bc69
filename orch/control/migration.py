"""Moving an execution that lives to another version, or to one that is made for it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orch.control.catalog import Catalog
from orch.control.noting import defined
from orch.control.runtime import Runtime
from orch.control.user import said
from orch.errors import InvalidWorkflow, NotAllowed
from orch.faults import fault
from orch.journal.journal import Record
from orch.journal.versions import Defined
from orch.workflows.commit import Event
from orch.workflows.definition import WorkflowDefinition
from orch.workflows.migrating import Fitting, fit
from orch.workflows.modifying import Standing, modify, steps_ahead, unreachable
from orch.workflows.plan import Plan
from orch.workflows.reopening import reopen
from orch.workflows.state import LIVE, ExecutionStatus, StepState
from orch.workflows.validation import Finding

MOST_TRIES = 50
"""How often a migration may find that the execution moved on under it."""

Make = Callable[[Record, Plan, Mapping[str, str], tuple[str, ...]], tuple[Plan, dict[str, Any]]]
"""(record, its plan, fields of its steps, paths that a retry reopens): plan, what is told."""


@dataclass(frozen=True)
class Migrated:
    """What became of a migration. ``done``: by this call; False: it was on that version.

    ``moved``: path of a step -> its new one. Of a dry run ``done`` says what would be.
    """

    id: str
    workflow: str
    before: str
    after: str
    done: bool
    moved: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Migration:
    """Every method raises NotFound when there is no such execution, NotAllowed when it cannot
    be moved, with all that stands against it. ``by``: who asks, by default the user."""

    def __init__(self, runtime: Runtime, catalog: Catalog) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.plans = runtime.plans
        self.catalog = catalog

    def migrate(
        self,
        execution: str,
        version: str | None = None,
        mapping: Mapping[str, str] | None = None,
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        """Let it go on by another version (the latest), with its steps as they are.

        ``mapping``: step -> what it is called there. Also one that failed: a retry then goes on
        by that version.
        """

        def make(record: Record, *_: Any) -> tuple[Plan, dict[str, Any]]:
            return self.catalog.plan(record.workflow, version), {}

        told = said(by, reason)
        return self._move(execution, make, ("migrated", told), mapping or {}, dry_run)

    def modify(
        self,
        execution: str,
        changes: Sequence[Mapping[str, Any]],
        *,
        by: str | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Migrated:
        """Change the steps that are ahead of it; see `orch.workflows.modifying.modify`.

        The changed definition is a version of its own, which is never the latest. Raises
        InvalidWorkflow with all findings.
        """

        def make(
            record: Record, plan: Plan, fields: Mapping[str, str], reopened: tuple[str, ...]
        ) -> tuple[Plan, dict[str, Any]]:
            definition = self._modified(record, plan, changes, fields, reopened)
            handlers = self.plans.handlers(record.plan)
            if dry_run:
                return self.plans.make(definition, handlers, record.plan), {}
            made = self.plans.pin(definition, handlers, record.plan)
            said_of_it = Defined(self.journal.clock(), told["by"], "", execution)
            self.journal.add_version(
                record.workflow,
                made.version,
                said_of_it,
                defined(record.workflow, made.version, said_of_it),
            )
            return made, {"changes": _named(changes)}

        told = said(by, reason)
        return self._move(execution, make, ("modified", told), {}, dry_run)

    def _modified(
        self,
        record: Record,
        plan: Plan,
        changes: Sequence[Any],
        fields: Mapping[str, str],
        reopened: tuple[str, ...],
    ) -> WorkflowDefinition:
        standing = Standing.of(plan, fields, reopened)
        document, findings, inserted = modify(plan.definition, changes, standing)
        if findings:
            raise _refused(record.id, findings)
        made = self.catalog.check(record.workflow, document)
        after = self.plans.make(made, self.plans.handlers(record.plan), record.plan)
        states = {p: StepState.loads(t) for p, t in fields.items() if p[0] not in "=!?"}
        live = {p: s for p, s in states.items() if s.status in LIVE or p in reopened}
        known = {path: state for path, state in live.items() if _has(after, path)}
        lost = unreachable(after, inserted, steps_ahead(after, known))
        if lost:
            raise _refused(record.id, lost)
        return made

    # --- both ----------------------------------------------------------------------------------

    def _move(
        self,
        execution: str,
        make: Make,
        said: tuple[str, dict[str, Any]],
        mapping: Mapping[str, str],
        dry_run: bool,
    ) -> Migrated:
        word, told = said
        for _ in range(MOST_TRIES):
            record = self.journal.record(execution)
            if record.status in (ExecutionStatus.COMPLETED, ExecutionStatus.CANCELLED):
                raise NotAllowed(f"execution {execution} is {record.status.value}: it has ended")
            if record.status.unwinds:
                cancels = record.status is ExecutionStatus.CANCELLING
                raise NotAllowed(
                    f"execution {execution} is {'being cancelled' if cancels else 'compensating'}: "
                    f"what it did is undone by the version that it has"
                )
            old = self.plans.get(record.plan)
            fields = self.journal.steps(execution)
            if self.journal.plan_of(execution) != record.plan:
                continue  # somebody else moved it between the two
            reopened: tuple[str, ...] = ()
            if record.status is ExecutionStatus.FAILED:
                ends = self.journal.read_ends(execution)
                reopened = tuple(reopen(old, execution, fields, record.error, ends).paths)
            new, more = make(record, old, fields, reopened)
            names = (execution, record.workflow, record.version, new.version)
            if new.key == record.plan:
                return Migrated(*names, done=False)
            found = fit(old, new, fields, mapping, reopened, record.escalations)
            if found.misfits:
                raise _misfits(execution, new, found)
            moved = dict(found.moves)
            if dry_run:
                return Migrated(*names, done=True, moved=moved)
            told |= {"from": record.version, "to": new.version} | more
            reply = self.journal.migrate(
                record,
                found,
                Event(word, detail=told | ({"moved": moved} if moved else {})),
                plan=new.key,
                version=new.version,
            )
            if reply == "MIGRATED":
                fault("migrated")
                if record.status is ExecutionStatus.RUNNING:
                    self.runtime.advancer.apply(
                        new, execution, found.sends, self.journal.priority_of(execution)
                    )
                return Migrated(*names, done=True, moved=moved)
        raise NotAllowed(
            f"execution {execution} moves on faster than it can be moved",
            hint=f"`orch pause {execution}` first",
        )


def _has(plan: Plan, path: str) -> bool:
    try:
        return plan.node(path) is not None
    except KeyError:
        return False


def _misfits(execution: str, new: Plan, found: Fitting) -> NotAllowed:
    listed = "\n".join(f"  {misfit}" for misfit in found.misfits)
    return NotAllowed(
        f"execution {execution} cannot go on by version {new.version}:\n{listed}",
        hint="map steps that have another name there, or let it come to a step that fits",
    )


def _refused(execution: str, findings: Sequence[Finding]) -> InvalidWorkflow:
    listed = "\n".join(f"  {f.path}: {f.message}" for f in findings)
    return InvalidWorkflow(
        f"execution {execution} cannot be changed so:\n{listed}",
        findings=findings,
        hint=next((f.hint for f in findings if f.hint), ""),
    )


def _named(changes: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The changes as the history tells them: which step, not all that is in it."""
    named = []
    for change in changes:
        steps = {k: v["id"] if isinstance(v, Mapping) else str(v) for k, v in change.items()}
        named.append(steps)
    return named
