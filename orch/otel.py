"""OpenTelemetry: how the spans of this process are made, and where they go.

Each process makes its provider when its first span begins: behind a fork, since the thread that
sends and its connections do not outlive one. The endpoint, its headers, the name of the service,
the sampler and the pace are those of the environment, as the specification has them:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from orch.errors import SettingsError
from orch.workflows.traces import TraceContext

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.trace import (
        Link,
        NonRecordingSpan,
        Span,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )
except ImportError as exc:
    raise SettingsError(
        "traces need the packages of OpenTelemetry, which are not installed",
        hint="pip install 'orch[otel]', or unset ORCH_TRACING",
    ) from exc

__all__ = ["Context", "Span", "begin_span", "caller_context", "flush", "is_sampled"]

FLUSH_WITHIN = 2.0
"""Seconds that the end of a process waits for its last spans to be taken."""

SEND_AFTER = 1000
"""Ms between batches, where `OTEL_BSP_SCHEDULE_DELAY` does not say."""

SERVICE = "orch"

BEFORE = "attempt before"
"""What a link of a span is for."""

_given: ContextVar[TraceContext | None] = ContextVar("orch_given", default=None)


class _Ids(RandomIdGenerator):
    """Random ones, but for spans whose id is worked out."""

    def generate_trace_id(self) -> int:
        given = _given.get()
        return super().generate_trace_id() if given is None else given.trace

    def generate_span_id(self) -> int:
        given = _given.get()
        return super().generate_span_id() if given is None else given.span


_provider: tuple[int, TracerProvider] | None = None  # of which process
_making = threading.Lock()


def begin_span(
    name: str,
    own: TraceContext,
    parent: TraceContext | None,
    attributes: Mapping[str, Any],
    *,
    start: int,
    link: TraceContext | None = None,
) -> Span:
    """A span of ids that are known. ``start``: ns since the epoch."""
    tracer = _of_process().get_tracer("orch")
    given = _given.set(own)
    try:
        return tracer.start_span(
            name,
            _below(parent),
            attributes=attributes,
            start_time=start,
            links=[]
            if link is None
            else [Link(_context_of(link), {"orch.link": "attempt before"})],
        )
    finally:
        _given.reset(given)


def is_sampled(trace_id: int, name: str) -> bool:
    """Whether the sampler of the environment keeps a trace: the same answer in every process."""
    decision = _of_process().sampler.should_sample(Context(), trace_id, name).decision
    return bool(decision.is_sampled())  # type: ignore[no-untyped-call]


def serve_user_code() -> None:
    """Let spans that the user's own code begins go the same way, unless it has seen to that."""
    provider = _of_process()
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)


def caller_context() -> TraceContext | None:
    """Where whoever calls stands in a trace of his own; None: in none."""
    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return None
    return TraceContext(found.trace_id, found.span_id, found.trace_flags.sampled)


def flush(within: float = FLUSH_WITHIN) -> None:
    """Send what was not sent yet. A collector that does not answer is not waited for longer."""
    if _provider is None or _provider[0] != os.getpid():
        return
    sending = threading.Thread(target=_provider[1].force_flush, name="orch-flush", daemon=True)
    sending.start()
    sending.join(within)


def _of_process() -> TracerProvider:
    global _provider
    found = _provider
    if found is not None and found[0] == os.getpid():
        return found[1]
    with _making:
        if _provider is None or _provider[0] != os.getpid():
            _provider = os.getpid(), _make()
        return _provider[1]


def _make() -> TracerProvider:
    named = "OTEL_SERVICE_NAME" in os.environ
    named = named or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    about: dict[str, Any] = {"process.pid": os.getpid()} | (
        {} if named else {"service.name": SERVICE}
    )
    provider = TracerProvider(
        resource=Resource.create(about), id_generator=_Ids(), shutdown_on_exit=False
    )
    delay = None if "OTEL_BSP_SCHEDULE_DELAY" in os.environ else SEND_AFTER
    sender = BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=delay)
    provider.add_span_processor(sender)
    return provider


def _below(parent: TraceContext | None) -> Context:
    if parent is None:
        return Context()
    return set_span_in_context(NonRecordingSpan(_context_of(parent)), Context())


def _context_of(place: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT)
    return SpanContext(place.trace, place.span, is_remote=True, trace_flags=flags)


def _new_lock_after_fork() -> None:
    # A fork while another thread held the lock would leave it locked for ever in the child.
    global _making
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_after_fork)
