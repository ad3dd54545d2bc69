"""Databases of typed properties, in a file of SQLite."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.database_operations import database_operations
from orch.agents.capability import get
from orch.agents.context import Context
from orch.errors import StepError

PROPERTIES = {
    "Name": "title",
    "Amount": "number",
    "Paid": "checkbox",
    "Due": "date",
    "Status": {"type": "select", "options": ["open", "done"]},
    "Tags": "multi_select",
}
ROWS: list[dict[str, Any]] = [
    {"Name": "Äpfel", "Amount": 12.5, "Paid": True, "Due": "2026-01-31", "Tags": ["a", "b"]},
    {"Name": "pears", "Amount": 3, "Paid": False, "Status": "open", "Tags": ["b"]},
    {"Name": "it's; DROP TABLE rows", "Amount": None, "Status": "done", "Due": "2026-02-01"},
]


@pytest.fixture(autouse=True)
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_PAGES", str(tmp_path / "pages"))
    return tmp_path / "pages"


@pytest.fixture
def orders() -> str:
    database_operations("Orders", "create", properties=PROPERTIES)
    database_operations("Orders", "insert", rows=ROWS)
    return "Orders"


def failure(name: str, *given: Any, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        database_operations(*given, **options)
    assert failed.value.name == name, failed.value
    return failed.value


def names(**query: Any) -> list[str]:
    return [row["values"]["Name"] for row in database_operations("Orders", **query)["rows"]]


def test_a_database_has_typed_properties() -> None:
    made = database_operations("Orders", "create", properties=PROPERTIES)
    assert made == {"database": "Orders", "created": True}
    again = database_operations("Orders", "create", properties=PROPERTIES)
    assert not again["created"]
    failure("Conflict", "Orders", "create", properties={"Name": "title"})
    assert database_operations(operation="list") == {"databases": ["Orders"]}
    told = database_operations("Orders", "describe")["properties"]
    assert told["Status"] == {"type": "select", "options": ["open", "done"]}
    assert database_operations("Orders", "drop")["dropped"]
    assert not database_operations("Orders", "drop")["dropped"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["Äpfel", "pears", "it's; DROP TABLE rows"]),
        ({"Name": "it's; DROP TABLE rows"}, ["it's; DROP TABLE rows"]),
        ({"Amount": {"greater_than": 3}}, ["Äpfel"]),
        ({"Amount": {"greater_than_or_equal_to": 3, "less_than": 12}}, ["pears"]),
        ({"Amount": None}, ["it's; DROP TABLE rows"]),
        ({"Amount": {"equals": 10**30}}, []),
        ({"Paid": True}, ["Äpfel"]),
        ({"Paid": {"does_not_equal": True}}, ["pears", "it's; DROP TABLE rows"]),
        ({"Due": {"less_than": "2026-02-01"}}, ["Äpfel"]),
        ({"Name": {"contains": "äP"}}, ["Äpfel"]),
        ({"Name": {"starts_with": "pe"}, "Status": "open"}, ["pears"]),
        ({"Name": {"ends_with": "ROWS"}}, ["it's; DROP TABLE rows"]),
        ({"Name": {"does_not_contain": "p"}}, []),
        ({"Tags": {"contains": "b"}}, ["Äpfel", "pears"]),
        ({"Tags": {"does_not_contain": "a"}}, ["pears", "it's; DROP TABLE rows"]),
        ({"Tags": {"is_empty": True}}, ["it's; DROP TABLE rows"]),
        ({"or": [{"Paid": True}, {"Status": "done"}]}, ["Äpfel", "it's; DROP TABLE rows"]),
        ({"not": {"Status": "open"}}, ["Äpfel", "it's; DROP TABLE rows"]),
        ({"and": [{"not": {"Paid": True}}, {"Due": {"is_not_empty": True}}]}, [ROWS[2]["Name"]]),
    ],
)
def test_rows_are_found_by_conditions(orders: str, asked: dict[str, Any], found: list[str]) -> None:
    assert names(filter=asked) == found


def test_rows_are_sorted_and_come_in_pages(orders: str) -> None:
    assert names(sort="-Amount") == ["Äpfel", "pears", "it's; DROP TABLE rows"]
    assert names(sort=["Amount"]) == ["pears", "Äpfel", "it's; DROP TABLE rows"]
    first = database_operations(orders, sort="Name", limit=2)
    assert (first["total"], first["nextCursor"], len(first["rows"])) == (3, "2", 2)
    second = database_operations(orders, sort="Name", limit=2, cursor=first["nextCursor"])
    assert (second["nextCursor"], len(second["rows"])) == (None, 1)


def test_a_step_that_runs_again_inserts_nothing_twice(orders: str) -> None:
    context = Context(execution_id="e1", path="insert")
    capability = get("database_operations")
    assert capability is not None
    given = {"database": orders, "operation": "insert", "values": {"Name": "once"}}
    first, second = (capability.call(given, context) for _ in range(2))
    assert first == second
    assert names().count("once") == 1
    database_operations(orders, "update", ids=first["ids"], values={"Amount": 5})
    capability.call(given, context)
    (row,) = database_operations(orders, filter={"Name": "once"})["rows"]
    assert (row["id"], row["values"]) == (first["ids"][0], {"Name": "once", "Amount": 5})


def test_rows_are_changed_and_deleted_by_ids_or_conditions(orders: str) -> None:
    done = database_operations(orders, "update", filter={"Paid": True}, values={"Status": "done"})
    assert done["count"] == 1
    assert names(filter={"Status": "done"}) == ["Äpfel", "it's; DROP TABLE rows"]
    database_operations(orders, "delete", ids=done["ids"])
    assert database_operations(orders, "delete", ids=done["ids"])["count"] == 0
    assert database_operations(orders, "delete", filter={"Status": "done"})["count"] == 1
    assert names() == ["pears"]
    failure("InvalidInput", orders, "delete")
    failure("InvalidInput", orders, "delete", filter={})
    failure("InvalidInput", orders, "update", filter={"Name": "x"})


def test_many_write_at_once(orders: str) -> None:
    def insert(number: int) -> None:
        values = {"Name": f"row {number}"}
        database_operations(orders, "insert", values=values)

    threads = [threading.Thread(target=insert, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database_operations(orders)["total"] == 3 + 8


def test_values_that_do_not_fit_are_refused(orders: str) -> None:
    for values in (
        {"Amount": "3"},
        {"Amount": True},
        {"Paid": 1},
        {"Due": "tomorrow"},
        {"Status": "lost"},
        {"Tags": "a"},
        {"Name": 5},
    ):
        failure("InvalidInput", orders, "insert", values=values)
    assert "'Nmae'" in failure("UnknownColumn", orders, "insert", values={"Nmae": "x"}).message
    assert database_operations(orders)["total"] == 3


def test_conditions_that_make_no_sense_are_refused(orders: str) -> None:
    for asked in (
        {"Name": {"greater_than": "a"}},
        {"Amount": {"like": 1}},
        {"Amount": "12"},
        {"Paid": {"is_empty": True}},
        {"or": {}},
        {"and": [{}]},
        {"Name": {"contains": 3}},
    ):
        failure("InvalidInput", orders, filter=asked)
    failure("UnknownColumn", orders, filter={"1=1; --": 1})
    failure("UnknownColumn", orders, sort="Name; DROP TABLE rows")
    failure("InvalidInput", orders, cursor="-1")


def test_faults_have_names(pages: Path) -> None:
    failure("DatabaseNotFound", "Orders")
    failure("InvalidInput")
    for properties in ({}, {"a": "colour"}, {"a": "title", "b": "title"}, {'a"b': "text"}):
        failure("InvalidInput", "Orders", "create", properties=properties)
    (pages / "databases.sqlite").write_bytes(b"no database" * 100)
    failure("NotReadable", "Orders")
