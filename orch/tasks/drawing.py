"""The process that has ended a message takes the next one of its queue from Redis itself.

Celery's main process carries each message from the broker to a process of its pool, and the word
that it is done back: more work than a quick step. Where messages wait, the process goes on with
them for a moment, as if each had been carried to it: what is claimed is claimed in the journal, and
who dies with a message in hand is looked after as before. The main process is told by shared memory
which one that is.

Where a capability takes next to no time, several are worked on in turns, so that their scripts go
to Redis together (`Pipeline`). What is claimed then waits for the calls of the others; if one of
these turns out to take long, the others are given back.

Only where nobody would miss the main process: the capability is quick, no other queue of the worker
has messages, no time limit is to be kept, and nobody listens to Celery's signals, its events or its
log of tasks.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from typing import Any

from billiard import current_process
from celery.app.task import Context
from celery.utils.threads import LocalStack, _FastLocalStack, get_ident
from greenlet import getcurrent
from redis.exceptions import RedisError, ResponseError

from orch.control.runtime import Runtime
from orch.faults import fault
from orch.journal.pipelining import Fiber, Pipeline
from orch.lists import Lists
from orch.tasks.draining import is_draining
from orch.tasks.drawn_tokens import CARRIER, FIBER, FIBERS, tokens
from orch.tasks.giving_back import give_back_held
from orch.tasks.pace import is_brief, is_quick
from orch.tasks.running import run_task
from orch.tasks.shown import is_watched
from orch.workflows.node import TASK_PREFIX

logger = logging.getLogger(__name__)

SLICE = 0.25
"""Seconds after which the main process has its turn: it may have been told something."""

LOOK_EVERY = 0.01
"""Seconds between looks at the other queues of this worker."""

SOON = 0.005
"""Seconds: a message that comes so soon after the last one has waited, and so do others."""

KEEPS_APART = LocalStack is not _FastLocalStack and get_ident is getcurrent
"""Whether Celery knows the tasks that run by their fibers, not by their threads."""

CARRIED_BY_OTHERS = ("callbacks", "errbacks", "chord")
"""What a message may say of others, and Celery sees to."""


class Drawing:
    """Of one process of a pool."""

    def __init__(self, runtime: Runtime, lists: Lists) -> None:
        self._runtime = runtime
        self._app = runtime.app
        self._lists = lists
        settings = runtime.settings
        self._on = settings.handoff == "auto" and not settings.broker_acks
        self._ended = float("-inf")
        self._looked = float("-inf")
        self._emptied = float("-inf")
        self._made: Pipeline | None = None

    def run(self, task: Any, request: Any, begun: float) -> Any:
        """Do what a message is for that Celery knows of, and take others beside it and behind it.

        ``begun``: when it came. Returns what its task answers; raises what any of them raises.
        """
        row = getattr(current_process(), "index", None)
        within = self._made is not None and self._made.count > 0  # called by a step itself
        draws = row is not None and not within and self._on and self._may_follow(request)
        try:
            if draws and "[" in request.args[1]:  # of a map, of which there are others
                errand = _Errand(self, request, begun, task)
                self._pipeline(row).run(errand.work)
                return errand.said
            said = run_task(task, request, request.args, request.kwargs)
            if draws and begun - self._ended < SOON:
                self._looked = self._emptied = float("-inf")
                self._pipeline(row).run(_Errand(self, request, begun).work)
            return said
        finally:
            self._ended = time.monotonic()

    def _pipeline(self, row: Any) -> Pipeline:
        """Made in the process that uses it."""
        if self._made is None:
            depth = self._runtime.settings.pipeline_depth if KEEPS_APART else 1
            self._made = Pipeline(
                self._runtime.journal.wire,
                range(row * FIBERS, row * FIBERS + depth),
                told=lambda fiber, waits: tokens.wait(fiber.number, waits),
                let_go=self._let_go,
                may_widen=lambda: time.monotonic() - self._emptied >= LOOK_EVERY,
            )
        return self._made

    def _let_go(self, fiber: Fiber) -> None:
        """Give back what a fiber holds while another one calls what takes long."""
        if fiber.token is not None:
            fiber.pipeline.ask_for(fiber)
            reason, called = "its process does something else", fiber.pipeline.called
            give_back_held(self._runtime, fiber.token[0], os.getpid(), reason, keep=called)
        elif isinstance(fiber.answer, list):
            self._lists.return_taken(fiber.answer)
        tokens.clear(fiber.number)

    def _may_follow(self, request: Any) -> bool:
        info = request.delivery_info or {}
        if not info.get("routing_key") or any(request.timelimit or ()) or len(request.args) < 3:
            return False
        return is_quick(_capability(request)) and not is_watched(request)

    def take(
        self, queue: str, begun: float, carrier: Any, fiber: Fiber
    ) -> tuple[Any, Context] | None:
        """The task and the request of the next message; None: the main process has its turn.

        ``begun``: when that came which Celery knows of, ``carrier``.
        """
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
                self._emptied = now
                return None
            level, text = found
            drawn = self._read_ours(text, carrier, fiber)
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

    def _read_ours(self, text: str, carrier: Any, fiber: Fiber) -> tuple[Any, Context] | None:
        """None: one that Celery has to see to, as others may send what they want."""
        try:
            return self._read(text, carrier, fiber)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def _read(self, text: str, carrier: Any, fiber: Fiber) -> tuple[Any, Context] | None:
        """None: one that Celery has to see to. Raises as Python does for what is no message."""
        message = json.loads(text)
        headers, properties = message["headers"], message["properties"]
        task = self._app.tasks.get(headers.get("task", ""))
        limits = headers.get("timelimit") or (None, None)
        asks = headers.get("eta") or headers.get("expires") or headers.get("retries") or any(limits)
        if task is None or asks or not hasattr(task, "drawing"):
            return None
        capability = task.name.removeprefix(TASK_PREFIX)
        if not (is_brief if fiber.has_others else is_quick)(capability):
            return None
        if properties.get("body_encoding") != "base64":
            return None
        args, kwargs, embed = json.loads(base64.b64decode(message["body"]))
        if any(embed.get(name) for name in CARRIED_BY_OTHERS) or len(args) < 3:
            return None
        if not tokens.note(fiber.number, f"{args[0]} {args[1]}"):
            return None
        fiber.token, fiber.alone = (args[0], args[1]), False
        given = {
            **headers,
            "chain": embed.get("chain"),
            "delivery_info": properties["delivery_info"],
            "hostname": carrier.hostname,
            CARRIER: carrier.id,
            FIBER: fiber,
        }
        return task, Context(given, args=args, kwargs=kwargs, called_directly=False)


def _capability(request: Any) -> str:
    return str(request.task).removeprefix(TASK_PREFIX)


class _Errand:
    """Messages that are taken behind one that Celery knows of, or, with its ``task``, beside it."""

    def __init__(self, drawing: Drawing, request: Any, begun: float, task: Any = None) -> None:
        self.said: Any = None
        self._drawing = drawing
        self._request = request
        self._begun = begun
        self._task = task

    def work(self, fiber: Fiber) -> None:
        task, self._task = self._task, None
        try:
            if task is not None:
                self._do_own(fiber, task)
            if task is None or fiber.has_others:
                self._do_others(fiber)
        except Exception:
            tokens.clear(fiber.number)
            raise  # whoever ends this process finds what it had in hand
        tokens.clear(fiber.number)

    def _do_own(self, fiber: Fiber, task: Any) -> None:
        """It has others taken beside it when it goes on with another item."""
        request = self._request
        execution, path = request.args[:2]
        fiber.token = (execution, path)
        if tokens.note(fiber.number, f"{execution} {path}"):
            setattr(request, FIBER, fiber)
        self.said = run_task(task, request, request.args, request.kwargs)

    def _do_others(self, fiber: Fiber) -> None:
        drawing, request = self._drawing, self._request
        queue = str(request.delivery_info["routing_key"])
        fiber.token = None
        while (drawn := drawing.take(queue, self._begun, request, fiber)) is not None:
            task, context = drawn
            if is_brief(_capability(context)):
                fiber.pipeline.widen()
            run_task(task, context, context.args, context.kwargs)
            fiber.token = None
