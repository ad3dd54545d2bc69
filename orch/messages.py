"""A canvas -> the messages that Celery sends for it, without its detours.

Celery clones, freezes and merges every signature of a canvas before the first message leaves.
Ours are flat, immutable and without callbacks, so that their messages can be written down at
once. What goes over the wire is the same, word for word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery
from celery.canvas import Signature, _chain, _chord
from kombu.utils.uuid import uuid

Link = dict[str, Any]
"""A signature as a message carries it: what is left of a chain, or the body of a chord."""


def send_canvas(app: Celery, canvas: Signature, producer: Any) -> None:
    """Publish a signature, a chain of signatures, or a chord of such with a signature as body."""
    if not isinstance(canvas, _chord):
        _send_run(app, _run_of(canvas), producer)
        return
    runs = [_run_of(member) for member in canvas.tasks]
    group = uuid()
    chord = _link(canvas.body, app.thread_oid)
    # Before the last member leaves: who counts to the end must know where the end is.
    app.backend.set_chord_size(group, len(runs))
    for index, run in enumerate(runs):
        _send_run(app, run, producer, group_id=group, group_index=index, chord=chord)


def send_link(
    app: Celery, chain: Sequence[Link], producer: Any, *, parent_id: str, root_id: str
) -> None:
    """Publish the next link of a running chain, which is its last one."""
    link = chain[-1]
    options = link["options"]
    _send(
        app,
        link["task"],
        link["args"],
        options,
        producer,
        chain=list(chain[:-1]),
        chord=options.get("chord"),
        group_id=options.get("group_id"),
        group_index=options.get("group_index"),
        parent_id=parent_id,
        root_id=root_id,
        task_id=options["task_id"],
        reply_to=options.get("reply_to"),
    )


def _run_of(canvas: Signature) -> Sequence[Signature]:
    return canvas.tasks if isinstance(canvas, _chain) else (canvas,)


def _send_run(app: Celery, run: Sequence[Signature], producer: Any, **member: Any) -> None:
    """Publish the first of some signatures that follow one another; it carries the others.

    ``member``: how the run takes part in a chord; its last signature is the one that counts.
    """
    reply_to = app.thread_oid
    first = run[0]
    links = [_link(signature, reply_to) for signature in reversed(run[1:])]
    if links:
        links[0]["options"].update(member)
        member = {}
    _send(
        app,
        first.task,
        first.args,
        first.options,
        producer,
        chain=links or None,
        task_id=uuid(),
        reply_to=reply_to,
        **member,
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


def _send(
    app: Celery,
    task: str,
    args: Sequence[Any],
    options: Mapping[str, Any],
    producer: Any,
    **message: Any,
) -> None:
    amqp = app.amqp
    argsrepr = options["argsrepr"]
    made = amqp.as_task_v2(
        name=task,
        args=args,
        argsrepr=argsrepr,
        kwargsrepr="{}",
        ignore_result=None,
        create_sent_event=app.conf.task_send_sent_event,
        time_limit=options.get("time_limit"),
        **message,
    )
    amqp.send_task_message(
        producer,
        task,
        made,
        queue=options["queue"],
        # A list in Redis is there by being written to; other brokers drop what has no queue.
        declare=[] if producer.connection.transport.driver_type == "redis" else None,
        argsrepr=argsrepr,
        **({"priority": options["priority"]} if options.get("priority") else {}),
    )
