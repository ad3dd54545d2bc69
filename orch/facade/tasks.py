"""Tasks that somebody outside does, in workflows and without."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orch.agents.assignments import Task, TaskAssignment, task_of
from orch.control.external import ExternalTask
from orch.facade.base import Base


class Tasks(Base):
    """Tasks that somebody outside does, in workflows and without."""

    # Tasks of steps with `external: true`. ``task``: its id, EXECUTION:PATH:ATTEMPT, as
    # `list_tasks` gives it; without ATTEMPT, whichever is open. They raise NotFound, NotAllowed
    # for what comes too late, and its subclass AlreadyReported.

    def list_tasks(
        self,
        capability: str | None = None,
        *,
        agent: str | None = None,
        limit: int | None = None,
    ) -> list[ExternalTask]:
        """Tasks that wait for somebody outside, with their inputs; the longest waiting first.

        ``agent``: only those that it may do: that name it, or nobody.
        """
        return self.manager.external.list(capability, agent=agent, limit=limit)

    def complete_task(self, task: str, output: Any = None, *, by: str | None = None) -> bool:
        """Report that a task is done. False: it is not there yet, the report is kept for it."""
        return self.manager.external.complete(task_of(task), output, by=by)

    def fail_task(
        self,
        task: str,
        error: str = "TaskFailed",
        message: str = "",
        *,
        retryable: bool = True,
        by: str | None = None,
    ) -> bool:
        """Report that a task failed under the name ``error``. Answers as `complete_task`."""
        return self.manager.external.fail(task_of(task), error, message, retryable=retryable, by=by)

    def heartbeat_task(self, task: str, progress: Any = None) -> None:
        """Say that the work on a task goes on. Raises NotAllowed: stop working on it."""
        self.manager.external.heartbeat(task_of(task), progress)

    # Tasks outside of workflows. ``task``, where it is one: its id.

    def assign_task(self, agent: str | None, task: Task) -> TaskAssignment:
        """Give an agent a task: ``capability``, ``input``, and what else `AgentTask` has.

        Without ``agent``: to the one with the least load that serves the capability. Raises
        NotFound, InputError.
        """
        return self.assignments.assign(agent, task)

    def bulk_assign_tasks(self, tasks: Iterable[Task]) -> list[TaskAssignment]:
        """Give each to the ``agent`` that it names, else to whoever serves its capability and has
        the least load; all of them or, where one cannot be, none. Raises as `assign_task`."""
        return self.assignments.bulk(tasks)

    def get_task_status(self, task: str) -> TaskAssignment:
        """How a task stands, or a step of a workflow, by EXECUTION:PATH. Raises NotFound."""
        return self.assignments.status(task)
