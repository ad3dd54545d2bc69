"""RabbitMQ as a broker: how its queues are declared, and what it says when it refuses somebody.

All who send or take declare a queue by the same words, or RabbitMQ refuses the second of them.
"""

from __future__ import annotations

from typing import Any

from amqp.exceptions import AccessRefused, NotAllowed, PreconditionFailed
from celery.app import amqp
from kombu.connection import Connection
from kombu.entity import Queue

from orch.broker import HIGHEST
from orch.settings import Settings
from orch.workflows.agents import agent_of_queue

PATIENCE = 3.0
"""Seconds for which an answer is waited for. A warden that waits does not say that it lives, so
that a few times as long must be less than `liveness_limit`."""

AGENT_QUEUE_EXPIRES = 3_600_000
"""Ms for which the queue of one agent outlives it. The watch sends again what was in it."""


def is_rabbitmq(url: str) -> bool:
    return url.split(":", 1)[0] in ("amqp", "amqps", "pyamqp")


def rabbitmq_options(settings: Settings) -> dict[str, Any]:
    """Settings of Celery for this broker.

    Messages are acknowledged when their step is done: a worker that has acknowledged is sent the
    next one, which would lie in it behind a step that may last, while others have nothing to do.
    Publishers do not wait for RabbitMQ to confirm: the watch sends again what got lost. For the
    same reason they try again only once.
    """
    found: dict[str, Any] = {
        "broker_transport_options": {"read_timeout": PATIENCE, "write_timeout": PATIENCE},
        "broker_connection_timeout": PATIENCE,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.2},
        "task_default_queue_type": settings.queue_type,
        "task_create_missing_queue_type": settings.queue_type,
    }
    if settings.queue_type == "classic":
        found["task_queue_max_priority"] = HIGHEST
    return found


class Queues(amqp.Queues):  # type: ignore[misc]
    """Those that an app knows; each is declared by what its name says."""

    def new_missing(self, name: str) -> Queue:
        """Celery's own has an exchange for each queue, which stays when the queue goes."""
        return Queue(name, routing_key=name)  # type: ignore[no-untyped-call]

    def _add(self, queue: Queue) -> Queue:
        kind = self.create_missing_queue_type
        known: Any = queue
        known.queue_arguments = arguments_of(queue.name, kind) | (known.queue_arguments or {})
        added: Queue = super()._add(queue)
        return added


class AMQP(amqp.AMQP):  # type: ignore[misc]
    """Celery's, with these queues."""

    queues_cls = Queues


def arguments_of(queue: str, kind: str) -> dict[str, Any]:
    """With what a queue is declared. ``kind``: quorum or classic.

    A classic one says nothing of its kind, so that those which are there already may stay.
    """
    found: dict[str, Any] = {"x-queue-type": kind} if kind != "classic" else {}
    if agent_of_queue(queue) is not None:
        found["x-expires"] = AGENT_QUEUE_EXPIRES
    return found


def drop(connection: Connection) -> None:
    """Close a connection without the words that AMQP has for it: nobody may answer them."""
    inner: Any = connection._connection
    if inner is not None:
        inner.collect()


def refusal(exc: BaseException) -> tuple[str, str] | None:
    """What RabbitMQ says about whoever connects, and what to do; None: it says nothing of it."""
    said = getattr(exc, "reply_text", None) or str(exc)
    match exc:
        case AccessRefused() if "Login was refused" in said:
            return (
                "refuses the login: its user or password is wrong",
                "correct them in ORCH_BROKER_URL=amqp://USER:PASSWORD@HOST:PORT/VHOST; "
                "the user guest may log in only on the machine itself",
            )
        case NotAllowed() | AccessRefused():
            return (
                f"refuses the connection: {said}",
                "the last part of ORCH_BROKER_URL names the virtual host; `rabbitmqctl add_vhost "
                "VHOST` makes it, `rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'` lets "
                "the user in",
            )
        case PreconditionFailed():
            return (
                f"has a queue of this name that was declared in another way: {said}",
                "set ORCH_QUEUE_TYPE to what the queue is, the same for all processes, or delete "
                "the queue; what was in it is sent again",
            )
    return None
