"""Which events start a workflow, with which input, and under which id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orch.errors import StepError
from orch.workflows.definition import Trigger
from orch.workflows.expressions import (
    Compiled,
    Expression,
    compile_value,
    parse_expression,
    truthy,
)

if TYPE_CHECKING:
    from orch.workflows.events import Occurrence


@dataclass(frozen=True)
class TriggerPolicy:
    """A compiled trigger."""

    asked: Trigger
    match: Expression | None
    input: Compiled

    @classmethod
    def of(cls, trigger: Trigger) -> TriggerPolicy:
        match = parse_expression(trigger.match) if trigger.match is not None else None
        return cls(trigger, match, compile_value(trigger.input))

    def input_of(self, event: Occurrence) -> tuple[Any] | None:
        """The input with which the event starts the workflow; None: it does not.

        Raises StepError where an expression cannot be evaluated.
        """
        asked = self.asked
        if asked.event != event.name or asked.correlation not in (None, event.correlation):
            return None
        context = {"event": event.payload, "correlation": event.correlation}
        if self.match is not None and not truthy(self.match.evaluate(context)):
            return None
        return (self.input.evaluate(context),)


def input_for(triggers: Iterable[TriggerPolicy], event: Occurrence) -> tuple[Any] | None:
    """The input by the first trigger that takes the event; None: none does.

    Raises StepError where none does and one of them cannot be evaluated.
    """
    failed: StepError | None = None
    for trigger in triggers:
        try:
            found = trigger.input_of(event)
        except StepError as error:
            failed = failed or error
            continue
        if found is not None:
            return found
    if failed is not None:
        raise failed
    return None


def triggered_id(key: str, event: str) -> str:
    """The id of the execution of workflow ``key`` that the event of this id starts.

    The same whoever starts it, so that it is started once.
    """
    return hashlib.sha256(f"event\0{event}\0{key}".encode()).hexdigest()[:16]
