"""Which execution a `subworkflow` step calls, and what becomes of the step when it ends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orch.workflows.definition import SubworkflowCall, WorkflowDefinition, WorkflowStep
from orch.workflows.node import Node
from orch.workflows.outcome import Completed, Failed, Failure
from orch.workflows.state import ExecutionStatus


@dataclass(frozen=True)
class Call:
    """One attempt of a `subworkflow` step: the token that waits for a child."""

    execution: str
    path: str
    attempt: int

    @property
    def child(self) -> str:
        """The id of the child: the same whoever starts it, so that it is started once."""
        content = f"{self.execution}\0{self.path}\0{self.attempt}"
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def dumps(self) -> str:
        """As the field `parent` of the child's record holds it."""
        return f"{self.execution} {self.path} {self.attempt}"

    @classmethod
    def loads(cls, text: str) -> Call:
        execution, path, attempt = text.split(" ")
        return cls(execution, path, int(attempt))

    @classmethod
    def all_of(cls, execution: str, texts: Iterable[str]) -> tuple[Call, ...]:
        """Those of an execution, as scripts tell them: `path attempt` of each."""
        pairs = (text.rsplit(" ", 1) for text in texts)
        return tuple(cls(execution, path, int(attempt)) for path, attempt in pairs)

    def failed(
        self,
        name: str,
        message: str,
        *,
        data: Any = None,
        child: str = "",
        retryable: bool = True,
        said_class: str = "",
    ) -> Failed:
        step = self.path.rpartition("/")[2].partition("#")[0]
        failure = Failure(
            name, message, step, self.path, self.attempt, data, child, said_class=said_class
        )
        return Failed(failure, retryable)

    def outcome(
        self, status: ExecutionStatus, output: str | None, error: str | None
    ) -> Completed | Failed:
        """What the end of the child means for the step; texts are JSON."""
        if status is ExecutionStatus.COMPLETED:
            text = output or "null"
            return Completed(json.loads(text), text)
        found: Mapping[str, Any] = json.loads(error or "null") or {}
        message = str(found.get("message", ""))
        if status is ExecutionStatus.CANCELLED:
            message = f"the child {self.child} was cancelled: {message}"
            return self.failed("ChildCancelled", message, child=self.child)
        name = str(found.get("name", "Failed"))
        said = str(found.get("class", ""))
        return self.failed(name, message, data=found.get("data"), child=self.child, said_class=said)


def callee(node: Node) -> SubworkflowCall:
    """The workflow that a `subworkflow` step names."""
    called = node.step.subworkflow
    assert called is not None
    return SubworkflowCall(name=called) if isinstance(called, str) else called


def called_names(definition: WorkflowDefinition) -> set[str]:
    """The keys of all workflows that a definition calls, at whatever depth."""
    called = (step.subworkflow for step in every_step(definition) if step.subworkflow is not None)
    return {each if isinstance(each, str) else each.name for each in called}


def capabilities_in(definition: WorkflowDefinition) -> set[str]:
    """All capabilities and Celery tasks that a definition names, at whatever depth.

    A handler of errors that is a workflow counts as one: the definition alone cannot tell.
    """
    names: set[str | None] = set()
    for step in every_step(definition):
        polled = step.wait.poll.capability if step.wait and step.wait.poll else None
        mapped = step.map.capability if step.map else None
        names |= {step.capability, step.task, polled, mapped}
    own = {step.id for step in definition.steps}
    routes = (rule.route for rule in definition.message_rules if rule.route is not None)
    names |= {route.capability for route in routes}
    names |= {handler.handler for handler in definition.error_handlers} - own
    return {name for name in names if name is not None}


def every_step(definition: WorkflowDefinition) -> Iterator[WorkflowStep]:
    """The steps of a definition, and all inside of them, in no order."""
    todo: list[WorkflowStep] = list(definition.steps)
    while todo:
        step = todo.pop()
        yield step
        if step.parallel is not None:
            todo += [inner for branch in step.parallel.branches for inner in branch.steps]
        for holder in (step.loop, step.map):
            todo += (holder.steps or []) if holder is not None else []
