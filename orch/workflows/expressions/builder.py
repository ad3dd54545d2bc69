"""From tokens to nodes: one method for each rule of the grammar."""

from __future__ import annotations

import json
import re
from typing import Any

from lark import Token, Transformer, v_args

from orch.workflows.expressions.conversion import truthy
from orch.workflows.expressions.failures import Broken
from orch.workflows.expressions.nodes import (
    Node,
    above,
    constant,
    run_chain,
    run_choice,
    run_minus,
    run_path,
    run_steps,
    static_names,
)
from orch.workflows.expressions.operators import MAX_BITS, NUMBERS, OPERATORS, bounded


def _number(token: Token) -> Any:
    whole = token.isdigit()
    # An integer within MAX_BITS has at most 309 digits; int() itself gives up at 4,300.
    try:
        if whole and len(token) > MAX_BITS:
            raise OverflowError
        return bounded(int(token) if whole else float(token))
    except OverflowError:
        raise Broken(token.start_pos or 0, "this number is too large") from None


def _string(token: Token) -> str:
    inner = token[1:-1]
    if token[0] == "'":
        # JSON knows only double quotes: escape those inside, and set the single ones free.
        inner = re.sub(r"\\.|\"", lambda m: {"\\'": "'", '"': '\\"'}.get(m[0], m[0]), inner)
    else:
        inner = re.sub(r"\\.", lambda m: "'" if m[0] == "\\'" else m[0], inner)
    text: str = json.loads(f'"{inner}"', strict=False)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Broken(token.start_pos or 0, "this text holds half of a surrogate pair")
    return text


@v_args(inline=True)
class Builder(Transformer[Token, Node]):
    """One method for each rule of the grammar; runs while the source is parsed."""

    def number(self, token: Token) -> Node:
        return constant(_number(token), token.start_pos or 0)

    def string(self, token: Token) -> Node:
        return constant(_string(token), token.start_pos or 0)

    def keyword(self, token: Token) -> Node:
        return constant(json.loads(token), token.start_pos or 0)

    def field(self, token: Token) -> Node:
        return constant(token[1:], token.start_pos or 0)

    def index(self, node: Node) -> Node:
        return node

    def path(self, root: Token, *steps: Node) -> Node:
        name = str(root[2:])
        reads = frozenset({(name, *static_names(steps))})
        if all(isinstance(step.constant, (str, int)) for step in steps):
            run = run_path(name, tuple(step.constant for step in steps))
        else:
            run = run_steps(run_path(name, ()), steps)
        return above(run, root.start_pos or 0, *steps, reads=reads)

    def member(self, base: Node, *steps: Node) -> Node:
        return above(run_steps(base.run, steps), base.start, base, *steps)

    def group(self, bracket: Token, node: Node) -> Node:
        return above(node.run, bracket.start_pos or 0, node)

    def list(self, bracket: Token, *items: Node | None) -> Node:
        nodes = [item for item in items if item]
        runs = tuple(node.run for node in nodes)
        start = bracket.start_pos or 0
        return above(lambda context: [run(context) for run in runs], start, *nodes)

    def pair(self, name: Token, node: Node) -> tuple[str, Node]:
        return (_string(name) if name.type == "STRING" else str(name)), node

    def object(self, bracket: Token, *pairs: tuple[str, Node] | None) -> Node:
        named = [pair for pair in pairs if pair]
        runs = tuple((name, node.run) for name, node in named)
        return above(
            lambda context: {name: run(context) for name, run in runs},
            bracket.start_pos or 0,
            *[node for _, node in named],
        )

    def minus(self, symbol: Token, node: Node) -> Node:
        if node.constant.__class__ in NUMBERS:
            return constant(-node.constant, symbol.start_pos or 0)
        return above(run_minus(node.run), symbol.start_pos or 0, node)

    def negation(self, symbol: Token, node: Node) -> Node:
        operand = node.run
        return above(lambda context: not truthy(operand(context)), symbol.start_pos or 0, node)

    def chain(self, first: Node, *rest: Any) -> Node:
        operands = rest[1::2]
        applies = [OPERATORS[symbol] for symbol in rest[0::2]]
        runs = tuple(zip(applies, [node.run for node in operands], strict=True))
        return above(run_chain(first.run, runs), first.start, first, *operands)

    # Named as in the grammar: a rule with an alias would not be left out where it has one child.
    equality = relation = sum = product = chain

    def all_of(self, *operands: Node) -> Node:
        return above(run_choice(operands, wanted=False), operands[0].start, *operands)

    def any_of(self, *operands: Node) -> Node:
        return above(run_choice(operands, wanted=True), operands[0].start, *operands)
