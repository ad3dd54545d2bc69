"""ES modules, of what is specified."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence

from orch.agents.making.names import line
from orch.agents.making.specified import Class, Constant, Function, Module, Parameter

_INDENT = "  "
_TYPES = {"str": "string", "int": "number", "float": "number", "bool": "boolean"}
_TYPES |= {"None": "null", "Any": "any", "list": "Array", "dict": "Object"}


def javascript_module(module: Module) -> str:
    """The text of a module; all that is specified is exported."""
    blocks = ["\n".join(module.imports)] if module.imports else []
    blocks += [_constant(found) for found in module.constants]
    blocks += [_class(found) for found in module.classes]
    blocks += [f"{_doc(found)}\nexport {_function(found)}" for found in module.functions]
    head = f"// {line(module.description or 'What this module is for is not said yet', 80)}."
    return "\n\n".join([head, *blocks]) + "\n"


def _constant(found: Constant) -> str:
    told = f"/** {line(found.description, 80)}. */\n" if found.description else ""
    return f"{told}export const {found.name} = {json.dumps(found.value)};"


def _class(found: Class) -> str:
    parts = [_constructor(found.fields)] if found.fields else []
    parts += [f"{_doc(each)}\n{_function(each, method=True)}" for each in found.methods]
    body = textwrap.indent("\n\n".join(parts), _INDENT)
    told = line(found.description or "What this is for is not said yet", 80)
    return f"/** {told}. */\nexport class {found.name} {{\n{body}\n}}"


def _constructor(fields: Sequence[Parameter]) -> str:
    given = ", ".join(_argument(each) for each in fields)
    default = " = {}" if all(each.has_default() for each in fields) else ""
    lines = [f"{_INDENT}this.{each.name} = {each.name};" for each in fields]
    return "\n".join([f"constructor({{ {given} }}{default}) {{", *lines, "}"])


def _function(found: Function, *, method: bool = False) -> str:
    given = ", ".join(
        _argument(each) for each in sorted(found.parameters, key=Parameter.has_default)
    )
    word = ("async " if found.is_async else "") + ("" if method else "function ")
    body = found.lines() or [f'throw new Error("{found.name} is not written yet");']
    inner = textwrap.indent("\n".join(body), _INDENT)
    return f"{word}{found.name}({given}) {{\n{inner}\n}}"


def _argument(given: Parameter) -> str:
    return f"{given.name} = {json.dumps(given.default)}" if given.has_default() else given.name


def _doc(found: Function) -> str:
    """JSDoc: what it is for, what it takes and gives."""
    told = f"{line(found.description or 'What this is for is not said yet', 80)}."
    tags = [f"@param {_param(each)}" for each in found.parameters]
    tags += [] if found.returns == "None" else [f"@returns {{{_jsdoc(found.returns)}}}"]
    if not tags:
        return f"/** {told} */"
    return "\n".join(["/**", f" * {told}", *(f" * {tag}" for tag in tags), " */"])


def _param(given: Parameter) -> str:
    name = f"[{given.name}]" if given.has_default() else given.name
    told = f" {line(given.description, 60)}" if given.description else ""
    return f"{{{_jsdoc(given.type)}}} {name}{told}"


def _jsdoc(kind: str) -> str:
    """A type of Python as JSDoc writes it: `list[str] | None` is `Array<string>|null`."""
    renamed = re.sub(r"\w+", lambda word: _TYPES.get(word[0], word[0]), kind)
    return renamed.replace("[", "<").replace("]", ">").replace(" | ", "|")
