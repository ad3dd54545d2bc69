"""What an attempt may come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orch.errors import ErrorClass
from orch.workflows.definition import RetryPolicy
from orch.workflows.escalation import Ruling
from orch.workflows.failing import class_of


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed; `$.error` in the steps that take it."""

    name: str
    message: str
    step: str = ""
    path: str = ""
    attempt: int = 0
    data: Any = None
    child: str = ""  # the execution in which it happened, if that is not the step's own
    escalation: str = ""  # the path of escalation that the error asks for
    retry_after: int = 0  # ms that the error asks to wait before the next attempt
    said_class: str = ""  # of `ErrorClass`; without it, the name says

    @property
    def error_class(self) -> str:
        return self.said_class or class_of(self.name).value

    def at_large(self) -> dict[str, Any]:
        """As the error of an execution, where it is that of no step."""
        return {"name": self.name, "class": self.error_class, "message": self.message}

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": self.name,
            "class": self.error_class,
            "message": self.message,
            "step": self.step,
            "path": self.path,
            "attempt": self.attempt,
        }
        if self.child:
            found["child"] = self.child
        return found if self.data is None else {**found, "data": self.data}


@dataclass(frozen=True)
class Completed:
    """An attempt succeeded; ``output`` is JSON, ``text`` its encoding where it is known.

    ``final``: a poll is not asked again, whatever its `until` says. ``fallback``: what the history
    tells of an output that stands in for that of a step that failed.
    """

    output: Any = None
    text: str | None = None
    final: bool = False
    fallback: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Failed:
    """``retry``: what is declared of the capability, for a step that does not say."""

    failure: Failure
    retryable: bool = True
    retry: RetryPolicy | None = None


@dataclass(frozen=True)
class Lost:
    """The worker that held the attempt is gone. ``poison``: it was one too many."""

    reason: str
    poison: bool = False


@dataclass(frozen=True)
class Released:
    """The worker that held the attempt gave it back before it began."""


@dataclass(frozen=True)
class Deferred:
    """The attempt was given back before it began, to be made at ``due`` (ms): the breaker of its
    capability is open. ``detail``: what the history tells of that. ``failure``: that for which a
    fallback may take its place."""

    due: int
    detail: Mapping[str, Any]
    failure: Failure | None = None


@dataclass(frozen=True)
class Limited:
    """The attempt was given back before it began: it waits for its limits. ``due``: when it is
    looked at again, ms; ``limit``: the name of that for which it waits."""

    due: int
    limit: str


@dataclass(frozen=True)
class Branched:
    """The branches of a parallel step or a map are decided, or the iteration of a loop ended.

    (output, failure) of each branch, in order; None for one that did not end.
    """

    results: tuple[tuple[Any, Mapping[str, Any] | None] | None, ...]
    size: int = 0  # bytes of the outputs of a map that are too many to be held; they are None here


@dataclass(frozen=True)
class Entered:
    """The turn of an item has come, and its first step takes more than a message."""


@dataclass(frozen=True)
class Overdue:
    """The rung of an escalated step is out of time, or somebody is to be reminded."""


@dataclass(frozen=True)
class Ruled:
    """A person does something about an escalated step."""

    ruling: Ruling


Outcome = (
    Completed | Failed | Lost | Released | Deferred | Limited | Branched | Entered | Overdue | Ruled
)


def classified(outcome: Outcome, table: Mapping[str, ErrorClass]) -> Outcome:
    """An outcome whose failure is of the class that ``table`` has for its name, where nobody
    said one."""
    if not isinstance(outcome, Failed) or outcome.failure.said_class:
        return outcome
    said = table.get(outcome.failure.name)
    if said is None:
        return outcome
    return replace(outcome, failure=replace(outcome.failure, said_class=said.value))
