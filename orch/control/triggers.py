"""Workflows that an event starts, each exactly once for each event."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orch.control.starting import checked_input, make_start
from orch.errors import JournalError, OrchError, StepError, Unreachable
from orch.faults import fault
from orch.workflows.commit import Event, Transition
from orch.workflows.events import Occurrence
from orch.workflows.plan import Plan
from orch.workflows.triggers import input_for, triggered_id

if TYPE_CHECKING:
    from orch.control.advance.committing import Committing

logger = logging.getLogger(__name__)

DEPTH_EXCEEDED = "DepthExceeded"


@dataclass(frozen=True)
class Triggered:
    """An execution that an event started. ``existed``: when the event was told before."""

    workflow: str
    execution: str
    existed: bool = True

    def as_dict(self) -> dict[str, Any]:
        return {
            "workflow": self.workflow,
            "execution": self.execution,
            "existed": self.existed,
        }


@dataclass(frozen=True)
class NewlyTriggered(Triggered):
    """One that was started now, by whom its first steps are to be sent."""

    existed: bool = False
    _: KW_ONLY
    plan: Plan = field(repr=False)
    transition: Transition = field(repr=False)
    priority: int = field(repr=False)
    queued: bool = field(repr=False)  # it begins when it has its slots


@dataclass(frozen=True)
class NotTriggered:
    """A workflow whose trigger names the event, and that could not be started; and why."""

    workflow: str
    name: str  # of the error
    message: str

    def as_dict(self) -> dict[str, Any]:
        return {"workflow": self.workflow, "error": {"name": self.name, "message": self.message}}


class Told(int):
    """What telling an event came to: how many steps took it now.

    ``triggered``: the executions that it started, now or when it was told before.
    ``not_triggered``: the workflows that it should have started.
    """

    triggered: tuple[Triggered, ...]
    not_triggered: tuple[NotTriggered, ...]

    def __new__(
        cls,
        taken: int,
        triggered: tuple[Triggered, ...] = (),
        not_triggered: tuple[NotTriggered, ...] = (),
    ) -> Told:
        told = super().__new__(cls, taken)
        told.triggered, told.not_triggered = triggered, not_triggered
        return told

    @property
    def taken(self) -> int:
        return int(self)

    @property
    def started(self) -> tuple[str, ...]:
        """Ids of the executions that it started now."""
        return tuple(each.execution for each in self.triggered if not each.existed)

    def as_dict(self) -> dict[str, Any]:
        return {
            "taken": int(self),
            "started": [each.as_dict() for each in self.triggered],
            "not_started": [each.as_dict() for each in self.not_triggered],
        }

    def notes(self, path: str) -> Iterator[Event]:
        """Lines of the history of the execution whose step told it."""
        for done in self.triggered:
            detail = {"workflow": done.workflow, "execution": done.execution}
            yield Event("triggered", path, 1, detail)
        for missed in self.not_triggered:
            yield Event("not_triggered", path, 1, missed.as_dict())

    def too_deep(self) -> str:
        """Why the flow of events must end here; '' if it need not."""
        found = [e.message for e in self.not_triggered if e.name == DEPTH_EXCEEDED]
        return found[0] if found else ""


def start_triggered(
    advancer: Committing, event: Occurrence, since: int | None, by: str
) -> Iterator[Triggered | NotTriggered]:
    """Start the workflows whose latest version has a trigger for the event.

    ``since``: when it was told first (ms), if that was before: what was defined later is not
    meant. ``by``: the execution that tells it, or ''. One that cannot be started stops no other.
    """
    if event.execution:
        return
    depth: int | None = None
    for key, defined in advancer.journal.triggered_by(event.name).items():
        if since is not None and defined > since:
            continue
        if depth is None:
            depth = _depth_below(advancer, by)
        try:
            found = _start(advancer, key, event, depth, by)
        except (Unreachable, JournalError):
            raise
        except OrchError as error:
            name = error.name if isinstance(error, StepError) else type(error).__name__
            missed = NotTriggered(key, name, error.message)
            logger.warning(
                "event %s (%s) starts no execution of workflow %s: %s: %s",
                event.name,
                event.id,
                key,
                missed.name,
                missed.message,
            )
            yield missed
        else:
            if found is not None:
                yield found


def _depth_below(advancer: Committing, by: str) -> int:
    family = advancer.journal.read_family(by) if by else None
    return family.depth + 1 if family is not None else 0


def _start(
    advancer: Committing, key: str, event: Occurrence, depth: int, by: str
) -> Triggered | None:
    """None: it is not meant. Raises what makes it impossible."""
    journal = advancer.journal
    if journal.latest_version(key) is None:
        return None
    execution = triggered_id(key, event.id)
    plan = advancer.find_plan(key, None, execution)
    if journal.status(execution) is not None:
        return Triggered(key, execution)
    given = input_for(plan.triggers, event)
    if given is None:
        return None
    most = journal.settings.max_depth
    if depth > most:
        raise StepError(
            DEPTH_EXCEEDED,
            f"{most} executions stand before this event {event.name!r} already, which would "
            f"start {key!r}; do workflows start each other for ever? The setting `max_depth` is "
            f"the limit",
        )
    (input,) = given
    if input is None and plan.definition.input is not None:
        input = {}
    text = checked_input(journal.settings, key, plan.definition, input)
    start = make_start(journal, plan, key, execution, text)
    begun = start.transition or Transition("", None)  # it waits for a slot
    detail = {"event": event.name, "id": event.id, **({"by": by} if by else {})}
    transition = replace(
        begun,
        events=(Event("triggered_by", detail=detail), *begun.events),
        fields=(*begun.fields, *((("depth", str(depth)),) if depth else ())),
    )
    advancer.gating.admit(start)
    if not journal.start(replace(start, transition=transition)):
        advancer.gating.take_back(execution, start.slots)
        return Triggered(key, execution)
    fault("triggered")
    return NewlyTriggered(
        key,
        execution,
        plan=plan,
        transition=transition,
        priority=start.priority,
        queued=start.slots is not None,
    )
