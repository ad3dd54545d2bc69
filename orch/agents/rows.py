"""Rows: what CSV and JSON texts, lists of objects and single objects hold."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import Any

from orch.errors import StepError

Row = dict[str, Any]

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def parsed(data: Any, *, must: bool) -> Any:
    """Text as what it holds: JSON, a table, or (unless rows `must` come of it) just text."""
    if not isinstance(data, str):
        return data
    if data.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(data)
        except ValueError as exc:
            if must:
                raise StepError("InvalidInput", f"`data` is not JSON: {exc}") from exc
            return data
    table = [line for line in csv.reader(io.StringIO(data, newline="")) if line]
    if not must and len(table) < 2:
        return data  # as likely a sentence as a header
    fault = _table_fault(table)
    if not fault:
        return _typed(table)
    if must:
        raise StepError("InvalidInput", f"`data` is not CSV: {fault}")
    return data


def _table_fault(table: list[list[str]]) -> str:
    if not table:
        return "it is empty"
    header = table[0]
    if len(set(header)) < len(header) or not all(header):
        return f"the columns of its first line have no names of their own: {', '.join(header)}"
    for number, line in enumerate(table, start=1):
        if len(line) != len(header):
            return f"row {number} has {len(line)} fields, and the first has {len(header)}"
    return "it is a single line" if len(table) == 1 and len(header) == 1 else ""


def _typed(table: list[list[str]]) -> list[Row]:
    """Columns in which every value looks like a number become numbers; no value is null."""
    header, *lines = table
    columns = [
        [number_of(cell) for cell in column]
        if any(column) and all(not cell or NUMBER.fullmatch(cell) for cell in column)
        else list(column)
        for column in zip(*lines, strict=True)
    ]
    return [dict(zip(header, row, strict=True)) for row in zip(*columns, strict=True)]


def number_of(text: str) -> int | float | None:
    """None for no text, and for what is beyond the range of a double."""
    if not text:
        return None
    if text.lstrip("-").isdigit() and len(text) < 300:
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else None


def rows_of(data: Any) -> list[Row]:
    """Raises StepError `InvalidInput` for what is no list of objects, and no object."""
    rows = [data] if isinstance(data, dict) else data
    if not isinstance(rows, list):
        found = "null" if data is None else type(data).__name__
        raise StepError(
            "InvalidInput", f"`data` must be rows: CSV, JSON or a list of objects; found {found}"
        )
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise StepError(
                "InvalidInput", f"row {number} of `data` is {type(row).__name__}, not an object"
            )
    return rows
