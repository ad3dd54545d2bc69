"""What happens around a step in the process that does it, without what no step needs.

Celery's tracer is made for tasks that return results, raise, are retried and have callbacks. A
step settles its own outcome and sends its own next link: what is left is the request, by which
it is known, and the signals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from types import FunctionType
from typing import Any

import celery
from celery import signals, states
from celery.app import trace
from celery.app.task import Context
from celery.app.task import Task as BaseTask

from orch.tasks.drawing import CARRIED_BY_OTHERS, Drawing
from orch.tasks.running import run_task

KNOWN = "5.7."
"""The release whose tracer this stands for; with others, theirs is used."""

Tracer = Callable[..., Any]

LISTENERS = (
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.task_failure,
)
"""Who listens to these is told by Celery's own tracer."""


def step_tracer(task: celery.Task, theirs: Tracer | None) -> Tracer | None:
    """The tracer of a step's task; ``theirs``: the one that Celery built for it.

    That one is left where it is not Celery's own, as where somebody wrapped it to observe the
    tasks, or where their success is logged.
    """
    if theirs is None or not _stands_for(task, theirs):
        return theirs
    receivers = [signal.receivers for signal in LISTENERS]
    drawing: Drawing | None = getattr(task, "drawing", None)

    def trace_step(
        uuid: str, args: Sequence[Any], kwargs: Mapping[str, Any], request: Any = None
    ) -> Any:
        request = request or {}
        if any(receivers) or any(request.get(name) for name in CARRIED_BY_OTHERS):
            return theirs(uuid, args, kwargs, request)
        begun = monotonic()
        context = Context(request, args=args, called_directly=False, kwargs=kwargs)
        try:
            if drawing is None:
                said = run_task(task, context, args, kwargs)
            else:
                said = drawing.run(task, context, begun)
        except Exception as exc:
            info = trace.TraceInfo(states.FAILURE, exc)
            told = info.handle_error_state(task, context, eager=False, call_errbacks=False)
            trace.traceback_clear(exc)
            return trace.trace_ok_t(told, info, None, None)
        return trace.trace_ok_t(said, None, monotonic() - begun, repr(said))

    return trace_step


def _stands_for(task: celery.Task, theirs: Tracer) -> bool:
    return (
        celery.__version__.startswith(KNOWN)
        and isinstance(theirs, FunctionType)
        and theirs.__code__.co_filename == trace.__file__
        and type(task).__call__ is BaseTask.__call__
        and not trace.logger.isEnabledFor(20)
    )
