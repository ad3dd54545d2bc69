"""The expression language of workflow definitions; `docs/expressions.md` is run as a test."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.errors import ExpressionError, StepError
from orch.workflows.expressions import (
    MAX_LENGTH,
    MAX_NESTING,
    EvaluationError,
    Expression,
    Template,
    Value,
    compile_value,
    parse_expression,
    parse_template,
    to_text,
    truthy,
)

REFERENCE = (Path(__file__).parent.parent / "docs" / "expressions.md").read_text("utf-8")
CONTEXT: dict[str, Any] = json.loads(REFERENCE.split("```json")[1].split("```")[0])


def table(section: str, header: str) -> list[tuple[str, str]]:
    """The rows of a two-column table of the reference, without the marks of code."""
    lines = REFERENCE.split(f"## {section}\n")[1].split("\n## ")[0].split(f"| {header} |")[1]
    rows = re.findall(r"^\| (.*?) (?<!\\)\| (.*?) \|$", lines.split("\n\n")[0], re.M)
    return [(_plain(left)[1:-1], _plain(right)) for left, right in rows if left != "---"]


def _plain(cell: str) -> str:
    return cell.replace("\\|", "|")


def evaluate(text: str, context: dict[str, Any] = CONTEXT) -> Any:
    return parse_expression(text).evaluate(context)


def render(text: str, context: dict[str, Any] = CONTEXT) -> Any:
    return parse_template(text).evaluate(context)


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types: 1, 1.0 and true are three things."""
    return json.dumps(left) == json.dumps(right)


# -- the reference page -----------------------------------------------------------------------

VALUES, STRINGS = "Values and operators", "Strings in mappings"


def test_the_tables_of_the_reference_are_found() -> None:
    assert len(table(VALUES, "expression | gives")) == 30
    assert len(table(VALUES, "fails | because")) == 5
    assert len(table(STRINGS, "string | gives")) == 17
    assert len(table(STRINGS, "refused | column")) == 7


@pytest.mark.parametrize(("text", "gives"), table(VALUES, "expression | gives"))
def test_an_expression_gives_what_the_reference_says(text: str, gives: str) -> None:
    assert same(evaluate(text), json.loads(gives[1:-1]))


@pytest.mark.parametrize(("text", "because"), table(VALUES, "fails | because"))
def test_an_expression_fails_as_the_reference_says(text: str, because: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(text)
    assert caught.value.message == f"expression `{text}` {because}"


@pytest.mark.parametrize(("text", "gives"), table(STRINGS, "string | gives"))
def test_a_string_gives_what_the_reference_says(text: str, gives: str) -> None:
    assert same(render(text), json.loads(gives[1:-1]))


@pytest.mark.parametrize(("text", "column"), table(STRINGS, "refused | column"))
def test_a_string_is_refused_at_the_column_that_the_reference_says(text: str, column: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_template(text)
    assert (caught.value.column, caught.value.text) == (int(column), text)


# -- what definitions hold --------------------------------------------------------------------

SHIPPED = {
    "$.input.requirements": None,
    "$.variables.plan.coreComponents": ["core"],
    "$.output": {"url": "u", "result": 1},
    "$.output.url": "u",
    "$.output.result": 1,
    "$.error": {"message": "boom"},
    "$.error.message": "boom",
    "$.workflowName": "w",
    "$.executionId": "7f3",
    "$.stepId": "s",
    "$.variables.projectPath || $.input.projectPath": "/p",
    '$.variables.projectPath + "/**/*.{js,ts,jsx,tsx}"': "/**/*.{js,ts,jsx,tsx}",
    '$.input.projectPath + "/src/components"': "/p/src/components",
    "$.variables.issues.length > 0": True,
    "$.variables.testResults.passed": False,
    "$.variables.plan.requiresScaffolding": None,
    "Feature: ${$.input.feature}": "Feature: login",
    'echo ... | mail -s "Success" $.input.notificationEmail': (
        'echo ... | mail -s "Success" a@b.example'
    ),
    'echo "Done. Check error logs." | mail -s "Error in data processing" '
    "$.input.notificationEmail": (
        'echo "Done. Check error logs." | mail -s "Error in data processing" a@b.example'
    ),
    'mkdir -p $(dirname ${$.input.outputPath}) && echo "Error" > ${$.input.outputPath}.error.log': (
        'mkdir -p $(dirname /out/x) && echo "Error" > /out/x.error.log'
    ),
    'echo "Critical error in ${$.workflowName} at ${$.stepId}: ${$.error.message}" | mail x': (
        'echo "Critical error in w at s: boom" | mail x'
    ),
    "project_plan_template": "project_plan_template",
    "true": "true",
    "all": "all",
    "tests/**/*.test.{js,ts}": "tests/**/*.test.{js,ts}",
    "**/*.test.{js,ts}": "**/*.test.{js,ts}",
}

# The others, whose values say nothing new.
MORE_SHIPPED = [
    "$.input.backupFetchCommand",
    "$.input.constraints",
    "$.input.fallbackTransformations",
    "$.input.feature",
    "$.input.fetchCommand",
    "$.input.outputPath",
    "$.input.priority",
    "$.input.projectName",
    "$.input.projectPath",
    '$.input.projectPath + "/src/services"',
    '$.input.projectPath + "/tests"',
    "$.input.transformations",
    "$.output.hash",
    "$.output.issues",
    "$.output.optimizations",
    "$.output.path",
    "$.output.specifications",
    "$.output.tasks",
    "$.variables.analysis",
    "$.variables.data",
    "$.variables.issues",
    "$.variables.plan",
    "$.variables.plan.projectType",
    "$.variables.plan.scaffoldingOptions",
    "$.variables.plan.utilityComponents",
    "$.variables.specifications",
    "$.variables.specifications.dataServices",
    "$.variables.specifications.uiComponents",
    "$.variables.testResults",
    "$.variables.transformedData",
    (
        'echo "Critical error in workflow ${$.workflowName} at step ${$.stepId}: ${$.erro'
        'r.message}" | mail -s "Critical Workflow Error" admin@example.com'
    ),
    ('echo "Data processing completed successfully" | mail -s "Success" $.input.notificationEmail'),
    (
        'echo "Data processing completed with errors. Check error logs." | mail -s "Error'
        ' in data processing" $.input.notificationEmail'
    ),
    (
        'mkdir -p $(dirname ${$.input.outputPath}) && echo "Error saving data" > ${$.inpu'
        "t.outputPath}.error.log"
    ),
]

SHIPPED_CONTEXT: dict[str, Any] = {
    "input": {
        "projectPath": "/p",
        "feature": "login",
        "notificationEmail": "a@b.example",
        "outputPath": "/out/x",
    },
    "variables": {
        "plan": {"coreComponents": ["core"]},
        "issues": ["one"],
        "testResults": {"passed": False},
    },
    "output": {"url": "u", "result": 1},
    "error": {"message": "boom"},
    "workflowName": "w",
    "executionId": "7f3",
    "stepId": "s",
}


@pytest.mark.parametrize(("text", "gives"), SHIPPED.items())
def test_the_strings_of_real_workflows_give_their_values(text: str, gives: Any) -> None:
    assert same(render(text, SHIPPED_CONTEXT), gives)


@pytest.mark.parametrize("text", MORE_SHIPPED)
def test_the_other_strings_of_real_workflows_hold_expressions(text: str) -> None:
    assert not parse_template(text).is_literal


# -- paths and what they read -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("$.input", {("input",)}),
        ("$.variables.plan.x", {("variables", "plan", "x")}),
        ('$.variables["a b"].x', {("variables", "a b", "x")}),
        ("$.variables.issues[0].x", {("variables", "issues")}),
        ("$.variables.issues.length", {("variables", "issues")}),
        ("$.variables.a[$.variables.i].x", {("variables", "a"), ("variables", "i")}),
        ("$.item.name || $.file + $.index", {("item", "name"), ("file",), ("index",)}),
        ("($.input).x", {("input",)}),
        ("[!$.input.a, {k: -$.input.b}]", {("input", "a"), ("input", "b")}),
        ("1 + 2", set()),
    ],
)
def test_an_expression_lists_the_static_paths_that_it_reads(text: str, reads: Any) -> None:
    assert parse_expression(text).reads == reads


def test_a_template_and_a_mapping_read_what_their_parts_read() -> None:
    text = "from $.input.a to ${$.variables.b + $.input.c}"
    reads = {("input", "a"), ("variables", "b"), ("input", "c")}
    assert parse_template(text).reads == reads
    assert compile_value({"x": [text], "y": "$.stepId"}).reads == reads | {("stepId",)}


@pytest.mark.parametrize(
    ("text", "gives"),
    [
        ("$.nowhere.x[0].length", None),
        ("$.input.feature[0]", "l"),
        ("$.input.feature[99]", None),
        ("$.input.feature.name", None),
        ("$.input.tags['0']", None),
        ("$.input.tags[-3]", None),
        ("$.input.tags[true]", None),
        ("$.input.tags[1.5]", None),
        ("$.input.tags[1.0]", "b"),
        ("$.input.tags[null]", None),
        ("$.input.tags[[1]]", None),
        ("$.input.tags[ 1 - 1 ]", "a"),
        ("$.input.tags['len' + 'gth']", 2),
        ("$.input.count.length", None),
        ("{'7': 'seven'}[7]", "seven"),
        ("{'7': 'seven'}[3 + 4]", "seven"),
        ("[1, [2, 3]][1][-1]", 3),
        ("{a: {b: 1}}.a.b", 1),
        ("'größe'.length", 5),
        ("{größe: 1}.größe", 1),
    ],
)
def test_steps_of_a_path_answer_null_where_nothing_is(text: str, gives: Any) -> None:
    assert same(evaluate(text), gives)


# -- operators --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "gives"),
    [
        ("0 || '' || null || false", False),
        ("0 || {} || 1", {}),
        ("1 && '' && 2", ""),
        ("1 || 1 / 0", 1),
        ("0 && 1 / 0", 0),
        ("1 || 0 && 0", 1),
        ("![]", False),
        ("!!'x'", True),
        ("!1 == false", True),
        ("1 < 2 == true", True),
        ("2 == 2 == true", True),
        ("1 == 1.0", True),
        ("[1, {a: true}] == [1, {a: 1}]", False),
        ("{a: 1, b: 2} == {b: 2, a: 1}", True),
        ("{a: 1} == {b: 1}", False),
        ("[1] == [1, 1]", False),
        ("[] == {}", False),
        ("null == false", False),
        ("null === $.input.none", True),
        ("1 !== 2", True),
        ("'a' < 'b' && 'Z' < 'a'", True),
        ("2 <= 2 && 2 >= 2.0 && 3 > 2", True),
        ("10 - 2 - 3", 5),
        ("2 + 3 * 4 - 6 / 2", 11),
        ("1 + 2 + 'a' + 1 + 2", "3a12"),
        ("6.0 / 3", 2.0),
        ("-7 / 2", -3.5),
        ("7 % -3", 1),
        ("-7.5 % 2", -1.5),
        ("--1", 1),
        ("1 - -1", 2),
        ("1e3", 1000.0),
        ("0.5 + 1", 1.5),
        (r'"a\"\\\/\b\f\n\r\té\ud83d\ude00"', 'a"\\/\b\f\n\r\té\U0001f600'),
        (r"""'it\'s "x" \\'""", 'it\'s "x" \\'),
        (r'"it\'s"', "it's"),
        ("'$.input.a ${x}'", "$.input.a ${x}"),
        ("'a\nb'", "a\nb"),
        (" \n[ ]\t", []),
        ("{}", {}),
        ("true", True),
    ],
)
def test_operators_and_literals_give_their_values(text: str, gives: Any) -> None:
    assert same(evaluate(text), gives)


@pytest.mark.parametrize(
    ("text", "symbol", "kinds"),
    [
        ("null < 1", "<", "null and number"),
        ("'a' <= 1", "<=", "string and number"),
        ("[1] > [0]", ">", "list and list"),
        ("true >= false", ">=", "boolean and boolean"),
        ("{} + 1", "+", "object and number"),
        ("null + 1", "+", "null and number"),
        ("true + 1", "+", "boolean and number"),
        ("'a' - 1", "-", "string and number"),
        ("[] * 2", "*", "list and number"),
        ("1 / null", "/", "number and null"),
        ("1 % 0", "%", "number and number: division by zero"),
        ("1.5 / 0", "/", "number and number: division by zero"),
        ("-'a'", "-", "string"),
        ("-true", "-", "boolean"),
        ("1e308 * 10", "*", "number and number: the result is too large"),
        (f"1{'0' * 300} * 1{'0' * 300}", "*", "number and number: the result is too large"),
    ],
)
def test_wrong_operands_fail_with_operator_and_types(text: str, symbol: str, kinds: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(text)
    assert caught.value.message.endswith(f"cannot apply `{symbol}` to {kinds}")
    assert f"expression `{text[:150]}" in caught.value.message


def test_an_evaluation_error_is_a_step_error_that_handlers_can_match() -> None:
    with pytest.raises(StepError) as caught:
        render("value: ${$.input.none * 2}")
    assert caught.value.name == "ExpressionError"
    assert "`$.input.none * 2`" in caught.value.message
    assert "null" in caught.value.hint
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.name, again.message) == (caught.value.name, caught.value.message)


def test_a_huge_number_from_outside_fails_in_words_too() -> None:
    with pytest.raises(EvaluationError, match="too large"):
        evaluate("$.input / 3", {"input": 10**400})


def test_arithmetic_on_texts_hints_at_braces() -> None:
    with pytest.raises(EvaluationError) as caught:
        render("$.input.dir/2024")
    assert "${" in caught.value.hint


@pytest.mark.parametrize("value", [None, False, 0, 0.0, ""])
def test_null_false_zero_and_the_empty_text_are_false(value: Any) -> None:
    assert truthy(value) is False


@pytest.mark.parametrize("value", [True, 1, -0.5, "0", "false", [], {}, [0]])
def test_all_else_is_true(value: Any) -> None:
    assert truthy(value) is True


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (2.5, "2.5"),
        ("x", "x"),
        ([1, "ü"], '[1,"ü"]'),
        ({"a": None}, '{"a":null}'),
    ],
)
def test_a_value_becomes_text(value: Any, text: str) -> None:
    assert to_text(value) == text


# -- what does not parse ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "expected a value, found the end"),
        ("$.a ||", 7, "expected a value, found the end"),
        ("$.a || ", 8, "expected a value, found the end"),
        ("$.a + + 1", 7, "expected a value, found `+`"),
        ("$.a + see", 7, "expected a value, found `see`"),
        ("  see", 3, "expected a value, found `see`"),
        ("(1", 3, "expected an operator or ')', found the end"),
        ("1)", 2, "found `)`"),
        ("[1 2]", 4, "expected an operator or ',' or ']', found `2`"),
        ("[1,]", 4, "expected a value, found `]`"),
        ("{a 1}", 4, "expected ':', found `1`"),
        ("{1: 2}", 2, "expected a key or '}', found `1`"),
        ("$.a[", 5, "expected a value"),
        ("$.a[x]", 5, "expected a value, found `x`"),
        ("$.a [0]", 5, "found `[`"),
        ("$.a .b", 5, "found `.`"),
        ("$.a.", 4, "found `.`"),
        ("$", 1, "expected a value, found `$`"),
        ("$.5", 1, "expected a value, found `$`"),
        ("$.a\n  ||\n  ;", 12, "found `;`"),
        ("1 < 2 < 3", 7, "found `<`"),
        ("1 = 2", 3, "found `=`"),
        ("$.f(1)", 4, "found `(`"),
        ("$.a ? 1 : 2", 5, "found `?`"),
        ("01", 2, "found `1`"),
        ("1 + 'abc", 5, "not closed"),
        (r"'\q'", 1, "unknown escape"),
        (r"1 + '\ud800'", 5, "surrogate"),
        (r"{'\ud800': 1}", 2, "surrogate"),
        ("1 + 1e999", 5, "this number is too large"),
        ("[" + "9" * 5000, 2, "this number is too large"),
        ("1 +" + "9" * 400, 4, "this number is too large"),
        ("x" * (MAX_LENGTH + 1), MAX_LENGTH + 1, "10,001 characters"),
        ("1 + " + "(" * 150 + "1" + ")" * 150, 54, "more than 100 levels"),
        ("!" * 150 + "1", 50, "more than 100 levels"),
        ("((1)", 5, "')'"),
        ("(" * MAX_LENGTH, MAX_LENGTH + 1, "expected a value"),
    ],
)
def test_a_broken_expression_names_its_column(text: str, column: int, says: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    error = caught.value
    assert (error.column, error.text) == (column, text)
    assert says in error.message
    assert f"column {column}:" in error.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1 = 2", "=="),
        ("$.a < 1 < 2", "&&"),
        ("$.f(1)", "functions"),
        ("$.a ? 1 : 2", "||"),
        ("passed", "quotes"),
        ("$", "$.input.name"),
    ],
)
def test_common_mistakes_are_answered_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$.a + see", "$.a + see\n        ^"),
        ("$.a\n  + see\n  + 1", "  + see\n      ^"),
        ("$.a\t+ see", "$.a + see\n        ^"),
    ],
)
def test_a_caret_stands_below_what_is_wrong(text: str, shown: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    assert caught.value.message.endswith("\n  " + shown)


def test_the_caret_stands_right_in_a_line_that_is_cut() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression("1 + " * 100 + "see + " + "1 + " * 100)
    _, line, caret = caught.value.message.split("\n")
    assert line[caret.index("^") :].startswith("see")
    assert len(line) < 100


def test_a_flat_chain_of_any_length_does_not_nest() -> None:
    assert evaluate("||".join(["0"] * 3000 + ["7"])) == 7
    assert evaluate("&&".join(["1"] * 3000)) == 1
    assert evaluate("+".join(["1"] * 4000)) == 4000
    assert evaluate("==".join(["1"] * 3) + "==true" * 1000) is False
    assert evaluate("$.a" + ".a" * 4000, {"a": {}}) is None


@pytest.mark.parametrize("opening, closing", [("(", ")"), ("[", "]"), ("$.a[", "]"), ("{a:", "}")])
def test_nesting_is_allowed_up_to_its_limit(opening: str, closing: str) -> None:
    parse_expression(opening * MAX_NESTING + "1" + closing * MAX_NESTING)
    with pytest.raises(ExpressionError, match="levels deep"):
        parse_expression(opening * (MAX_NESTING + 1) + "1" + closing * (MAX_NESTING + 1))


def test_deep_data_compares_without_a_recursion() -> None:
    one: Any = []
    other: Any = []
    for _ in range(5000):
        one, other = [one], [other]
    assert evaluate("$.a == $.b", {"a": one, "b": other}) is True


# -- strings in mappings ----------------------------------------------------------------------


def pieces(text: str) -> list[Any]:
    """The parts of a template: text as it is, expressions as a one-tuple of their text."""
    return [part if isinstance(part, str) else (part.text,) for part in parse_template(text).parts]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [""]),
        ("plain", ["plain"]),
        ("costs $5 or US$ 5", ["costs $5 or US$ 5"]),
        ("$.5 and $. and $", ["$.5 and $. and $"]),
        ("  $.input.x ", [("  $.input.x ",)]),
        ("$.input.x.length", [("$.input.x.length",)]),
        ("$.input.name.", [("$.input.name",), "."]),
        ("$.input.name...", [("$.input.name",), "..."]),
        ("$.input.name, hello", [("$.input.name",), ", hello"]),
        ("$.input.name!", [("$.input.name",), "!"]),
        ("$.input.name (draft)", [("$.input.name",), " (draft)"]),
        ("$.input.name [draft]", [("$.input.name",), " [draft]"]),
        ("$.input.title\n\n- first", [("$.input.title",), "\n\n- first"]),
        ("$.input.my-key", [("$.input.my",), "-key"]),
        ("$.input.dir/*.txt", [("$.input.dir",), "/*.txt"]),
        ("$.input.dir/$.input.file.txt", [("$.input.dir/$.input.file.txt",)]),
        ("$.input.user@example.com", [("$.input.user",), "@example.com"]),
        ("$.input.url?a=1&b=2", [("$.input.url",), "?a=1&b=2"]),
        ("$.input.name.error.log", [("$.input.name.error.log",)]),
        ("!$.input.x", ["!", ("$.input.x",)]),
        ("a$.input.x$.input.y", ["a", ("$.input.x",), ("$.input.y",)]),
        ("x $.a[0][-1]['b c'][$.i.j].d e", ["x ", ("$.a[0][-1]['b c'][$.i.j].d",), " e"]),
        ("x $.a[b] [0]", ["x ", ("$.a",), "[b] [0]"]),
        ("x $.a || $.b", ["x ", ("$.a",), " || ", ("$.b",)]),
        ("${$.a}${$.b}", [("$.a",), ("$.b",)]),
        (" ${$.a}", [" ", ("$.a",)]),
        ("${ $.a + '}' }", [(" $.a + '}' ",)]),
        ("${ $.a + '${' + \"'}\" }!", [(" $.a + '${' + \"'}\" ",), "!"]),
        ("${'\\'}' + $.a}!", [("'\\'}' + $.a",), "!"]),
        ("${{k: {j: $.a}}}!", [("{k: {j: $.a}}",), "!"]),
        ("${'}' + $.a} ${HOME}", [("'}' + $.a",), " ${HOME}"]),
        ("${HOME} and $.a", ["${HOME} and ", ("$.a",)]),
        ("${x%'} and $.a", ["${x%'} and ", ("$.a",)]),
        ("${open", ["${open"]),
        ("${}", ["${}"]),
        ("awk '{print $1}' $.a", ["awk '{print $1}' ", ("$.a",)]),
        ("$$.input.x", ["$.input.x"]),
        ("a $$. $${HOME} $$ $$x", ["a $. ${HOME} $$ $$x"]),
        ("$$$.input.x", ["$$.input.x"]),
        ("$${HOME:-$.a}", ["${HOME:-", ("$.a",), "}"]),
        ("$.größe!", [("$.größe",), "!"]),
    ],
)
def test_a_string_splits_into_text_and_expressions(text: str, parts: list[Any]) -> None:
    assert pieces(text) == parts


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("$.variables.a || ", 18),
        ("  $.variables.a ||", 19),
        ("$.a||", 6),
        ("$.a\n|| ;", 8),
        ("$.a == b", 8),
        ("$.a = 1", 5),
        ("$.a ? 1 : 2", 5),
        ("$.a | grep x", 5),
        ("$.a > /tmp/x", 7),
        ("$.a ! ", 5),
        ("$.a['x]", 5),
        ("$.a(1)", 4),
        ("$.a + 1e999", 7),
        ("x ${$.a", 3),
        ("x ${'$.a}", 3),
        ("x ${$.a} ${$.b", 10),
        ("x ${$.a $.b}", 9),
        ("x\n${$.a $.b}", 9),
        ("x ${HOME:-$.a}", 5),
        ("x ${$.a + 1e999}", 11),
        ("x ${$.a + '\\q'}", 11),
        ("x $.a[" + "9" * 400 + "]", 7),
        ("x $.a['\\ud800']", 7),
    ],
)
def test_a_broken_string_names_the_column_in_the_whole_string(text: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_template(text)
    error = caught.value
    assert (error.column, error.text) == (column, text)
    _, line, caret = error.message.split("\n")
    found = line[caret.index("^") : caret.index("^") + 1]
    assert found == text[column - 1 : column]


def test_a_refused_string_says_how_to_write_it_as_text() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_template("$.input.a - see docs")
    assert "${$.input.a}" in caught.value.hint
    assert render("${$.input.dir} - see docs") == "/srv - see docs"


def test_a_template_knows_what_it_is() -> None:
    literal, expression, mixed = map(parse_template, ["a $$.b", "${$.input.tags}", "a $.b"])
    assert (literal.is_literal, literal.is_expression) == (True, False)
    assert (expression.is_literal, expression.is_expression) == (False, True)
    assert (mixed.is_literal, mixed.is_expression) == (False, False)


def test_the_values_of_a_template_stand_apart_from_its_text() -> None:
    template = parse_template("rm ${$.input.tags} $.input.none ${HOME}")
    assert template.values(CONTEXT) == ("rm ", Value(["a", "b"]), " ", Value(None), " ${HOME}")
    assert parse_template("$.input.feature").values(CONTEXT) == (Value("login"),)


def test_long_text_is_text() -> None:
    text = "x" * 200_000 + " $.input.feature"
    assert render(text) == "x" * 200_000 + " login"
    assert render("$.input.feature " + "x" * 200_000) == "login " + "x" * 200_000


# -- mappings ---------------------------------------------------------------------------------


def test_a_mapping_is_evaluated_at_every_depth_and_keeps_its_order() -> None:
    value = {"b": "$.input.tags", "n": 1, "a": ["x", {"k": "Hi $.input.feature", "t": True}, None]}
    result = compile_value(value).evaluate(CONTEXT)
    gives = {"b": ["a", "b"], "n": 1, "a": ["x", {"k": "Hi login", "t": True}, None]}
    assert same(result, gives)


def test_a_mapping_answers_the_template_behind_a_top_level_string() -> None:
    compiled = compile_value({"command": "ls $.input.dir", "n": 1, "deep": {"command": "x"}})
    template = compiled.template_at("command")
    assert isinstance(template, Template)
    assert template.values(CONTEXT) == ("ls ", Value("/srv"))
    assert [compiled.template_at(key) for key in ("n", "deep", "none")] == [None, None, None]
    assert compile_value("$.input").template_at("command") is None


def test_a_result_that_is_changed_does_not_change_the_definition() -> None:
    source = {"list": [1, {"a": 2}], "text": "$.input.feature"}
    compiled = compile_value(source)
    source["list"].append(3)  # type: ignore[attr-defined]
    result = compiled.evaluate(CONTEXT)
    result["list"][1]["a"] = "changed"
    result["list"].clear()
    assert compiled.evaluate(CONTEXT) == {"list": [1, {"a": 2}], "text": "login"}


def test_a_value_without_expressions_is_itself() -> None:
    values: list[Any] = [None, True, 1, 2.5, "x", [], {}, [[{"a": []}]]]
    for value in values:
        assert same(compile_value(value).evaluate({}), value)
        assert compile_value(value).reads == frozenset()


def test_a_broken_string_in_a_mapping_is_refused() -> None:
    with pytest.raises(ExpressionError, match="column 8"):
        compile_value({"a": [{"b": "$.a || "}]})


def test_a_mapping_nests_only_so_deep() -> None:
    value: Any = "x"
    for _ in range(MAX_NESTING):
        value = [value]
    assert compile_value(value).evaluate({}) == value
    with pytest.raises(ExpressionError, match="levels deep"):
        compile_value([value])


def test_what_is_compiled_cannot_be_changed() -> None:
    things: list[Any] = [parse_expression("1"), parse_template("x"), compile_value({}), Value(1)]
    for thing in things:
        with pytest.raises((AttributeError, TypeError)):
            thing.text = "y"


def test_a_text_is_parsed_once() -> None:
    assert parse_expression("$.input.once + 1") is parse_expression("$.input.once + 1")
    assert parse_template("once $.input.x") is parse_template("once $.input.x")


# -- properties -------------------------------------------------------------------------------

SNIPPETS = st.sampled_from(
    re.findall(r"\S+", "$. $.a $.input.x .b .length [ ] [0] ['k'] ( ) { } ${ $$ || && ! == < + - *")
) | st.sampled_from(re.findall(r"\S+", r"""/ % = | ? , : 1 2.5 true null 'x' ' " \ x é"""))
SOURCES = st.text() | st.lists(SNIPPETS | st.just(" "), max_size=25).map("".join)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(SOURCES)
def test_a_parse_raises_nothing_but_its_own_error(text: str) -> None:
    for parse in (parse_expression, parse_template):
        try:
            parsed = parse(text)
        except ExpressionError as error:
            assert 1 <= error.column <= len(text) + 1
            assert error.text == text
        else:
            assert isinstance(parsed, (Expression, Template))


@given(SOURCES, JSON_VALUES)
def test_an_evaluation_raises_nothing_but_its_own_error_and_changes_nothing(
    text: str, value: Any
) -> None:
    context = {"input": {"x": value}, "a": value}
    before = copy.deepcopy(context)
    try:
        compiled = compile_value({"k": [text, {"j": text}]})
        compiled.evaluate(context)
    except (ExpressionError, EvaluationError):
        pass
    assert context == before


@given(st.text().filter(lambda text: "$" not in text))
def test_a_text_without_a_dollar_is_itself(text: str) -> None:
    template = parse_template(text)
    assert template.is_literal
    assert template.evaluate({}) == text


@given(st.text())
def test_any_text_can_be_escaped(text: str) -> None:
    escaped = text.replace("$", "").replace("{", "") + "$${$$.x"
    assert render(escaped) == text.replace("$", "").replace("{", "") + "${$.x"


@given(JSON_VALUES)
def test_a_lone_interpolation_keeps_value_and_type(value: Any) -> None:
    context = {"input": {"x": value}}
    for text in ("${$.input.x}", "$.input.x", "${ ($.input)['x'] }"):
        assert same(render(text, context), value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_written_as_a_literal(text: str) -> None:
    assert evaluate(json.dumps(text)) == text
    assert evaluate(json.dumps(text, ensure_ascii=False)) == text


NUMBERS = st.integers(-50, 50) | st.floats(-50, 50).map(lambda number: round(number, 3))
TREES = st.recursive(
    NUMBERS,
    lambda inner: st.tuples(st.sampled_from("+-*/%"), inner, inner) | st.tuples(inner),
    max_leaves=10,
)


def written(tree: Any) -> str:
    match tree:
        case (symbol, left, right):
            return f"({written(left)} {symbol} {written(right)})"
        case (operand,):
            return f"-{written(operand)}"
    return f"({tree!r})"


def reference(tree: Any) -> Any:
    """The value of a tree, from the words of the reference page, or ZeroDivisionError."""
    match tree:
        case ("/", left, right):
            one, other = reference(left), reference(right)
            whole = isinstance(one, int) and isinstance(other, int)
            return one // other if whole and one % other == 0 else one / other
        case ("%", left, right):
            one, other = reference(left), reference(right)
            if isinstance(one, int) and isinstance(other, int):
                return int(math.copysign(1, one)) * (abs(one) % abs(other))
            if other == 0:
                raise ZeroDivisionError
            return math.fmod(one, other)
        case (symbol, left, right):
            one, other = reference(left), reference(right)
            return one + other if symbol == "+" else one - other if symbol == "-" else one * other
        case (operand,):
            return -reference(operand)
    return tree


@given(TREES)
def test_arithmetic_agrees_with_a_reference(tree: Any) -> None:
    try:
        wanted = reference(tree)
    except ZeroDivisionError:
        with pytest.raises(EvaluationError, match="division by zero"):
            evaluate(written(tree))
        return
    except OverflowError:
        wanted = math.inf
    if not math.isfinite(wanted):
        with pytest.raises(EvaluationError, match="too large"):
            evaluate(written(tree))
        return
    given_value = evaluate(written(tree))
    assert type(given_value) is type(wanted)
    assert given_value == wanted


FLAT = st.lists(st.tuples(st.sampled_from(["+", "-", "*"]), st.integers(0, 9)), max_size=12)


@given(st.integers(0, 9), FLAT)
def test_precedence_and_association_are_those_of_python(
    first: int, rest: list[tuple[str, int]]
) -> None:
    text = f"{first}" + "".join(f" {symbol} {number}" for symbol, number in rest)
    assert evaluate(text) == eval(text)


OPERANDS = st.lists(st.sampled_from(["0", "1", "''", "'x'", "null", "[]"]), min_size=1, max_size=8)


@given(st.lists(OPERANDS, min_size=1, max_size=5))
def test_a_choice_gives_the_operand_that_decides(groups: list[list[str]]) -> None:
    def decided(operands: list[Any], wanted: bool) -> Any:
        return next((o for o in operands if truthy(o) is wanted), operands[-1])

    text = " || ".join(" && ".join(group) for group in groups)
    ands = [decided([evaluate(operand) for operand in group], False) for group in groups]
    assert same(evaluate(text), decided(ands, True))
