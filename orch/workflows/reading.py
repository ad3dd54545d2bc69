"""What a step reads: all that must be known to run it, and to decide what follows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orch.workflows.asking import Asking
from orch.workflows.compensating import in_compensation
from orch.workflows.definition import RetryPolicy, WorkflowDefinition
from orch.workflows.expressions import compile_value
from orch.workflows.ladder import Escalations
from orch.workflows.node import Node
from orch.workflows.paths import ROOT, handler_scope
from orch.workflows.policies import Choice, Reads
from orch.workflows.rules import MessageRules
from orch.workflows.rungs import in_rung, subject_of


class Reading(Asking):
    """An asking shape, and what its steps read of the record."""

    def __init__(
        self,
        definition: WorkflowDefinition,
        handlers: Mapping[str, WorkflowDefinition],
        retry: RetryPolicy | None,
        escalations: Escalations,
        messages: MessageRules,
    ) -> None:
        self.result = compile_value(definition.result) if definition.result is not None else None
        self._reads: dict[str, Reads] = {}
        self._uses_previous: dict[str, bool] = {}
        super().__init__(definition, handlers, retry, escalations, messages)

    def reads(self, path: str) -> Reads:
        """All that must be known to run the step and to decide what follows it."""
        node = self.node(path)
        if in_compensation(path):
            return node.input.reads
        if in_rung(path):
            return node.input_reads | self.reads(subject_of(path))
        if node.key not in self._reads:
            found = set(node.input_reads)
            again = [node] if node.loop else []
            found |= node.poll.until.reads if node.poll else set()
            found |= node.event.reads() if node.event else set()
            found |= node.limit_reads()
            self._read_on(found, *again, *self._after(node), *self._on_failure(node))
            self._reads[node.key] = frozenset(found)
        return self._reads[node.key]

    def entry_reads(self, path: str) -> Reads:
        """All that must be known to enter the step, and to decide what follows at once."""
        node = self.node(path)
        found: set[tuple[str, ...]] = set()
        self._read_on(found, node, *self._on_failure(node))
        return frozenset(found)

    def uses_previous_output(self, scope_path: str) -> bool:
        """Whether a step of the scope reads ``$.output`` of the step before it."""
        scope = self.scope(scope_path)
        if scope.key not in self._uses_previous:
            self._uses_previous[scope.key] = any(
                read[0] == "output"
                for node in scope.nodes.values()
                for read in self._reads_before_run(node)
            )
        return self._uses_previous[scope.key]

    def _reads_before_run(self, node: Node) -> Reads:
        found = node.input_reads
        if node.condition is not None:
            found |= node.condition.reads | _if_skipped(node)
        if node.affinity is not None:
            found |= node.affinity.reads
        if node.choice is not None:
            found |= node.choice.expression.reads
        if node.mapped is not None:
            found |= node.mapped.items.reads
        if node.wait is not None:
            found |= node.wait.reads
        if node.event is not None:
            found |= node.event.reads()
        return found

    def _read_on(self, found: set[tuple[str, ...]], *ahead: tuple[str, ...] | Node) -> None:
        """Add reads to ``found``, and what is read on entering the nodes among ``ahead``.

        It goes on behind steps that may be passed without a worker. A loop, not a recursion:
        hundreds of steps with a condition may follow one another.
        """
        todo = list(ahead)
        seen: set[str] = set()
        while todo:
            at = todo.pop()
            if not isinstance(at, Node):
                found.add(at)
            elif at.key not in seen:
                seen.add(at.key)
                todo += self._on_entry(at)

    def _on_entry(self, node: Node) -> Iterator[tuple[str, ...] | Node]:
        """What entering a step reads, and the nodes to which it may lead at once."""
        for expression in (node.condition, node.choice.expression if node.choice else None):
            if expression is not None:
                yield from expression.reads
                yield from self._after(node)
        yield from _if_skipped(node)
        if node.wait is not None:
            yield from node.wait.reads
        if node.event is not None:
            yield from node.event.reads()
        if node.loop is not None:
            yield from node.loop.reads()
            yield from self._after(node)
        if node.mapped is not None:
            yield from node.mapped.items.reads
            yield from self._after(node)  # an empty list is done at once; items are entered later
        else:
            for branch in node.branches:
                yield self.scopes[branch].entry
        if node.external or node.is_approval or node.routes:
            yield from node.input_reads
        if not node.plain:
            yield from self._on_failure(node)

    def _after(self, node: Node) -> Iterator[tuple[str, ...] | Node]:
        for _, value in node.output:
            yield from (read for read in value.reads if read[0] != "output")
        if isinstance(node.next, Choice):
            yield from node.next.expression.reads
        for target in node.targets():
            yield self.scopes[node.scope].nodes[target]
        if node.scope == ROOT and node.next is None and self.result is not None:
            yield from self.result.reads
        yield from self._at_item_end(node)

    def _at_item_end(self, node: Node) -> Iterator[tuple[str, ...]]:
        item_of = self.scopes[node.scope].item_of
        if item_of is not None:
            yield from item_of.end_reads()

    def _on_failure(self, node: Node) -> Iterator[tuple[str, ...] | Node]:
        for action in node.on_error:
            yield self.scopes[node.scope].nodes[action.next]
        yield from self._at_item_end(node)
        if node.scope == ROOT and self.definition.error_handlers:
            root = self.scopes[ROOT].nodes
            for index, handler in enumerate(self.definition.error_handlers):
                yield root.get(handler.handler) or self.scopes[handler_scope(index)].entry
            yield from (("input",), ("cause",))
        for _, when in self._paths.values():
            if when is not None:
                yield from when.reads


def _if_skipped(node: Node) -> Reads:
    """A skipped step hands on the output before it: to the end of its scope, or to its `next`."""
    handed_on = node.condition is not None and not isinstance(node.next, str)
    return frozenset({("output",)}) if handed_on else frozenset()
