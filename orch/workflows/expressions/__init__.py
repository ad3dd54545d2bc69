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

from orch.workflows.expressions.conversion import to_text, truthy
from orch.workflows.expressions.failures import EvaluationError
from orch.workflows.expressions.mappings import Compiled, Told, compile_value, literal
from orch.workflows.expressions.nodes import MAX_NESTING, Context, Reads
from orch.workflows.expressions.operators import MAX_BITS
from orch.workflows.expressions.parsing import MAX_LENGTH, Expression, parse_expression
from orch.workflows.expressions.templates import Template, Value, parse_template

__all__ = [
    "MAX_BITS",
    "MAX_LENGTH",
    "MAX_NESTING",
    "Compiled",
    "Context",
    "EvaluationError",
    "Expression",
    "Reads",
    "Template",
    "Told",
    "Value",
    "compile_value",
    "literal",
    "parse_expression",
    "parse_template",
    "to_text",
    "truthy",
]
