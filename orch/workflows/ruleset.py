"""The rules for the messages of one step, compiled, and which capabilities they may choose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orch.workflows.expressions import Compiled, Expression, compile_value, parse_expression
from orch.workflows.policies import Reads
from orch.workflows.rules import Enrichment, MemorySource, MessageRule, MessageRules

MESSAGE, MEMORY = "message", "memory"
"""What expressions of rules read beside all others: `$.message`, and `$.memory`."""

VALUE = "value"
"""Where the mapping of a field holds its value, so that it is compiled as a mapping is."""


@dataclass(frozen=True)
class FieldSource:
    """Where a field comes from: what ``value`` holds under `value`, or the memory."""

    asked: Enrichment
    value: Compiled | None
    sought: Compiled | None

    @classmethod
    def of(cls, asked: Enrichment) -> FieldSource:
        if asked.memory is not None:
            return cls(asked, None, compile_value(_sought(asked.memory)))
        return cls(asked, compile_value({VALUE: asked.value}), None)

    @property
    def compiled(self) -> Compiled:
        found = self.value if self.sought is None else self.sought
        assert found is not None
        return found


def _sought(memory: MemorySource) -> dict[str, Any]:
    asked = memory.model_dump(include={"text", "tags", "agent"}, exclude_defaults=True)
    return {**asked, "area": memory.area, "limit": memory.limit}


@dataclass(frozen=True)
class Rule:
    """``name``: how the history calls it; of one of the settings `CAPABILITY.NAME`."""

    name: str
    asked: MessageRule
    when: Expression | None
    enrich: tuple[tuple[str, FieldSource], ...]
    transform: Compiled | None

    @classmethod
    def of(cls, asked: MessageRule, capability: str = "") -> Rule:
        return cls(
            f"{capability}.{asked.name}" if capability else asked.name,
            asked,
            parse_expression(asked.when) if asked.when else None,
            tuple((name, FieldSource.of(source)) for name, source in asked.enrich.items()),
            compile_value(asked.transform) if asked.transform is not None else None,
        )

    @property
    def routes(self) -> bool:
        return self.asked.route is not None

    @cached_property
    def reads_memory(self) -> bool:
        """Whether the memory decides what it does: then it is passed over where one routes."""
        sought = any(source.sought is not None for _, source in self.enrich)
        return sought or any(read[0] == MEMORY for read in self._all_reads)

    @cached_property
    def reads(self) -> Reads:
        """What it reads of the execution."""
        return frozenset(read for read in self._all_reads if read[0] not in (MESSAGE, MEMORY))

    @cached_property
    def _all_reads(self) -> Reads:
        found: Reads = self.when.reads if self.when is not None else frozenset()
        for _, source in self.enrich:
            found |= source.compiled.reads
        return found | self.transform.reads if self.transform is not None else found

    def is_for(self, capability: str) -> bool:
        return not self.asked.capabilities or capability in self.asked.capabilities


@dataclass(frozen=True)
class Rules:
    """Those that may take a message of one step: ``own``, of its workflow, and those of the
    capabilities that it may come to, as the settings have them."""

    own: tuple[Rule, ...]
    of: Mapping[str, tuple[Rule, ...]]

    @classmethod
    def of_step(
        cls, rules: Sequence[Rule], settings: Mapping[str, tuple[Rule, ...]], id: str, first: str
    ) -> Rules | None:
        """``first``: the capability that the step names. None: no rule is for it."""
        mine = tuple(r for r in rules if not r.asked.steps or id in r.asked.steps)
        reached = _reached(mine, settings, first)
        own = tuple(rule for rule in mine if any(rule.is_for(name) for name in reached))
        of = {name: settings[name] for name in reached if settings.get(name)}
        return cls(own, of) if own or of else None

    def every(self) -> Iterator[Rule]:
        yield from self.own
        for rules in self.of.values():
            yield from rules

    @cached_property
    def routes(self) -> bool:
        """Whether any of them may choose where the message goes."""
        return any(rule.routes for rule in self.every())

    @cached_property
    def reads(self) -> Reads:
        return frozenset().union(*(rule.reads for rule in self.every()))

    def targets(self) -> Iterator[tuple[str, str]]:
        """Capability and queue of each route that names a capability."""
        for rule in self.every():
            route = rule.asked.route
            if route is not None and route.capability is not None:
                yield route.capability, route.queue or route.capability


def _reached(
    rules: Iterable[Rule], settings: Mapping[str, tuple[Rule, ...]], first: str
) -> list[str]:
    """The capabilities to which a message may come that begins as one to ``first``."""
    found = [first]
    every = list(rules)
    for name in found:  # it grows
        asked = [r.asked.route for r in (*every, *settings.get(name, ())) if r.is_for(name)]
        found += dict.fromkeys(
            route.capability
            for route in asked
            if route is not None and route.capability is not None and route.capability not in found
        )
    return found


def compile_settings(given: MessageRules) -> dict[str, tuple[Rule, ...]]:
    return {name: tuple(Rule.of(rule, name) for rule in rules) for name, rules in given.items()}
