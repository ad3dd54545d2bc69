"""The codemod that writes docstrings for public names that have none."""

from __future__ import annotations

import re
from typing import TypeVar

import libcst as cst

Described = TypeVar("Described", cst.FunctionDef, cst.ClassDef)


class Describer(cst.CSTTransformer):
    """Says of a thing what its name says: `def read_rows` gets `Read rows.`

    That is a beginning for whoever knows more, and no more than that.
    """

    def __init__(self, module: str) -> None:
        super().__init__()
        self._module = module
        self._functions = 0

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        self._functions += 1
        return True

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        self._functions -= 1
        # What is within a function is nobody's to call.
        return updated_node if self._functions else _described(original_node, updated_node)

    def leave_ClassDef(
        self, original_node: cst.ClassDef, updated_node: cst.ClassDef
    ) -> cst.ClassDef:
        return updated_node if self._functions else _described(original_node, updated_node)

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        if original_node.get_docstring() is not None or not original_node.body:
            return updated_node
        return updated_node.with_changes(body=[_docstring(self._module), *updated_node.body])


def _described(original: Described, updated: Described) -> Described:
    name = original.name.value
    if name.startswith("_") or original.get_docstring() is not None:
        return updated
    said = _docstring(name)
    body: cst.BaseSuite = updated.body
    if isinstance(body, cst.IndentedBlock):
        return updated.with_changes(body=body.with_changes(body=[said, *body.body]))
    return updated.with_changes(body=cst.IndentedBlock([said, *_lines(body)]))


def _lines(suite: cst.BaseSuite) -> list[cst.SimpleStatementLine]:
    """What stands behind the colon, as lines of a block."""
    parts = suite.body if isinstance(suite, cst.SimpleStatementSuite) else ()
    return [cst.SimpleStatementLine([part]) for part in parts]


def _docstring(name: str) -> cst.SimpleStatementLine:
    # A module is called as its file is, which may have any name.
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\W_]+", " ", name).strip()
    sentence = f"{words[:1].upper()}{words[1:]}."
    return cst.SimpleStatementLine([cst.Expr(cst.SimpleString(f'"""{sentence}"""'))])
