"""Who is asked when a step fails: the ladders of a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from orch.workflows.compensating import compensated_path, in_compensation
from orch.workflows.definition import RetryPolicy, WorkflowDefinition
from orch.workflows.expressions import Expression, parse_expression, truthy
from orch.workflows.failing import class_in, is_meant
from orch.workflows.ladder import (
    AUTO,
    BUILTIN_PATHS,
    EscalationPath,
    Escalations,
    FallbackRung,
    Ladder,
    Rung,
    people_of,
)
from orch.workflows.making import make_work
from orch.workflows.node import Node, other_capability
from orch.workflows.paths import in_handler
from orch.workflows.resolving import CONFLICT
from orch.workflows.rules import MessageRules
from orch.workflows.rungs import in_rung, rung_of, subject_of
from orch.workflows.shape import Shape

OWN_FALLBACK = "_fallback"
"""The ladder of one rung that a step with `fallback: {capability}` has before its own."""


class Asking(Shape):
    """A shape, and who is asked about its steps. ``escalations``: those of the settings."""

    def __init__(
        self,
        definition: WorkflowDefinition,
        handlers: Mapping[str, WorkflowDefinition],
        retry: RetryPolicy | None,
        escalations: Escalations,
        messages: MessageRules,
    ) -> None:
        self.escalations = escalations
        self._works: dict[str, Node] = {}
        self._paths: dict[str, tuple[EscalationPath, Expression | None]] = {}
        named = (*escalations.paths.items(), *definition.escalation_paths.items())
        for name, found in named:
            self._paths[name] = found, parse_expression(found.when) if found.when else None
        super().__init__(definition, handlers, retry, messages)

    def ladder(self, path: str, name: str) -> tuple[Rung, ...]:
        """The rungs of a named path; of the step's own ladder where ``name`` is empty.

        Of a compensation: the people whom that of its step asks. Raises KeyError where there is no
        such path.
        """
        other = self.node(path).step.fallback if name == OWN_FALLBACK else None
        if other is not None and other.capability is not None:
            found = {"capability": other.capability, "queue": other.queue, "input": other.input}
            return (Rung(fallback=FallbackRung(**found)),)
        if in_compensation(path):
            return people_of(self.ladder(compensated_path(path), name))
        if name:
            return tuple(self.escalation_paths()[name].ladder)
        own = self.node(path).step.escalation
        if own is None:
            own = self.definition.escalation
        if own is None:
            own = self.escalations.ladder
        return tuple(own) if isinstance(own, list) else ()

    def rung(self, path: str, name: str, number: int) -> Rung | None:
        """The rung of that number, from 1, of what `ladder` finds; None: there is none."""
        try:
            return self.ladder(path, name)[number - 1] if number else None
        except (KeyError, IndexError):
            return None

    def escalation_paths(self) -> dict[str, EscalationPath]:
        """All named paths: those of the workflow, of the settings, and the built-in ones."""
        return BUILTIN_PATHS | {name: path for name, (path, _) in self._paths.items()}

    def ladder_for(
        self, path: str, error: Mapping[str, Any], context: Mapping[str, Any], asked: str = ""
    ) -> tuple[str, tuple[Rung, ...]] | None:
        """Who is asked about an error of the step at ``path``: the name of the path, and its rungs.

        ``asked``: the path that the error itself names. None: nobody is. The nearest word counts:
        the error's, the step's, that of an `errorHandlers` entry, the rules of the paths, the
        workflow's, that of the settings.
        """
        node = self.node(compensated_path(path))
        if asked and (asked == OWN_FALLBACK or asked in self.escalation_paths()):
            return asked, self.ladder(path, asked)
        if node.step.escalation is not None:
            return self._ladder_of(path, node.step.escalation, error, context)
        handled = self.handler_for(str(error.get("name")), class_in(error))
        handled = None if in_compensation(path) else handled
        asked_within = node.is_composite and not self._is_own(node, error)
        if asked_within or handled or in_handler(path):
            return None
        chosen = self._chosen(self._paths, error, context)
        if chosen is not None:
            return chosen, self.ladder(path, chosen)
        for ladder in (self.definition.escalation, self.escalations.ladder):
            if ladder is not None:
                return self._ladder_of(path, ladder, error, context)
        return None

    @staticmethod
    def _is_own(node: Node, error: Mapping[str, Any]) -> bool:
        """Whether nobody was asked yet about an error of a step that only holds others: its
        branches contradict one another, or they are voters, who ask nobody."""
        if node.policy is None or node.policy.resolver is None:
            return False
        return error.get("name") == CONFLICT or node.step.vote is not None

    def may_escalate(self, path: str) -> bool:
        """Whether anybody may be asked about the step at ``path``, or is by its nature."""
        node = self.node(compensated_path(subject_of(path)))
        if in_rung(path) or node.is_approval or node.step.escalation or other_capability(node):
            return True
        resolves = node.policy is not None and node.policy.resolver is not None
        if node.step.escalation is not None or (node.is_composite and not resolves):
            return False
        return self.asks_somebody

    @cached_property
    def asks_somebody(self) -> bool:
        """Whether the workflow, or the settings, have a ladder for steps without one."""
        asks = self.definition.escalation or self.escalations.ladder
        return bool(asks or any(found.chooses for found, _ in self._paths.values()))

    def _ladder_of(
        self, path: str, ladder: Ladder, error: Mapping[str, Any], context: Mapping[str, Any]
    ) -> tuple[str, tuple[Rung, ...]] | None:
        if not isinstance(ladder, str):
            return ("", tuple(ladder)) if ladder else None
        known = {name: (found, None) for name, found in BUILTIN_PATHS.items()} | self._paths
        name = ladder if ladder != AUTO else self._chosen(known, error, context)
        return (name, self.ladder(path, name)) if name in known else None

    def _chosen(
        self,
        paths: Mapping[str, tuple[EscalationPath, Expression | None]],
        error: Mapping[str, Any],
        context: Mapping[str, Any],
    ) -> str | None:
        """The first path whose rule takes the error: those of the workflow before the others."""
        own = self.definition.escalation_paths
        for name in sorted(paths, key=lambda name: name not in own):
            path, when = paths[name]
            if not path.chooses:
                continue
            kind = class_in(error)
            named = is_meant(path.errors, str(error.get("name")), kind)
            if (path.errors or path.classes) and not (named or kind in path.classes):
                continue
            if when is None or truthy(when.evaluate(context)):
                return name
        return None

    @cached_property
    def reassigns(self) -> bool:
        """Whether a rung may give a step to another agent."""
        return any(rung.reassign is not None for rung in self.rungs())

    def rungs(self) -> Iterator[Rung]:
        """All rungs of the definition and the settings."""
        ladders = [self.definition.escalation, self.escalations.ladder]
        ladders += [node.step.escalation for node in self.nodes()]
        ladders += [path.ladder for path, _ in self._paths.values()]
        for ladder in ladders:
            if isinstance(ladder, list):
                yield from ladder
        for node in self.nodes():
            if other_capability(node):
                yield from self.ladder(node.key, OWN_FALLBACK)

    def work(self, key: str, step: Node | None = None) -> Node:
        """What is done in a rung for a step: made when it is first asked for."""
        found = self._works.get(key) if step is None else None
        if found is None:
            path = subject_of(key)
            node, name = step or self.node(path), rung_of(key)
            rungs = () if name.capability else self.ladder(path, name.ladder)
            if not name.capability and not 0 < name.number <= len(rungs):
                raise KeyError(key)
            rung = rungs[name.number - 1] if rungs else None
            found = make_work(node, key, rung, name)
            if found.capability != node.capability:
                found = self._ruled(found)  # by the rules for messages to that one
            if not name.agent and step is None:
                self._works[key] = found
        return found
