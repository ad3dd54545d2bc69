"""What a worker does that sends traces: it sends the last at its end, and names them in its log."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals

from orch.agents.context import STEP_LOGGER
from orch.control.tracing import Tracing


def trace_worker(tracing: Tracing) -> None:
    """Called once, before any process of the pool is forked."""

    def end(**_: Any) -> None:
        tracing.close()

    signals.worker_process_shutdown.connect(end, weak=False, dispatch_uid="orch-traces")
    logger = logging.getLogger(STEP_LOGGER)
    if not any(isinstance(each, _Names) for each in logger.filters):
        logger.addFilter(_Names())


class _Names(logging.Filter):
    """Gives each record of a step the fields that OpenTelemetry's own logging has."""

    def filter(self, record: logging.LogRecord) -> bool:
        from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

        place = get_current_span().get_span_context()
        if place.is_valid:
            record.otelTraceID = format_trace_id(place.trace_id)
            record.otelSpanID = format_span_id(place.span_id)
        return True
