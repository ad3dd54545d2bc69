"""The spans of executions: one for each, and one for each attempt below it.

A span is sent by whoever commits what came of its attempt, or the end of its execution: so by
the worker that did it, or by the one that declared it lost, and by no other. `open_tracing` gives
None where the setting `tracing` is off; then nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from celery.canvas import Signature, _chain, _chord

from orch.errors import Unreachable
from orch.journal.journal import Journal, Start
from orch.messages import SENT
from orch.settings import Settings
from orch.workflows.node import Node
from orch.workflows.outcome import (
    Completed,
    Deferred,
    Failed,
    Failure,
    Limited,
    Lost,
    Outcome,
    Released,
)
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus
from orch.workflows.traces import (
    TRACE_FIELD,
    TraceContext,
    span_of_attempt,
    span_of_execution,
    trace_of,
)

logger = logging.getLogger(__name__)

KNOWN = 10_000
"""Executions whose trace a process keeps in mind."""

TOLD = frozenset({StepStatus.RUNNING, StepStatus.CALLING, StepStatus.EXTERNAL})
"""States of attempts that somebody else than their worker may bring to an end."""


def open_tracing(settings: Settings, journal: Journal) -> Tracing | None:
    """None where it is off. Raises SettingsError where the packages are not installed."""
    if settings.tracing == "off":
        return None
    return Tracing(journal)


class Attempt:
    """The span of an attempt whose code has been called. ``outcome``: what it came to."""

    def __init__(self, span: Any) -> None:
        self.outcome: Outcome | None = None
        self._span = span
        self._ended = 0

    def leave(self) -> None:
        self._ended = time.time_ns()

    def end(self, refused: str = "") -> None:
        """Send it. ``refused``: the status of its step, if its outcome came too late."""
        if self.outcome is not None:
            _mark(self._span, self.outcome, refused)
        self._span.end(self._ended or None)


class Tracing:
    """Spans of the executions of a journal."""

    def __init__(self, journal: Journal) -> None:
        from orch import otel

        self._otel = otel
        self._journal = journal
        self._known: dict[str, TraceContext] = {}

    # --- where executions stand -------------------------------------------------------------

    def of(self, execution: str) -> TraceContext:
        """The span of an execution. Raises Unreachable."""
        found = self._known.get(execution)
        if found is None:
            workflow, given = self._journal.read_trace(execution)
            found = self._learn(execution, workflow, given)
        return found

    def note_start(self, start: Start) -> None:
        """Know where an execution stands that was started here."""
        self._learn(start.id, start.workflow, start.traceparent)

    def _learn(self, execution: str, workflow: str, given: str) -> TraceContext:
        above = TraceContext.of(given)
        span = span_of_execution(execution)
        if above is not None:
            found = TraceContext(above.trace, span, above.sampled)
        else:
            trace = trace_of(execution)
            found = TraceContext(trace, span, self._otel.is_sampled(trace, workflow))
        self._keep(execution, found)
        return found

    def _keep(self, execution: str, found: TraceContext) -> None:
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[execution] = found

    def caller(self) -> str:
        """The `traceparent` of whoever calls; '' where he is in no trace."""
        found = self._otel.caller_context()
        return found.header if found is not None else ""

    def for_child(self, execution: str, path: str, attempt: int) -> str:
        """The `traceparent` of an execution that a step calls: it stands below that attempt."""
        above = self.of(execution)
        span = span_of_attempt(execution, path, attempt)
        return TraceContext(above.trace, span, above.sampled).header

    def mark(self, canvases: Iterable[Signature], execution: str) -> None:
        """Let the messages of an execution carry its context."""
        headers = {TRACE_FIELD: self.of(execution).header}
        for canvas in canvases:
            for signature in _parts_of(canvas):
                signature.options["headers"] = headers

    # --- spans ------------------------------------------------------------------------------

    @contextmanager
    def attempt(
        self, plan: Plan, node: Node, execution: str, path: str, state: StepState, request: Any
    ) -> Iterator[Attempt]:
        """While an attempt is made: its span is the current one.

        ``request``: of the message that was for it; None: a worker went on to it.
        """
        from opentelemetry.trace import use_span

        self._otel.serve_user_code()
        given = getattr(request, TRACE_FIELD, None)
        if given and execution not in self._known and (above := TraceContext.of(given)):
            self._keep(execution, above)
        self._journal.patiently(lambda: self.of(execution))
        attributes = self._about(plan, node, execution, path, state)
        sent = getattr(request, SENT, None)
        if sent:
            attributes["orch.queue_wait_ms"] = max(0, state.started - int(sent))
        span = self._begin(node, execution, path, state, attributes, time.time_ns())
        found = Attempt(span)
        with use_span(span, record_exception=False, set_status_on_exception=False):
            yield found
            found.leave()

    def tell_attempt(
        self, plan: Plan, execution: str, path: str, state: StepState, outcome: Outcome
    ) -> None:
        """Send the span of an attempt that somebody else than its worker has brought to an end."""
        if state.status not in TOLD:
            return
        with suppress(Unreachable):
            node, start = plan.node(path), (state.started or state.since) * 1_000_000
            attributes = self._about(plan, node, execution, path, state)
            span = self._begin(node, execution, path, state, attributes, start)
            _mark(span, outcome)
            span.end()

    def tell_execution(self, execution: str) -> None:
        """Send the span of an execution that has just ended."""
        try:
            found = self._journal.read_traced(execution)
        except Unreachable:
            logger.debug("the span of execution %s is not sent: Redis is away", execution)
            return
        if found is None or not found.status.ended:
            return
        own = self._learn(execution, found.workflow, found.given)
        self._known.pop(execution, None)
        attributes = {
            "orch.execution": execution,
            "orch.workflow": found.workflow,
            "orch.version": found.version,
            "orch.status": found.status.value,
            **({"orch.project": found.project} if found.project else {}),
        }
        above, start = TraceContext.of(found.given), found.begun * 1_000_000
        span = self._otel.begin_span(found.workflow, own, above, attributes, start=start)
        if found.failure is not None:
            _mark_failed(span, found.failure)
        span.end(found.ended * 1_000_000 or None)

    def close(self) -> None:
        """Send what was not sent yet, within two seconds."""
        self._otel.flush()

    def _begin(
        self,
        node: Node,
        execution: str,
        path: str,
        state: StepState,
        attributes: Mapping[str, Any],
        start: int,
    ) -> Any:
        above = self.of(execution)

        def at(attempt: int) -> TraceContext:
            return TraceContext(
                above.trace, span_of_attempt(execution, path, attempt), above.sampled
            )

        name = f"{node.capability or node.type}/{node.key}"
        before = at(state.attempt - 1) if state.attempt > 1 else None
        own = at(state.attempt)
        return self._otel.begin_span(name, own, above, attributes, start=start, link=before)

    def _about(
        self, plan: Plan, node: Node, execution: str, path: str, state: StepState
    ) -> dict[str, Any]:
        worker = state.owner.partition("/")[0] if state.status is StepStatus.RUNNING else ""
        return {
            "orch.execution": execution,
            "orch.workflow": plan.definition.name,
            "orch.version": plan.version,
            "orch.path": path,
            "orch.attempt": state.attempt,
            **({"orch.capability": node.capability} if node.capability else {}),
            **({"orch.worker": worker} if worker else {}),
        }


def _parts_of(canvas: Signature) -> Iterator[Signature]:
    for member in canvas.tasks if isinstance(canvas, _chord) else (canvas,):
        yield from member.tasks if isinstance(member, _chain) else (member,)


def _mark(span: Any, outcome: Outcome, refused: str = "") -> None:
    match outcome:
        case Failed(failure):
            word = "failed"
            _mark_failed(span, failure)
        case Lost(reason):
            word = "lost"
            _mark_failed(span, Failure("WorkerLost", reason))
        case Completed():
            word = "completed"
        case Released() | Deferred() | Limited():
            word = "released"
        case _:
            word = type(outcome).__name__.lower()
    span.set_attribute("orch.outcome", refused or word)


def _mark_failed(span: Any, failure: Failure) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", failure.name)
    span.set_attribute("orch.error.class", failure.error_class)
    about = {"exception.type": failure.name, "exception.message": failure.message}
    stack = failure.data.get("traceback") if isinstance(failure.data, Mapping) else None
    if isinstance(stack, str):
        about["exception.stacktrace"] = stack
    span.add_event("exception", about)
    span.set_status(Status(StatusCode.ERROR, f"{failure.name}: {failure.message}"))
