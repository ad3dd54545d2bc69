"""Databases in Notion, as those in a file: each is its first data source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orch.agents.context import Context
from orch.agents.notion.account import Account
from orch.agents.notion.conditions import Condition, Sort
from orch.agents.notion.ledger import Ledger
from orch.agents.notion.properties import Property, Schema
from orch.agents.notion.remote import MOST, calling, connect, gathered
from orch.agents.notion.remote_values import (
    filter_to_notion,
    plain_text,
    rich_text,
    schema_from_notion,
    schema_to_notion,
    sorts_to_notion,
    values_from_notion,
    values_to_notion,
)
from orch.errors import StepError

_ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_SOURCES_ONLY = {"property": "object", "value": "data_source"}
_MISSING = "DatabaseNotFound"


class RemoteDatabases:
    """The databases that an integration of Notion sees, by their titles or ids."""

    def __init__(self, account: Account, directory: Path, context: Context) -> None:
        self._account = account
        self._context = context
        self._notion = connect(account, context)
        self._ledger = Ledger(directory)
        self._sources: dict[str, dict[str, Any]] = {}

    def create(self, name: str, schema: Schema) -> bool:
        known = self._find(name)
        if known is not None:
            theirs = schema_from_notion(known["properties"])
            if any(theirs.get(key) != Property(of.kind) for key, of in schema.items()):
                raise StepError(
                    "Conflict",
                    f"there is a database {name!r} in Notion with other properties",
                    hint="take another name",
                )
            return False
        if self._account.parent is None:
            raise StepError(
                "InvalidInput",
                "there is no page in Notion to put the database below",
                hint="set ORCH_NOTION_PARENT to the id of a page that the integration may change",
            )
        with calling("make the database", _MISSING):
            made = self._notion.databases.create(
                parent={"type": "page_id", "page_id": self._account.parent},
                title=rich_text(name),
                initial_data_source={"properties": schema_to_notion(schema)},
            )
        # Its search tells of new databases only after a while.
        self._ledger.keep(f"database/{name}", made["data_sources"][0]["id"])
        return True

    def names(self) -> list[str]:
        with calling("list databases", _MISSING):
            found, _ = gathered(self._notion.search, filter=_SOURCES_ONLY)
        return sorted(plain_text(each.get("title")) for each in found)

    def schema(self, name: str) -> dict[str, Property]:
        return schema_from_notion(self._source(name)["properties"])

    def drop(self, name: str) -> bool:
        source = self._find(name)
        if source is None:
            return False
        with calling("delete the database", _MISSING):
            self._notion.databases.update(source["parent"]["database_id"], in_trash=True)
        self._ledger.forget(source["id"])
        return True

    def insert(self, name: str, rows: Sequence[Mapping[str, Any]], key: str) -> list[str]:
        source = self._source(name)
        schema = schema_from_notion(source["properties"])
        ids = []
        for number, row in enumerate(rows):
            self._context.heartbeat(number)
            known = self._ledger.find(f"row/{key}/{number}")
            if known is None:
                with calling("make the row", _MISSING):
                    page = self._notion.pages.create(
                        parent={"type": "data_source_id", "data_source_id": source["id"]},
                        properties=values_to_notion(row, schema),
                    )
                known = str(page["id"])
                self._ledger.keep(f"row/{key}/{number}", known)
            ids.append(known)
        return ids

    def query(
        self,
        name: str,
        condition: Condition | None,
        sorts: Sequence[Sort],
        limit: int,
        cursor: str | None,
    ) -> tuple[list[dict[str, Any]], str | None, int | None]:
        given: dict[str, Any] = {"data_source_id": self._source(name)["id"]}
        if condition is not None:
            given["filter"] = filter_to_notion(condition)
        if sorts:
            given["sorts"] = sorts_to_notion(sorts)
        with calling("query the database", _MISSING):
            found, more = gathered(self._notion.data_sources.query, limit, cursor, **given)
        return [_row(page) for page in found], more, None

    def update(
        self,
        name: str,
        values: Mapping[str, Any],
        condition: Condition | None,
        ids: Sequence[str] | None,
    ) -> list[str]:
        schema = schema_from_notion(self._source(name)["properties"])
        return self._each(name, condition, ids, properties=values_to_notion(values, schema))

    def delete(
        self, name: str, condition: Condition | None, ids: Sequence[str] | None
    ) -> list[str]:
        return self._each(name, condition, ids, in_trash=True)

    def _each(
        self,
        name: str,
        condition: Condition | None,
        ids: Sequence[str] | None,
        **change: Any,
    ) -> list[str]:
        """Change the rows that are meant; ids that are not of this database mean none."""
        found, more, _ = self.query(name, condition, (), MOST, None)
        if more is not None:
            sentence = f"more than {MOST} rows of {name!r} are meant: too many to change at once"
            raise StepError("InvalidInput", sentence, hint="narrow the `filter`")
        wanted = None if ids is None else {_bare(id) for id in ids}
        done: list[str] = []
        for row in found:
            if wanted is not None and _bare(row["id"]) not in wanted:
                continue
            self._context.heartbeat(len(done))
            with calling("change the row", _MISSING):
                self._notion.pages.update(row["id"], **change)
            done.append(row["id"])
        return done

    def _source(self, name: str) -> dict[str, Any]:
        found = self._find(name)
        if found is None:
            raise StepError(
                _MISSING,
                f"there is no database {name!r} in Notion",
                hint="share it with the integration; `list` gives the names that it sees",
            )
        return found

    def _find(self, name: str) -> dict[str, Any] | None:
        """The data source that is meant; None where there is none."""
        if name not in self._sources:
            known = self._ledger.find(f"database/{name}")
            found = self._by_id(known or name) if known or _ID.fullmatch(name) else None
            found = found or self._by_title(name)
            if found is None:
                return None
            self._sources[name] = found
        return self._sources[name]

    def _by_id(self, id: str) -> dict[str, Any] | None:
        """A data source, or the first one of a database."""
        try:
            with calling("read the database", _MISSING):
                source = self._notion.data_sources.retrieve(id)
        except StepError as exc:
            if exc.name != _MISSING:
                raise
            source = self._first_of(id)
        return None if source is None or source.get("in_trash") else dict(source)

    def _first_of(self, id: str) -> Any:
        try:
            with calling("read the database", _MISSING):
                sources = self._notion.databases.retrieve(id)["data_sources"]
                return self._notion.data_sources.retrieve(sources[0]["id"])
        except StepError as exc:
            if exc.name != _MISSING:
                raise
            return None

    def _by_title(self, name: str) -> dict[str, Any] | None:
        with calling("search", _MISSING):
            found, _ = gathered(self._notion.search, filter=_SOURCES_ONLY, query=name)
        named = [each for each in found if plain_text(each.get("title")) == name]
        return named[0] if named else None


def _bare(id: str) -> str:
    return id.replace("-", "").lower()


def _row(page: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": page["id"],
        "created": page.get("created_time"),
        "updated": page.get("last_edited_time"),
        "values": values_from_notion(page.get("properties") or {}),
    }
