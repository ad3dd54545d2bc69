"""A canvas -> the messages that Celery sends for it, without its detours.

Celery clones, freezes and merges every signature of a canvas before the first message leaves.
Ours are flat, immutable and without callbacks, so that their messages can be written down at
once. What goes over the wire is the same, word for word.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.canvas import Signature, _chain, _chord
from kombu.utils.uuid import uuid

from orch.queues import QueueNotes

SENT = "orch_sent"
"""Header of a message that carries a trace: when it was sent, ms since the epoch."""

Link = dict[str, Any]
"""A signature as a message carries it: what is left of a chain, or the body of a chord."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, as it is told to Celery. ``chain``: what follows, the next link last."""

    task: str
    args: Sequence[Any]
    queue: str
    argsrepr: str
    id: str
    reply_to: str | None
    priority: int = 0
    time_limit: float | None = None
    chain: list[Link] | None = None
    chord: Link | None = None
    group_id: str | None = None
    group_index: int | None = None
    parent_id: str | None = None
    root_id: str | None = None
    headers: Mapping[str, str] | None = None


def messages_of(app: Celery, canvas: Signature) -> Iterator[Message]:
    """Those of a signature, a chain of signatures, or a chord of such.

    A chord is sent as its header, a group: the journal counts its members, and the settle that
    closes the count does what the body is for. Celery's own count would cost a fan-out a fifth
    more, and come to know it later.
    """
    for member in canvas.tasks if isinstance(canvas, _chord) else (canvas,):
        yield _first_of(app, _run_of(member))


def next_message(chain: Sequence[Link], *, parent_id: str, root_id: str) -> Message:
    """That of the next link of a running chain, which is its last one."""
    link = chain[-1]
    options = link["options"]
    return _message(
        link["task"],
        link["args"],
        options,
        id=options["task_id"],
        reply_to=options.get("reply_to"),
        chain=list(chain[:-1]),
        chord=options.get("chord"),
        group_id=options.get("group_id"),
        group_index=options.get("group_index"),
        parent_id=parent_id,
        root_id=root_id,
    )


def _run_of(canvas: Signature) -> Sequence[Signature]:
    return canvas.tasks if isinstance(canvas, _chain) else (canvas,)


def _first_of(app: Celery, run: Sequence[Signature]) -> Message:
    """That of the first of some signatures that follow one another; it carries the others."""
    reply_to = app.thread_oid
    first = run[0]
    links = [_link(signature, reply_to) for signature in reversed(run[1:])]
    return _message(
        first.task,
        first.args,
        first.options,
        id=uuid(),
        reply_to=reply_to,
        chain=links or None,
    )


def _link(signature: Signature, reply_to: str) -> Link:
    options = {**signature.options, "task_id": uuid(), "reply_to": reply_to}
    return {
        "task": signature.task,
        "args": signature.args,
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "immutable": True,
    }


def _message(task: str, args: Sequence[Any], options: Mapping[str, Any], **more: Any) -> Message:
    if headers := options.get("headers"):
        more["headers"] = {**headers, SENT: str(int(time.time() * 1000))}
    return Message(
        task=task,
        args=args,
        queue=options["queue"],
        argsrepr=options["argsrepr"],
        priority=options.get("priority") or 0,
        time_limit=options.get("time_limit"),
        **more,
    )


def send(app: Celery, message: Message, producer: Any) -> None:
    """Publish a message by kombu, to whatever broker there is."""
    notes: QueueNotes | None = getattr(app, "orch_queues", None)
    if notes is not None:
        notes.note(message.queue)
    amqp = app.amqp
    made = amqp.as_task_v2(
        task_id=message.id,
        name=message.task,
        args=message.args,
        argsrepr=message.argsrepr,
        kwargsrepr="{}",
        ignore_result=None,
        create_sent_event=app.conf.task_send_sent_event,
        time_limit=message.time_limit,
        reply_to=message.reply_to,
        chain=message.chain,
        chord=message.chord,
        group_id=message.group_id,
        group_index=message.group_index,
        parent_id=message.parent_id,
        root_id=message.root_id,
    )
    amqp.send_task_message(
        producer,
        message.task,
        made,
        queue=message.queue,
        # A list in Redis is there by being written to; other brokers drop what has no queue.
        declare=[] if producer.connection.transport.driver_type == "redis" else None,
        argsrepr=message.argsrepr,
        headers=message.headers,
        **({"priority": message.priority} if message.priority else {}),
    )
