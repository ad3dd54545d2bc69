"""The process that has ended a message takes the next one of its queue from Redis itself.

Celery's main process carries each message from the broker to a process of its pool, and the word
that it is done back: more work than a quick step. Where messages wait, the process goes on with
them for a moment, one after the other, as if each had been carried to it: what is claimed is
claimed in the journal, and who dies with a message in hand is looked after as before. The main
process is told by shared memory which one that is.

Only where nobody would miss the main process: the capability is quick, no other queue of the worker
has messages, no time limit is to be kept, and nobody listens to Celery's signals, its events or its
log of tasks.
"""

from __future__ import annotations

import base64
import json
import logging
import mmap
import os
import struct
import time
from collections.abc import Iterator
from typing import Any

from billiard import current_process
from celery import Celery
from celery.app.task import Context
from redis.exceptions import RedisError, ResponseError

from orch.faults import fault
from orch.lists import Lists
from orch.settings import Settings
from orch.tasks.draining import is_draining
from orch.tasks.pace import is_quick
from orch.tasks.running import run_task
from orch.tasks.shown import is_watched
from orch.workflows.node import TASK_PREFIX

logger = logging.getLogger(__name__)

SLICE = 0.1
"""Seconds after which the main process has its turn: it may have been told something."""

LOOK_EVERY = 0.01
"""Seconds between looks at the other queues of this worker."""

SOON = 0.005
"""Seconds: a message that comes so soon after the last one has waited, and so do others."""

ROWS, BYTES = 512, 256
_HEAD = struct.Struct("=qH")

CARRIER = "orch_carrier"
"""Of the request of a drawn message: the id of the message that Celery knows of."""

CARRIED_BY_OTHERS = ("callbacks", "errbacks", "chord")
"""What a message may say of others, and Celery sees to."""


class DrawnTokens:
    """What the processes of a pool have in hand: `execution path` of a message, one for each.

    Made before the pool is. A reader may meet a row that is being written: what it reads then is
    that of no token, and the next look finds it.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, ROWS * BYTES)

    def note(self, row: int, token: str) -> bool:
        """False: it is too long."""
        text = token.encode()
        if len(text) > BYTES - _HEAD.size:
            return False
        place = row % ROWS * BYTES
        self._memory[place + _HEAD.size : place + _HEAD.size + len(text)] = text
        _HEAD.pack_into(self._memory, place, os.getpid(), len(text))
        return True

    def clear(self, row: int) -> None:
        _HEAD.pack_into(self._memory, row % ROWS * BYTES, 0, 0)

    def read(self) -> Iterator[tuple[int, str, str]]:
        """Process, execution and path of each."""
        for place in range(0, ROWS * BYTES, BYTES):
            pid, length = _HEAD.unpack_from(self._memory, place)
            if pid:
                text = self._memory[place + _HEAD.size : place + _HEAD.size + length]
                execution, _, path = text.decode(errors="replace").partition(" ")
                yield pid, execution, path


_tokens = DrawnTokens()


def drawn_tokens() -> Iterator[tuple[int, str, str]]:
    """Process, execution and path of what this worker's processes have drawn."""
    return _tokens.read()


def carrier_of(request: Any) -> str:
    """The id of the message that Celery knows of, where this one was drawn behind it; else ''."""
    return str(getattr(request, CARRIER, None) or "")


def drawn_now() -> set[str]:
    """`execution path` of each of them."""
    return {f"{execution} {path}" for _, execution, path in drawn_tokens()}


class Drawing:
    """Of one process of a pool. ``lists``: the queues of the broker."""

    def __init__(self, app: Celery, lists: Lists, settings: Settings) -> None:
        self._app = app
        self._lists = lists
        self._on = settings.handoff == "auto" and not settings.broker_acks
        self._ended = float("-inf")
        self._looked = float("-inf")

    def go_on(self, request: Any, begun: float) -> int:
        """Take and run messages behind that of ``request``, which came at ``begun``; how many."""
        row = getattr(current_process(), "index", None)
        waited = begun - self._ended < SOON
        count = 0
        if self._on and waited and row is not None and self._may_follow(request):
            queue = str(request.delivery_info["routing_key"])
            self._looked = float("-inf")
            try:
                while (drawn := self._take(queue, begun, request, row)) is not None:
                    task, context = drawn
                    run_task(task, context, context.args, context.kwargs)
                    count += 1
            except Exception:
                _tokens.clear(row)
                raise  # whoever ends this process finds what it had in hand
            _tokens.clear(row)
        self._ended = time.monotonic()
        return count

    def _may_follow(self, request: Any) -> bool:
        info = request.delivery_info or {}
        named = bool(info.get("routing_key"))
        return named and _is_quick(str(request.task)) and not is_watched(request)

    def _take(self, queue: str, begun: float, carrier: Any, row: int) -> tuple[Any, Context] | None:
        """The task and the request of the next message; None: the main process has its turn."""
        now = time.monotonic()
        if is_draining() or now - begun >= SLICE or not self._lists.serve():
            return None
        try:
            if now - self._looked >= LOOK_EVERY:
                self._looked = now
                others = [name for name in self._app.amqp.queues.consume_from if name != queue]
                if others and self._lists.hold(*others):
                    return None
            found = self._lists.take(queue)
            if found is None:
                return None
            level, text = found
            drawn = self._read_ours(text, carrier, row)
            if drawn is None:
                self._lists.give_back(queue, level, text)
                return None
        except ResponseError as exc:
            self._on = False
            logger.warning(
                "Redis does not let messages be taken from the list %r (%s): this process leaves "
                "that to the main one; LMPOP takes Redis 7.0 and the right to call it",
                queue,
                exc,
            )
            return None
        except RedisError as exc:
            logger.debug("no message of %s was drawn: %s", queue, exc)
            return None
        fault("drawn")
        return drawn

    def _read_ours(self, text: str, carrier: Any, row: int) -> tuple[Any, Context] | None:
        """None: one that Celery has to see to, as others may send what they want."""
        try:
            return self._read(text, carrier, row)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def _read(self, text: str, carrier: Any, row: int) -> tuple[Any, Context] | None:
        """None: one that Celery has to see to. Raises as Python does for what is no message."""
        message = json.loads(text)
        headers, properties = message["headers"], message["properties"]
        task = self._app.tasks.get(headers.get("task", ""))
        limits = headers.get("timelimit") or (None, None)
        asks = headers.get("eta") or headers.get("expires") or headers.get("retries") or any(limits)
        if task is None or asks or not hasattr(task, "drawing") or not _is_quick(task.name):
            return None
        if properties.get("body_encoding") != "base64":
            return None
        args, kwargs, embed = json.loads(base64.b64decode(message["body"]))
        if any(embed.get(name) for name in CARRIED_BY_OTHERS) or len(args) < 3:
            return None
        if not _tokens.note(row, f"{args[0]} {args[1]}"):
            return None
        given = {
            **headers,
            "chain": embed.get("chain"),
            "delivery_info": properties["delivery_info"],
            "hostname": carrier.hostname,
            CARRIER: carrier.id,
        }
        return task, Context(given, args=args, kwargs=kwargs, called_directly=False)


def _is_quick(task: str) -> bool:
    return is_quick(task.removeprefix(TASK_PREFIX))
