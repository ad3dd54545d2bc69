"""Steps that a worker went on with by itself, shown to whoever watches Celery's events.

Celery tells of messages; what is done behind the step that a message was for would be seen by
nobody. It is told of in Celery's own words, as tasks with ids of their own, so that Flower lists
each step under its capability, with its arguments, its state and its runtime.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import monotonic
from typing import Any

from celery import Celery
from kombu.utils.uuid import uuid

from orch.app import BROKER_AWAY
from orch.workflows.canvas import shown_as
from orch.workflows.node import Node
from orch.workflows.outcome import Failed, Outcome
from orch.workflows.plan import Plan

logger = logging.getLogger(__name__)

WATCHED = "orch_watched"
"""Key of a request, set by the worker's main process while somebody watches its events."""


FAILED = "failed: "
"""How a task of a step answers whose attempt failed; it raises nothing to Celery."""


def failure_in(answer: object) -> str | None:
    """What the attempt failed with, by the answer of its task; None: it did not.

    Where the worker went on from the step that the message was for, that one had not failed.
    """
    said = str(answer).strip("'\"")
    if not said.startswith(FAILED) or said.endswith(" steps)"):
        return None
    return said.removeprefix(FAILED)


class Shown:
    """One step behind that of a message. ``request``: of the message.

    Nobody's view is worth a failure: a broker that is away is left alone.
    """

    def __init__(
        self,
        app: Celery,
        request: Any,
        plan: Plan,
        node: Node,
        execution: str,
        path: str,
        attempt: int,
    ) -> None:
        self._app = app
        self._host = request.hostname
        self._id = uuid()
        self._begun = monotonic()
        about = {
            "name": node.task_name,
            "args": shown_as(plan, execution, path, attempt),
            "kwargs": "{}",
            "root_id": request.root_id,
            "parent_id": request.id,
            "retries": 0,
            "eta": None,
            "expires": None,
        }
        self._tell(("task-received", about), ("task-started", {}))

    def end(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            failure = outcome.failure
            said = f"{failure.name}({failure.message!r})"[:500]
            self._tell(("task-failed", {"exception": said, "traceback": None}))
        else:
            runtime = monotonic() - self._begun
            self._tell(("task-succeeded", {"result": "'completed'", "runtime": runtime}))

    def _tell(self, *events: tuple[str, dict[str, Any]]) -> None:
        _send(self._app, self._host, self._id, events)


def show_attempt(app: Celery, request: Any, shown: str) -> None:
    """Tell which attempt a message turned out to be for, which its sender could not know."""
    _send(app, request.hostname, request.id, [("task-started", {"args": shown})])


def _send(app: Celery, host: str, id: str, events: Iterable[tuple[str, dict[str, Any]]]) -> None:
    try:
        with app.events.default_dispatcher(hostname=host) as dispatcher:
            for word, fields in events:
                dispatcher.send(word, uuid=id, **fields)
    except BROKER_AWAY as exc:
        logger.debug("an event for those who watch was not sent: %s", exc)


def is_watched(request: Any) -> bool:
    """Whether somebody watches the events of this worker."""
    return bool(getattr(request, WATCHED, False))
