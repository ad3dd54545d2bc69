"""The shape of a plan: its scopes and nodes, how they are made, and the ways between them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace

from orch.errors import DefinitionError
from orch.workflows.compensating import compensation_path, in_compensation
from orch.workflows.cycles import find_cycles
from orch.workflows.definition import ErrorHandler, RetryPolicy, WorkflowDefinition, WorkflowStep
from orch.workflows.failing import is_meant
from orch.workflows.making import item_steps, make_node, refuse_what_does_not_run, undoing
from orch.workflows.message import Address, addressed
from orch.workflows.node import Node, Scope
from orch.workflows.paths import (
    ROOT,
    handler_scope,
    in_handler,
    join_path,
    key_of,
    split,
    split_lap,
)
from orch.workflows.policies import MapPolicy
from orch.workflows.resolving import voted
from orch.workflows.rules import MessageRules
from orch.workflows.ruleset import Rule, Rules, compile_settings
from orch.workflows.rungs import in_rung, subject_of

_CAPABILITY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Shape(ABC):
    """Scopes and nodes of one version, and of the workflows that handle its errors.

    ``retry``: the policy of tasks that have none. ``messages``: the rules of the settings for
    messages to capabilities.
    """

    def __init__(
        self,
        definition: WorkflowDefinition,
        handlers: Mapping[str, WorkflowDefinition],
        retry: RetryPolicy | None,
        messages: MessageRules,
    ) -> None:
        self.definition = definition
        self.retry = retry
        self.messages = messages
        self._of_capabilities = compile_settings(messages)
        self._rules = {ROOT: rules_of(definition)}  # by the scope of the workflow that has them
        self._addressed: dict[tuple[str, Address], Node] = {}
        self.scopes: dict[str, Scope] = {}
        self._nodes: dict[str, Node] = {}
        self._compensations: dict[str, Node] = {}
        self._add_scope(ROOT, definition.steps)
        for index, handler in enumerate(definition.error_handlers):
            self._add_handler(index, handler, handlers)

    @abstractmethod
    def work(self, key: str, step: Node | None = None) -> Node:
        """What is done in a rung for a step. ``step``: as it is done now, where rules have sent
        its messages elsewhere."""

    def node(self, path: str, address: Address | None = None) -> Node:
        """The node of a path, laps left aside. Raises KeyError when there is none.

        ``address``: where rules have sent its messages; without it, as the definition says.
        """
        if address is not None and address.rules:
            return self._node_at(key_of(path), address)
        key = key_of(path)
        if in_rung(key):
            return self.work(key)
        return self._compensations[key] if in_compensation(key) else self._nodes[key]

    def _node_at(self, key: str, address: Address) -> Node:
        step = subject_of(key)
        found = self._addressed.get((step, address))
        if found is None:
            found = self._addressed[step, address] = addressed(self.node(step), address)
        return self.work(key, found) if in_rung(key) else found

    def compensation_of(self, path: str) -> Node | None:
        """What undoes the step at ``path``; None: nothing does."""
        return self._compensations.get(compensation_path(key_of(path)))

    def compensates(self, path: str = "") -> bool:
        """Whether the step at ``path``, or one within it, is ever undone; without it: any."""
        key = compensation_path(key_of(path))
        return any(
            not path or found == key or found.startswith(f"{key}/") for found in self._compensations
        )

    def nodes(self) -> Iterable[Node]:
        return self._nodes.values()

    def scope(self, scope_path: str) -> Scope:
        return self.scopes[key_of(scope_path)]

    def is_quiet(self, path: str) -> bool:
        """Whether the step is all that is done for an item of a map.

        What goes well there at once leaves nothing behind but the item's result: ten thousand
        items are one line of the history, not twenty thousand.
        """
        if in_compensation(path) or in_rung(path):
            return False
        scope = self.scope(split(path)[0])
        if scope.item_of is None or len(scope.nodes) != 1 or not scope.entry.plain:
            return False
        return scope.entry.step.compensate is None

    def follow(self, path: str, target: str) -> str:
        """The path at which ``target`` stands when it follows the step at ``path``.

        Inside a cycle a step back (or to itself) begins the next lap; leaving it, or
        entering one, begins at the first. Each lap only goes forward, so paths never repeat.
        """
        scope_path, own = split(path)
        step_id, lap = split_lap(own)
        scope = self.scope(scope_path)
        cycle = scope.cycles.get(target)
        if cycle is None or scope.cycles.get(step_id) != cycle:
            return join_path(scope_path, target)
        back = scope.nodes[target].index <= scope.nodes[step_id].index
        return join_path(scope_path, target, lap + 1 if back else lap)

    def handler_for(self, name: str, error_class: str = "") -> tuple[int, ErrorHandler] | None:
        """The first handler that takes an error of this name, and of this class."""
        for index, handler in enumerate(self.definition.error_handlers):
            if handler.error == name or is_meant((handler.error,), name, error_class):
                return index, handler
        return None

    # --- building ------------------------------------------------------------------------

    def _add_handler(
        self, index: int, handler: ErrorHandler, workflows: Mapping[str, WorkflowDefinition]
    ) -> None:
        if handler.handler in self.scopes[ROOT].nodes:
            return
        workflow = workflows.get(handler.handler)
        if workflow is not None:
            self._rules[handler_scope(index)] = rules_of(workflow)
            self._add_scope(handler_scope(index), workflow.steps)
            return
        if not _CAPABILITY.fullmatch(handler.handler):
            raise DefinitionError(
                f"error handler {handler.handler!r} is no step of the workflow and no workflow "
                f"that is known, and cannot be the name of a capability",
                hint="define that workflow first, or put its file beside this one",
            )
        step = WorkflowStep(
            id=handler.handler,
            capability=handler.handler,
            retry=handler.retry,
            input="$.input",
        )
        self._add_scope(handler_scope(index), [step])

    def _add_scope(
        self, key: str, steps: Iterable[WorkflowStep], item_of: MapPolicy | None = None
    ) -> None:
        nodes = {step.id: self._make_node(key, index, step) for index, step in enumerate(steps)}
        # A failure leads from any step to a handler, so handlers take part in the cycles.
        handlers = [
            handler.handler
            for handler in self.definition.error_handlers
            if key == ROOT and handler.handler in nodes
        ]
        self.scopes[key] = Scope(key, nodes, find_cycles(nodes, handlers), item_of)
        self._nodes.update({node.key: node for node in nodes.values()})

    def _make_node(self, scope: str, index: int, step: WorkflowStep) -> Node:
        step = voted(step)
        refuse_what_does_not_run(step)
        key = join_path(scope, step.id)
        if step.compensate is not None and not in_compensation(key):
            own = compensation_path(key)
            self._compensations[own] = self._make_node(split(own)[0], 0, undoing(step))
        branches: list[str] = []
        if step.parallel is not None:
            for number, branch in enumerate(step.parallel.branches):
                branches.append(join_path(key, str(number)))
                self._add_scope(branches[-1], branch.steps)
        if step.loop is not None:
            branches.append(key)
            self._add_scope(key, step.loop.steps)
        mapped = MapPolicy.of(step.map) if step.map is not None else None
        if step.map is not None:
            branches.append(key)
            self._add_scope(key, item_steps(step, step.map), mapped)
        made = make_node(key, scope, index, step, tuple(branches), mapped, self.retry)
        return self._ruled(made)

    def _ruled(self, node: Node) -> Node:
        """The node with the rules for its messages, if it sends any."""
        if in_compensation(node.key) or not node.is_work:
            return node
        root = "/".join(node.key.split("/", 2)[:2]) if in_handler(node.key) else ROOT
        own = self._rules.get(root, ())
        if not (own or self._of_capabilities):
            return node
        return replace(
            node, rules=Rules.of_step(own, self._of_capabilities, node.id, node.capability)
        )


def rules_of(definition: WorkflowDefinition) -> tuple[Rule, ...]:
    return tuple(Rule.of(rule) for rule in definition.message_rules)
