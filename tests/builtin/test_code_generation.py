"""Modules of what is specified."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin import code_generation as _registers  # noqa: F401
from orch.agents.capability import get
from orch.agents.context import Context
from orch.errors import StepError
from tests.builtin.projects import run

ORDERS: dict[str, Any] = {
    "description": "Orders of a 'shop', \"all\" of them",
    "imports": ["import json"],
    "constants": [{"name": "LIMIT", "value": [1, None, True], "description": "Most of it"}],
    "classes": [
        {
            "name": "Order",
            "description": "An order",
            "fields": [
                {"name": "tags", "type": "list[str]", "default": []},
                {"name": "amount", "type": "number", "description": "in euro"},
                {"name": "note", "type": "text", "optional": True},
            ],
            "methods": [{"name": "double", "returns": "number", "body": "return self.amount * 2"}],
        }
    ],
    "functions": [
        {
            "name": "total",
            "parameters": [{"name": "orders", "type": "list[Order]"}],
            "returns": "number",
            "body": ["return sum(order.amount for order in orders)"],
        },
        {"name": "saved", "returns": "text", "body": "return json.dumps(LIMIT)"},
        {"name": "later", "async": True, "returns": "Any | None"},
    ],
}
SCRIPT = """
import asyncio, orders
assert orders.total([orders.Order(2), orders.Order(amount=3.5, tags=["a"])]) == 5.5
assert orders.Order(1).double() == 2 and orders.Order(1).note is None
assert orders.saved() == "[1, null, true]"
try:
    asyncio.run(orders.later())
except NotImplementedError as error:
    print(error)
"""
JAVASCRIPT = """
import { Order, total, later } from "./orders.js";
if (total([new Order({ amount: 2 }), new Order({ amount: 3.5 })]) !== 5.5) throw new Error("sum");
await later().catch((error) => console.log(error.message));
"""


def generate(specification: dict[str, Any], **options: Any) -> dict[str, Any]:
    found = get("code_generation")
    assert found is not None
    return dict(found.call({"specification": specification, **options}, Context()))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_FILES_ROOT", str(tmp_path))
    return tmp_path


def test_python_runs_and_lints(folder: Path) -> None:
    made = generate(ORDERS, path="orders.py")
    assert made["names"] == ["LIMIT", "Order", "total", "saved", "later"]
    assert (folder / "orders.py").read_text() == made["code"]
    rules = ["--isolated", "--no-cache", "--line-length=100"]
    run(
        folder,
        sys.executable,
        "-m",
        "ruff",
        "check",
        *rules,
        "--select=E,F,I,B,UP,SIM,C4",
        "orders.py",
    )
    run(folder, sys.executable, "-m", "ruff", "format", "--check", *rules, "orders.py")
    assert run(folder, sys.executable, "-c", SCRIPT) == "later is not written yet\n"


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_javascript_runs(folder: Path) -> None:
    order = {**ORDERS["classes"][0], "methods": [{"name": "double", "returns": "number"}]}
    total = {**ORDERS["functions"][0], "body": "return orders.reduce((n, o) => n + o.amount, 0);"}
    functions = [total, ORDERS["functions"][2]]
    generate({"classes": [order], "functions": functions}, path="orders.js")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "try.js").write_text(JAVASCRIPT)
    assert run(folder, "node", "try.js") == "later is not written yet\n"


def test_a_file_of_somebody_else_is_kept_where_that_is_asked_for(folder: Path) -> None:
    (folder / "orders.py").write_text("mine")
    assert generate(ORDERS, path="orders.py", existing="keep")["kept"]
    with pytest.raises(StepError) as failed:
        generate(ORDERS, path="orders.py", existing="fail")
    assert failed.value.name == "FileExists"
    assert (folder / "orders.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("specification", "said"),
    [
        ({}, "no constants, classes or functions"),
        ({"functions": [{"name": "1x"}]}, "is no name"),
        ({"functions": [{"name": "class"}]}, "is no name"),
        ({"functions": [{"name": "delete"}]}, "is a word of the language"),
        ({"functions": [{"name": "x", "returns": "f()"}]}, "is no type"),
        ({"functions": [{"name": "x", "returns": "[1"}]}, "is no type"),
        ({"functions": [{"name": "x", "body": "return ("}]}, "the body of 'x' is no Python"),
        ({"functions": [{"name": "x"}, {"name": "x"}]}, "are called 'x'"),
        ({"functions": [{"name": "x", "lines": 3}]}, "lines"),
    ],
)
def test_what_cannot_be_code_is_said(specification: dict[str, Any], said: str) -> None:
    with pytest.raises(StepError) as failed:
        generate(specification)
    assert failed.value.name == "InvalidInput"
    assert said in str(failed.value)


def test_a_suffix_must_say_which_language_is_meant(folder: Path) -> None:
    with pytest.raises(StepError, match="which language is meant"):
        generate(ORDERS, path="orders.txt")
    with pytest.raises(StepError, match="leads out of"):
        generate(ORDERS, path="../orders.py")


def test_without_ruff_and_node_there_is_code_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code = generate(ORDERS)["code"]
    subprocess.run(
        [sys.executable, "-c", "import sys, ast; ast.parse(sys.argv[1])", code], check=True
    )
