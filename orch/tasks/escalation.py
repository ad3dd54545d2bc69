"""Where failures arrive: the tasks that deliver notices of escalations."""

from __future__ import annotations

from celery import Celery

from orch.control.runtime import Runtime
from orch.errors import OrchError
from orch.escalation.delivery import deliver_notice
from orch.workflows.notices import EVENTS, notice_task


def register_escalation_tasks(app: Celery, runtime: Runtime) -> None:
    for event in EVENTS:
        _register(app, runtime, event)


def _register(app: Celery, runtime: Runtime, event: str) -> None:
    @app.task(name=notice_task(event), ignore_result=True)
    def deliver(notice: str) -> str:
        try:
            return deliver_notice(runtime, notice)
        except OrchError as exc:
            return f"left to the watch: {exc}"
