"""Where failures arrive: the tasks that deliver notices of escalations; and those that send tasks
to agents outside, and that remember what became of executions."""

from __future__ import annotations

from celery import Celery

from orch.agents.pushing import push_task
from orch.control.runtime import Runtime
from orch.errors import OrchError
from orch.escalation.manager import EscalationManager
from orch.memory.lives import deliver_life
from orch.webhooks.telling import deliver_event
from orch.workflows.life import LIFE
from orch.workflows.notices import ASSIGNED, EMITTED, EVENTS, notice_task


def register_escalation_tasks(app: Celery, runtime: Runtime) -> None:
    manager = EscalationManager(runtime)
    for event in EVENTS:
        _register(app, manager, event)
    _register_pushes(app, runtime)
    _register_events(app, runtime)
    _register_lives(app, runtime)


def _register_events(app: Celery, runtime: Runtime) -> None:
    @app.task(name=notice_task(EMITTED), ignore_result=True)
    def tell(notice: str) -> str:
        try:
            return deliver_event(runtime, notice)
        except OrchError as exc:
            return f"left to the watch: {exc}"


def _register_lives(app: Celery, runtime: Runtime) -> None:
    @app.task(name=notice_task(LIFE), ignore_result=True)
    def remember(notice: str) -> str:
        try:
            return deliver_life(runtime, notice)
        except OrchError as exc:
            return f"left to the watch: {exc}"


def _register_pushes(app: Celery, runtime: Runtime) -> None:
    @app.task(name=notice_task(ASSIGNED), ignore_result=True)
    def push(task: str) -> str:
        try:
            return push_task(runtime, task)
        except OrchError as exc:
            return f"left to the watch: {exc}"


def _register(app: Celery, manager: EscalationManager, event: str) -> None:
    @app.task(name=notice_task(event), ignore_result=True)
    def deliver(notice: str) -> str:
        try:
            return manager.deliver(notice)
        except OrchError as exc:
            return f"left to the watch: {exc}"
