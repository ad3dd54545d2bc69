"""Definition -> Plan: scopes, nodes, successors, handlers, and what each step reads.

A plan is what a worker needs at each step, computed once per version. Its parts are:

scope   a list of steps that follow one another: the workflow itself (``""``), a branch of a
        parallel (``build/0``), an iteration of a loop (``poll[7]``), an item of a map
        (``resize[17]``), an error handler (``errorHandlers/0``)
node    a step in its scope, with its expressions compiled
path    where a token stands: scope, step and, in a cycle, the lap: ``build/0/lint#2``. A lap
        counts how often the cycle that holds the step was entered from behind, so that each
        visit has a path of its own; the first lap is not written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from orch.workflows.definition import RetryPolicy, WorkflowDefinition
from orch.workflows.expressions import compile_value
from orch.workflows.ladder import Escalations
from orch.workflows.node import Node
from orch.workflows.reading import Reading
from orch.workflows.rules import MessageRules
from orch.workflows.triggers import TriggerPolicy


class Plan(Reading):
    """The compiled form of one version, with the workflows that handle its errors.

    ``key`` names the plan: the version, or a hash of it, of its handlers' versions and of
    ``retry``, the policy of tasks that have none, of ``escalations``, and of ``messages``, the
    rules of the settings for messages to capabilities.
    Raises NotSupportedYet when a step uses what this release cannot run.
    """

    def __init__(
        self,
        definition: WorkflowDefinition,
        *,
        key: str | None = None,
        handlers: Mapping[str, WorkflowDefinition] | None = None,
        retry: RetryPolicy | None = None,
        escalations: Escalations | None = None,
        messages: MessageRules | None = None,
    ) -> None:
        super().__init__(
            definition, handlers or {}, retry, escalations or Escalations(), messages or {}
        )
        self.version = definition.content_hash()
        self.key = key or self.version
        self.triggers = tuple(TriggerPolicy.of(trigger) for trigger in definition.triggers)
        self.attributes = compile_value(definition.attributes) if definition.attributes else None
        rule = definition.concurrency
        self.concurrency_key = compile_value(rule.key) if rule is not None else None
        self.fields: dict[str, tuple[str, ...]] = {}  # path -> what is read there: `fields_for`
        self.straight: dict[str, Any] = {}  # path -> what always follows: `straight_from`
        self.ends: dict[str, Any] = {}  # path -> the end of a branch, if it always is: `plain_end`
        self.lasts: dict[str, bool] = {}  # path -> whether an execution always ends: `last_end`

    @cached_property
    def capabilities(self) -> dict[str, str]:
        """Capability (or Celery task) -> queue, of every step that a worker must serve."""
        nodes = (*self.nodes(), *self._compensations.values())
        found = {n.capability: n.queue for n in nodes if n.is_work}
        for rung in self.rungs():
            if rung.fallback is not None:
                name = rung.fallback.capability
                found.setdefault(name, rung.fallback.queue or name)
        for node in nodes:
            for name, queue in node.rules.targets() if node.rules is not None else ():
                found.setdefault(name, queue)
        return found

    @cached_property
    def is_placed(self) -> bool:
        """Whether the queue of any step may have to be chosen when its message is sent."""
        nodes = (*self.nodes(), *self._compensations.values())
        return any(node.is_placed or node.names_agent for node in nodes)

    def remembered_fields(self) -> Iterator[str]:
        """`RULE.FIELD` of each field that a rule for messages takes from the memory."""
        for node in self.nodes():
            for rule in node.rules.every() if node.rules is not None else ():
                yield from (f"{rule.name}.{n}" for n, source in rule.enrich if source.sought)

    @cached_property
    def routes(self) -> bool:
        """Whether rules may choose where the messages of any step go."""
        return any(node.routes for node in self.nodes())

    def is_handed_on(self, node: Node, otherwise: str) -> bool:
        """Whether a worker may go on with the step without a message of its own.

        The nearest word counts; ``otherwise``: that of the settings.
        """
        return (node.step.handoff or self.definition.handoff or otherwise) == "auto"

    @cached_property
    def has_time_limits(self) -> bool:
        """Whether an attempt of any step ends at its `timeout` or `heartbeatTimeout`."""
        nodes = (*self.nodes(), *self._compensations.values())
        if any(n.step.timeout or n.step.heartbeat_timeout for n in nodes):
            return True
        return any(rung.fallback and rung.fallback.timeout for rung in self.rungs())
