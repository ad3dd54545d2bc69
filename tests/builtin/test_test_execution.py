"""Tests that are run, each runner in a process of its own, and tests made from a specification."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.code_linting import code_linting
from orch.agents.builtin.test_execution import execute_tests
from orch.agents.context import Context
from orch.errors import StepError

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js")
FAILING = """
import cart

class TestTotal:
    def test_none(self):
        assert cart.total([]) == 0

    def test_wrong(self):
        assert cart.total([1, 2]) == 4

def test_new():
    import pytest
    pytest.skip("not yet")
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # those of this project take long
    app = tmp_path / "app"
    (app / "tests").mkdir(parents=True)
    (app / "cart.py").write_text("def total(prices):\n    return sum(prices)\n")
    (app / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    return app


def refused(name: str, *given: Any, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        execute_tests(*given, **options)
    assert failed.value.name == name
    return failed.value


def test_failures_are_an_output_with_place_and_reason(app: Path) -> None:
    (app / "tests" / "test_cart.py").write_text(FAILING)
    (app / "tests" / "test_lost.py").write_text("import nowhere\n")
    output = execute_tests(str(app))
    assert (output["passed"], output["frameworks"]) == (False, ["pytest"])
    assert output["counts"] == {"total": 4, "passed": 1, "failed": 1, "errors": 1, "skipped": 1}
    failures = {failure["name"]: failure for failure in output["failures"]}
    wrong = failures["TestTotal.test_wrong"]
    assert (wrong["file"], wrong["line"]) == (str(app / "tests" / "test_cart.py"), 8)
    assert "assert 3 == 4" in wrong["message"]
    assert "No module named 'nowhere'" in failures["tests.test_lost"]["details"]
    assert not list(app.rglob("__pycache__")) + list(app.rglob(".pytest_cache"))


def test_tests_that_must_pass_fail_the_step(app: Path) -> None:
    (app / "tests" / "test_cart.py").write_text(FAILING)
    failed = refused("TestsFailed", str(app), pattern="tests/**/test_*.py", mustPass=True)
    assert failed.message.startswith("1 of 3 tests did not pass: TestTotal.test_wrong: ")
    assert failed.data["counts"]["failed"] == 1


@needs_node
def test_javascript_is_tested_by_node(app: Path) -> None:
    (app / "tests" / "cart.test.js").write_text(
        'import test from "node:test";\nimport assert from "node:assert/strict";\n'
        'test("adds", () => assert.equal(1 + 1, 2));\n'
        'test("fails", () => assert.equal(1 + 1, 3));\n'
    )
    (app / "tests" / "view.test.ts").write_text("")
    output = execute_tests(str(app), testPattern="tests/**/*.test.{js,ts}")
    assert (output["passed"], output["frameworks"]) == (False, ["node"])
    assert output["counts"] == {"total": 2, "passed": 1, "failed": 1, "errors": 0, "skipped": 0}
    assert output["failures"][0]["name"] == "fails"
    assert "2 !== 3" in output["failures"][0]["message"]
    assert [Path(entry["file"]).name for entry in output["skipped"]] == ["view.test.ts"]


def test_no_tests_are_an_error_unless_they_may_be_missing(app: Path) -> None:
    assert "no tests were found" in refused("NoTests", str(app)).message
    (app / "tests" / "test_cart.py").write_text("")
    failed = refused("NoTests", str(app), pattern="**/*.test.{js,ts}")
    assert "there are tests in .py files" in failed.message
    output = execute_tests(str(app), pattern="**/*.test.js", allowEmpty=True)
    assert (output["passed"], output["counts"]["total"]) == (True, 0)


def test_tests_that_hang_are_ended(app: Path) -> None:
    (app / "tests" / "test_cart.py").write_text("import time\ntime.sleep(60)\n")
    refused("CommandTimeout", str(app), timeout=0.3)
    cancelled = threading.Event()
    cancelled.set()
    refused("Cancelled", str(app), context=Context(is_cancelled=cancelled.is_set))


SPECIFICATION = {
    "components": [
        {
            "name": "cart.py",
            "exports": ["total", "Cart"],
            "examples": [
                {"call": "total", "arguments": [[1, 2]], "expected": 3},
                {"call": "total", "arguments": [[]], "expected": {"a": [None, True, "\"'\\n"]}},
            ],
        }
    ],
    "uiComponents": ["Login"],
    "dataServices": [
        {"name": "user-store", "exports": ["add"], "examples": [{"call": "add", "expected": [1]}]}
    ],
    "tests": [{"name": "test_own.py", "content": "def test_own():\n    pass\n"}],
}


@needs_node
def test_tests_made_from_a_specification_pass_once_it_is_met(app: Path) -> None:
    made = execute_tests(str(app / "tests"), specifications=SPECIFICATION)
    names = [Path(file).name for file in made["files"]]
    assert names == ["test_own.py", "Login.test.js", "user_store.test.js", "test_cart.py"]
    assert code_linting(str(app / "tests"), checkFormat=True)["passed"]
    assert not execute_tests(str(app))["passed"]
    for name, source in {
        "src/cart.py": 'X = {"a": [None, True, "\\"\'\\\\n"]}\n'
        "def total(prices):\n    return sum(prices) or X\nclass Cart: ...\n",
        "src/components/Login.js": "export default 1;\n",
        "src/services/user-store.js": "export function add() { return [1]; }\n",
    }.items():
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text(source)
    output = execute_tests(str(app))
    assert (output["passed"], output["failures"]) == (True, [])
    assert output["frameworks"] == ["pytest", "node"]


def test_tests_that_somebody_wrote_are_kept(app: Path) -> None:
    own = app / "tests" / "test_cart.py"
    own.write_text("def test_mine(): ...\n")
    for _ in range(2):
        made = execute_tests(str(app / "tests"), specifications=SPECIFICATION)
        assert (made["kept"], len(made["files"])) == ([str(own)], 3)
    assert own.read_text() == "def test_mine(): ...\n"


def test_a_specification_may_be_in_python_altogether(app: Path) -> None:
    given = {"language": "python", "components": ["cart"], "dataServices": ["store"]}
    made = execute_tests(str(app / "tests"), specifications=given)
    assert [Path(file).name for file in made["files"]] == ["test_store.py", "test_cart.py"]
    done = subprocess.run([sys.executable, "-m", "compileall", "-q", str(app)], check=False)
    assert done.returncode == 0


def test_a_specification_that_is_none_is_refused(app: Path) -> None:
    for wrong in (
        {"components": "cart"},
        {"components": [{"exports": []}]},
        {"components": [{"name": "a.py", "examples": [{"call": "os.system"}]}]},
        {"tests": ["x"]},
    ):
        refused("InvalidInput", str(app / "tests"), specifications=wrong)
    outside = {"tests": [{"name": "../../x.py", "content": ""}]}
    refused("PathOutsideRoot", str(app / "tests"), specifications=outside)
    assert not list((app / "tests").iterdir())


def test_components_of_one_name_are_all_tested(app: Path) -> None:
    given = {
        "language": "python",
        "uiComponents": [{"name": "user", "exports": ["Show", "show", "show"]}],
        "dataServices": ["user"],
    }
    made = execute_tests(str(app / "tests"), specifications=given)
    names = [Path(file).name for file in made["files"]]
    assert names == ["test_user.py", "test_services_user.py"]
    assert code_linting(str(app / "tests"), checkFormat=True)["passed"]
