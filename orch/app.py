"""The Celery app: queues, routes, settings that were measured; and `dispatch` of canvases.

Results are ignored, and no process subscribes to any: what is true stands in the journal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import kombu
from amqp.exceptions import AMQPError
from celery import Celery
from celery.backends.redis import RedisBackend
from celery.canvas import Signature, _chord
from celery.exceptions import OperationalError as CeleryOperationalError
from kombu.connection import Connection
from kombu.exceptions import BatchPublishError, OperationalError
from redis.exceptions import ResponseError

from orch.broker import LEVELS_KEY
from orch.errors import Unreachable
from orch.journal.connection import AWAY, without_password
from orch.journal.wire import Command, Wire
from orch.lists import Lists
from orch.messages import Message, messages_of, next_message, send
from orch.rabbitmq import is_rabbitmq, rabbitmq_options, refusal
from orch.settings import Settings

LOOK = "orch_look"
"""Celery's remote control: that worker is to see what is asked of it in the journal."""

BROKER_AWAY = (
    OperationalError,
    CeleryOperationalError,
    BatchPublishError,
    AMQPError,
    OSError,
    *AWAY,
)


class ChordCounter(RedisBackend):  # type: ignore[misc]
    """The Redis backend without its subscriptions: nobody here waits for a Celery result.

    A process that publishes would else hold one SUBSCRIBE per message, and print tracebacks
    at its end.
    """

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do not subscribe."""

    def add_pending_result(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        return result

    def remove_pending_result(self, result: Any) -> Any:
        return result


def create_app(settings: Settings, redis_url: str) -> Celery:
    """The Celery app of a submitter or a worker, for a Redis at ``redis_url``."""
    broker = settings.broker_url or redis_url
    app = Celery("orch", set_as_current=False)
    app.conf.update(
        broker_url=broker,
        result_backend=f"orch.app:ChordCounter+{redis_url}",
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        # The warden settles an attempt whose child died; a requeued message would only race it.
        task_reject_on_worker_lost=False,
        task_track_started=False,
        task_create_missing_queues=True,
        task_default_queue="orch",
        worker_deduplicate_successful_tasks=False,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=settings.shutdown_grace,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        result_chord_expires=300,
        # The count of a chord is a hint; to wait 20 s for it would hold up a step that is done.
        result_backend_transport_options={"retry_policy": {"max_retries": 0}},
        result_expires=3600,
        event_queue_prefix=f"{settings.namespace}.celeryev",
    )
    if is_redis(broker):
        app.conf.worker_disable_prefetch = True
        sentinel = broker.startswith("sentinel")
        app.conf.broker_transport = f"orch.broker:{'Sentinel' * sentinel}Transport"
        app.conf.broker_transport_options = redis_transport_options(settings)
    elif is_rabbitmq(broker):
        app.amqp_cls = "orch.rabbitmq:AMQP"
        app.conf.update(rabbitmq_options(settings))
    keep_worker_through_redis_restart()
    return app


def is_redis(url: str) -> bool:
    return url.split(":", 1)[0].split("+")[0] in ("redis", "rediss", "sentinel", "unix")


def redis_transport_options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        LEVELS_KEY: f"{settings.namespace}:priorities",
        "socket_keepalive": True,
        "health_check_interval": 10,
        "ack_emulation": settings.broker_acks,
    }
    if settings.broker_acks:
        options |= {
            "visibility_timeout": settings.visibility_timeout,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        }
    return options


def keep_worker_through_redis_restart() -> None:
    """Let a worker of kombu 5.7 live through a broker that vanishes under load.

    The connection is closed twice; the second close meets a channel without a connection and
    raises AttributeError, which ends the worker with "Unrecoverable error". Reported for the
    AMQP transport as celery/celery#9250; remove it when kombu guards the second close.
    """
    if not kombu.__version__.startswith("5.7."):
        return

    def maybe_close_channel(self: Connection, channel: Any) -> None:
        try:
            channel.close()
        except (*self.connection_errors, *self.channel_errors, AttributeError):
            pass

    Connection.maybe_close_channel = maybe_close_channel  # type: ignore[method-assign]


def lists_of(settings: Settings, redis_url: str, app: Celery, wire: Wire) -> Lists | None:
    """The queues of the Redis at ``redis_url``, if that is the broker; None: kombu sends all."""
    broker = settings.broker_url or redis_url
    if broker != redis_url or not broker.startswith(("redis://", "rediss://", "unix://")):
        return None
    levels = redis_transport_options(settings)[LEVELS_KEY]
    return Lists(app, wire, levels, f"{settings.namespace}:queues")


def dispatch(
    app: Celery, canvases: Iterable[Signature], producer: Any = None, lists: Lists | None = None
) -> None:
    """Publish canvases, all messages in one batch where the transport can.

    ``producer``: one of the caller's own, for threads that must not share the app's pool.
    ``lists``: the queues, where they may be written to without kombu.
    Raises Unreachable when the broker is away; then the watch brings the tokens back.
    """
    todo = list(canvases)
    if not todo:
        return
    try:
        if lists is not None and lists.serve():
            messages = [message for canvas in todo for message in messages_of(app, canvas)]
            if len(messages) == 1:
                lists.post(messages[0])  # the script that opened its step has just answered
            else:
                lists.push(messages)
            return
        with app.producer_or_acquire(producer) as publisher:
            if len(todo) == 1 and not isinstance(todo[0], _chord):
                _send_all(app, todo, publisher)
                return
            with publisher.batch():
                _send_all(app, todo, publisher)
    except (*BROKER_AWAY, ResponseError) as exc:
        raise broker_away(str(app.conf.broker_url), exc) from exc


def dispatch_first(app: Celery, canvas: Signature, producer: Any, lists: Lists | None) -> None:
    """As `dispatch`, of one message that has waited already: before others, if the broker can."""
    if lists is None or not lists.serve():
        dispatch(app, [canvas], producer)
        return
    try:
        for message in messages_of(app, canvas):
            lists.push_first(message)
    except (*BROKER_AWAY, ResponseError) as exc:
        raise broker_away(str(app.conf.broker_url), exc) from exc


def dispatch_link(app: Celery, request: Any, lists: Lists | None = None) -> None:
    """Publish the next link of a running task's chain, and take the chain out of its hands.

    Celery would do it after the task, at twice the cost. Raises Unreachable as `dispatch` does.
    """
    message = _next_link(request)
    request.chain = None
    try:
        if lists is not None and lists.serve():
            lists.post(message)
            return
        with app.producer_or_acquire() as publisher:
            send(app, message, publisher)
    except (*BROKER_AWAY, ResponseError) as exc:
        raise broker_away(str(app.conf.broker_url), exc) from exc


def link_command(request: Any, lists: Lists | None) -> list[Command]:
    """The command that publishes the next link of a running task's chain, which is taken out of its
    hands. []: it takes more than a command, and the chain stays."""
    if lists is None or not lists.serve():
        return []
    commands = commands_of(partial(lists.command, _next_link(request)))
    if commands:
        request.chain = None
    return commands


def commands_of(make: Callable[[], Command]) -> list[Command]:
    """The command that publishes a message, for who sends it with another one; []: the broker is
    away."""
    try:
        return [make()]
    except BROKER_AWAY:
        return []


def _next_link(request: Any) -> Message:
    root = request.root_id or request.id
    return next_message(request.chain, parent_id=request.id, root_id=root)


def _send_all(app: Celery, canvases: Iterable[Signature], producer: Any) -> None:
    for canvas in canvases:
        for message in messages_of(app, canvas):
            send(app, message, producer)


def broker_away(url: str, exc: Exception) -> Unreachable:
    """The sentence for a broker that does not answer, or that refuses us."""
    shown, refused = without_password(url), refusal(exc)
    said, hint = refused or (
        f"does not answer: {exc}",
        "start it, or correct ORCH_BROKER_URL; what was started is not lost",
    )
    return Unreachable(f"the broker at {shown} {said}", url=shown, hint=hint)


def check_broker(app: Celery, *, only_refusals: bool = False) -> None:
    """Make sure that the broker answers and lets us in. Raises Unreachable.

    ``only_refusals``: one that is away may come; what is wrong in its URL stays wrong.
    """
    try:
        with app.connection_for_write(connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=3)
    except Exception as exc:  # each transport has errors of its own, and a wrong URL others
        if not only_refusals or refusal(exc):
            raise broker_away(str(app.conf.broker_url), exc) from exc


def others_wait(app: Celery, queue: str, lists: Lists | None = None) -> bool:
    """Whether messages wait in a queue that this worker consumes; True if the broker is away."""
    try:
        if lists is not None:
            return lists.hold(queue)
        with app.producer_or_acquire() as publisher:
            if publisher.connection.transport.driver_type != "redis":
                return queue_depth(app, queue, publisher.connection) > 0
            try:
                found = publisher.channel.queue_declare(queue, passive=True)
            except publisher.connection.channel_errors:  # an empty queue is not there
                return False
            return bool(found.message_count)
    except BROKER_AWAY:
        return True


def have_look(app: Celery, worker: str) -> None:
    """Tell a worker to look now. Nothing is lost where it does not hear it: it looks now and then.

    ``worker``: its whole name.
    """
    with contextlib.suppress(*BROKER_AWAY):
        app.control.broadcast(LOOK, destination=[worker])


def queue_depth(app: Celery, queue: str, connection: Connection) -> int:
    """How many messages wait in a queue; 0 for a queue that does not exist.

    Such a queue is declared anew with the next message by the same connection.
    """
    with connection.channel() as channel:  # type: ignore[no-untyped-call]
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            connection.declared_entities.clear()
            return 0
