"""`database_operations`: databases with typed properties, and their rows.

    {"operation": "create", "database": "Orders", "properties": {
        "Name": "title", "Amount": "number", "Status": {"type": "select", "options": ["open"]}}}
    {"operation": "insert", "database": "Orders", "rows": [{"Name": "First", "Amount": 12.5}]}
    {"database": "Orders", "filter": {"Amount": {"greater_than": 10}}, "sort": ["-Amount"]}

Rows are `{"id", "created", "updated", "values"}`. They lie in `databases.sqlite` in the directory
of pages; or in Notion, where the worker has a token for it. Every operation may run again without
harm: the ids of rows follow from the step.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.notion.account import account
from orch.agents.notion.conditions import Condition, Sort, read_filter, read_sorts
from orch.agents.notion.place import pages_directory
from orch.agents.notion.properties import Property, Schema, check_values, read_schema
from orch.agents.notion.remote_databases import RemoteDatabases
from orch.agents.notion.store import Store
from orch.errors import StepError

Operation = Literal["create", "describe", "list", "query", "insert", "update", "delete", "drop"]
MOST_ROWS = 1000


class Databases(Protocol):
    """What keeps databases."""

    def create(self, name: str, schema: Schema) -> bool: ...
    def names(self) -> list[str]: ...
    def schema(self, name: str) -> dict[str, Property]: ...
    def drop(self, name: str) -> bool: ...
    def insert(self, name: str, rows: Sequence[Mapping[str, Any]], key: str) -> list[str]: ...
    def query(
        self,
        name: str,
        condition: Condition | None,
        sorts: Sequence[Sort],
        limit: int,
        cursor: str | None,
    ) -> tuple[list[dict[str, Any]], str | None, int | None]: ...
    def update(
        self,
        name: str,
        values: Mapping[str, Any],
        condition: Condition | None,
        ids: Sequence[str] | None,
    ) -> list[str]: ...
    def delete(
        self, name: str, condition: Condition | None, ids: Sequence[str] | None
    ) -> list[str]: ...


@capability("database_operations")
def database_operations(
    database: Annotated[str, Field(min_length=1, max_length=200)] | None = None,
    operation: Operation = "query",
    properties: dict[str, Any] | None = None,
    rows: Annotated[list[dict[str, Any]], Field(max_length=MOST_ROWS)] | None = None,
    values: dict[str, Any] | None = None,
    ids: Annotated[list[str], Field(max_length=MOST_ROWS)] | None = None,
    filter: dict[str, Any] | None = None,
    sort: str | list[str] | None = None,
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 100,
    cursor: str | None = None,
    context: Context | None = None,
) -> dict[str, Any]:
    """Do one thing with a database.

    properties  of `create`: names and types
    rows        of `insert`: the values of each; `values`: those of one
    values      of `update`: what the rows get; others they keep
    ids         of `update` and `delete`: which rows
    filter      of `query`, `update`, `delete`: conditions on the rows
    sort        of `query`: names of properties, `-` before one that goes down
    limit       rows that `query` gives
    cursor      where it goes on: `nextCursor` of the one before

    Raises StepError: `DatabaseNotFound`, `UnknownColumn`, `Conflict`, `InvalidInput`, those of
    files, and `NotionRefused`, `NotionUnavailable`, `RateLimited`.
    """
    context = context or Context(execution_id=uuid.uuid4().hex)
    databases = _databases(context)
    if operation == "list":
        return {"databases": databases.names()}
    if database is None:
        raise StepError("InvalidInput", f"`{operation}` needs the name of a `database`")
    if operation == "create":
        schema = read_schema(properties or {})
        return {"database": database, "created": databases.create(database, schema)}
    if operation == "drop":
        return {"database": database, "dropped": databases.drop(database)}
    work = _Work(databases, database, databases.schema(database))
    if operation == "describe":
        return work.describe()
    if operation == "insert":
        return work.insert(rows, values, context.idempotency_key)
    if operation == "query":
        return work.query(filter, [sort] if isinstance(sort, str) else sort or [], limit, cursor)
    return work.change(operation, filter, ids, values)


def _databases(context: Context) -> Databases:
    named = account()
    if named is None:
        return Store(pages_directory())
    return RemoteDatabases(named, pages_directory(), context)


class _Work:
    """The operations on the rows of one database."""

    def __init__(self, databases: Databases, name: str, schema: Schema) -> None:
        self._databases = databases
        self._name = name
        self._schema = schema

    def describe(self) -> dict[str, Any]:
        told = {name: each.as_dict() for name, each in self._schema.items()}
        return {"database": self._name, "properties": told}

    def insert(
        self, rows: list[dict[str, Any]] | None, values: dict[str, Any] | None, key: str
    ) -> dict[str, Any]:
        given = [*(rows or []), *([values] if values is not None else [])]
        if rows is None and values is None:
            raise StepError("InvalidInput", "`insert` needs `rows`, or the `values` of one")
        checked = [check_values(row, self._schema) for row in given]
        ids = self._databases.insert(self._name, checked, key)
        return {"database": self._name, "ids": ids, "count": len(ids)}

    def query(
        self, filter: dict[str, Any] | None, sort: list[str], limit: int, cursor: str | None
    ) -> dict[str, Any]:
        condition, sorts = read_filter(filter, self._schema), read_sorts(sort, self._schema)
        rows, more, total = self._databases.query(self._name, condition, sorts, limit, cursor)
        return {"database": self._name, "rows": rows, "total": total, "nextCursor": more}

    def change(
        self,
        operation: str,
        filter: dict[str, Any] | None,
        ids: list[str] | None,
        values: dict[str, Any] | None,
    ) -> dict[str, Any]:
        condition = read_filter(filter, self._schema)
        if condition is None and ids is None:
            raise StepError(
                "InvalidInput", f"`{operation}` needs `ids` or a `filter`: which rows are meant?"
            )
        if operation == "delete":
            done = self._databases.delete(self._name, condition, ids)
        elif values:
            checked = check_values(values, self._schema)
            done = self._databases.update(self._name, checked, condition, ids)
        else:
            raise StepError("InvalidInput", "`update` needs `values`")
        return {"database": self._name, "ids": done, "count": len(done)}
