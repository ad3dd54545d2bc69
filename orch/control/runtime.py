"""One process's hold on Redis and the broker: settings, app, journal, plans, advancer."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from celery import Celery
from celery.canvas import Signature, _chain

from orch.app import commands_of, create_app, dispatch, dispatch_first, lists_of
from orch.control.addresses import addresses_of
from orch.control.advance import Advancer
from orch.control.catalog import Catalog
from orch.control.placing import Placing
from orch.control.plans import Plans
from orch.control.tracing import open_tracing
from orch.journal.ends import Ends
from orch.journal.journal import Journal, open_redis
from orch.journal.wire import Command
from orch.lists import EXECUTION, Lists, Template
from orch.memory.noting import hear
from orch.messages import Message, messages_of
from orch.queues import QueueNotes
from orch.settings import Settings
from orch.workflows.canvas import compile_canvas
from orch.workflows.notices import ESCALATION_QUEUE, notice_task
from orch.workflows.plan import Plan
from orch.workflows.starts import StartGiven

MOST_TEMPLATES = 1000
"""Of messages; a few kB each."""


class Runtime:
    """Everything that starting and advancing executions needs, bound together.

    ``producer``: gives a kombu producer of the caller's own; without it the app's pool is used.
    ``opened``: told of each new connection to Redis, see `open_redis`.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        app: Celery | None = None,
        producer: Callable[[], Any] | None = None,
        opened: Callable[[Any], None] | None = None,
    ) -> None:
        self.settings = settings
        self.url = url
        self.app = app or create_app(settings, url)
        self.journal = Journal(open_redis(url, opened=opened), settings, url=url)
        self.journal.heard = partial(hear, self.journal)
        self.ends = Ends(self.journal.redis)
        self.plans = Plans(self.journal)
        self.placing = Placing(self.journal)
        self.advancer = Advancer(
            self.journal, self.plans, self.dispatch, Catalog(settings, self.plans).plan
        )
        self.advancer.tell = self.tell
        self.tracing = self.advancer.tracing = open_tracing(settings, self.journal)
        self.declarations = self.advancer.declarations
        self.advancer.dispatch_first = self.dispatch_first
        self.lists = lists_of(settings, url, self.app, self.journal.wire)
        if self.lists is None:
            self.app.orch_queues = QueueNotes(self.journal.wire, self.journal.keys.queues())
        self._producer = producer
        self._templates: dict[tuple[object, ...], Template | None] = {}

    def dispatch(
        self,
        plan: Plan,
        execution: str,
        paths: Sequence[str],
        priority: int = 0,
        avoid: Collection[str] = (),
    ) -> None:
        """Send messages for tokens; many branches that begin alike in one.

        Tokens that no live agent may do are sent nowhere: the watch looks at them again.
        ``avoid``: agents that get nothing that others may do as well.
        """
        handoff = self.settings.handoff
        self.send(self._compile(plan, execution, paths, priority, handoff, avoid))

    def first_message(
        self, plan: Plan, execution: str, paths: Sequence[str], priority: int = 0
    ) -> list[Command]:
        """The command that sends the message of a new execution, to go with its start.

        []: it is to be sent behind it, as it is not one alone, or has to be placed, or the broker
        is not the Redis of the journal.
        """
        if self.lists is None or len(paths) != 1 or plan.is_placed or not self.lists.serve():
            return []
        if not plan.node(paths[0]).plain:
            return []
        # Where that fails, so does what comes next.
        template = self._template(self.lists, plan, paths[0], priority)
        if template is not None:
            return commands_of(partial(self.lists.command_from, template, execution))
        message = self._message(plan, execution, paths[0], priority)
        return commands_of(partial(self.lists.command, message))

    def _message(self, plan: Plan, execution: str, path: str, priority: int) -> Message:
        canvases = self._compile(plan, execution, (path,), priority, self.settings.handoff)
        (message,) = [each for canvas in canvases for each in messages_of(self.app, canvas)]
        return message

    def _template(self, lists: Lists, plan: Plan, path: str, priority: int) -> Template | None:
        """Of the messages for a path, where all of an execution is the same but for its ids."""
        if self.tracing is not None or plan.routes:
            return None
        # What answers would be sent to is different in each thread, and who sends in each process.
        key = (plan.key, path, priority, self.app.thread_oid, os.getpid())
        if key not in self._templates:
            if len(self._templates) >= MOST_TEMPLATES:
                self._templates.clear()
            message = self._message(plan, EXECUTION, path, priority)
            self._templates[key] = lists.template(message)
        return self._templates.get(key)

    def spread(self, plan: Plan, execution: str, paths: Sequence[str], priority: int = 0) -> None:
        """As `dispatch`, a message for each."""
        self.send(self._compile(plan, execution, paths, priority, "off"))

    def _compile(
        self,
        plan: Plan,
        execution: str,
        paths: Sequence[str],
        priority: int,
        handoff: str,
        avoid: Collection[str] = (),
    ) -> list[Signature]:
        placed = self.placing.queues(plan, execution, paths, avoid)
        queues = {path: queue for path, queue in placed.items() if queue is not None}
        canvases = compile_canvas(
            plan,
            execution,
            [path for path in paths if path not in placed or path in queues] if placed else paths,
            links=self.settings.chain_links,
            priority=priority,
            handoff=handoff,
            queues=queues,
            addresses=addresses_of(self.journal, plan, execution, paths),
        )
        if self.tracing is not None:
            self.tracing.mark(canvases, execution)
        return canvases

    def dispatch_first(
        self, plan: Plan, execution: str, paths: Sequence[str], priority: int = 0
    ) -> None:
        """Send the messages of tokens that have waited already, each by itself."""
        lists = self.lists if self.lists is not None and self.lists.serve() else None
        producer = self._producer() if self._producer and lists is None else None
        for path in paths:
            for canvas in self._compile(plan, execution, [path], priority, "off"):
                dispatch_first(self.app, canvas, producer, lists)

    def raise_priority(self, plan: Plan, execution: str, path: str, level: int) -> None:
        """Send the message of a token once more, as urgent as ``level`` says."""
        canvases = self._compile(plan, execution, [path], level, "off")
        for canvas in canvases:
            first = canvas.tasks[0] if isinstance(canvas, _chain) else canvas
            first.options["priority"] = level
        self.send(canvases)

    def tell(self, event: str, notice: str) -> None:
        """Send the task that delivers a notice. Raises Unreachable when the broker is away."""
        options = {"queue": ESCALATION_QUEUE, "argsrepr": notice}
        self.send([Signature(notice_task(event), (notice,), immutable=True, options=options)])

    def send(self, canvases: Iterable[Signature]) -> None:
        """Publish canvases. Raises Unreachable when the broker is away."""
        lists = self.lists if self.lists is not None and self.lists.serve() else None
        producer = self._producer() if self._producer and lists is None else None
        dispatch(self.app, canvases, producer, lists)

    def below_caller(self, given: StartGiven) -> StartGiven:
        """What was given with a start, and the trace that the caller is in, if it says none."""
        if self.tracing is None or given.get("traceparent") is not None:
            return given
        return {**given, "traceparent": self.tracing.caller() or None}

    def close(self) -> None:
        if self.tracing is not None:
            self.tracing.close()
        self.journal.redis.close()
        self.app.close()
