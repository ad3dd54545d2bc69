"""A string of a mapping: text, an expression, or text with interpolations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from orch.workflows.expressions.conversion import to_text
from orch.workflows.expressions.failures import Broken
from orch.workflows.expressions.nodes import MAX_NESTING, NOTHING, Context, Reads
from orch.workflows.expressions.parsing import (
    CACHED,
    MAX_LENGTH,
    Expression,
    compile_source,
    grammar,
)

# What may follow the first path of a text only if the text is meant as an expression. Operators
# of two characters always are; those of one only after a blank, since `$.input.dir/file.txt`,
# `$.input.name!` and `$.input.a&b` are text; brackets only where an index or a call would stand.
_GOES_ON: Final = re.compile(r"\s*(?:\|\||&&|[=!<>]=)|[ \t]+[|&+*/%=!<>?-]|[\[(]")

# Within `${...}`: a whole quoted text, or a brace. A lone quote or a backslash is broken.
_PIECE: Final = re.compile(
    r"\"(?:[^\"\\]|\\.){0,10000}\"|'(?:[^'\\]|\\.){0,10000}'|[{}\"']", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Value:
    """What an interpolation gave, told apart from the literal text around it."""

    value: Any


@dataclass(frozen=True, slots=True)
class Template:
    """A string of a mapping: literal text and interpolations in order."""

    text: str
    parts: tuple[str | Expression, ...]
    reads: Reads

    @property
    def is_literal(self) -> bool:
        """Whether there is only text."""
        return all(isinstance(part, str) for part in self.parts)

    @property
    def is_expression(self) -> bool:
        """Whether there is one expression and no text, so that evaluation keeps its type."""
        return len(self.parts) == 1 and isinstance(self.parts[0], Expression)

    def evaluate(self, context: Context) -> Any:
        """The typed value of a lone expression, else the text with its values interpolated."""
        if len(self.parts) == 1:
            part = self.parts[0]
            return part if isinstance(part, str) else part.evaluate(context)
        return "".join(
            [
                part if isinstance(part, str) else to_text(part.evaluate(context))
                for part in self.parts
            ]
        )

    def values(self, context: Context) -> tuple[str | Value, ...]:
        """The parts, each expression replaced by its Value: a shell quotes values, not text."""
        return tuple(
            part if isinstance(part, str) else Value(part.evaluate(context)) for part in self.parts
        )


@dataclass(frozen=True, slots=True)
class Filled(Template):
    """A template that has been evaluated: it gives the same parts in every context."""

    filled: tuple[str | Value, ...]

    @property
    def is_literal(self) -> bool:
        return False

    @property
    def is_expression(self) -> bool:
        return False

    def evaluate(self, context: Context) -> Any:
        return self.text

    def values(self, context: Context) -> tuple[str | Value, ...]:
        return self.filled


def parse_template(text: str) -> Template:
    """Parse a string of a mapping: an expression, or text with `${...}` and `$.paths`.

    Raises ExpressionError with the 1-based column, in the whole string, of what is wrong.
    """
    # A document that stands in a definition as text must not fill the cache.
    return _parse_template(text) if len(text) <= MAX_LENGTH else _read_template(text)


@lru_cache(CACHED)
def _parse_template(text: str) -> Template:
    return _read_template(text)


def _read_template(text: str) -> Template:
    if "$" not in text:
        return Template(text, (text,), NOTHING)
    whole = _whole_expression(text)
    parts = (whole,) if whole else _join(_split(text))
    reads = NOTHING.union(*[part.reads for part in parts if isinstance(part, Expression)])
    return Template(text, parts, reads)


def _whole_expression(text: str) -> Expression | None:
    """The expression that a text beginning with a path is, or None if it is text.

    A text that goes on like an expression is one: it is better to refuse a mistyped expression
    than to hand it to a command as text.
    """
    path = _bare_path().match(text, len(text) - len(text.lstrip()))
    if path is None:
        return None
    try:
        return compile_source(text)
    except Broken as broken:
        if _GOES_ON.match(text, path.end()) is None:
            return None
        hint = f"to write text and not an expression, put the path in braces: ${{{path[0]}}}"
        raise broken.within(text, hint=hint) from None


def _join(parts: Iterator[str | Expression]) -> tuple[str | Expression, ...]:
    """Neighbouring texts become one, and empty ones go."""
    joined: list[str | Expression] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return tuple(joined)


def _split(text: str) -> Iterator[str | Expression]:
    position = 0
    while mark := _mark().search(text, position):
        yield text[position : mark.start()]
        position = mark.end()
        if mark["escape"]:
            yield "$" + text[position]
            position += 1
        elif mark["braces"] is None:
            yield _part(text, mark.start(), mark.end())
        elif (end := _interpolation_end(text, position)) is None:
            yield "${"
        else:
            yield _part(text, position, end)
            position = end + 1
    yield text[position:]


def _part(text: str, start: int, end: int) -> Expression:
    try:
        return compile_source(text[start:end])
    except Broken as broken:
        hint = "to write ${ as text, double the dollar: $${"
        raise broken.within(text, offset=start, hint=hint) from None


def _interpolation_end(text: str, start: int) -> int | None:
    """Where the `}` of an interpolation stands; None if the `${` belongs to another language.

    Without a path in it, `${HOME}` is the shell's. Its quotes need not be ours: where ours do
    not end, it counts up to the next brace.
    """
    end = _closing_brace(text, start)
    if end is not None:
        return end if "$." in text[start:end] else None
    if "$." not in text[start : start + MAX_LENGTH].partition("}")[0]:
        return None
    hint = "to write ${ as text, double the dollar: $${"
    raise Broken(start - 2, "this ${ is not closed by a }", hint).within(text)


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for piece in _PIECE.finditer(text, start, start + MAX_LENGTH + 1):
        if piece[0] in ("'", '"'):
            return None
        if piece[0] in ("{", "}"):
            depth += 1 if piece[0] == "{" else -1
        if depth == 0:
            return piece.start()
        if depth > MAX_NESTING:  # also keeps a text of many `${` from being read over and over
            return None
    return None


@cache
def _bare_path() -> re.Pattern[str]:
    """A path that stands in text as it is; its parts are the grammar's own terminals."""
    root, name, string = [
        grammar().get_terminal(terminal).pattern.to_regexp()
        for terminal in ("ROOT", "FIELD", "STRING")
    ]
    index = rf"\[\s*(?:-?[0-9]+|{string}|{root}(?:{name})*)\s*\]"
    return re.compile(rf"{root}(?:{name}|{index})*")


@cache
def _mark() -> re.Pattern[str]:
    """Where text stops: an escape, the begin of an interpolation, or a bare path."""
    escape, braces = r"\$\$(?=[.{])", r"\$\{"
    return re.compile(rf"(?P<escape>{escape})|(?P<braces>{braces})|{_bare_path().pattern}")
