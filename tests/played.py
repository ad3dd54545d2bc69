"""A worker whose messages are a list, without Celery."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from orch.control.runtime import Runtime
from orch.tasks.step import Caller, run_step
from orch.workflows.node import Node
from orch.workflows.state import StepStatus
from tests.build import start


class Played:
    """A worker whose messages are a list: each is run, and what it sends is run after it."""

    def __init__(
        self,
        runtime: Runtime,
        *steps: dict[str, Any],
        input: Any = None,
        serves: str = "",
        **more: Any,
    ) -> None:
        self.runtime = runtime
        self.journal = runtime.journal
        self.messages: list[str] = []
        self.runs: list[str] = []
        self.serves = serves
        self.act: Callable[[str, Any], Any] = lambda path, item: item
        self.chain: list[str] = []  # of the message, the next one last
        self.spread: list[str] = []  # what was sent one by one
        runtime.lists = None  # no message goes with a script
        runtime.advancer.dispatch = lambda plan, execution, paths: self.messages.extend(paths)
        runtime.advancer.dispatch_first = runtime.advancer.dispatch
        self.worked = start(self.journal, *steps, input=input, **more)
        lives = (StepStatus.DISPATCHED,)
        self.messages += [p for p, s in self.states().items() if s.status in lives]

    def states(self) -> dict[str, Any]:
        return {p: self.worked.state(p) for p in self.journal.steps("x1") if p[0] not in "=!?"}

    def call(self, node: Node, seen: Mapping[str, Any], context: Any) -> Any:
        self.runs.append(context.path)
        return self.act(context.path, seen.get("item"))

    def find(self, node: Node) -> Caller | None:
        return self.call if node.capability == self.serves else None

    def run_next(self) -> str:
        return self.do(self.messages.pop(0))

    def do(self, path: str, others: Sequence[str] = ()) -> str:
        """Run the message for ``path``, which brings ``others`` along."""
        key = self.worked.plan.key
        links = [{"args": ["x1", path, key]} for path in self.chain] or None
        self.request = SimpleNamespace(chain=links, id="0123456789ab")
        return run_step(self.runtime, self.request, self.call, "x1", path, key, self.find, others)

    def run(self) -> int:
        """Run every message; how many there were."""
        count = 0
        while self.messages:
            self.run_next()
            count += 1
        return count

    def output(self) -> Any:
        return self.journal.record("x1").output
