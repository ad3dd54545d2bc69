"""An expression: its source, parsed by ``grammar.lark``, and what is said where it breaks."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final, NoReturn

from lark import Lark, UnexpectedInput, UnexpectedToken

from orch.workflows.expressions.builder import Builder
from orch.workflows.expressions.failures import Broken, CannotApply
from orch.workflows.expressions.nodes import Context, Reads, Run

MAX_LENGTH: Final = 10_000  # characters of one expression
CACHED: Final = 4096  # parsed texts that are kept

# Terminals of the grammar, in words; the first of a kind stands for all of that kind.
_WORDS: Final = {
    "ROOT": "a value",
    "FACTOR": "an operator",
    "NAME": "a key",
    "_COLON": "':'",
    "_COMMA": "','",
    "_CLOSE": "')'",
    "_CLOSE_INDEX": "']'",
    "_CLOSE_OBJECT": "'}'",
    "$END": "the end",
}

_HINTS: Final = {
    "=": "compare with ==",
    "<": "comparisons do not chain; write $.a < $.b && $.b < $.c",
    ">": "comparisons do not chain; write $.a > $.b && $.b > $.c",
    "(": "there are no functions; the length of a list or text is $.input.list.length",
    "?": "there is no conditional operator; give a default with ||, or use a decision step",
    "$": "a path is $. and a name, as in $.input.name",
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    ``reads`` are the static paths that it may read, such as ``("variables", "plan", "x")``; a
    number as index, a dynamic index and ``length`` cut a path off, as all before it is read.
    """

    text: str
    reads: Reads
    _run: Run = field(repr=False, compare=False)

    def evaluate(self, context: Context) -> Any:
        """The value in ``context``, a mapping of root names to JSON; it is never changed.

        Raises EvaluationError where an operator does not fit the types that it meets.
        """
        try:
            return self._run(context)
        except CannotApply as exc:
            raise exc.to_error(self.text) from None


@lru_cache(CACHED)
def parse_expression(text: str) -> Expression:
    """Parse a text that is an expression as a whole.

    Raises ExpressionError with the 1-based column of what is wrong.
    """
    try:
        return compile_source(text)
    except Broken as broken:
        raise broken.within(text) from None


def compile_source(source: str) -> Expression:
    if len(source) > MAX_LENGTH:
        reason = f"it is {len(source):,} characters long, and {MAX_LENGTH:,} are the limit"
        raise Broken(MAX_LENGTH, reason)
    try:
        node: Any = grammar().parse(source)
    except UnexpectedInput as exc:
        _explain(source, exc)
    return Expression(source, node.reads, node.run)


@cache
def grammar() -> Lark:
    source = files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    # The builder runs within the parse: no tree is made, and nothing recurses over one.
    return Lark(source, parser="lalr", transformer=Builder(), maybe_placeholders=False)


def _explain(source: str, exc: UnexpectedInput) -> NoReturn:
    """Say what was expected in place of what was found."""
    at_end = isinstance(exc, UnexpectedToken) and exc.token.type == "$END"
    position = len(source) if at_end else exc.pos_in_stream or 0
    expected = _expected(source)
    found = re.compile(r"\w+|\S").match(source, position)
    word = found[0] if found else ""
    if word in ('"', "'") and "a value" in expected:
        reason = f"the text that begins with {word} is not closed, or holds an unknown escape"
        raise Broken(position, reason) from None
    hint = _HINTS.get(word, "")
    if word.isidentifier():
        hint = "text stands in quotes, and a path begins with $. as in $.input.name"
    what = f"`{word}`" if word else "the end"
    raise Broken(position, f"expected {' or '.join(expected)}, found {what}", hint) from None


def _expected(source: str) -> list[str]:
    """What the grammar would take where ``source`` breaks.

    The exception's own list merges the states of the parser, and would offer a `)` where none
    is open; so the source is parsed again up to where it breaks, and the parser is asked.
    """
    parser = grammar().parse_interactive(source)
    with suppress(UnexpectedInput):
        parser.exhaust_lexer()
    accepted: set[str] = parser.accepts()  # type: ignore[no-untyped-call]  # lark's lacks types
    return [word for terminal, word in _WORDS.items() if terminal in accepted]
