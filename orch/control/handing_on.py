"""What lies in the queues of one agent, and is given to others."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu.connection import Connection

from orch.app import BROKER_AWAY, queue_depth
from orch.control.noting import drain_changed
from orch.control.runtime import Runtime
from orch.errors import NotFound, Unreachable
from orch.workflows.agents import queues_of_agent
from orch.workflows.node import TASK_PREFIX
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung, rung_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HandedOn:
    """``moved``: steps that others do now; ``kept``: those that wait for the agent."""

    moved: int = 0
    kept: int = 0

    def __add__(self, other: HandedOn) -> HandedOn:
        return HandedOn(self.moved + other.moved, self.kept + other.kept)


class HandingOn:
    """Moves messages. Where its process dies in between, the watch brings the tokens back.

    ``connection``: to the broker, of the caller's own. ``avoid``: agents that get nothing that
    others may do as well.
    """

    def __init__(
        self, runtime: Runtime, connection: Connection, avoid: Collection[str] = ()
    ) -> None:
        self.avoid = avoid
        self.runtime = runtime
        self.connection = connection

    def depth(self, agent: str) -> int:
        """How many messages lie in the queues of an agent. Raises Unreachable."""
        return sum(_depth(self.runtime.app, name, self.connection) for name in own_queues(agent))

    def hand_on(self, agent: str) -> HandedOn:
        """Send what lies in the queues of an agent to where it is to go now. Raises Unreachable."""
        found = HandedOn()
        for queue in own_queues(agent):
            found += self._empty(queue, _depth(self.runtime.app, queue, self.connection))
        if found.moved:
            journal, steps = self.runtime.journal, "steps" if found.moved > 1 else "step"
            said = f"{found.moved} {steps} that waited for agent {agent} went to others"
            note = drain_changed(agent, "handed-on", journal.clock(), said)
            journal.amend(journal.keys.drains(), note=note)
        return found

    def _empty(self, queue: str, count: int) -> HandedOn:
        """Each of so many messages is taken once; what is put back comes behind them."""
        found = HandedOn()
        try:
            with self.connection.channel() as channel:  # type: ignore[no-untyped-call]
                for _ in range(count):
                    message = channel.basic_get(queue, no_ack=True)
                    if message is None:
                        break
                    found += self._send_on(queue, channel.message_to_python(message))
        except BROKER_AWAY as exc:
            raise Unreachable(f"the broker does not answer: {exc}") from exc
        return found

    def _send_on(self, queue: str, message: Any) -> HandedOn:
        token = token_of(message)
        plan = None if token is None else self._plan(token[0], token[1])
        if token is None:
            return self._put_back(queue, message)
        if plan is None:
            return HandedOn()
        execution, paths = token
        if in_rung(paths[0]) and rung_of(paths[0]).agent:
            # Its rung was for this agent alone: whoever looks at it goes on with the next one.
            self.runtime.journal.look_sooner([(execution, paths[0])], self.runtime.journal.clock())
            return HandedOn(moved=1)
        place = self.runtime.placing.queue_of
        queues = {place(plan, execution, path, self.avoid) for path in paths}
        priority = self.runtime.journal.priority_of(execution)
        self.runtime.dispatch(plan, execution, paths, priority, self.avoid)
        return HandedOn(kept=1) if queues == {queue} else HandedOn(moved=1)

    def _plan(self, execution: str, paths: Sequence[str]) -> Plan | None:
        """By which the execution goes now; None: it is gone, and so is the message."""
        key = self.runtime.journal.plan_of(execution)
        try:
            plan = None if key is None else self.runtime.plans.get(key)
            if plan is not None and not all(plan.node(path).is_work for path in paths):
                return None
        except (NotFound, KeyError):
            return None
        return plan

    def _put_back(self, queue: str, message: Any) -> HandedOn:
        """It is no step's."""
        properties = message.properties
        more = {"priority": properties["priority"]} if properties.get("priority") else {}
        with self.runtime.app.producer_or_acquire() as producer:
            producer.publish(
                message.body,
                exchange="",
                routing_key=queue,
                headers=message.headers,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                correlation_id=properties.get("correlation_id"),
                reply_to=properties.get("reply_to"),
                **more,
            )
        return HandedOn(kept=1)


def own_queues(agent: str) -> list[str]:
    return queues_of_agent(agent)


def token_of(message: Any) -> tuple[str, list[str]] | None:
    """The execution and the paths that a message is for; None: it is no step's."""
    if not str(message.headers.get("task", "")).startswith(TASK_PREFIX):
        return None
    try:
        args = json.loads(message.body)[0]
        execution, path, _, *others = args
        return str(execution), [str(path), *(others[0] if others else ())]
    except (ValueError, TypeError, IndexError):
        return None


def _depth(app: Celery, queue: str, connection: Connection) -> int:
    try:
        return queue_depth(app, queue, connection)
    except BROKER_AWAY as exc:
        raise Unreachable(f"the broker does not answer: {exc}") from exc
