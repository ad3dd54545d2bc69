"""What the worker's main process knows of its running steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker import state as worker_state
from celery.worker.request import Request

from orch.tasks.incarnation import MARK
from orch.tasks.shown import WATCHED, failure_in

CHILD_LOST = (WorkerLostError, Terminated, TimeLimitExceeded, SystemExit, KeyboardInterrupt)
"""What billiard says when the process of a step is gone, or on its way out."""

on_child_lost: Callable[[str, str, int | None, str], None] | None = None
"""Set by the warden: (execution, path, pid of the child, reason)."""

on_taken: Callable[[], None] | None = None
"""Set by the warden: told of each message of a step that the pool has taken."""


class StepRequest(Request):
    """A step in the main process; the only place where a dead child is noticed at once."""

    @property
    def request_dict(self) -> dict[str, Any]:
        """What the process that does the step is told of the message, when it is given to it.

        Celery's word of the message to those who watch waits for the next turn of the event loop.
        It is sent before: the process tells them of the attempt, and has its own connection.
        """
        found: dict[str, Any] = self._request_dict
        if self._eventer and self._eventer.enabled:
            found[WATCHED] = True
            if self in worker_state.reserved_requests:  # Celery also asks before it tells of it
                self._eventer.flush(errors=False)
        return found

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        super().on_accepted(pid, time_accepted)
        if on_taken is not None:
            on_taken()

    def send_event(self, type: str, **fields: Any) -> None:
        """As Celery does; but those who watch are told of an attempt that failed as of one."""
        failure = failure_in(fields.get("result")) if type == "task-succeeded" else None
        if failure is None:
            super().send_event(type, **fields)
        else:
            super().send_event("task-failed", exception=failure, traceback=None)

    def on_failure(
        self, exc_info: ExceptionInfo, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, CHILD_LOST):
            self._report(f"{type(error).__name__}: {error}")
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def _report(self, reason: str) -> None:
        if on_child_lost is not None and self.args and len(self.args) >= 2:
            on_child_lost(self.args[0], self.args[1], self.worker_pid, reason)


def see_dead_children_at_once(pool: Any) -> None:
    """Let the main loop look at a dead child again until it can be reaped.

    The pool looks once, when the child's pipe closes; a killed process closes its files a
    moment before it can be waited for, and then the pool's next look is up to 5 s away.
    ``pool``: one of Celery's; others than prefork have no children.
    """
    inner = getattr(pool, "_pool", None)
    looked = getattr(inner, "_event_process_exit", None)
    if inner is None or looked is None:
        return

    def look_again(hub: Any, process: Any) -> None:
        looked(hub, process)
        for delay in (0.02, 0.1, 0.5):
            hub.call_later(delay, inner.maintain_pool)

    inner._event_process_exit = look_again


def held_messages() -> Iterator[tuple[str, str]]:
    """``execution path`` and the mark of each message that this worker has not finished.

    The process that works on it may have gone on to another item of the same map: the owner of
    that one's attempt bears the mark.
    """
    for request in held_requests():
        if request.args and len(request.args) >= 2:
            yield f"{request.args[0]} {request.args[1]}", str(request.id)[:MARK]


def held_requests() -> Iterator[StepRequest]:
    """Those that this worker runs, and those that it has taken."""
    for requests in (worker_state.active_requests, worker_state.reserved_requests):
        for request in _snapshot(requests):
            if isinstance(request, StepRequest):
                yield request


def in_children() -> Iterator[StepRequest]:
    """The steps that run in a process of their own."""
    own = (None, os.getpid())
    for request in _snapshot(worker_state.active_requests):
        if not isinstance(request, StepRequest) or len(request.args or ()) < 3:
            continue
        if request.worker_pid not in own:
            yield request


def _snapshot(requests: Any) -> list[Any]:
    """A copy of a set that another thread changes: taken again until it holds still."""
    for _ in range(100):
        try:
            return list(requests)
        except RuntimeError:
            continue
    return []
