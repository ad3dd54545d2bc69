"""Messages pushed to the lists of the journal's own Redis, where that is the broker, too.

What is written is word for word what Celery and kombu would write; between the two a message
passes through a few hundred calls, and here it is one text and one push.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import celery
import kombu
from celery import Celery, signals
from celery.utils.nodenames import anon_nodename

from orch.broker import ASKED_EVERY, HIGHEST, list_of
from orch.journal.wire import Command, Wire
from orch.messages import Message
from orch.queues import QueueNotes

KNOWN = {"celery": "5.7.", "kombu": "5.7."}
"""Releases whose messages these are; with others, kombu writes them."""

PLAIN = {
    "task_serializer": "json",
    "task_protocol": 2,
    "task_compression": None,
    "task_send_sent_event": False,
    "task_always_eager": False,
    "task_default_delivery_mode": 2,
}
"""Settings of Celery under which a message looks like this."""

LISTENERS = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)
"""Who listens to these may change a message, as a tracer does to hand on its span."""

MOST = 500
"""Messages in one push."""

_encode = json.JSONEncoder().encode

EXECUTION, _ID, _TAG, _BODY = (uuid4().hex for _ in range(4))
"""Stand in a template for what is different in each message; no text has them otherwise."""


@dataclass(frozen=True)
class Template:
    """A message as it is written, but for its ids and the execution that it is for."""

    queue: str
    level: int
    text: str
    body: str

    def write(self, execution: str) -> str:
        body = base64.b64encode(self.body.replace(EXECUTION, execution).encode()).decode()
        text = self.text.replace(EXECUTION, execution).replace(_ID, str(uuid4()))
        return text.replace(_TAG, str(uuid4())).replace(_BODY, body)


class Lists:
    """The queues of a Redis. ``levels_key``: the set of the priorities in use; ``queues_key``:
    see `QueueNotes`."""

    def __init__(self, app: Celery, wire: Wire, levels_key: str, queues_key: str) -> None:
        self._app = app
        self._wire = wire
        self._levels_key = levels_key
        self._queues = QueueNotes(wire, queues_key)
        self._noted: dict[int, float] = {}
        self._origin = ("", 0)
        self._plain: bool | None = None

    def serve(self) -> bool:
        """Whether a message may go this way; else it goes by kombu."""
        if self._plain is None:
            conf = self._app.conf
            self._plain = (
                celery.__version__.startswith(KNOWN["celery"])
                and kombu.__version__.startswith(KNOWN["kombu"])
                and all(conf[name] == value for name, value in PLAIN.items())
            )
        return self._plain and not any(signal.receivers for signal in LISTENERS)

    def push(self, messages: Iterable[Message]) -> None:
        """Push messages, and wait until they are there. Raises what the Redis client raises."""
        texts: dict[tuple[str, int], list[str]] = {}
        for message in messages:
            level = _level(message)
            texts.setdefault((message.queue, level), []).append(self._text(message))
        for (queue, level), found in texts.items():
            self._note(level)
            self._queues.note(queue)
            for first in range(0, len(found), MOST):
                some = found[first : first + MOST]
                self._wire.execute_command("LPUSH", list_of(queue, level), *some)

    def push_first(self, message: Message) -> None:
        """Push a message that is taken before all others of its queue and level."""
        level = _level(message)
        self._note(level)
        queue = list_of(message.queue, level)
        self._wire.execute_command("RPUSH", queue, self._text(message))

    def post(self, message: Message) -> None:
        """Push a message, and do not wait for the answer of Redis.

        To be called when Redis has just answered: what gets lost is sent again by the watch.
        """
        self._wire.post(*self.command(message))

    def command(self, message: Message) -> Command:
        """What pushes a message, for who sends it with another command."""
        return self._pushing(message.queue, _level(message), self._text(message))

    def template(self, message: Message) -> Template | None:
        """Of a message for `EXECUTION`; None: what goes with it has ids of its own."""
        if message.chain or message.chord or message.headers or message.root_id or message.group_id:
            return None
        text = self._around(replace(message, id=_ID), _BODY, _TAG)
        return Template(message.queue, _level(message), text, _body(message))

    def command_from(self, template: Template, execution: str) -> Command:
        """As `command`, of a message like others before it."""
        return self._pushing(template.queue, template.level, template.write(execution))

    def _pushing(self, queue: str, level: int, text: str) -> Command:
        self._note(level)
        self._queues.note(queue)
        return "LPUSH", list_of(queue, level), text

    def hold(self, *queues: str) -> bool:
        """Whether messages wait in one of some queues."""
        return bool(self._wire.execute_command(*self.asks_for(*queues)))

    def asks_for(self, *queues: str) -> Command:
        """What asks so, for who sends it with another command: 0 means that none do."""
        lists = (list_of(queue, level) for queue in queues for level in range(HIGHEST + 1))
        return "EXISTS", *lists

    def take(self, queue: str) -> tuple[int, str] | None:
        """The next message of a queue, as it is written, and its level; None: there is none.

        Whose answer gets lost takes the message along: as any that is lost, the watch sends it
        again. Raises what the Redis client raises, as one that is older than 7.0 does.
        """
        levels = {list_of(queue, level): level for level in range(HIGHEST, -1, -1)}
        found = self._wire.execute_command("LMPOP", len(levels), *levels, "RIGHT")
        return None if found is None else (levels[found[0]], str(found[1][0]))

    def give_back(self, queue: str, level: int, text: str) -> None:
        """Put a message back that was taken: it is the next one again."""
        self._wire.execute_command("RPUSH", list_of(queue, level), text)

    def return_taken(self, answer: Sequence[Any]) -> None:
        """As `give_back`, of what Redis has answered to `take`."""
        name, texts = answer
        self._wire.execute_command("RPUSH", name, *texts)

    def _note(self, level: int) -> None:
        """As the channel does: before the message is there, so that nobody overlooks it."""
        now = time.monotonic()
        if level and now - self._noted.get(level, float("-inf")) > ASKED_EVERY:
            self._wire.execute_command("SADD", self._levels_key, level)
            self._noted[level] = now

    def _text(self, message: Message) -> str:
        body = base64.b64encode(_body(message).encode()).decode()
        return self._around(message, body, str(uuid4()))

    def _around(self, message: Message, body: str, tag: str) -> str:
        """A message, as it is written, around its body."""
        headers: dict[str, Any] = {
            "lang": "py",
            "task": message.task,
            "id": message.id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": message.group_id,
            "group_index": message.group_index,
            "retries": 0,
            "timelimit": [message.time_limit, None],
            "root_id": message.root_id or message.id,
            "parent_id": message.parent_id,
            "argsrepr": message.argsrepr,
            "kwargsrepr": "{}",
            "origin": self._own_name(),
            "ignore_result": None,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }
        if message.headers is not None:
            headers |= message.headers
        properties = {
            "correlation_id": message.id,
            "reply_to": message.reply_to or "",
            "argsrepr": message.argsrepr,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": message.queue},
            "priority": message.priority or 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        }
        return _encode(
            {
                "body": body,
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": headers,
                "properties": properties,
            }
        )

    def _own_name(self) -> str:
        name, pid = self._origin
        if pid != os.getpid():
            name = anon_nodename()
            self._origin = (name, os.getpid())
        return name


def _body(message: Message) -> str:
    embed = {
        "callbacks": None,
        "errbacks": None,
        "chain": message.chain,
        "chord": message.chord,
    }
    return _encode([message.args, {}, embed])


def _level(message: Message) -> int:
    return max(0, min(message.priority, HIGHEST))
