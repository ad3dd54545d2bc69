"""What the parser builds: nodes, each with a closure that evaluates it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orch.workflows.expressions.conversion import truthy
from orch.workflows.expressions.failures import Broken, CannotApply
from orch.workflows.expressions.operators import NUMBERS, access

Context = Mapping[str, Any]
Run = Callable[[Context], Any]
Reads = frozenset[tuple[str, ...]]

MAX_NESTING: Final = 100  # operations, brackets or containers within one another

NOTHING: Final[Reads] = frozenset()
VARIES: Final = object()


@dataclass(frozen=True, slots=True)
class Node:
    run: Run
    start: int = 0  # where it stands in the source
    reads: Reads = NOTHING
    height: int = 0  # how deeply its evaluation nests
    constant: Any = VARIES


def constant(value: Any, start: int = 0) -> Node:
    return Node(lambda _context: value, start, constant=value)


def above(run: Run, start: int, *below: Node, reads: Reads = NOTHING) -> Node:
    """The node of an operation on ``below``."""
    height = 1 + max((node.height for node in below), default=0)
    if height > MAX_NESTING:
        raise Broken(start, f"what begins here nests more than {MAX_NESTING} levels deep")
    return Node(run, start, reads.union(*[node.reads for node in below]), height)


def run_path(root: str, keys: tuple[Any, ...]) -> Run:
    def run(context: Context) -> Any:
        value = context.get(root)
        for key in keys:
            # Most of what runs in a step is this loop over dicts; the rest is access's.
            value = value[key] if value.__class__ is dict and key in value else access(value, key)
        return value

    return run


def run_steps(base: Run, steps: tuple[Node, ...]) -> Run:
    def run(context: Context) -> Any:
        value = base(context)
        for step in steps:
            value = access(value, step.run(context))
        return value

    return run


def static_names(steps: tuple[Node, ...]) -> Iterator[str]:
    """The names that a path surely goes through.

    ``length`` may mean the value before it, all of which is read then.
    """
    for step in steps:
        if not isinstance(step.constant, str) or step.constant == "length":
            return
        yield step.constant


def run_chain(first: Run, rest: tuple[tuple[Callable[[Any, Any], Any], Run], ...]) -> Run:
    def run(context: Context) -> Any:
        value = first(context)
        for apply, operand in rest:
            value = apply(value, operand(context))
        return value

    return run


def run_choice(operands: tuple[Node, ...], wanted: bool) -> Run:
    """The first operand that is ``wanted`` as truth, else the last: `||` and `&&`."""
    *firsts, last = [operand.run for operand in operands]

    def run(context: Context) -> Any:
        for operand in firsts:
            value = operand(context)
            if truthy(value) is wanted:
                return value
        return last(context)

    return run


def run_minus(operand: Run) -> Run:
    def run(context: Context) -> Any:
        value = operand(context)
        if value.__class__ not in NUMBERS:
            raise CannotApply("-", value)
        return -value

    return run
