"""Code that is measured, mended, and changed as one asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.code_analysis import code_analysis
from orch.agents.builtin.code_linting import code_linting
from orch.agents.builtin.code_transformation import code_transformation
from orch.agents.builtin.modernization import modernization
from orch.agents.builtin.performance_optimization import performance_optimization
from orch.agents.builtin.test_execution import execute_tests
from orch.errors import StepError

CART = '''"""Carts."""

__all__ = ["total"]


def total(prices):
    """Add up."""
    return sum(prices)


class Cart:
    """A cart."""

    def total(self, other):
        """Add up both."""
        return total([1]) + other.total + self.total(total=2)
'''
USE = '''"""Uses carts."""

import shop.cart as c
from shop.cart import total

from . import cart


def mine(total):
    """Not that one."""
    return total


def all_of_them():
    """Those."""
    return total([1]) + c.total([2]) + cart.total([3])
'''


@pytest.fixture
def app(tmp_path: Path) -> Path:
    shop = tmp_path / "app" / "shop"
    shop.mkdir(parents=True)
    (shop / "cart.py").write_text(CART)
    (shop / "use.py").write_text(USE)
    return tmp_path / "app"


def refused(name: str, function: Any, *given: Any, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        function(*given, **options)
    assert failed.value.name == name, failed.value
    return failed.value


def transform(path: Path, *steps: dict[str, Any], **options: Any) -> dict[str, Any]:
    return code_transformation(str(path), transformations=list(steps), **options)


# Measuring -----------------------------------------------------------------------------------


def test_functions_are_ranked_by_their_complexity(app: Path) -> None:
    branches = "\n".join(f"    if a == {n}:\n        return {n}" for n in range(12))
    (app / "deep.py").write_text(f"def deep(a):\n{branches}\n")
    (app / "bad.py").write_text("def f(:\n")
    output = code_analysis(str(app))
    worst = output["worst"][0]
    assert (worst["name"], worst["complexity"], worst["rank"]) == ("deep", 13, "C")
    assert "Cart.total" in [block["name"] for block in output["worst"]]
    assert sorted(issue["code"] for issue in output["issues"]) == ["complexity", "syntax"]
    assert output["summary"]["files"] == 3
    assert output["summary"]["lines"]["loc"] > 40
    assert all(0 <= file["maintainability"]["index"] <= 100 for file in output["files"])
    assert code_analysis(str(app), files="shop/*.py", maxComplexity=20)["issues"] == []


# Renaming ------------------------------------------------------------------------------------


def test_a_name_is_changed_wherever_it_is_meant_and_nowhere_else(app: Path) -> None:
    output = transform(app, {"type": "rename", "from": "shop.cart.total", "to": "total_of"})
    assert [Path(file).name for file in output["changed"]] == ["cart.py", "use.py"]
    cart, use = (app / "shop" / "cart.py").read_text(), (app / "shop" / "use.py").read_text()
    assert '__all__ = ["total_of"]' in cart
    assert "def total_of(prices)" in cart
    assert "def total(self, other)" in cart
    assert "return total_of([1]) + other.total + self.total(total=2)" in cart
    assert "from shop.cart import total_of" in use
    assert "def mine(total):" in use
    assert "return total_of([1]) + c.total_of([2]) + cart.total_of([3])" in use
    again = {"type": "rename", "from": "shop.cart.total", "to": "total_of"}
    refused("NotFound", transform, app, again)


def test_a_name_that_is_taken_is_refused(app: Path) -> None:
    refused("Conflict", transform, app, {"type": "rename", "from": "total", "to": "prices"})
    refused("NotFound", transform, app, {"type": "rename", "from": "gone", "to": "x"})
    refused("InvalidInput", transform, app, {"type": "rename", "from": "total", "to": "a b"})
    assert (app / "shop" / "cart.py").read_text() == CART


# Other transformations -----------------------------------------------------------------------


def test_a_dry_run_shows_a_diff_and_writes_nothing(app: Path) -> None:
    step = {"type": "add_imports", "modules": ["json"]}
    output = transform(app, step, files="shop/cart.py", dryRun=True)
    assert output["diff"].startswith("--- a/shop/cart.py\n+++ b/shop/cart.py\n")
    assert "\n+import json\n" in output["diff"]
    assert (app / "shop" / "cart.py").read_text() == CART


def test_docstrings_are_begun_and_imports_that_nobody_uses_go(app: Path) -> None:
    file = app / "a.py"
    file.write_text("import os\n\n\nclass RowReader:\n    def readRows(self): return 1\n")
    transform(file, {"type": "remove_unused_imports"}, {"type": "add_docstrings"})
    assert '"""A."""' in file.read_text()
    assert '"""Row Reader."""' in file.read_text()
    assert '        """Read Rows."""\n        return 1\n' in file.read_text()
    assert "import os" not in file.read_text()


def test_the_layout_of_a_file_that_had_one_is_kept(app: Path) -> None:
    transform(app, {"type": "rename", "from": "total", "to": "sum_of_all_the_prices_of_a_cart"})
    assert code_linting(str(app), checkFormat=True)["passed"]


def test_without_a_wish_the_rules_of_the_project_are_met(app: Path) -> None:
    (app / "bad.py").write_text("import os\nimport json\nx=[ json ]\n")
    output = code_transformation(str(app))
    assert [Path(file).name for file in output["changed"]] == ["bad.py"]
    assert (app / "bad.py").read_text() == "import json\n\nx = [json]\n"


def test_what_cannot_be_read_is_skipped(app: Path) -> None:
    (app / "bad.py").write_text("def total(:\n")
    (app / "latin.py").write_bytes(b"# total \xe9\n")
    output = transform(app, {"type": "rename", "from": "total", "to": "total_of"})
    assert sorted(Path(entry["file"]).name for entry in output["skipped"]) == ["bad.py", "latin.py"]


def test_a_transformation_that_is_none_is_refused(app: Path) -> None:
    for wrong in ({"type": "guess"}, {"type": "rename", "from": "a"}, {"type": "fix", "x": 1}):
        assert "transformation 1" in refused("InvalidInput", transform, app, wrong).message
    (app / "a.js").write_text("")
    refused("InvalidInput", code_transformation, str(app / "a.js"))


# What reviews and tests found ----------------------------------------------------------------


def test_issues_are_mended_and_the_rest_is_told(app: Path) -> None:
    (app / "bad.py").write_text("import os\nprint(nobody)\n")
    (app / "other.py").write_text("import os\n")
    found = code_linting(str(app / "bad.py"), rules=["F"])["issues"]
    output = code_transformation(str(app), issues=found)
    assert [Path(file).name for file in output["changed"]] == ["bad.py"]
    assert (output["fixed"], [i["code"] for i in output["remaining"]]) == (1, ["F821"])
    assert (app / "bad.py").read_text() == "print(nobody)\n"
    foreign = [{"file": "/etc/x.py", "code": "F401", "tool": "ruff", "fixable": True}]
    assert code_transformation(str(app), issues=foreign)["remaining"] == foreign


def test_an_import_that_tests_missed_is_added(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # those of this project take long
    (app / "stamp.py").write_text('"""Stamps."""\n\n\ndef stamp():\n    return json.dumps(1)\n')
    (app / "test_stamp.py").write_text(
        "import stamp\n\ndef test_a(): assert stamp.stamp() == '1'\n"
        "def test_b(): assert stamp.stamp() == '2'\n"
    )
    results = execute_tests(str(app))
    assert results["counts"]["failed"] == 2
    output = code_transformation(str(app), testResults=results)
    assert [Path(file).name for file in output["changed"]] == ["stamp.py"]
    results = execute_tests(str(app))
    assert results["counts"]["failed"] == 1
    output = code_transformation(str(app), testResults=results)
    assert (output["changed"], output["failures"]) == ([], ["test_b"])


# Optimizing and modernizing ------------------------------------------------------------------


def test_only_safe_optimizations_are_applied(app: Path) -> None:
    (app / "slow.py").write_text(
        "def f(rows, key):\n    out = []\n    for row in rows:\n        out.append(row + 1)\n"
        "    if key in rows.keys():\n        return out\n    return None\n"
    )
    output = performance_optimization(str(app), dryRun=True)
    applied = {entry["code"]: entry["applied"] for entry in output["optimizations"]}
    assert applied == {"PERF401": False, "SIM118": False} | {
        code: True for code, done in applied.items() if done
    }
    assert output["applied"] + output["remaining"] == len(applied)
    safe = performance_optimization(str(app), rules=["RET", "F"], dryRun=True)
    assert safe["rules"].keys() <= {"RET505", "RET501"}


def test_issues_of_a_review_are_mended_along_with_it(app: Path) -> None:
    (app / "bad.py").write_text("import os\n\nx = 1\n")
    found = code_linting(str(app), rules=["F"])["issues"]
    output = performance_optimization(str(app), issues=found)
    assert (output["applied"], (app / "bad.py").read_text()) == (1, "x = 1\n")


def test_a_project_without_python_has_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("export const a = 1;\n")
    assert performance_optimization(str(tmp_path))["optimizations"] == []
    assert modernization(str(tmp_path))["changed"] == []
    assert code_transformation(str(tmp_path), issues=[])["changed"] == []
    assert code_analysis(str(tmp_path))["summary"]["files"] == 0


OLD = '''"""Old."""

from typing import List, Optional


def f(a: Optional[int]) -> List[int]:
    """Say."""
    return ["%s" % (a,), set([1, 2])]
'''


def test_old_code_is_written_anew_for_the_python_it_must_run_on(app: Path) -> None:
    (app / "old.py").write_text(OLD)
    (app / "pyproject.toml").write_text('[project]\nname = "a"\nrequires-python = ">=3.9"\n')
    output = modernization(str(app), dryRun=True)
    assert output["target"] == "3.9"
    assert "Optional[int]" in output["diff"]
    assert (app / "old.py").read_text() == OLD
    output = modernization(str(app), target="3.11")
    assert (output["target"], output["remaining"]) == ("3.11", [])
    new = (app / "old.py").read_text()
    assert "def f(a: int | None) -> list[int]:" in new
    assert 'return [f"{a}", {1, 2}]' in new
    assert "typing" not in new
    assert modernization(str(app), target="3.11")["changed"] == []


def test_faults_have_names(app: Path) -> None:
    for target in ("2.7", "new", "3.1"):
        refused("InvalidInput", modernization, str(app), target=target)
    for function in (modernization, performance_optimization, code_transformation, code_analysis):
        refused("FileNotFound", function, str(app / "gone"))
        refused("NoFiles", function, str(app), files="**/*.pyx")
    refused("ToolFailed", performance_optimization, str(app), rules=["NOPE1"])


def test_the_name_of_a_file_becomes_no_code(app: Path) -> None:
    file = app / 'x"""; print(1); """.py'
    file.write_text("y = 1\n")
    transform(app, {"type": "add_docstrings"}, files=[file.name])
    assert file.read_text() == '"""X print 1."""\n\ny = 1\n'
