"""Rows, and what is done to them: filter, select, rename, derive, convert, sort, limit, aggregate.

Data is CSV or JSON text, a list of objects, or one. In CSV a column of numbers becomes numbers.
In `where` and `derive` a bare name is a column.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from orch.agents.rows import NUMBER, Row, number_of, parsed, rows_of
from orch.errors import ExpressionError, StepError
from orch.workflows.expressions import Expression, parse_expression, truthy

# Transformations: what a user writes ---------------------------------------------------------


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Filter(_Step):
    type: Literal["filter"]
    where: str


class Select(_Step):
    type: Literal["select"]
    columns: list[str]


class Rename(_Step):
    type: Literal["rename"]
    columns: dict[str, str]


class Derive(_Step):
    type: Literal["derive"]
    columns: dict[str, str]


class Convert(_Step):
    type: Literal["convert"]
    columns: dict[str, Literal["number", "integer", "text", "boolean"]]


class Sort(_Step):
    type: Literal["sort"]
    by: str | list[str]
    descending: bool = False


class Limit(_Step):
    type: Literal["limit"]
    count: Annotated[int, Field(ge=0)]


class Summary(_Step):
    """Exactly one: `{"sum": column}`, `{"count": true}`, ..."""

    sum: str | None = None
    mean: str | None = None
    min: str | None = None
    max: str | None = None
    count: Literal[True] | str | None = None


class Aggregate(_Step):
    type: Literal["aggregate"]
    by: str | list[str] = []
    values: dict[str, Summary]


Transformation = Filter | Select | Rename | Derive | Convert | Sort | Limit | Aggregate
_TRANSFORMATION: TypeAdapter[Transformation] = TypeAdapter(
    Annotated[Transformation, Field(discriminator="type")]
)


def transform(data: Any, transformations: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows after all transformations, in order, and how many there are.

    Raises StepError: `InvalidInput`, `UnknownColumn`, `ExpressionError`.
    """
    steps = [_understood(number, t) for number, t in enumerate(transformations, start=1)]
    found = parsed(data, must=bool(steps))
    if not steps:
        return {"result": found, "rows": len(found) if isinstance(found, list) else 1}
    rows = rows_of(found)
    for number, step in enumerate(steps, start=1):
        rows = _APPLY[type(step)](rows, step, f"transformation {number} (`{step.type}`)")
    return {"result": rows, "rows": len(rows)}


def _understood(number: int, source: dict[str, Any]) -> Transformation:
    try:
        return _TRANSFORMATION.validate_python(source)
    except ValidationError as exc:
        reasons = [
            f"{'.'.join(str(part) for part in error['loc'][1:])}: {error['msg']}".lstrip(": ")
            for error in exc.errors(include_url=False)
        ]
        raise StepError(
            "InvalidInput", f"transformation {number} is not one: {'; '.join(reasons)}"
        ) from None


# Transformations: what they do ---------------------------------------------------------------


def _need(rows: list[Row], columns: Sequence[str], where: str) -> None:
    if not rows:
        return
    known = dict.fromkeys(name for row in rows for name in row)
    for column in columns:
        if column not in known:
            raise StepError(
                "UnknownColumn",
                f"{where} names the column {column!r}; there are {', '.join(map(repr, known))}",
                data={"column": column, "columns": list(known)},
            )


# Texts, numbers and paths are passed over; what is left of words are the names of columns.
_TOKEN = re.compile(
    r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\d[\w.]*|\$?(?:\.[^\W\d]\w*)+|(?P<name>[^\W\d]\w*)"""
)
_KEYWORDS = ("true", "false", "null")


def _expression(source: str, where: str) -> tuple[Expression, list[str]]:
    """An expression over a row, `$.row`, and the columns that it reads."""

    def qualified(token: re.Match[str]) -> str:
        name = token["name"]
        return token[0] if name is None or name in _KEYWORDS else f"$.row.{name}"

    try:
        expression = parse_expression(_TOKEN.sub(qualified, source))
    except ExpressionError as exc:
        raise StepError("InvalidInput", f"{where} cannot read {source!r}: {exc.message}") from None
    if any(path[0] != "row" for path in expression.reads):
        raise StepError("InvalidInput", f"{where}: {source!r} may read the columns of a row only")
    return expression, sorted({path[1] for path in expression.reads if len(path) > 1})


def _filter(rows: list[Row], step: Filter, where: str) -> list[Row]:
    condition, columns = _expression(step.where, where)
    _need(rows, columns, where)
    return [row for row in rows if truthy(condition.evaluate({"row": row}))]


def _select(rows: list[Row], step: Select, where: str) -> list[Row]:
    _need(rows, step.columns, where)
    return [{column: row.get(column) for column in step.columns} for row in rows]


def _rename(rows: list[Row], step: Rename, where: str) -> list[Row]:
    _need(rows, list(step.columns), where)
    return [{step.columns.get(name, name): value for name, value in row.items()} for row in rows]


def _derive(rows: list[Row], step: Derive, where: str) -> list[Row]:
    for name, source in step.columns.items():
        expression, columns = _expression(source, where)
        _need(rows, columns, where)
        rows = [{**row, name: expression.evaluate({"row": row})} for row in rows]
    return rows


def _convert(rows: list[Row], step: Convert, where: str) -> list[Row]:
    _need(rows, list(step.columns), where)
    return [
        {
            name: _converted(value, step.columns[name], f"{where}, row {number}, {name!r}")
            if name in step.columns and value is not None
            else value
            for name, value in row.items()
        }
        for number, row in enumerate(rows, start=1)
    ]


def _converted(value: Any, kind: str, where: str) -> Any:
    text = value.strip() if isinstance(value, str) else json.dumps(value)
    if kind == "text":
        return value if isinstance(value, str) else text
    if kind == "boolean" and text.lower() in ("true", "false", "yes", "no", "1", "0"):
        return text.lower() in ("true", "yes", "1")
    if kind in ("number", "integer"):
        number = number_of(text) if NUMBER.fullmatch(text) else None
        if number is not None and (kind == "number" or number == int(number)):
            return number if kind == "number" else int(number)
    raise StepError("InvalidInput", f"{where}: {value!r} cannot become {kind}")


def _order(value: Any) -> tuple[int, Any]:
    """Nulls, booleans, numbers, texts, the rest: so that a mixed column has an order too."""
    if value is None:
        return 0, 0
    if isinstance(value, bool):
        return 1, value
    if isinstance(value, int | float):
        return 2, value
    return (3, value) if isinstance(value, str) else (4, json.dumps(value, sort_keys=True))


def _sort(rows: list[Row], step: Sort, where: str) -> list[Row]:
    by = [step.by] if isinstance(step.by, str) else step.by
    _need(rows, by, where)
    return sorted(
        rows, key=lambda row: [_order(row.get(column)) for column in by], reverse=step.descending
    )


def _limit(rows: list[Row], step: Limit, where: str) -> list[Row]:
    return rows[: step.count]


def _aggregate(rows: list[Row], step: Aggregate, where: str) -> list[Row]:
    """Groups stand in the order in which they first appear."""
    by = [step.by] if isinstance(step.by, str) else step.by
    summaries = {name: _summary(summary, where) for name, summary in step.values.items()}
    read = [column for _, column in summaries.values() if column is not None]
    _need(rows, [*by, *read], where)
    groups: dict[str, list[Row]] = {} if by else {"[]": []}
    for row in rows:
        groups.setdefault(json.dumps([row.get(column) for column in by]), []).append(row)
    return [
        {
            **{column: group[0].get(column) for column in by},
            **{
                name: _summarised(kind, column, group, where)
                for name, (kind, column) in summaries.items()
            },
        }
        for group in groups.values()
    ]


def _summary(summary: Summary, where: str) -> tuple[str, str | None]:
    given = summary.model_dump(exclude_none=True)
    if len(given) != 1:
        found = ", ".join(given) or "none"
        raise StepError(
            "InvalidInput",
            f"{where}: a value takes one of sum, mean, min, max, count; found {found}",
        )
    kind, column = next(iter(given.items()))
    return kind, column if isinstance(column, str) else None


def _summarised(kind: str, column: str | None, group: list[Row], where: str) -> Any:
    if column is None:
        return len(group)
    values = [row[column] for row in group if row.get(column) is not None]
    if kind == "count":
        return len(values)
    if kind in ("min", "max"):
        return (min if kind == "min" else max)(values, key=_order, default=None)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise StepError(
                "InvalidInput",
                f"{where}: {kind} of {column!r} needs numbers, found {value!r}",
                hint='convert it first: {"type": "convert", "columns": {"...": "number"}}',
            )
    whole = all(isinstance(value, int) for value in values)
    total = sum(values) if whole else math.fsum(values)  # fsum: the order of rows has no effect
    if kind == "sum":
        return total
    return total / len(values) if values else None


_APPLY: dict[type[BaseModel], Callable[[list[Row], Any, str], list[Row]]] = {
    Filter: _filter,
    Select: _select,
    Rename: _rename,
    Derive: _derive,
    Convert: _convert,
    Sort: _sort,
    Limit: _limit,
    Aggregate: _aggregate,
}
