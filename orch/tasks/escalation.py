"""Where failures arrive: the tasks that deliver the notices of the outbox.

Those of escalations, of the lives of executions, of events that were triggered, and of tasks that
are to be sent to agents outside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from celery import Celery

from orch.agents.pushing import push_task
from orch.control.runtime import Runtime
from orch.errors import OrchError
from orch.escalation.delivery import deliver_notice
from orch.memory.lives import deliver_life
from orch.webhooks.telling import deliver_event
from orch.workflows.life import LIFE
from orch.workflows.notices import ASSIGNED, EMITTED, EVENTS, notice_task

Deliver = Callable[[str], str]
"""(id of a notice): deliver it; a word for Flower. Raises Unreachable."""


def register_escalation_tasks(app: Celery, runtime: Runtime) -> None:
    delivers: dict[str, Deliver] = {
        **dict.fromkeys(EVENTS, partial(deliver_notice, runtime)),
        ASSIGNED: partial(push_task, runtime),
        EMITTED: partial(deliver_event, runtime),
        LIFE: partial(deliver_life, runtime),
    }
    for event, deliver in delivers.items():
        _register(app, event, deliver)


def _register(app: Celery, event: str, deliver: Deliver) -> None:
    @app.task(name=notice_task(event), ignore_result=True)
    def deliver_or_leave(notice: str) -> str:
        try:
            return deliver(notice)
        except OrchError as exc:
            return f"left to the watch: {exc}"
