"""Which public names of a source file say what they are for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_EXPORT = re.compile(
    r"^export\s+(?:default\s+)?(?:async\s+)?(function\*?|class|const|let)\s+([A-Za-z_$][\w$]*)",
    re.MULTILINE,
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Documented:
    """A name, and whether it is documented. ``kind``: `module`, `class`, `function`, …"""

    name: str
    kind: str
    line: int
    documented: bool


def python_names(source: str) -> list[Documented]:
    """The module, its public classes and functions, and their public methods.

    Raises SyntaxError, ValueError, RecursionError for what Python cannot read.
    """
    tree = ast.parse(source)
    if not tree.body:
        return []  # an empty `__init__.py` has nothing to say
    module = Documented("the module", "module", 1, ast.get_docstring(tree) is not None)
    return [module, *_defined(tree, "")]


def _defined(parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[Documented]:
    for node in parent.body:
        if not isinstance(node, Definition) or node.name.startswith("_") or _inherited(node):
            continue
        kind = "class" if isinstance(node, ast.ClassDef) else "function"
        said = ast.get_docstring(node) is not None
        yield Documented(prefix + node.name, kind, node.lineno, said)
        if isinstance(node, ast.ClassDef):
            yield from _defined(node, f"{prefix}{node.name}.")


def _inherited(node: Definition) -> bool:
    """Whether somebody else documents it: an override or another signature of the same."""
    names = {
        each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "")
        for each in node.decorator_list
    }
    return bool(names & {"override", "overload", "setter", "deleter"})


def script_names(source: str) -> list[Documented]:
    """What a module of JavaScript or TypeScript exports; `/** … */` before it documents it."""
    found = []
    for match in _EXPORT.finditer(source):
        before = source[: match.start()].rstrip()
        kind = {"class": "class", "const": "constant", "let": "constant"}.get(match[1], "function")
        line = source.count("\n", 0, match.start()) + 1
        said = before.endswith("*/") and before.rfind("/**") > before.rfind("*/", 0, -2)
        found.append(Documented(match[2], kind, line, said))
    return found
