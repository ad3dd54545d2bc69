"""What a module of code is to hold, as people and plans specify it."""

from __future__ import annotations

import ast
import keyword
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

Language = Literal["python", "javascript"]

_WORDS = {
    **dict.fromkeys(("text", "string", "str"), "str"),
    **dict.fromkeys(("integer", "int"), "int"),
    **dict.fromkeys(("number", "float"), "float"),
    **dict.fromkeys(("boolean", "bool"), "bool"),
    **dict.fromkeys(("list", "array"), "list[Any]"),
    **dict.fromkeys(("object", "dict", "map"), "dict[str, Any]"),
    **dict.fromkeys(("null", "none", "nothing"), "None"),
    **dict.fromkeys(("any", "", "json"), "Any"),
}
_PARTS: tuple[type[ast.AST], ...] = (
    *(ast.Expression, ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.BinOp, ast.BitOr),
    *(ast.Constant, ast.Load),
)
# Words that JavaScript does not take as names, besides those of Python.
_JAVASCRIPT = frozenset(
    (
        *("await", "break", "case", "catch", "const", "debugger", "default", "delete", "do"),
        *("enum", "export", "extends", "function", "instanceof", "interface", "let", "new"),
        *("null", "package", "private", "protected", "public", "static", "super", "switch"),
        *("this", "throw", "typeof", "var", "void", "with", "yield", "arguments", "eval"),
    )
)


def _identifier(name: str) -> str:
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise ValueError("is no name that code can have")
    if name in _JAVASCRIPT:
        raise ValueError("is a word of the language")
    return name


def _type(source: str) -> str:
    """A type in Python's notation, of a word or an expression without calls."""
    known = _WORDS.get(source.strip().lower())
    if known is not None:
        return known
    try:
        parsed = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError):
        raise ValueError("is no type: `text`, `integer`, `list[str]`, `Order | None`") from None
    if any(not isinstance(node, _PARTS) for node in ast.walk(parsed)):
        raise ValueError("is no type: a type is names, `[…]` and `|`")
    return ast.unparse(parsed)


Name = Annotated[str, AfterValidator(_identifier)]
Type = Annotated[str, AfterValidator(_type)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Parameter(_Part):
    """An argument, or a field of a class. `default` is JSON; `optional`: it may be left out."""

    name: Name
    type: Type = "Any"
    description: str = ""
    default: JsonValue = None
    optional: bool = False

    def has_default(self) -> bool:
        return self.optional or "default" in self.model_fields_set


class Function(_Part):
    """`body`: its lines, without indentation; without it, calling it is an error that says so."""

    name: Name
    description: str = ""
    parameters: list[Parameter] = []
    returns: Type = "None"
    body: str | list[str] | None = None
    is_async: bool = Field(False, alias="async")

    def lines(self) -> list[str]:
        if self.body is None:
            return []
        return self.body.splitlines() if isinstance(self.body, str) else list(self.body)


class Class(_Part):
    """A class that holds `fields`, and can do `methods`."""

    name: Name
    description: str = ""
    fields: list[Parameter] = []
    methods: list[Function] = []


class Constant(_Part):
    name: Name
    value: JsonValue
    description: str = ""


class Module(_Part):
    """`imports`: lines, as the language writes them."""

    description: str = ""
    imports: list[str] = []
    constants: list[Constant] = []
    classes: list[Class] = []
    functions: list[Function] = []

    def names(self) -> list[str]:
        parts: list[Constant | Class | Function] = [
            *self.constants,
            *self.classes,
            *self.functions,
        ]
        return [part.name for part in parts]
