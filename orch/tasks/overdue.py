"""Ends the processes of attempts that were given up because they ran out of time.

The journal has gone on without them, whatever they do; but a step that hangs would hold its
slot for ever. Celery's own limit kills what has a `timeout`; here are the other reasons: no
heartbeat, a default timeout, a process that was frozen. Only a prefork child can be killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from dataclasses import dataclass, replace

from orch.control.runtime import Runtime
from orch.errors import NotFound
from orch.tasks import request as step_request
from orch.tasks.incarnation import current_incarnation, parse_owner
from orch.tasks.step import timeout_of
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus

logger = logging.getLogger(__name__)

GRACE = 1000
"""Ms for an attempt to notice that it was given up, and to end by itself."""


@dataclass(frozen=True)
class Held:
    """An attempt that a child of this worker was seen to hold.

    ``path``: it may stand behind the step that the message is for. ``gone``: since when nothing
    was found there, ms: the item is done, and the child has no other one.
    """

    pid: int
    attempt: int
    path: str
    gone: int = 0


class Overdue:
    """Looks after the children of one worker; used by its warden's thread alone."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._held: dict[str, Held] = {}

    def end(self) -> None:
        """Kill each child whose attempt was given up, and that goes on all the same."""
        active = {request.id: request for request in step_request.in_children()}
        self._held = {id: held for id, held in self._held.items() if id in active}
        for id, request in active.items():
            plan = self._plan(request.args[2])
            if plan is not None and self._has_limits(plan) and self._is_overdue(request, plan):
                self._kill(id, request)

    def _plan(self, key: str) -> Plan | None:
        try:
            return self.runtime.plans.get(key)
        except NotFound:
            return None

    def _has_limits(self, plan: Plan) -> bool:
        """Whether attempts end at some time, of any step: a child may be at a later one."""
        default = bool(self.runtime.settings.default_timeout)
        own = self.runtime.declarations.has_timeouts
        return default or own or plan.has_time_limits

    def _is_overdue(self, request: step_request.StepRequest, plan: Plan) -> bool:
        execution, pid = request.args[0], request.worker_pid
        held = self._held.get(request.id)
        path = request.args[1] if held is None else held.path
        found = self.runtime.journal.read_state(execution, path)
        now = self._holds(execution, path, found, pid)
        if now is not None:
            self._held[request.id] = now
            return False
        if held is None or held.pid != pid:
            return False  # it may not have claimed it yet
        if found is None:
            gone = held.gone or self.runtime.journal.clock()
            self._held[request.id] = replace(held, gone=gone)
            return self.runtime.journal.clock() - gone >= GRACE
        state, grace = found[1], GRACE
        if state.status is StepStatus.CANCELLED:
            grace = max(grace, self._limit(plan, path))
        return self.runtime.journal.clock() - state.since >= grace

    def _limit(self, plan: Plan, path: str) -> int:
        """Ms that the code of a cancelled attempt has to see it, and to end."""
        try:
            node = plan.node(path)
        except KeyError:  # the execution was put on another plan since
            return 0
        return node.step.heartbeat_timeout or timeout_of(self.runtime, node) or 0

    def _holds(
        self, execution: str, path: str, found: tuple[str, StepState] | None, pid: int
    ) -> Held | None:
        """What a child of ours is at, if it is at anything: at ``path``, or behind it."""
        tokens = [] if found is None else [(path, found[1])]
        if not any(_is_run_by(state, pid) for _, state in tokens):
            tokens = self.runtime.journal.running(execution)
        for at, state in tokens:
            if _is_run_by(state, pid):
                return Held(pid, state.attempt, at)
        return None

    def _kill(self, id: str, request: step_request.StepRequest) -> None:
        held = self._held.pop(id)
        if not any(other is request for other in step_request.in_children()):
            return  # it has ended by itself
        logger.warning(
            "%s of execution %s, attempt %d, was given up and goes on: its process %d is killed",
            held.path,
            request.args[0],
            held.attempt,
            held.pid,
        )
        with contextlib.suppress(ProcessLookupError):
            os.kill(held.pid, signal.SIGKILL)


def _is_run_by(state: StepState, pid: int) -> bool:
    """Whether our process of this number holds the attempt."""
    running = state.status is StepStatus.RUNNING and state.owner
    return bool(running) and parse_owner(state.owner) == (current_incarnation(), pid)
