"""Pages and databases in Notion, over HTTP, as its documentation has it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from orch.agents.builtin.database_operations import database_operations
from orch.agents.builtin.page_operations import page_operations
from orch.agents.builtin.template_management import template_management
from orch.agents.context import Context
from orch.agents.notion.account import account, use_account
from orch.cli.settings import shown_value
from orch.control.workers import WorkerProcesses
from orch.errors import ErrorClass, StepError
from orch.settings import load_settings
from tests.builtin.notion_server import ROOT, TOKEN, NotionServer, notion_server

PROPERTIES = {
    "Name": "title",
    "Notes": "text",
    "Amount": "number",
    "Paid": "checkbox",
    "Due": "date",
    "Status": {"type": "select", "options": ["open", "done"]},
    "Tags": "multi_select",
}
ROWS: list[dict[str, Any]] = [
    {"Name": "one", "Amount": 12.5, "Paid": True, "Due": "2026-01-31", "Tags": ["a", "b"]},
    {"Name": "two", "Amount": 3, "Status": "open", "Notes": "x" * 4500},
    {"Name": "three", "Status": "done", "Due": "2026-02-01"},
]


@pytest.fixture(autouse=True)
def notion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotionServer]:
    monkeypatch.setenv("ORCH_PAGES", str(tmp_path / "pages"))
    with notion_server() as server:
        monkeypatch.setenv("ORCH_NOTION_TOKEN", TOKEN)
        monkeypatch.setenv("ORCH_NOTION_PARENT", ROOT)
        monkeypatch.setenv("ORCH_NOTION_URL", server.url)
        yield server


def failure(name: str, function: Any, *given: Any, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        function(*given, **options)
    assert failed.value.name == name, failed.value
    assert TOKEN not in str(failed.value)
    return failed.value


def named(**query: Any) -> list[str]:
    return [row["values"]["Name"] for row in database_operations("Orders", **query)["rows"]]


@pytest.fixture
def orders() -> str:
    database_operations("Orders", "create", properties=PROPERTIES)
    database_operations("Orders", "insert", rows=ROWS)
    return "Orders"


# Pages ---------------------------------------------------------------------------------------


def test_a_page_is_made_read_changed_and_deleted(notion: NotionServer) -> None:
    made = page_operations(title="Plan", content="All of it.", severity="high")
    assert made["url"].startswith("https://www.notion.so/")
    read = page_operations("read", made["id"])
    assert (read["title"], read["content"]) == ("Plan", "All of it.\n\n- **Severity**: high")
    page_operations("update", made["id"], title="New", content="Less.")
    read = page_operations("read", made["id"])
    assert (read["title"], read["content"]) == ("New", "Less.")
    assert page_operations("search", query="new")["pages"][0]["title"] == "New"
    assert len(page_operations("list")["pages"]) == 1
    assert page_operations("delete", made["id"])["deleted"]
    assert not page_operations("delete", made["id"])["deleted"]
    failure("PageNotFound", page_operations, "read", made["id"])
    assert notion.versions == {"2025-09-03"}


def test_a_step_that_runs_again_makes_and_adds_nothing_twice(notion: NotionServer) -> None:
    context = Context(execution_id="e1", path="doc")
    first, second = (page_operations(title="Plan", context=context) for _ in range(2))
    assert (first, len(notion.pages)) == (second, 1)
    for _ in range(2):
        page_operations("append", first["id"], content="more", context=context)
    assert page_operations("read", first["id"])["content"].count("more") == 1


def test_steps_may_call_a_page_by_a_name_of_their_own(notion: NotionServer) -> None:
    made = page_operations(id="log", title="Log")
    page_operations("append", "log", content="first")
    assert page_operations("read", "log")["id"] == made["id"]
    page_operations("delete", "log")
    assert page_operations(id="log", title="Log")["id"] != made["id"]


def test_a_page_is_laid_out_by_a_template() -> None:
    template_management("create", "plan", "# {{ title }}\n\n{{ goal }}")
    made = page_operations(title="Plan", templateId="plan", goal="Ship.")
    assert page_operations("read", made["id"])["content"] == "Ship."


# Databases -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"Amount": {"greater_than": 3}}, ["one"]),
        ({"Status": "open"}, ["two"]),
        ({"Due": {"greater_than": "2026-01-31"}}, ["three"]),
        ({"Tags": {"contains": "b"}, "Paid": True}, ["one"]),
        ({"not": {"Amount": {"greater_than": 3}}}, ["two", "three"]),
        ({"not": {"or": [{"Status": "open"}, {"Paid": True}]}}, ["three"]),
        ({"Amount": None}, ["three"]),
    ],
)
def test_rows_are_found_by_the_same_conditions(
    orders: str, asked: dict[str, Any], found: list[str]
) -> None:
    assert named(filter=asked) == found


def test_values_come_back_as_they_were(orders: str, notion: NotionServer) -> None:
    rows = database_operations(orders)["rows"]
    for row, given in zip(rows, ROWS, strict=True):
        assert {k: v for k, v in row["values"].items() if v not in (None, [], False)} == given
    assert rows[0]["created"].startswith("2026-")
    assert database_operations(operation="list") == {"databases": ["Orders"]}
    told = database_operations(orders, "describe")["properties"]
    assert told["Notes"] == {"type": "text"}


def test_rows_come_in_pages(orders: str) -> None:
    first = database_operations(orders, sort="-Name", limit=2)
    assert [row["values"]["Name"] for row in first["rows"]] == ["two", "three"]
    assert first["total"] is None
    second = database_operations(orders, sort="-Name", limit=2, cursor=first["nextCursor"])
    assert [row["values"]["Name"] for row in second["rows"]] == ["one"]
    assert second["nextCursor"] is None


def test_rows_are_changed_and_deleted_and_never_those_of_others(
    orders: str, notion: NotionServer
) -> None:
    page = page_operations(title="Not a row")["id"]
    done = database_operations(orders, "update", filter={"Paid": True}, values={"Amount": None})
    assert done["count"] == 1
    assert database_operations(orders, "delete", ids=[*done["ids"], page])["ids"] == done["ids"]
    assert named() == ["two", "three"]
    assert not notion.pages[page]["in_trash"]


def test_a_database_and_its_rows_are_made_once(notion: NotionServer) -> None:
    notion.searchable = False  # it tells of new ones only after a while
    for created in (True, False):
        made = database_operations("Orders", "create", properties=PROPERTIES)
        assert made["created"] is created
    context = Context(execution_id="e1", path="insert")
    given = {"rows": ROWS, "context": context}
    first, second = (database_operations("Orders", "insert", **given) for _ in range(2))
    assert (first, len(notion.pages)) == (second, 3)
    other = {"Name": "title", "Amount": "text"}
    failure("Conflict", database_operations, "Orders", "create", properties=other)
    assert database_operations("Orders", "drop")["dropped"]
    failure("DatabaseNotFound", database_operations, "Orders")


def test_a_database_is_known_by_its_id_as_well(orders: str, notion: NotionServer) -> None:
    for id in (*notion.databases, *notion.sources):
        assert len(database_operations(id)["rows"]) == 3
    failure("DatabaseNotFound", database_operations, ROOT)


# Faults --------------------------------------------------------------------------------------


def test_a_token_that_notion_does_not_know_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_NOTION_TOKEN", "ntn_wrong")
    refused = failure("NotionRefused", page_operations, title="x")
    assert refused.error_class is ErrorClass.PERMANENT
    assert "ORCH_NOTION_TOKEN" in refused.hint
    failure("NotionRefused", database_operations, "Orders")


def test_a_notion_that_is_busy_or_away_is_asked_again_later(
    notion: NotionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    notion.failing = [429]
    page_operations(title="Plan")
    notion.failing = [503]
    away = failure("NotionUnavailable", page_operations, title="x")
    assert away.error_class is ErrorClass.TRANSIENT
    monkeypatch.setenv("ORCH_NOTION_URL", "http://127.0.0.1:9")
    failure("NotionUnavailable", page_operations, "list")


def test_what_cannot_be_is_refused(orders: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failure("PageNotFound", page_operations, "read", ROOT)
    failure("InvalidInput", page_operations, "read", "../users")
    failure("UnknownColumn", database_operations, orders, filter={"x": 1})
    starts = {"not": {"Name": {"starts_with": "o"}}}
    failure("InvalidInput", database_operations, orders, filter=starts)
    monkeypatch.setenv("ORCH_NOTION_PARENT", "")
    assert "ORCH_NOTION_PARENT" in failure("InvalidInput", page_operations, title="x").hint
    properties = {"properties": {"Name": "title"}}
    failure("InvalidInput", database_operations, "Other", "create", **properties)


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "notion_client", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "orch[agents]" in failure("ToolMissing", page_operations, "list").hint


def test_the_token_is_a_secret_and_reaches_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert TOKEN not in repr(settings) + json.dumps(shown_value(settings.notion_token))
    assert TOKEN not in json.dumps(settings.model_dump(mode="json"))
    workers = WorkerProcesses(settings, "redis://127.0.0.1:9/0")
    assert workers._environment()["ORCH_NOTION_TOKEN"] == TOKEN
    monkeypatch.delenv("ORCH_NOTION_TOKEN")
    assert account() is None
    use_account(settings)
    try:
        found = account()
        assert found is not None
        assert found.token == SecretStr(TOKEN)
    finally:
        use_account(None)
