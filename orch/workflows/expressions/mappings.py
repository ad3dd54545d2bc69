"""A mapping, or any JSON value, whose strings are templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from orch.errors import ExpressionError
from orch.workflows.expressions.nodes import (
    MAX_NESTING,
    NOTHING,
    VARIES,
    Context,
    Node,
    Reads,
    Run,
    constant,
)
from orch.workflows.expressions.parsing import Expression
from orch.workflows.expressions.templates import Filled, Template, Value, parse_template

Told = Mapping[str, tuple[str | Value, ...]]
"""A text -> its parts, in which values are told apart from the text around them."""


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

    def told_apart(self, context: Context) -> Told:
        """The texts with interpolations that stand directly in it, and the parts of each."""
        mixed = (t for t in self._templates.values() if not (t.is_literal or t.is_expression))
        return {str(template.evaluate(context)): template.values(context) for template in mixed}


def compile_value(value: Any) -> Compiled:
    """Compile a JSON value, its strings taken as templates and all else literally.

    Raises ExpressionError for a string that does not parse, or containers nested too deeply.
    """
    node = _compile_value(value, MAX_NESTING)
    strings = value.items() if isinstance(value, dict) else ()
    templates = {key: parse_template(item) for key, item in strings if isinstance(item, str)}
    return Compiled(node.reads, node.run, MappingProxyType(templates))


def literal(value: Any, told: Told | None = None) -> Compiled:
    """A JSON value as it is: its strings are no templates.

    ``told``: texts that were made of parts; what stands directly in the value and is one of them
    has these parts still, so that a shell quotes the values in it.
    """
    templates: dict[str, Template] = {}
    if told and isinstance(value, dict):
        for key, text in value.items():
            if isinstance(text, str) and text in told:
                templates[key] = Filled(text, (text,), NOTHING, told[text])
    return Compiled(frozenset(), lambda _: value, MappingProxyType(templates))


def _compile_value(value: Any, levels: int) -> Node:
    if levels < 0:
        reason = f"the value nests more than {MAX_NESTING} levels deep"
        raise ExpressionError(reason, text="", column=1)
    if isinstance(value, str):
        template = parse_template(value)
        if template.is_literal:
            return constant(template.evaluate({}))
        return Node(_lone_run(template), reads=template.reads)
    if isinstance(value, dict):
        return _compile_dict({key: _compile_value(item, levels - 1) for key, item in value.items()})
    if isinstance(value, list):
        return _compile_list([_compile_value(item, levels - 1) for item in value])
    return constant(value)


def _lone_run(template: Template) -> Run:
    part = template.parts[0]
    if isinstance(part, Expression) and len(template.parts) == 1:
        return part.evaluate
    return template.evaluate


def _compile_dict(nodes: dict[str, Node]) -> Node:
    """Constants are laid out once; an evaluation copies them and sets what varies.

    The copy is what keeps a capability that changes its input from changing the definition.
    """
    # A key that varies holds its place, so that the order is that of the definition.
    layout = {key: _if_constant(node) for key, node in nodes.items()}
    varying = tuple((key, node.run) for key, node in nodes.items() if node.constant is VARIES)

    def run(context: Context) -> Any:
        result = layout.copy()
        for key, evaluate in varying:
            result[key] = evaluate(context)
        return result

    return Node(run, reads=NOTHING.union(*[node.reads for node in nodes.values()]))


def _compile_list(nodes: list[Node]) -> Node:
    layout = [_if_constant(node) for node in nodes]
    varying = tuple((at, node.run) for at, node in enumerate(nodes) if node.constant is VARIES)

    def run(context: Context) -> Any:
        result = layout.copy()
        for at, evaluate in varying:
            result[at] = evaluate(context)
        return result

    return Node(run, reads=NOTHING.union(*[node.reads for node in nodes]))


def _if_constant(node: Node) -> Any:
    return None if node.constant is VARIES else node.constant
