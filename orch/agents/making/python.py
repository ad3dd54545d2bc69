"""Modules of Python, of what is specified."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from orch.agents.making.names import line
from orch.agents.making.specified import Class, Constant, Function, Module, Parameter
from orch.errors import StepError

_INDENT = "    "


def python_module(module: Module) -> str:
    """The text of a module. Raises StepError `InvalidInput` for a body that is no Python."""
    blocks = [_constants(module.constants)] if module.constants else []
    blocks += [_class(found) for found in module.classes]
    blocks += [_function(found) for found in module.functions]
    text = "\n\n\n".join(blocks)
    head = [f'"""{_sentence(module.description or "What this module is for is not said yet")}"""']
    head += ["", "from __future__ import annotations", ""]
    imports = [*module.imports, *_needed(module, text)]
    ordered = sorted(dict.fromkeys(imports), key=lambda given: (given.startswith("from "), given))
    head += [*ordered, ""] if imports else []
    return "\n".join([*head, text, ""])


def _needed(module: Module, text: str) -> list[str]:
    found = ["from dataclasses import dataclass, field"] if "field(default" in text else []
    if any(known.fields for known in module.classes) and not found:
        found = ["from dataclasses import dataclass"]
    return [*found, *(["from typing import Any"] if "Any" in _words(text) else [])]


def _words(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _constants(constants: Sequence[Constant]) -> str:
    lines: list[str] = []
    for constant in constants:
        lines.append(f"{constant.name} = {literal(constant.value)}")
        lines += [f'"""{_sentence(constant.description)}"""'] if constant.description else []
    return "\n".join(lines)


def _class(found: Class) -> str:
    head = ["@dataclass"] if found.fields else []
    head += [f"class {found.name}:", f'{_INDENT}"""{_told(found.description, found.fields)}"""']
    fields = [f"{_INDENT}{_field(given)}" for given in _ordered(found.fields)]
    methods = [textwrap.indent(_function(each, method=True), _INDENT) for each in found.methods]
    return "\n\n".join(["\n".join(head), *(["\n".join(fields)] if fields else []), *methods])


def _function(found: Function, *, method: bool = False) -> str:
    given = [_argument(each) for each in _ordered(found.parameters)]
    arguments = ", ".join([*(["self"] if method else []), *given])
    word = "async def" if found.is_async else "def"
    told = _told(found.description, found.parameters)
    body = found.lines() or [f'raise NotImplementedError("{found.name} is not written yet")']
    lines = [f'"""{told}"""', *body]
    text = "\n".join(
        [
            f"{word} {found.name}({arguments}) -> {found.returns}:",
            textwrap.indent("\n".join(lines), _INDENT),
        ]
    )
    try:
        parsed = ast.parse(text)
    except (SyntaxError, ValueError) as exc:
        raise StepError("InvalidInput", f"the body of {found.name!r} is no Python: {exc}") from None
    if len(parsed.body) != 1:
        raise StepError("InvalidInput", f"the body of {found.name!r} is more than one function")
    return text


def _ordered(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Those without a default first, as Python wants them."""
    return sorted(parameters, key=Parameter.has_default)


def _argument(given: Parameter) -> str:
    if not given.has_default():
        return f"{given.name}: {given.type}"
    if isinstance(given.default, list | dict):  # one object for all calls is never meant
        return f"{given.name}: {_or_none(given.type)} = None"
    kind = _or_none(given.type) if given.default is None else given.type
    return f"{given.name}: {kind} = {literal(given.default)}"


def _field(given: Parameter) -> str:
    if not given.has_default():
        return f"{given.name}: {given.type}"
    if isinstance(given.default, list | dict):
        return (
            f"{given.name}: {given.type} = field(default_factory=lambda: {literal(given.default)})"
        )
    kind = _or_none(given.type) if given.default is None else given.type
    return f"{given.name}: {kind} = {literal(given.default)}"


def _or_none(kind: str) -> str:
    return kind if kind in ("Any", "None") or kind.endswith("| None") else f"{kind} | None"


def _told(description: str, parameters: Sequence[Parameter]) -> str:
    """A docstring: a sentence, and what is said of the parameters."""
    first = _sentence(description or "What this is for is not said yet")
    told = [f"{each.name}: {line(each.description, 80)}" for each in parameters if each.description]
    if not told:
        return first
    return "\n".join([first, "", *(f"{_INDENT}{each}" for each in told), _INDENT])


def _sentence(text: str) -> str:
    return f"{line(text, 80)}."


def literal(value: Any) -> str:
    """A JSON value as Python writes it."""
    return repr(value)
