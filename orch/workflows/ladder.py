"""Who is asked when a step has failed for good: the ladder, and its rungs, as they are written.

A ladder is a list. Each rung is one key with what it needs, `{human: {queue: reviewers}}`, or a
bare word, `fail`. Times are milliseconds or texts like `30s`, `2h` and `PT2H`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, StringConstraints, model_validator

from orch.errors import ErrorClass
from orch.workflows.durations import parse_span
from orch.workflows.model import CapabilityName, Milliseconds, Model
from orch.workflows.quiet import QuietHours


def _span(value: Any) -> Any:
    return parse_span(value) if isinstance(value, str) else value


_Pause = Annotated[int, Field(ge=0)]
Span = Annotated[Milliseconds, BeforeValidator(_span, json_schema_input_type=Milliseconds | str)]
Pause = Annotated[_Pause, BeforeValidator(_span, json_schema_input_type=_Pause | str)]
QueueName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=100)]
PathName = Annotated[str, StringConstraints(pattern=r"^[a-z_][A-Za-z0-9_-]*$", max_length=60)]

AUTO = "auto"
"""Instead of a path's name: the one whose rule takes the error."""

BARE = ("retry", "human", "fail")
"""Rungs that may be written as a bare word."""


class RetryRung(Model):
    """The step is tried again, by its own capability."""

    max_attempts: Annotated[int, Field(ge=1)] = 1
    """Tries in this rung."""
    interval: Pause = 0
    """Pause before the first of them, and between them, ms."""
    backoff_rate: Annotated[float, Field(ge=1)] = 1.0
    """Factor by which each further pause is longer."""
    max_interval: Span | None = None
    """The longest pause, ms."""
    within: Span | None = None
    """After this time the next rung takes over, ms."""


class ReassignRung(Model):
    """Another agent of the same capability tries."""

    to_agent: str = "other"
    """The name of an agent, or `other`: a live one that has not failed at it."""
    within: Span | None = None
    """After this time the next rung takes over, ms."""


class FallbackRung(Model):
    """Another capability does the step: a stronger one, or a plainer one."""

    capability: CapabilityName
    queue: str | None = None
    """The queue, where it is not named like the capability."""
    input: JsonValue = None
    """What the capability gets; without it, the input of the step. `$.error` is the failure."""
    timeout: Span | None = None
    """How long one attempt may take, ms."""
    max_attempts: Annotated[int, Field(ge=1)] = 1
    """Tries in this rung."""
    interval: Pause = 0
    """Pause between them, ms."""
    within: Span | None = None
    """After this time the next rung takes over, ms."""


class HumanRung(Model):
    """A person decides. Who watches the queue of an inbox sees it there."""

    queue: QueueName = "inbox"
    """The queue of the inbox."""
    within: Span | None = None
    """After this time the next rung takes over, ms; without it, it waits for ever."""
    remind_every: Span | None = None
    """Pause between reminders, ms."""
    quiet_hours: str | None = None
    """`22:00-07:00 Europe/Berlin`: reminders, and the end of `within`, are put off till after."""
    form: dict[str, JsonValue] | None = None
    """JSON Schema of the output that a person may give instead of the step's own."""

    @model_validator(mode="after")
    def _hours(self) -> HumanRung:
        if self.quiet_hours is not None:
            QuietHours.parse(self.quiet_hours)
        return self

    def awake(self, instant: int) -> int:
        """The instant, or the end of the quiet hours that it is in, ms."""
        if self.quiet_hours is None:
            return instant
        return QuietHours.parse(self.quiet_hours).after(instant)


class Rung(Model):
    """One level of a ladder: exactly one of its fields."""

    retry: RetryRung | None = None
    reassign: ReassignRung | None = None
    fallback: FallbackRung | None = None
    human: HumanRung | None = None
    fail: Literal[True] | None = None
    """Nobody else is asked: the step fails."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in BARE:
            raise ValueError(f"a rung is one of {', '.join(RUNGS)}; found {value!r}")
        return {value: True if value == "fail" else {}}

    @model_validator(mode="after")
    def _one(self) -> Rung:
        given = [name for name in RUNGS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a rung takes one of {', '.join(RUNGS)}; found {', '.join(given) or 'none'}"
            )
        return self

    @property
    def kind(self) -> str:
        return next(name for name in RUNGS if getattr(self, name) is not None)

    @property
    def within(self) -> int | None:
        """After how many ms the next rung takes over; None: when this one is done."""
        found = self.retry or self.reassign or self.fallback or self.human
        return found.within if found is not None else None


def people_of(ladder: Sequence[Rung]) -> tuple[Rung, ...]:
    """Who is asked where a compensation fails: what else a ladder tries does the step, and does
    not undo it. A `form` is that of the step's output."""
    found = []
    for rung in ladder:
        if rung.fail:
            break
        if rung.human is not None:
            found.append(Rung(human=rung.human.model_copy(update={"form": None})))
    return tuple(found)


RUNGS = ("retry", "reassign", "fallback", "human", "fail")

Rungs = Annotated[list[Rung], Field(max_length=20)]

Ladder = Rungs | PathName
"""Rungs, none of them for: nobody is asked; or the name of a path; or `auto`."""


class EscalationPath(Model):
    """A ladder with a name, and which errors take it."""

    errors: list[str] = Field(default_factory=list)
    """Names of the errors that take it; `*` is any."""
    classes: list[ErrorClass] = Field(default_factory=list)
    """Classes of the errors that take it."""
    when: str | None = None
    """Instead, or beside them: an expression that must be true, of `$.error`, `$.input`, …"""
    ladder: Rungs

    @property
    def chooses(self) -> bool:
        """Whether errors take it by themselves; else it is taken by its name alone."""
        return bool(self.errors or self.classes or self.when)


class Escalations(Model):
    """What the settings say of steps and workflows that have no ladder of their own."""

    ladder: Ladder | None = None
    paths: dict[PathName, EscalationPath] = Field(default_factory=dict)


AGGRESSIVE = (
    Rung(reassign=ReassignRung()),
    Rung(human=HumanRung()),
)
"""Who is asked at the level `aggressive`, where nothing else is said."""


def _path(queue: str, *first: Rung, **rule: Any) -> EscalationPath:
    return EscalationPath(ladder=[*first, Rung(human=HumanRung(queue=queue))], **rule)


BUILTIN_PATHS = {
    "budget": _path("budget", errors=["BudgetExceeded"]),
    "security": _path(
        "security",
        errors=["PermissionError", "NotPermitted", "Forbidden", "Unauthorized", "SecurityError"],
    ),
    "quality": _path("quality", errors=["InvalidOutput", "QualityGateFailed", "TestsFailed"]),
    "process": _path("process", classes=[ErrorClass.CONFLICT, ErrorClass.PERMANENT]),
    "technical": _path(
        "technical",
        Rung(retry=RetryRung(max_attempts=2, interval=30_000)),
        errors=["*"],
    ),
}
"""Paths that are there without a definition, and taken only by their name or `auto`; the first
that takes an error counts. Each ends at the queue of the inbox that is called like it."""
