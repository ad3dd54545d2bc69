"""A step's task is run with what Celery keeps for a task that runs: who asks finds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery._state import _task_stack


def run_task(task: Any, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a task for a request; what it answers. Raises what it raises."""
    app = task.app
    _task_stack.push(task)
    task.request_stack.push(request)
    try:
        app.loader.on_task_init(request.id, task)
        return task.run(*args, **kwargs)
    finally:
        _task_stack.pop()
        task.request_stack.pop()
        app.backend.process_cleanup()
        app.loader.on_process_cleanup()
