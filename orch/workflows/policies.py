"""How composite and waiting steps go on: what a definition says of them, compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orch.workflows.definition import (
    AtLeast,
    Branches,
    EventDefinition,
    LoopExecution,
    MapExecution,
    ParallelExecution,
    Poll,
    Tolerance,
    WaitCondition,
)
from orch.workflows.expressions import Compiled, Expression, compile_value, parse_expression
from orch.workflows.resolving import Resolver

LANES = 16
"""Items of a map at the same time, where its `maxConcurrency` does not say."""

DAY = 24 * 3600 * 1000

Reads = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Choice:
    """A compiled `decision`, or a `next` that depends on an expression."""

    expression: Expression
    branches: Mapping[str, str]
    default: str | None

    @classmethod
    def of(cls, branches: Branches) -> Choice:
        return cls(parse_expression(branches.expression), branches.branches, branches.default)

    def targets(self) -> Iterator[str]:
        yield from self.branches.values()
        if self.default is not None:
            yield self.default


@dataclass(frozen=True)
class JoinPolicy:
    """When a parallel step, or a map, is decided.

    ``need``: branches that must succeed, then the others are cancelled; 0: all must end.
    ``tolerated``: branches that may fail; -1: any number. ``plain``: the default, in which the
    first failure is the failure of the step. ``lanes``: branches at the same time, if not all.
    ``resolver``: which output counts; of a vote, ``need`` branches must say the same.
    """

    need: int
    tolerated: int
    plain: bool
    lanes: int = 0
    resolver: Resolver | None = None

    @classmethod
    def of(cls, parallel: ParallelExecution) -> JoinPolicy:
        total = len(parallel.branches)
        match parallel.join:
            case "all":
                need = 0
            case "any":
                need = 1
            case "quorum":
                need = total // 2 + 1
            case AtLeast(at_least=count):
                need = count
        tolerate = parallel.tolerate
        resolver = Resolver.of(parallel)
        decides = resolver is not None and resolver.decides
        if resolver is not None and decides:
            need = resolver.need
        tolerated = tolerated_of(tolerate, total, -1 if need or decides else 0)
        most = parallel.max_concurrency or total
        lanes = most if most < total else 0
        plain = not need and not decides and tolerate is None
        return cls(need, tolerated, plain=plain, lanes=lanes, resolver=resolver)

    def ballot(self, output: Any) -> str:
        """For what a branch with this output is counted; '': for nothing."""
        return self.resolver.ballot(output) if self.resolver is not None else ""

    @property
    def ballots(self) -> dict[str, int] | None:
        """Those of a step that begins, where they are counted."""
        return {} if self.resolver is not None and self.resolver.tallies else None

    @classmethod
    def of_items(cls, tolerate: Tolerance | None, total: int) -> JoinPolicy:
        """Of a map over ``total`` items, which are known only at run time."""
        return cls(0, tolerated_of(tolerate, total, 0), plain=tolerate is None)


def tolerated_of(tolerate: Tolerance | None, total: int, otherwise: int) -> int:
    """How many of ``total`` may fail."""
    if tolerate is not None and tolerate.count is not None:
        return tolerate.count
    if tolerate is not None and tolerate.percentage is not None:
        return int(total * tolerate.percentage / 100)
    return otherwise


@dataclass(frozen=True)
class MapPolicy:
    """What is done for each item of a map.

    ``lanes``: items at the same time. ``batch``: items from one message at the most, 0: as many
    as a time slice allows.
    """

    items: Compiled
    as_: str
    lanes: int
    collect: Expression | None
    name: Compiled | None
    tolerate: Tolerance | None
    batch: int

    @classmethod
    def of(cls, mapped: MapExecution) -> MapPolicy:
        return cls(
            compile_value(mapped.items),
            mapped.as_,
            mapped.max_concurrency or LANES,
            parse_expression(mapped.collect) if mapped.collect else None,
            compile_value(mapped.name) if mapped.name else None,
            mapped.tolerate,
            0 if mapped.batch == "auto" else mapped.batch,
        )

    def end_reads(self) -> Iterator[tuple[str, ...]]:
        """What is read when an item ends, well or not."""
        if self.collect is not None:
            yield from (read for read in self.collect.reads if read[0] != "output")
        if self.name is not None:
            yield from self.name.reads


@dataclass(frozen=True)
class PollPolicy:
    """How often a capability is asked: `until` is looked at after each check."""

    until: Expression
    asked: Poll

    @classmethod
    def of(cls, wait: WaitCondition) -> PollPolicy | None:
        if wait.poll is None or wait.until is None:
            return None
        return cls(parse_expression(wait.until), wait.poll)

    def pause(self, checks: int) -> int:
        """Ms before the next check, when so many have been made; at most a day, or the limit."""
        asked = self.asked
        limit = asked.max_interval or max(DAY, asked.interval)
        try:
            return int(min(float(limit), asked.interval * asked.backoff_rate ** (checks - 1)))
        except OverflowError:
            return limit


@dataclass(frozen=True)
class EventPolicy:
    """What a step listens for, or emits."""

    asked: EventDefinition
    match: Compiled | None
    correlation: Compiled | None
    payload: Compiled

    @classmethod
    def of(cls, event: EventDefinition) -> EventPolicy:
        return cls(
            event,
            compile_value(event.match) if event.match is not None else None,
            compile_value(event.correlation) if event.correlation is not None else None,
            compile_value(event.payload),
        )

    @property
    def emits(self) -> bool:
        return self.asked.action == "emit"

    def reads(self) -> Reads:
        found = self.payload.reads
        for each in (self.match, self.correlation):
            found |= each.reads if each is not None else frozenset()
        return found


@dataclass(frozen=True)
class LoopPolicy:
    """`while` is asked before each iteration, `until` after it."""

    while_: Expression | None
    until: Expression | None
    most: int

    @classmethod
    def of(cls, loop: LoopExecution) -> LoopPolicy:
        return cls(
            parse_expression(loop.while_) if loop.while_ else None,
            parse_expression(loop.until) if loop.until else None,
            loop.max_iterations,
        )

    def reads(self) -> Iterator[tuple[str, ...]]:
        for expression in (self.while_, self.until):
            if expression is not None:
                yield from expression.reads
