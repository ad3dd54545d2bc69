"""The expressions of workflow definitions: `$.variables.projectPath || $.input.projectPath`.

Three entries: ``parse_expression`` for a text that is an expression as a whole (decisions,
conditions), ``parse_template`` for a string of a mapping, which may be text, an expression or
text with interpolations, and ``compile_value`` for a whole mapping. Each answers a frozen object
that is compiled once and evaluated many times; ``docs/expressions.md`` is the reference.

    parse_expression("$.variables.issues.length > 0").evaluate({"variables": {"issues": []}})
    compile_value({"message": "Feature: ${$.input.feature}"}).evaluate({"input": {"feature": "x"}})

A parse turns the source into nested closures, one for each operation, so that an evaluation
walks no tree and looks nothing up but the data. Chains of one precedence are one closure with a
loop, and nesting is limited: no expression can exhaust the stack.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, NoReturn

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken, v_args

from orch.errors import ExpressionError, StepError

Context = Mapping[str, Any]
Run = Callable[[Context], Any]
Reads = frozenset[tuple[str, ...]]

MAX_LENGTH: Final = 10_000  # characters of one expression
MAX_NESTING: Final = 100  # operations, brackets or containers within one another
MAX_BITS: Final = 1024  # of an integer: the range of a double, so that int and float always mix
CACHED: Final = 4096  # parsed texts that are kept

_NOTHING: Final[Reads] = frozenset()
_VARIES: Final = object()
_NUMBERS: Final = (int, float)  # compared by exact class: a bool is not a number


# -- what users of the module hold ------------------------------------------------------------


class EvaluationError(StepError):
    """An expression cannot be evaluated with the data that it found; handlers match its name."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("ExpressionError", message, hint=hint)


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
        except _CannotApply as exc:
            raise exc.to_error(self.text) from None


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
class Compiled:
    """A mapping, or any JSON value, whose strings are templates."""

    reads: Reads
    _run: Run = field(repr=False, compare=False)
    _templates: Mapping[str, Template] = field(repr=False, compare=False)

    def evaluate(self, context: Context) -> Any:
        """The value with its templates evaluated; its literal containers are new each time.

        What an expression gives is the context's own object, not a copy.
        """
        return self._run(context)

    def template_at(self, key: str) -> Template | None:
        """The template behind a string that stands directly at ``key``."""
        return self._templates.get(key)


@lru_cache(CACHED)
def parse_expression(text: str) -> Expression:
    """Parse a text that is an expression as a whole.

    Raises ExpressionError with the 1-based column of what is wrong.
    """
    try:
        return _compile(text)
    except _Broken as broken:
        raise broken.within(text) from None


def parse_template(text: str) -> Template:
    """Parse a string of a mapping: an expression, or text with `${...}` and `$.paths`.

    Raises ExpressionError with the 1-based column, in the whole string, of what is wrong.
    """
    # A document that stands in a definition as text must not fill the cache.
    return _parse_template(text) if len(text) <= MAX_LENGTH else _read_template(text)


def compile_value(value: Any) -> Compiled:
    """Compile a JSON value, its strings taken as templates and all else literally.

    Raises ExpressionError for a string that does not parse, or containers nested too deeply.
    """
    node = _compile_value(value, MAX_NESTING)
    strings = value.items() if isinstance(value, dict) else ()
    templates = {key: parse_template(item) for key, item in strings if isinstance(item, str)}
    return Compiled(node.reads, node.run, MappingProxyType(templates))


def truthy(value: Any) -> bool:
    """Whether a value counts as true; as in JavaScript, an empty list or object does."""
    return bool(value) or isinstance(value, (list, dict))


def to_text(value: Any) -> str:
    """A value as text: null is empty, strings are themselves, all else is compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# -- what goes wrong --------------------------------------------------------------------------


class _Broken(Exception):
    """A source that does not parse, at a 0-based position: the text around it is not known."""

    def __init__(self, position: int, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason
        self.hint = hint

    def within(self, text: str, offset: int = 0, hint: str = "") -> ExpressionError:
        position = self.position + offset
        return ExpressionError(
            f"expression breaks at column {position + 1}: {self.reason}\n{_caret(text, position)}",
            text=text,
            column=position + 1,
            hint="; ".join(filter(None, (self.hint, hint))),
        )


class _CannotApply(Exception):
    """An operator met operands that it does not take: the expression around it is not known."""

    def __init__(self, symbol: str, *operands: Any, why: str = "") -> None:
        super().__init__(symbol)
        self.symbol = symbol
        self.operands = operands
        self.why = why

    def to_error(self, text: str) -> EvaluationError:
        kinds = [_kind(operand) for operand in self.operands]
        shown = text if len(text) <= 200 else text[:199] + "…"
        why = f": {self.why}" if self.why else ""
        message = f"expression `{shown}` cannot apply `{self.symbol}` to {' and '.join(kinds)}{why}"
        return EvaluationError(message, hint=self._hint(kinds))

    def _hint(self, kinds: list[str]) -> str:
        if "null" in kinds:
            return "a path that leads nowhere is null; give a default, as in ($.input.count || 0)"
        if self.symbol in ("/", "-", "*", "%") and "string" in kinds:
            return "to write text and not arithmetic, put each path in braces: ${$.input.name}"
        return ""


def _kind(value: Any) -> str:
    kinds = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string"}
    return kinds.get(type(value)) or ("list" if isinstance(value, list) else "object")


def _caret(text: str, position: int) -> str:
    """The line of ``text`` that holds ``position``, cut to what fits, and a caret below it."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[start : len(text) if end < 0 else end]
    skipped = max(0, position - start - 60)
    before = "…" if skipped else ""
    shown = line[skipped : skipped + 90].replace("\t", " ")
    return f"  {before}{shown}\n  {' ' * (len(before) + position - start - skipped)}^"


# -- operators --------------------------------------------------------------------------------


def _are_numbers(left: Any, right: Any) -> bool:
    return left.__class__ in _NUMBERS and right.__class__ in _NUMBERS


def _bounded(value: Any) -> Any:
    """``value``, unless it has left what a JSON number may be: infinite, or of endless digits."""
    if value.__class__ is int:
        if value.bit_length() > MAX_BITS:
            raise OverflowError
    elif not math.isfinite(value):
        raise OverflowError
    return value


def _arithmetic(symbol: str, apply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def run(left: Any, right: Any) -> Any:
        if not _are_numbers(left, right):
            raise _CannotApply(symbol, left, right)
        try:
            return _bounded(apply(left, right))
        except ZeroDivisionError:
            raise _CannotApply(symbol, left, right, why="division by zero") from None
        except OverflowError:
            raise _CannotApply(symbol, left, right, why="the result is too large") from None

    return run


def _quotient(left: Any, right: Any) -> Any:
    exact = left.__class__ is int and right.__class__ is int and left % right == 0
    return left // right if exact else left / right


def _remainder(left: Any, right: Any) -> Any:
    """As in JavaScript, the remainder has the sign of the dividend."""
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


_sum = _arithmetic("+", operator.add)


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) or isinstance(right, str):
        return to_text(left) + to_text(right)
    if isinstance(left, list) and isinstance(right, list):
        return left + right
    return _sum(left, right)


def _equal(left: Any, right: Any) -> bool:
    """Equality of JSON: as Python's, but true is not 1, at any depth.

    A loop over pairs, because data may be nested more deeply than the stack allows.
    """
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pairs += [(one[key], other[key]) for key in one]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs += zip(one, other, strict=True)
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            return False
    return True


def _differs(left: Any, right: Any) -> bool:
    return not _equal(left, right)


def _comparison(symbol: str, apply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def run(left: Any, right: Any) -> Any:
        if _are_numbers(left, right) or (isinstance(left, str) and isinstance(right, str)):
            return apply(left, right)
        raise _CannotApply(symbol, left, right)

    return run


_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": _add,
    "-": _arithmetic("-", operator.sub),
    "*": _arithmetic("*", operator.mul),
    "/": _arithmetic("/", _quotient),
    "%": _arithmetic("%", _remainder),
    "==": _equal,
    "===": _equal,
    "!=": _differs,
    "!==": _differs,
    "<": _comparison("<", operator.lt),
    "<=": _comparison("<=", operator.le),
    ">": _comparison(">", operator.gt),
    ">=": _comparison(">=", operator.ge),
}


def _access(value: Any, key: Any) -> Any:
    """One step of a path. What is not there is null, of whatever type the value is."""
    if key.__class__ is float and key.is_integer():
        key = int(key)
    if isinstance(value, Mapping):
        # Keys of JSON are strings: `$.variables.by_id[$.item.id]` works with a number as id.
        name = str(key) if key.__class__ is int else key
        if isinstance(name, str) and name in value:
            return value[name]
    elif key.__class__ is int and isinstance(value, (list, str)):
        return value[key] if -len(value) <= key < len(value) else None
    if key == "length" and isinstance(value, (list, str, Mapping)):
        return len(value)
    return None


# -- nodes: what the parser builds ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Node:
    run: Run
    start: int = 0  # where it stands in the source
    reads: Reads = _NOTHING
    height: int = 0  # how deeply its evaluation nests
    constant: Any = _VARIES


def _constant(value: Any, start: int = 0) -> _Node:
    return _Node(lambda _context: value, start, constant=value)


def _above(run: Run, start: int, *below: _Node, reads: Reads = _NOTHING) -> _Node:
    """The node of an operation on ``below``."""
    height = 1 + max((node.height for node in below), default=0)
    if height > MAX_NESTING:
        raise _Broken(start, f"what begins here nests more than {MAX_NESTING} levels deep")
    return _Node(run, start, reads.union(*[node.reads for node in below]), height)


def _run_path(root: str, keys: tuple[Any, ...]) -> Run:
    def run(context: Context) -> Any:
        value = context.get(root)
        for key in keys:
            # Most of what runs in a step is this loop over dicts; the rest is _access's.
            value = value[key] if value.__class__ is dict and key in value else _access(value, key)
        return value

    return run


def _run_steps(base: Run, steps: tuple[_Node, ...]) -> Run:
    def run(context: Context) -> Any:
        value = base(context)
        for step in steps:
            value = _access(value, step.run(context))
        return value

    return run


def _static_names(steps: tuple[_Node, ...]) -> Iterator[str]:
    """The names that a path surely goes through.

    ``length`` may mean the value before it, all of which is read then.
    """
    for step in steps:
        if not isinstance(step.constant, str) or step.constant == "length":
            return
        yield step.constant


def _run_chain(first: Run, rest: tuple[tuple[Callable[[Any, Any], Any], Run], ...]) -> Run:
    def run(context: Context) -> Any:
        value = first(context)
        for apply, operand in rest:
            value = apply(value, operand(context))
        return value

    return run


def _run_choice(operands: tuple[_Node, ...], wanted: bool) -> Run:
    """The first operand that is ``wanted`` as truth, else the last: `||` and `&&`."""
    *firsts, last = [operand.run for operand in operands]

    def run(context: Context) -> Any:
        for operand in firsts:
            value = operand(context)
            if truthy(value) is wanted:
                return value
        return last(context)

    return run


def _run_minus(operand: Run) -> Run:
    def run(context: Context) -> Any:
        value = operand(context)
        if value.__class__ not in _NUMBERS:
            raise _CannotApply("-", value)
        return -value

    return run


def _number(token: Token) -> Any:
    whole = token.isdigit()
    # An integer within MAX_BITS has at most 309 digits; int() itself gives up at 4,300.
    try:
        if whole and len(token) > MAX_BITS:
            raise OverflowError
        return _bounded(int(token) if whole else float(token))
    except OverflowError:
        raise _Broken(token.start_pos or 0, "this number is too large") from None


def _string(token: Token) -> str:
    inner = token[1:-1]
    if token[0] == "'":
        # JSON knows only double quotes: escape those inside, and set the single ones free.
        inner = re.sub(r"\\.|\"", lambda m: {"\\'": "'", '"': '\\"'}.get(m[0], m[0]), inner)
    else:
        inner = re.sub(r"\\.", lambda m: "'" if m[0] == "\\'" else m[0], inner)
    text: str = json.loads(f'"{inner}"', strict=False)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _Broken(token.start_pos or 0, "this text holds half of a surrogate pair")
    return text


@v_args(inline=True)
class _Builder(Transformer[Token, _Node]):
    """One method for each rule of the grammar; runs while the source is parsed."""

    def number(self, token: Token) -> _Node:
        return _constant(_number(token), token.start_pos or 0)

    def string(self, token: Token) -> _Node:
        return _constant(_string(token), token.start_pos or 0)

    def keyword(self, token: Token) -> _Node:
        return _constant(json.loads(token), token.start_pos or 0)

    def field(self, token: Token) -> _Node:
        return _constant(token[1:], token.start_pos or 0)

    def index(self, node: _Node) -> _Node:
        return node

    def path(self, root: Token, *steps: _Node) -> _Node:
        name = str(root[2:])
        reads = frozenset({(name, *_static_names(steps))})
        if all(isinstance(step.constant, (str, int)) for step in steps):
            run = _run_path(name, tuple(step.constant for step in steps))
        else:
            run = _run_steps(_run_path(name, ()), steps)
        return _above(run, root.start_pos or 0, *steps, reads=reads)

    def member(self, base: _Node, *steps: _Node) -> _Node:
        return _above(_run_steps(base.run, steps), base.start, base, *steps)

    def group(self, bracket: Token, node: _Node) -> _Node:
        return _above(node.run, bracket.start_pos or 0, node)

    def list(self, bracket: Token, *items: _Node | None) -> _Node:
        nodes = [item for item in items if item]
        runs = tuple(node.run for node in nodes)
        start = bracket.start_pos or 0
        return _above(lambda context: [run(context) for run in runs], start, *nodes)

    def pair(self, name: Token, node: _Node) -> tuple[str, _Node]:
        return (_string(name) if name.type == "STRING" else str(name)), node

    def object(self, bracket: Token, *pairs: tuple[str, _Node] | None) -> _Node:
        named = [pair for pair in pairs if pair]
        runs = tuple((name, node.run) for name, node in named)
        return _above(
            lambda context: {name: run(context) for name, run in runs},
            bracket.start_pos or 0,
            *[node for _, node in named],
        )

    def minus(self, symbol: Token, node: _Node) -> _Node:
        if node.constant.__class__ in _NUMBERS:
            return _constant(-node.constant, symbol.start_pos or 0)
        return _above(_run_minus(node.run), symbol.start_pos or 0, node)

    def negation(self, symbol: Token, node: _Node) -> _Node:
        operand = node.run
        return _above(lambda context: not truthy(operand(context)), symbol.start_pos or 0, node)

    def chain(self, first: _Node, *rest: Any) -> _Node:
        operands = rest[1::2]
        applies = [_OPERATORS[symbol] for symbol in rest[0::2]]
        runs = tuple(zip(applies, [node.run for node in operands], strict=True))
        return _above(_run_chain(first.run, runs), first.start, first, *operands)

    # Named as in the grammar: a rule with an alias would not be left out where it has one child.
    equality = relation = sum = product = chain

    def all_of(self, *operands: _Node) -> _Node:
        return _above(_run_choice(operands, wanted=False), operands[0].start, *operands)

    def any_of(self, *operands: _Node) -> _Node:
        return _above(_run_choice(operands, wanted=True), operands[0].start, *operands)


# -- parsing an expression --------------------------------------------------------------------


@cache
def _grammar() -> Lark:
    source = files("orch.workflows").joinpath("expressions.lark").read_text(encoding="utf-8")
    # The builder runs within the parse: no tree is made, and nothing recurses over one.
    return Lark(source, parser="lalr", transformer=_Builder(), maybe_placeholders=False)


def _compile(source: str) -> Expression:
    if len(source) > MAX_LENGTH:
        reason = f"it is {len(source):,} characters long, and {MAX_LENGTH:,} are the limit"
        raise _Broken(MAX_LENGTH, reason)
    try:
        node: Any = _grammar().parse(source)
    except UnexpectedInput as exc:
        _explain(source, exc)
    return Expression(source, node.reads, node.run)


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


def _explain(source: str, exc: UnexpectedInput) -> NoReturn:
    """Say what was expected in place of what was found."""
    at_end = isinstance(exc, UnexpectedToken) and exc.token.type == "$END"
    position = len(source) if at_end else exc.pos_in_stream or 0
    expected = _expected(source)
    found = re.compile(r"\w+|\S").match(source, position)
    word = found[0] if found else ""
    if word in ('"', "'") and "a value" in expected:
        reason = f"the text that begins with {word} is not closed, or holds an unknown escape"
        raise _Broken(position, reason) from None
    hint = _HINTS.get(word, "")
    if word.isidentifier():
        hint = "text stands in quotes, and a path begins with $. as in $.input.name"
    what = f"`{word}`" if word else "the end"
    raise _Broken(position, f"expected {' or '.join(expected)}, found {what}", hint) from None


def _expected(source: str) -> list[str]:
    """What the grammar would take where ``source`` breaks.

    The exception's own list merges the states of the parser, and would offer a `)` where none
    is open; so the source is parsed again up to where it breaks, and the parser is asked.
    """
    parser = _grammar().parse_interactive(source)
    with suppress(UnexpectedInput):
        parser.exhaust_lexer()
    accepted: set[str] = parser.accepts()  # type: ignore[no-untyped-call]  # lark's lacks types
    return [word for terminal, word in _WORDS.items() if terminal in accepted]


# -- parsing a template -----------------------------------------------------------------------


@cache
def _bare_path() -> re.Pattern[str]:
    """A path that stands in text as it is; its parts are the grammar's own terminals."""
    root, name, string = [
        _grammar().get_terminal(terminal).pattern.to_regexp()
        for terminal in ("ROOT", "FIELD", "STRING")
    ]
    index = rf"\[\s*(?:-?[0-9]+|{string}|{root}(?:{name})*)\s*\]"
    return re.compile(rf"{root}(?:{name}|{index})*")


@cache
def _mark() -> re.Pattern[str]:
    """Where text stops: an escape, the begin of an interpolation, or a bare path."""
    escape, braces = r"\$\$(?=[.{])", r"\$\{"
    return re.compile(rf"(?P<escape>{escape})|(?P<braces>{braces})|{_bare_path().pattern}")


# What may follow the first path of a text only if the text is meant as an expression. Operators
# of two characters always are; those of one only after a blank, since `$.input.dir/file.txt`,
# `$.input.name!` and `$.input.a&b` are text; brackets only where an index or a call would stand.
_GOES_ON: Final = re.compile(r"\s*(?:\|\||&&|[=!<>]=)|[ \t]+[|&+*/%=!<>?-]|[\[(]")

# Within `${...}`: a whole quoted text, or a brace. A lone quote or a backslash is broken.
_PIECE: Final = re.compile(
    r"\"(?:[^\"\\]|\\.){0,10000}\"|'(?:[^'\\]|\\.){0,10000}'|[{}\"']", re.DOTALL
)


@lru_cache(CACHED)
def _parse_template(text: str) -> Template:
    return _read_template(text)


def _read_template(text: str) -> Template:
    if "$" not in text:
        return Template(text, (text,), _NOTHING)
    whole = _whole_expression(text)
    parts = (whole,) if whole else _join(_split(text))
    reads = _NOTHING.union(*[part.reads for part in parts if isinstance(part, Expression)])
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
        return _compile(text)
    except _Broken as broken:
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
        return _compile(text[start:end])
    except _Broken as broken:
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
    raise _Broken(start - 2, "this ${ is not closed by a }", hint).within(text)


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


# -- compiling a mapping ----------------------------------------------------------------------


def _compile_value(value: Any, levels: int) -> _Node:
    if levels < 0:
        reason = f"the value nests more than {MAX_NESTING} levels deep"
        raise ExpressionError(reason, text="", column=1)
    if isinstance(value, str):
        template = parse_template(value)
        if template.is_literal:
            return _constant(template.evaluate({}))
        return _Node(_lone_run(template), reads=template.reads)
    if isinstance(value, dict):
        return _compile_dict({key: _compile_value(item, levels - 1) for key, item in value.items()})
    if isinstance(value, list):
        return _compile_list([_compile_value(item, levels - 1) for item in value])
    return _constant(value)


def _lone_run(template: Template) -> Run:
    part = template.parts[0]
    if isinstance(part, Expression) and len(template.parts) == 1:
        return part.evaluate
    return template.evaluate


def _compile_dict(nodes: dict[str, _Node]) -> _Node:
    """Constants are laid out once; an evaluation copies them and sets what varies.

    The copy is what keeps a capability that changes its input from changing the definition.
    """
    # A key that varies holds its place, so that the order is that of the definition.
    layout = {key: _if_constant(node) for key, node in nodes.items()}
    varying = tuple((key, node.run) for key, node in nodes.items() if node.constant is _VARIES)

    def run(context: Context) -> Any:
        result = layout.copy()
        for key, evaluate in varying:
            result[key] = evaluate(context)
        return result

    return _Node(run, reads=_NOTHING.union(*[node.reads for node in nodes.values()]))


def _compile_list(nodes: list[_Node]) -> _Node:
    layout = [_if_constant(node) for node in nodes]
    varying = tuple((at, node.run) for at, node in enumerate(nodes) if node.constant is _VARIES)

    def run(context: Context) -> Any:
        result = layout.copy()
        for at, evaluate in varying:
            result[at] = evaluate(context)
        return result

    return _Node(run, reads=_NOTHING.union(*[node.reads for node in nodes]))


def _if_constant(node: _Node) -> Any:
    return None if node.constant is _VARIES else node.constant
