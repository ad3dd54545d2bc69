"""What waits for workers: the queues that are in use, and since when their steps wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orch.app import BROKER_AWAY, queue_depth
from orch.backlogs import Peeked, peek
from orch.control.runtime import Runtime
from orch.errors import Unreachable
from orch.workflows.state import StepState, StepStatus


@dataclass(frozen=True)
class Backlog:
    """``depth``: messages in the queue. ``age``: seconds for which the oldest of their steps has
    waited; None: none waits, or the broker does not let one see."""

    depth: int
    age: float | None = None


def read_backlogs(runtime: Runtime, queues: Sequence[str]) -> dict[str, Backlog]:
    """What waits in each of some queues. Raises Unreachable."""
    journal = runtime.journal
    if runtime.lists is None:
        return {name: Backlog(depth) for name, depth in _depths(runtime, queues).items()}
    peeked = journal.read(lambda: peek(journal.redis, queues))
    return {name: Backlog(each.depth, _age(runtime, each)) for name, each in peeked.items()}


def _age(runtime: Runtime, peeked: Peeked) -> float | None:
    texts = runtime.journal.states_of(peeked.tokens)
    states = [StepState.loads(text) for text in texts if text]
    waiting = [state.since for state in states if state.status is StepStatus.DISPATCHED]
    return max(0, runtime.journal.clock() - min(waiting)) / 1000 if waiting else None


def _depths(runtime: Runtime, queues: Sequence[str]) -> dict[str, int]:
    try:
        with runtime.app.connection_for_write() as connection:
            return {queue: queue_depth(runtime.app, queue, connection) for queue in queues}
    except BROKER_AWAY as exc:
        raise Unreachable(f"the broker does not answer: {exc}") from exc
