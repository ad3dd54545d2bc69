"""Flow that needs no agent: the body of a chord."""

from __future__ import annotations

from celery import Celery

from orch.control.runtime import Runtime
from orch.errors import OrchError
from orch.workflows.canvas import JOIN_TASK


def register_flow_tasks(app: Celery, runtime: Runtime) -> None:
    @app.task(name=JOIN_TASK, ignore_result=True)
    def join(execution: str, path: str, plan_key: str) -> str:
        """Go on behind a parallel step, if the journal says that its branches ended.

        The settle that closed the join has nearly always done so; then this is a duplicate.
        """
        try:
            runtime.advancer.join(execution, path)
        except OrchError as exc:
            return f"left to the watch: {exc}"
        return "done"
